//! From f32 to ggml's blocks: the inverse of [`super::quant`], for the formats that are written.

use half::f16;

use super::ggml_type::GgmlType;
use super::q4_k;
use crate::Dtype;

/// `bytes = blocks nearest to values`; the lengths have been checked. False if a value is not
/// finite or too large for the format.
pub(super) fn quantize(kind: GgmlType, values: &[f32], bytes: &mut [u8]) -> bool {
    let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let limit = match kind {
        GgmlType::F16 => F16_LIMIT,
        GgmlType::Q8_0 => 127.0 * F16_MAX,
        // d s q - e t with every factor at its largest.
        GgmlType::Q4K => 15.0 * 63.0 * F16_MAX / 2.0,
        _ => f32::MAX,
    };
    // `max` passes over a NaN.
    if largest > limit || values.iter().any(|x| x.is_nan()) {
        return false;
    }
    match kind {
        GgmlType::F32 => Dtype::F32.encode_f32(values, bytes),
        GgmlType::F16 => Dtype::F16.encode_f32(values, bytes),
        GgmlType::Bf16 => Dtype::Bf16.encode_f32(values, bytes),
        GgmlType::Q8_0 => blocks(values, bytes, q8_0),
        GgmlType::Q4K => blocks(values, bytes, q4_k::quantize),
        other => panic!("{} cannot be written", other.name()),
    }
    true
}

fn blocks<const VALUES: usize, const BYTES: usize>(
    values: &[f32],
    bytes: &mut [u8],
    one: impl Fn(&[f32; VALUES], &mut [u8; BYTES]),
) {
    let values = values.as_chunks().0;
    for (values, block) in values.iter().zip(bytes.as_chunks_mut().0) {
        one(values, block);
    }
}

/// `d = max |x| / 127`, `q[j] = round(x[j] / d)`, ties away from zero; d is rounded to f16 only
/// where it is stored.
fn q8_0(values: &[f32; 32], block: &mut [u8; 34]) {
    let largest = values.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let d = largest / 127.0;
    let inverse = 1.0 / d;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, x) in block[2..].iter_mut().zip(values) {
        let scaled = x * inverse;
        let magnitude = scaled.abs();
        let whole = magnitude as i32;
        let up = (2.0 * (magnitude - whole as f32)) as i32;
        let rounded = if scaled < 0.0 {
            -(whole + up)
        } else {
            whole + up
        };
        *q = rounded as i8 as u8;
    }
}

const F16_MAX: f32 = 65_504.0;
/// What is below this rounds to a finite f16; this itself is a tie that goes to infinity.
const F16_LIMIT: f32 = 65_519.996;

#[cfg(test)]
mod tests;
