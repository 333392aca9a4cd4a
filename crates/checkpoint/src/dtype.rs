use half::f16;
use half::slice::HalfFloatSliceExt;

/// The floating-point formats that weights are stored in, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    Bf16,
}

impl Dtype {
    /// All four.
    pub const ALL: [Dtype; 4] = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16];

    /// The name in a safetensors header: `F64`, `F32`, `F16` or `BF16`.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F64 => "F64",
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
        }
    }

    /// The name in `config.json` (`torch_dtype`): `float64`, `float32`, `float16` or `bfloat16`.
    pub fn torch_name(self) -> &'static str {
        match self {
            Dtype::F64 => "float64",
            Dtype::F32 => "float32",
            Dtype::F16 => "float16",
            Dtype::Bf16 => "bfloat16",
        }
    }

    /// The dtype with this safetensors name; `None` if it is not one of the four.
    pub fn from_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Bytes in one value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 => 8,
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// `out[i] = f32(bytes[i])`: exact but for F64, which is rounded to nearest even.
    ///
    /// # Panics
    /// If `bytes.len() != out.len() * self.size()`.
    pub fn decode_f32(self, bytes: &[u8], out: &mut [f32]) {
        self.check_lengths(bytes.len(), out.len());
        match self {
            Dtype::F64 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from_le_bytes(*raw) as f32;
                }
            }
            Dtype::F32 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f32::from_le_bytes(*raw);
                }
            }
            Dtype::F16 => {
                for (values, raw) in out.chunks_mut(BATCH).zip(bytes.chunks(2 * BATCH)) {
                    f16_batch(raw, values.len(), |halves| {
                        halves.convert_to_f32_slice(values)
                    });
                }
            }
            Dtype::Bf16 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = bf16_to_f32(*raw);
                }
            }
        }
    }

    /// `out[i] = f64(bytes[i])`, exact.
    ///
    /// # Panics
    /// If `bytes.len() != out.len() * self.size()`.
    pub fn decode_f64(self, bytes: &[u8], out: &mut [f64]) {
        self.check_lengths(bytes.len(), out.len());
        match self {
            Dtype::F64 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from_le_bytes(*raw);
                }
            }
            Dtype::F32 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from(f32::from_le_bytes(*raw));
                }
            }
            Dtype::F16 => {
                for (values, raw) in out.chunks_mut(BATCH).zip(bytes.chunks(2 * BATCH)) {
                    f16_batch(raw, values.len(), |halves| {
                        halves.convert_to_f64_slice(values)
                    });
                }
            }
            Dtype::Bf16 => {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = f64::from(bf16_to_f32(*raw));
                }
            }
        }
    }

    /// `bytes[i] = round(values[i])`: to nearest, ties to even; a NaN stays a NaN, what is too
    /// large becomes an infinity.
    ///
    /// # Panics
    /// If `bytes.len() != values.len() * self.size()`.
    pub fn encode_f32(self, values: &[f32], bytes: &mut [u8]) {
        self.check_lengths(bytes.len(), values.len());
        match self {
            Dtype::F64 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = f64::from(*value).to_le_bytes();
                }
            }
            Dtype::F32 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = value.to_le_bytes();
                }
            }
            Dtype::F16 => {
                for (raw, values) in bytes.chunks_mut(2 * BATCH).zip(values.chunks(BATCH)) {
                    write_f16(values, raw);
                }
            }
            Dtype::Bf16 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = f32_to_bf16(*value);
                }
            }
        }
    }

    /// `bytes[i] = round(values[i])`: rounded once from f64, to nearest, ties to even.
    ///
    /// # Panics
    /// If `bytes.len() != values.len() * self.size()`.
    pub fn encode_f64(self, values: &[f64], bytes: &mut [u8]) {
        self.check_lengths(bytes.len(), values.len());
        match self {
            Dtype::F64 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = value.to_le_bytes();
                }
            }
            Dtype::F32 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = (*value as f32).to_le_bytes();
                }
            }
            Dtype::F16 => {
                let mut singles = [0.0; BATCH];
                for (raw, values) in bytes.chunks_mut(2 * BATCH).zip(values.chunks(BATCH)) {
                    let singles = &mut singles[..values.len()];
                    for (single, value) in singles.iter_mut().zip(values) {
                        *single = round_to_odd(*value);
                    }
                    write_f16(singles, raw);
                }
            }
            Dtype::Bf16 => {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = f32_to_bf16(round_to_odd(*value));
                }
            }
        }
    }

    fn check_lengths(self, bytes: usize, values: usize) {
        assert_eq!(
            Some(bytes),
            values.checked_mul(self.size()),
            "{} bytes do not hold {} values of {}",
            bytes,
            values,
            self.name()
        );
    }
}

fn bf16_to_f32(raw: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)
}

/// Adding 0x7fff, and one more if the kept part is odd, carries into the kept part exactly when
/// the dropped half is above one half, or equal to it and the kept part odd.
fn f32_to_bf16(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet_nan = (bits >> 16) | 0x40;
    let kept = if value.is_nan() { quiet_nan } else { rounded };
    (kept as u16).to_le_bytes()
}

/// Rounding twice (f64 to f32 to 16 bits) can differ from rounding once. Truncating first and
/// setting the last bit if anything was lost keeps enough to make the second rounding right
/// (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Trans. Comp. 2008).
fn round_to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    let away = u32::from(back.abs() > value.abs());
    let inexact = u32::from(back != value);
    let odd = f32::from_bits(nearest.to_bits().wrapping_sub(away) | inexact);
    if value.is_nan() { nearest } else { odd }
}

/// Gives `convert` the values of `raw` as halves, through a buffer on the stack.
fn f16_batch(raw: &[u8], len: usize, convert: impl FnOnce(&[f16])) {
    let mut halves = [f16::ZERO; BATCH];
    let halves = &mut halves[..len];
    for (half, raw) in halves.iter_mut().zip(raw.as_chunks().0) {
        *half = f16::from_le_bytes(*raw);
    }
    convert(halves);
}

fn write_f16(values: &[f32], raw: &mut [u8]) {
    let mut halves = [f16::ZERO; BATCH];
    let halves = &mut halves[..values.len()];
    halves.convert_from_f32_slice(values);
    for (raw, half) in raw.as_chunks_mut().0.iter_mut().zip(halves.iter()) {
        *raw = half.to_le_bytes();
    }
}

/// Values converted at once; `half` uses the processor's F16C on slices only.
const BATCH: usize = 1024;

#[cfg(test)]
mod tests {
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
}
