//! From ggml's blocks to f32.
//!
//! `d` and `m` are f16 numbers of the block, `q` small integers. Every product and sum is one
//! f32 operation, in the order of the formulas, so that results equal the reference bit for bit.
//! The layouts are those of `ggml-common.h` in <https://github.com/ggml-org/ggml>.

use half::f16;

use super::ggml_type::GgmlType;
use crate::Dtype;

/// `out = values of the blocks in bytes`; the lengths have been checked.
pub(super) fn dequantize(kind: GgmlType, bytes: &[u8], out: &mut [f32]) {
    match kind {
        GgmlType::F32 => Dtype::F32.decode_f32(bytes, out),
        GgmlType::F16 => Dtype::F16.decode_f32(bytes, out),
        GgmlType::Bf16 => Dtype::Bf16.decode_f32(bytes, out),
        GgmlType::Q4_0 => blocks(bytes, out, q4_0),
        GgmlType::Q4_1 => blocks(bytes, out, q4_1),
        GgmlType::Q5_0 => blocks(bytes, out, q5_0),
        GgmlType::Q5_1 => blocks(bytes, out, q5_1),
        GgmlType::Q8_0 => blocks(bytes, out, q8_0),
        GgmlType::Q4K => blocks(bytes, out, q4_k),
        GgmlType::Q5K => blocks(bytes, out, q5_k),
        GgmlType::Q6K => blocks(bytes, out, q6_k),
    }
}

fn blocks<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let blocks = bytes.as_chunks().0;
    for (block, values) in blocks.iter().zip(out.as_chunks_mut().0) {
        one(block, values);
    }
}

/// `y[j] = d (q[j] - 8)`: d, then 16 bytes; byte j holds q[j] below and q[j + 16] above.
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for j in 0..16 {
        out[j] = d * (i32::from(block[2 + j] & 15) - 8) as f32;
        out[j + 16] = d * (i32::from(block[2 + j] >> 4) - 8) as f32;
    }
}

/// `y[j] = d q[j] + m`: d, m, then 16 bytes as in Q4_0.
fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for j in 0..16 {
        out[j] = d * f32::from(block[4 + j] & 15) + m;
        out[j + 16] = d * f32::from(block[4 + j] >> 4) + m;
    }
}

/// `y[j] = d (q[j] - 16)`: d, 32 fifth bits (bit j for q[j]), then 16 bytes as in Q4_0.
fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for j in 0..16 {
        let (low, high) = five_bits(block[6 + j], fifth, j);
        out[j] = d * (low as i32 - 16) as f32;
        out[j + 16] = d * (high as i32 - 16) as f32;
    }
}

/// `y[j] = d q[j] + m`: d, m, 32 fifth bits, then 16 bytes as in Q4_0.
fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for j in 0..16 {
        let (low, high) = five_bits(block[8 + j], fifth, j);
        out[j] = d * low as f32 + m;
        out[j + 16] = d * high as f32 + m;
    }
}

/// `y[j] = d q[j]`: d, then 32 signed bytes.
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (value, q) in out.iter_mut().zip(&block[2..]) {
        *value = d * f32::from(*q as i8);
    }
}

/// `y = (d s[i]) q - (e t[i])` in eight sub-blocks i of 32: d, e, the 6-bit s and t in 12 bytes,
/// then 128 bytes; 32 bytes hold sub-block 2k below and 2k + 1 above.
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, e) = (scale(block, 0), scale(block, 2));
    for i in 0..8 {
        let (s, t) = six_bit_pair(&block[4..16], i);
        let (step, shift) = (d * s, e * t);
        for l in 0..32 {
            let q = block[16 + 32 * (i / 2) + l] >> (4 * (i % 2)) & 15;
            out[32 * i + l] = step * f32::from(q) - shift;
        }
    }
}

/// As Q4_K, with 32 bytes of fifth bits before the last 128: bit i of byte l is for value l of
/// sub-block i.
fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, e) = (scale(block, 0), scale(block, 2));
    for i in 0..8 {
        let (s, t) = six_bit_pair(&block[4..16], i);
        let (step, shift) = (d * s, e * t);
        for l in 0..32 {
            let low = block[48 + 32 * (i / 2) + l] >> (4 * (i % 2)) & 15;
            let fifth = block[16 + l] >> i & 1;
            out[32 * i + l] = step * f32::from(low | fifth << 4) - shift;
        }
    }
}

/// `y = (d s[i]) (q - 32)` in sixteen sub-blocks i of 16: 128 bytes of low nibbles, 64 bytes of
/// bit pairs, sixteen signed bytes s, d. Each half of 128 values has four quarters k of 32: value
/// l of quarter k has its nibble in byte `l + 32 (k % 2)` (above for k >= 2) and its pair at bits
/// 2k of byte l.
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = scale(block, 208);
    for (half, out) in out.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        for k in 0..4 {
            for l in 0..32 {
                let low = block[64 * half + 32 * (k % 2) + l] >> (4 * (k / 2)) & 15;
                let high = block[128 + 32 * half + l] >> (2 * k) & 3;
                let q = i32::from(low | high << 4) - 32;
                let s = f32::from(block[192 + 8 * half + 2 * k + l / 16] as i8);
                out[32 * k + l] = d * s * q as f32;
            }
        }
    }
}

fn scale(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn five_bits(nibbles: u8, fifth: u32, j: usize) -> (u32, u32) {
    let low = u32::from(nibbles & 15) | (fifth >> j & 1) << 4;
    let high = u32::from(nibbles >> 4) | (fifth >> (j + 16) & 1) << 4;
    (low, high)
}

/// Scale s[i] and offset t[i] of sub-block i: the first four of each are the low six bits of
/// bytes 0 to 3 and 4 to 7; the last four have their low nibbles in bytes 8 to 11 (s below, t
/// above) and their top two bits above those of the first four.
fn six_bit_pair(packed: &[u8], i: usize) -> (f32, f32) {
    let (s, t) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        let nibbles = packed[i + 4];
        (
            nibbles & 15 | packed[i - 4] >> 6 << 4,
            nibbles >> 4 | packed[i] >> 6 << 4,
        )
    };
    (f32::from(s), f32::from(t))
}

/// Hexadecimal text of a golden file.
#[cfg(test)]
pub(super) fn unhex(text: &serde_json::Value) -> Vec<u8> {
    let text = text.as_str().unwrap();
    assert_eq!(text.len() % 2, 0);
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn every_format_agrees_bit_for_bit_with_the_reference() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/golden/gguf_quants.json")).unwrap();
        for kind in GgmlType::ALL {
            let case = &golden["formats"][kind.name()];
            let bytes = unhex(&case["blocks"]);
            let expected: Vec<u32> = unhex(&case["values"])
                .as_chunks()
                .0
                .iter()
                .map(|raw| u32::from_le_bytes(*raw))
                .collect();
            assert_eq!(
                expected.len(),
                bytes.len() / kind.block_bytes() * kind.block_values()
            );
            assert!(expected.len() >= 64, "{}", kind.name());
            let mut out = vec![0.0; expected.len()];
            kind.dequantize(&bytes, &mut out);
            let got: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
            assert_eq!(got, expected, "{}", kind.name());
        }
    }

    #[test]
    fn ids_are_their_own_inverse() {
        for kind in GgmlType::ALL {
            let found = (0..64)
                .filter(|id| GgmlType::from_id(*id) == Some(kind))
                .count();
            assert_eq!(found, 1, "{}", kind.name());
        }
    }
}
