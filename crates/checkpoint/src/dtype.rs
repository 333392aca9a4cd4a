use half::f16;
use half::slice::HalfFloatSliceExt;
use pulp::Arch;

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
            Dtype::Bf16 => Arch::new().dispatch(|| {
                for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *value = bf16_to_f32(*raw);
                }
            }),
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
            // Without the widest registers this takes three times as long.
            Dtype::Bf16 => Arch::new().dispatch(|| {
                for (raw, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                    *raw = f32_to_bf16(*value);
                }
            }),
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

#[inline(always)]
fn bf16_to_f32(raw: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)
}

/// Adding 0x7fff, and one more if the kept part is odd, carries into the kept part exactly when
/// the dropped half is above one half, or equal to it and the kept part odd.
#[inline(always)]
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
mod tests;
