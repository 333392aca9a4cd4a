use std::io::Read;

use super::cursor::Cursor;
use super::writer::put_text;
use crate::Error;

/// One value of a GGUF file's metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetadataValue {
    /// UINT8, UINT16, UINT32 or UINT64.
    Unsigned(u64),
    /// INT8, INT16, INT32 or INT64.
    Signed(i64),
    /// FLOAT32.
    F32(f32),
    /// FLOAT64.
    F64(f64),
    /// BOOL.
    Bool(bool),
    /// STRING.
    String(String),
    /// ARRAY.
    Array(MetadataArray),
}

/// An array in the metadata: one type throughout, kept at its own width.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the format's type names")]
#[non_exhaustive]
pub enum MetadataArray {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
    Array(Vec<MetadataArray>),
}

impl MetadataValue {
    /// The value as an unsigned integer, if it is an integer and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            MetadataValue::Unsigned(value) => Some(*value),
            MetadataValue::Signed(value) => u64::try_from(*value).ok(),
            _ => None,
        }
    }

    /// The value as a number with the fewest digits that still name it: FLOAT32 0.1 gives 0.1.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            MetadataValue::F32(value) => value.to_string().parse().ok(),
            MetadataValue::F64(value) => Some(*value),
            _ => None,
        }
    }

    /// The value, if it is a BOOL.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            MetadataValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value, if it is a STRING.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            MetadataValue::String(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn read<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<Self, Error> {
        let what = format!("metadata {key:?}");
        let kind = cursor.u32(&what)?;
        Ok(match kind {
            0 => MetadataValue::Unsigned(u8::from_le_bytes(cursor.array(&what)?).into()),
            1 => MetadataValue::Signed(i8::from_le_bytes(cursor.array(&what)?).into()),
            2 => MetadataValue::Unsigned(u16::from_le_bytes(cursor.array(&what)?).into()),
            3 => MetadataValue::Signed(i16::from_le_bytes(cursor.array(&what)?).into()),
            4 => MetadataValue::Unsigned(cursor.u32(&what)?.into()),
            5 => MetadataValue::Signed(i32::from_le_bytes(cursor.array(&what)?).into()),
            6 => MetadataValue::F32(f32::from_le_bytes(cursor.array(&what)?)),
            7 => {
                let [byte] = cursor.array(&what)?;
                MetadataValue::Bool(boolean(cursor, byte, &what)?)
            }
            8 => MetadataValue::String(cursor.string(&what)?),
            9 => MetadataValue::Array(MetadataArray::read(cursor, &what, MAX_NESTING)?),
            10 => MetadataValue::Unsigned(cursor.u64(&what)?),
            11 => MetadataValue::Signed(i64::from_le_bytes(cursor.array(&what)?)),
            12 => MetadataValue::F64(f64::from_le_bytes(cursor.array(&what)?)),
            other => return Err(cursor.broken(format!("{what} has unknown type {other}"))),
        })
    }
}

impl MetadataArray {
    fn read<R: Read>(cursor: &mut Cursor<R>, what: &str, nesting: u32) -> Result<Self, Error> {
        let kind = cursor.u32(what)?;
        Ok(match kind {
            0 => MetadataArray::U8(numbers(cursor, what, u8::from_le_bytes)?),
            1 => MetadataArray::I8(numbers(cursor, what, i8::from_le_bytes)?),
            2 => MetadataArray::U16(numbers(cursor, what, u16::from_le_bytes)?),
            3 => MetadataArray::I16(numbers(cursor, what, i16::from_le_bytes)?),
            4 => MetadataArray::U32(numbers(cursor, what, u32::from_le_bytes)?),
            5 => MetadataArray::I32(numbers(cursor, what, i32::from_le_bytes)?),
            6 => MetadataArray::F32(numbers(cursor, what, f32::from_le_bytes)?),
            7 => {
                let bytes = numbers(cursor, what, u8::from_le_bytes)?;
                let flags = bytes.into_iter().map(|byte| boolean(cursor, byte, what));
                MetadataArray::Bool(flags.collect::<Result<_, _>>()?)
            }
            8 => {
                let count = cursor.count(STRING_BYTES, &format!("the length of {what}"))?;
                let strings = (0..count).map(|_| cursor.string(what));
                MetadataArray::String(strings.collect::<Result<_, _>>()?)
            }
            9 => {
                let deeper = nesting.checked_sub(1).ok_or_else(|| {
                    cursor.broken(format!("{what} nests arrays more than {MAX_NESTING} deep"))
                })?;
                let count = cursor.count(ARRAY_BYTES, &format!("the length of {what}"))?;
                let arrays = (0..count).map(|_| MetadataArray::read(cursor, what, deeper));
                MetadataArray::Array(arrays.collect::<Result<_, _>>()?)
            }
            10 => MetadataArray::U64(numbers(cursor, what, u64::from_le_bytes)?),
            11 => MetadataArray::I64(numbers(cursor, what, i64::from_le_bytes)?),
            12 => MetadataArray::F64(numbers(cursor, what, f64::from_le_bytes)?),
            other => {
                return Err(cursor.broken(format!("{what} is an array of unknown type {other}")));
            }
        })
    }
}

impl MetadataValue {
    /// Appends the type number and the value. An integer takes 32 bits if it fits, as llama.cpp
    /// expects of its keys, else 64.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut put = |kind: u32, bytes: &[u8]| {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(bytes);
        };
        match self {
            MetadataValue::Unsigned(value) => match u32::try_from(*value) {
                Ok(value) => put(4, &value.to_le_bytes()),
                Err(_) => put(10, &value.to_le_bytes()),
            },
            MetadataValue::Signed(value) => match i32::try_from(*value) {
                Ok(value) => put(5, &value.to_le_bytes()),
                Err(_) => put(11, &value.to_le_bytes()),
            },
            MetadataValue::F32(value) => put(6, &value.to_le_bytes()),
            MetadataValue::F64(value) => put(12, &value.to_le_bytes()),
            MetadataValue::Bool(value) => put(7, &[u8::from(*value)]),
            MetadataValue::String(text) => {
                put(8, &[]);
                put_text(out, text);
            }
            MetadataValue::Array(array) => {
                put(9, &[]);
                array.write(out);
            }
        }
    }
}

impl MetadataArray {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            MetadataArray::U8(values) => put_numbers(out, 0, values, u8::to_le_bytes),
            MetadataArray::I8(values) => put_numbers(out, 1, values, i8::to_le_bytes),
            MetadataArray::U16(values) => put_numbers(out, 2, values, u16::to_le_bytes),
            MetadataArray::I16(values) => put_numbers(out, 3, values, i16::to_le_bytes),
            MetadataArray::U32(values) => put_numbers(out, 4, values, u32::to_le_bytes),
            MetadataArray::I32(values) => put_numbers(out, 5, values, i32::to_le_bytes),
            MetadataArray::F32(values) => put_numbers(out, 6, values, f32::to_le_bytes),
            MetadataArray::Bool(values) => put_numbers(out, 7, values, |flag| [u8::from(flag)]),
            MetadataArray::String(texts) => {
                put_head(out, 8, texts.len());
                texts.iter().for_each(|text| put_text(out, text));
            }
            MetadataArray::Array(arrays) => {
                put_head(out, 9, arrays.len());
                arrays.iter().for_each(|array| array.write(out));
            }
            MetadataArray::U64(values) => put_numbers(out, 10, values, u64::to_le_bytes),
            MetadataArray::I64(values) => put_numbers(out, 11, values, i64::to_le_bytes),
            MetadataArray::F64(values) => put_numbers(out, 12, values, f64::to_le_bytes),
        }
    }
}

fn put_head(out: &mut Vec<u8>, kind: u32, len: usize) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(len as u64).to_le_bytes());
}

fn put_numbers<T: Copy, const N: usize>(
    out: &mut Vec<u8>,
    kind: u32,
    values: &[T],
    to_le_bytes: impl Fn(T) -> [u8; N],
) {
    put_head(out, kind, values.len());
    out.extend(values.iter().flat_map(|value| to_le_bytes(*value)));
}

fn numbers<R: Read, T, const N: usize>(
    cursor: &mut Cursor<R>,
    what: &str,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Error> {
    let count = cursor.count(N as u64, &format!("the length of {what}"))?;
    // `count` has checked that the product fits.
    let bytes = cursor.bytes(count * N as u64, what)?;
    Ok(bytes
        .as_chunks()
        .0
        .iter()
        .map(|raw| from_le_bytes(*raw))
        .collect())
}

fn boolean<R: Read>(cursor: &Cursor<R>, byte: u8, what: &str) -> Result<bool, Error> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(cursor.broken(format!("{what} is a BOOL of value {other}"))),
    }
}

/// Arrays in arrays in arrays: more than any file in use, and no danger to the stack.
const MAX_NESTING: u32 = 3;
/// The length of an empty string.
const STRING_BYTES: u64 = 8;
/// The type and length of an empty array.
const ARRAY_BYTES: u64 = 12;
