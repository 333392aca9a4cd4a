use std::ops::{Add, AddAssign, Mul};

use equicrypt_checkpoint::Dtype;

/// The precision in which a rewrite is computed: f32, or f64 where source or output is f64.
pub(crate) trait Real:
    Copy
    + Send
    + Sync
    + Default
    + PartialEq
    + Add<Output = Self>
    + AddAssign
    + Mul<Output = Self>
    + 'static
{
    /// Rounds to nearest.
    fn from_f64(value: f64) -> Self;
    /// Exact.
    fn to_f64(self) -> f64;
    /// Little-endian values of `dtype` to numbers: exact, or rounded from f64.
    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]);
    /// Numbers to little-endian values of `dtype`, rounded to nearest even.
    fn encode(dtype: Dtype, values: &[Self], out: &mut [u8]);
}

impl Real for f32 {
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    fn to_f64(self) -> f64 {
        self.into()
    }

    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]) {
        dtype.decode_f32(bytes, out);
    }

    fn encode(dtype: Dtype, values: &[Self], out: &mut [u8]) {
        dtype.encode_f32(values, out);
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn decode(dtype: Dtype, bytes: &[u8], out: &mut [Self]) {
        dtype.decode_f64(bytes, out);
    }

    fn encode(dtype: Dtype, values: &[Self], out: &mut [u8]) {
        dtype.encode_f64(values, out);
    }
}
