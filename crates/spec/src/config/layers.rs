use super::fields::Fields;
use super::rope::RopeFields;
use super::table::{ConfigTable, ExpertNames, Positions, SparseLayers, Windows};
use crate::rope::yarn_amplitude;
use crate::{Error, Rope, RopeScaling};

/// What differs between layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerKind {
    /// Which of [`ModelConfig::ropes`] turns queries and keys.
    pub rope: Option<usize>,
    /// How many tokens a token sees, itself among them; in an encoder, on each side.
    pub window: Option<usize>,
    /// What q . k is multiplied by.
    pub attention_scale: f64,
    /// Whether it has experts.
    pub sparse: bool,
}

/// The RoPEs of a model, and each layer.
pub(super) fn layer_kinds(
    fields: &Fields<'_>,
    table: &ConfigTable,
    layers: usize,
    max_positions: usize,
) -> Result<(Vec<Rope>, Vec<LayerKind>), Error> {
    let mut ropes = Vec::new();
    let mut local_rope = 0;
    let mut turned = vec![false; layers];
    if let Positions::Rotary {
        theta,
        default_theta,
        local_theta,
        none_in,
        ..
    } = table.positions
    {
        let rope = RopeFields::new(fields.0, max_positions)?;
        ropes.push(rope.global(theta, default_theta)?);
        turned = match none_in {
            Some((list, interval, default)) => {
                rope_layers(fields, layers, list, interval, default)?
            }
            None => vec![true; layers],
        };
        if let Some(local) = local_theta {
            ropes.push(rope.local(local)?.unwrap_or(Rope {
                theta: LOCAL_THETA,
                scaling: RopeScaling::None,
            }));
            local_rope = 1;
        }
    }
    let windowed = windowed(fields, table.windows, &turned)?;
    let window = match (windowed.contains(&true), table.windows) {
        (false, _) => None,
        (true, Windows::AllButFirstOfEach(..)) => {
            let both_sides = fields.optional_size("local_attention")?.unwrap_or(128);
            Some(both_sides / 2 + 1)
        }
        (true, _) => fields.optional_size("sliding_window")?,
    };
    let sparse = match &table.experts {
        Some(names) => sparse_layers(fields, names, layers)?,
        None => vec![false; layers],
    };
    let kinds = (0..layers).map(|layer| LayerKind {
        rope: turned[layer].then_some(if windowed[layer] { local_rope } else { 0 }),
        window: window.filter(|_| windowed[layer]),
        attention_scale: 1.0,
        sparse: sparse[layer],
    });
    Ok((ropes, kinds.collect()))
}

/// Which layers look back over a window, if there is one.
fn windowed(fields: &Fields<'_>, windows: Windows, turned: &[bool]) -> Result<Vec<bool>, Error> {
    let layers = turned.len();
    let by_rule: Vec<bool> = match windows {
        Windows::No => return Ok(vec![false; layers]),
        Windows::All => return Ok(vec![fields.value("sliding_window").is_some(); layers]),
        Windows::AllButEach(field, default) => {
            let each = fields.optional_size(field)?.unwrap_or(default);
            (1..=layers).map(|n| !n.is_multiple_of(each)).collect()
        }
        Windows::AllButFirstOfEach(field, default) => {
            let each = fields.optional_size(field)?.unwrap_or(default);
            (0..layers).map(|n| !n.is_multiple_of(each)).collect()
        }
        Windows::AllIfUsed => {
            let used = fields.flag("use_sliding_window")?.unwrap_or(false);
            return Ok(vec![used; layers]);
        }
        Windows::FromLayer | Windows::EvenBelowLayer | Windows::WithoutRope => {
            if !fields.flag("use_sliding_window")?.unwrap_or(false) {
                return Ok(vec![false; layers]);
            }
            let bound = fields.count("max_window_layers")?.unwrap_or(28);
            let windowed = |layer: usize| match windows {
                Windows::FromLayer => layer >= bound,
                Windows::EvenBelowLayer => layer.is_multiple_of(2) && layer < bound,
                _ => !turned[layer],
            };
            (0..layers).map(windowed).collect()
        }
    };
    let Some(words) = fields.words("layer_types")? else {
        return Ok(by_rule);
    };
    let known = |word: &&str| match *word {
        "full_attention" => Some(false),
        "sliding_attention" => Some(true),
        _ => None,
    };
    match words.iter().map(known).collect::<Option<Vec<_>>>() {
        Some(listed) if listed.len() == layers => Ok(listed),
        _ => {
            let expected = format!("{layers} times \"full_attention\" or \"sliding_attention\"");
            Err(fields.wrong("layer_types", expected))
        }
    }
}

/// Which layers have RoPE: a list of ones and zeros, or all but each n-th.
fn rope_layers(
    fields: &Fields<'_>,
    layers: usize,
    list: &str,
    interval: &str,
    default: usize,
) -> Result<Vec<bool>, Error> {
    match fields.counts(list)? {
        Some(listed) if listed.len() == layers => Ok(listed.iter().map(|n| *n != 0).collect()),
        Some(_) => Err(fields.wrong(list, format!("a list of {layers} ones and zeros"))),
        None => {
            let each = fields.optional_size(interval)?.unwrap_or(default);
            Ok((1..=layers).map(|n| !n.is_multiple_of(each)).collect())
        }
    }
}

fn sparse_layers(
    fields: &Fields<'_>,
    names: &ExpertNames,
    layers: usize,
) -> Result<Vec<bool>, Error> {
    Ok(match names.layers {
        SparseLayers::All => vec![true; layers],
        SparseLayers::Step => {
            let step = fields.optional_size("decoder_sparse_step")?.unwrap_or(1);
            let dense = fields.counts("mlp_only_layers")?.unwrap_or_default();
            let sparse = |layer| !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
            (0..layers).map(sparse).collect()
        }
        SparseLayers::From(field) => {
            let from = fields.count(field)?.unwrap_or(0);
            (0..layers).map(|layer| layer >= from).collect()
        }
    })
}

/// What q . k is multiplied by in each layer.
pub(super) fn attention_scales(
    fields: &Fields<'_>,
    table: &ConfigTable,
    head_dim: usize,
    ropes: &[Rope],
    is_latent: bool,
) -> Result<impl Fn(usize) -> f64 + use<>, Error> {
    let size = match table.attention_scale {
        Some(name) => fields.number(name)?.unwrap_or(head_dim as f64),
        None => head_dim as f64,
    };
    let said = |name: Option<&str>, default: bool| match name {
        Some(name) => Ok(fields.flag(name)?.unwrap_or(default)),
        None => Ok(default),
    };
    let scale = if said(table.scales_attention, true)? {
        latent_scale(ropes, is_latent) / size.sqrt()
    } else {
        1.0
    };
    let by_layer = said(table.scales_by_layer, false)?;
    Ok(move |layer| {
        if by_layer {
            scale / (layer as f64 + 1.0)
        } else {
            scale
        }
    })
}

/// DeepSeek's correction of the attention scale under YaRN.
fn latent_scale(ropes: &[Rope], is_latent: bool) -> f64 {
    match ropes.first().map(|rope| &rope.scaling) {
        Some(RopeScaling::Yarn {
            factor,
            mscale: Some((_, all)),
            ..
        }) if is_latent => yarn_amplitude(*factor, *all).powi(2),
        _ => 1.0,
    }
}

/// Gemma 3's base frequency in layers that look back over a window, where the file does not say.
const LOCAL_THETA: f64 = 10_000.0;
