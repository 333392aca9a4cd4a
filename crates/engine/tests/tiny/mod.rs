//! Tiny models whose weights a formula gives; `tools/golden/tiny_weights.py` states it.

use equicrypt_engine::{Decoder, Precision};
use equicrypt_spec::{Kind, Layout, ModelConfig, Role, TensorSpec};
use serde_json::Value;

/// The model of a `config.json`.
pub(crate) fn decoder(config: &Value, precision: Precision) -> Decoder {
    let config = ModelConfig::from_json(config).unwrap();
    Decoder::from_tensors(config, precision, &mut |tensor| Ok(values(tensor))).unwrap()
}

/// The values of a tensor, rounded to f32.
pub(crate) fn values(tensor: &TensorSpec) -> Vec<f64> {
    let input = match tensor.row.kind {
        Kind::Linear {
            layout: Layout::InputByOut,
            ..
        } => tensor.shape[0],
        _ => *tensor.shape.last().unwrap(),
    } as f64;
    let value = |u: f64| match tensor.row.kind {
        Kind::Gain { .. } => 1.0 + 0.5 * u,
        Kind::Bias { .. } | Kind::NormBias { .. } => (u - 0.5) * 0.2,
        Kind::Embed { .. } => {
            (u - 0.5)
                * match tensor.row.role {
                    Role::PositionEmbed | Role::TokenTypeEmbed => 0.5,
                    Role::DistanceBias => 4.0,
                    _ => 2.0,
                }
        }
        Kind::Linear { .. } => (u - 0.5) * (4.0 / input.sqrt()),
    };
    let count = tensor.shape.iter().product();
    uniform(&tensor.name)
        .take(count)
        .map(|u| f64::from(value(u) as f32))
        .collect()
}

/// SplitMix64 from the FNV-1a hash of the name, in [0, 1).
pub(crate) fn uniform(name: &str) -> impl Iterator<Item = f64> {
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 * 2f64.powi(-53)
    })
}
