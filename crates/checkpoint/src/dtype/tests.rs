use super::*;
use half::bf16;
use proptest::prelude::*;

fn encode_f64(dtype: Dtype, value: f64) -> Vec<u8> {
    let mut bytes = vec![0; dtype.size()];
    dtype.encode_f64(&[value], &mut bytes);
    bytes
}

fn encode_f32(dtype: Dtype, value: f32) -> Vec<u8> {
    let mut bytes = vec![0; dtype.size()];
    dtype.encode_f32(&[value], &mut bytes);
    bytes
}

fn decode_f64(dtype: Dtype, bytes: &[u8]) -> f64 {
    let mut out = [0.0];
    dtype.decode_f64(bytes, &mut out);
    out[0]
}

/// The correctly rounded answer by search: no other representable value is nearer, and in a
/// tie the last bit is even.
fn assert_nearest(dtype: Dtype, value: f64, raw: u16) {
    let got = decode_f64(dtype, &raw.to_le_bytes());
    assert_eq!(
        got.is_sign_negative(),
        value.is_sign_negative(),
        "{value:e}"
    );
    let bound = if dtype == Dtype::F16 {
        65504.0
    } else {
        f64::from(f32::from_bits(0x7f7f0000))
    };
    if got.is_infinite() {
        let half_step = bound - decode_f64(dtype, &(inf_bits(dtype) - 2).to_le_bytes());
        assert!(
            value.abs() >= bound + half_step / 2.0,
            "{value:e} became infinite"
        );
        return;
    }
    for other in [raw.wrapping_sub(1), raw.wrapping_add(1)] {
        let neighbour = decode_f64(dtype, &other.to_le_bytes());
        if neighbour.is_nan() || neighbour.signum() != got.signum() || neighbour.is_infinite() {
            continue;
        }
        let (here, there) = ((got - value).abs(), (neighbour - value).abs());
        assert!(
            here < there || (here == there && raw & 1 == 0),
            "{value:e}: {got:e}"
        );
    }
}

fn inf_bits(dtype: Dtype) -> u16 {
    if dtype == Dtype::F16 { 0x7c00 } else { 0x7f80 }
}

#[test]
fn every_16_bit_pattern_survives_a_round_trip() {
    for raw in 0..=u16::MAX {
        for (dtype, nan) in [
            (Dtype::F16, f16::from_bits(raw).is_nan()),
            (Dtype::Bf16, bf16::from_bits(raw).is_nan()),
        ] {
            let bytes = raw.to_le_bytes();
            let wide = decode_f64(dtype, &bytes);
            let mut single = [0.0];
            dtype.decode_f32(&bytes, &mut single);
            assert_eq!(wide.is_nan(), nan);
            if nan {
                assert!(decode_f64(dtype, &encode_f64(dtype, wide)).is_nan());
                assert!(decode_f64(dtype, &encode_f32(dtype, single[0])).is_nan());
                continue;
            }
            assert_eq!(f64::from(single[0]).to_bits(), wide.to_bits());
            assert_eq!(encode_f64(dtype, wide), bytes, "{raw:#06x}");
            assert_eq!(encode_f32(dtype, single[0]), bytes, "{raw:#06x}");
        }
    }
}

#[test]
fn decoding_agrees_with_half() {
    for raw in 0..=u16::MAX {
        let bytes = raw.to_le_bytes();
        if !f16::from_bits(raw).is_nan() {
            assert_eq!(decode_f64(Dtype::F16, &bytes), f16::from_bits(raw).to_f64());
        }
        if !bf16::from_bits(raw).is_nan() {
            assert_eq!(
                decode_f64(Dtype::Bf16, &bytes),
                bf16::from_bits(raw).to_f64()
            );
        }
    }
}

#[test]
fn f64_is_rounded_once() {
    // Just above the tie between 1 and 1 + 2^-10 (f16) or 1 + 2^-7 (bf16), by less than an f32
    // can say: rounding through f32 would land on the tie and then on the even 1.
    let above = 2f64.powi(-40);
    assert_eq!(
        encode_f64(Dtype::F16, 1.0 + 2f64.powi(-11) + above),
        [0x01, 0x3c]
    );
    assert_eq!(encode_f64(Dtype::F16, 1.0 + 2f64.powi(-11)), [0x00, 0x3c]);
    assert_eq!(
        encode_f64(Dtype::Bf16, 1.0 + 2f64.powi(-8) + above),
        [0x81, 0x3f]
    );
    assert_eq!(encode_f64(Dtype::Bf16, 1.0 + 2f64.powi(-8)), [0x80, 0x3f]);
    assert_eq!(encode_f64(Dtype::F16, 65520.0), [0x00, 0x7c]);
    assert_eq!(encode_f64(Dtype::F16, 65519.999), [0xff, 0x7b]);
    assert_eq!(encode_f64(Dtype::Bf16, -1e300), [0x80, 0xff]);
    assert_eq!(encode_f64(Dtype::Bf16, 1e-300), [0x00, 0x00]);
}

#[test]
fn long_slices_use_the_same_rules_as_single_values() {
    let values: Vec<f32> = (0..3 * BATCH + 7)
        .map(|i| (i as f32 - 900.0) * 0.37)
        .collect();
    for dtype in Dtype::ALL {
        let mut bytes = vec![0; values.len() * dtype.size()];
        dtype.encode_f32(&values, &mut bytes);
        let singly: Vec<u8> = values.iter().flat_map(|v| encode_f32(dtype, *v)).collect();
        assert_eq!(bytes, singly);
        let mut back = vec![0.0; values.len()];
        dtype.decode_f32(&bytes, &mut back);
        let wide: Vec<f64> = bytes
            .chunks(dtype.size())
            .map(|b| decode_f64(dtype, b))
            .collect();
        assert_eq!(back.iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), wide);
    }
}

proptest! {
    #[test]
    fn rounding_is_to_nearest_even(bits: u64, exponent in -160..140i32, tie in 0..4u64) {
        // Spread over the exponents that matter, and near ties.
        let mantissa = (bits & ((1 << 52) - 1)) >> (tie * 12) << (tie * 12);
        let sign = bits & (1 << 63);
        let value = f64::from_bits(sign | ((1023 + exponent) as u64) << 52 | mantissa);
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let raw = encode_f64(dtype, value);
            assert_nearest(dtype, value, u16::from_le_bytes([raw[0], raw[1]]));
            let single = value as f32;
            let raw = encode_f32(dtype, single);
            assert_nearest(dtype, f64::from(single), u16::from_le_bytes([raw[0], raw[1]]));
        }
    }
}
