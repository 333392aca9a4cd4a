//! `length (u32, big-endian) || data || zeros`, to a multiple of 64 bytes: how many digits a number has is not seen outside.

use zeroize::Zeroizing;

use crate::Error;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 64;

/// `prefix`, then `data` with its length and zeros.
pub(crate) fn pad(prefix: &[u8], data: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let too_long = || Error::TooLong { bytes: data.len() };
    let length = u32::try_from(data.len()).map_err(|_| too_long())?;
    let used = (data.len().checked_add(prefix.len() + 4)).ok_or_else(too_long)?;
    let size = padded_length(used).ok_or_else(too_long)?;
    let mut padded = Zeroizing::new(Vec::with_capacity(size));
    padded.extend_from_slice(prefix);
    padded.extend_from_slice(&length.to_be_bytes());
    padded.extend_from_slice(data);
    padded.resize(size, 0);
    Ok(padded)
}

/// Bytes that so many become.
pub(crate) fn padded_length(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(BLOCK)
}

/// The data; none unless there is exactly as much padding as [`pad`] makes behind a prefix of this length, all zero.
pub(crate) fn unpad(padded: &[u8], prefix: usize) -> Option<&[u8]> {
    let (length, rest) = padded.get(prefix..)?.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, zeros) = rest.split_at_checked(length)?;
    let exact = padded.len().is_multiple_of(BLOCK) && zeros.len() < BLOCK;
    (exact && zeros.iter().all(|byte| *byte == 0)).then_some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_length_comes_back_and_only_multiples_of_a_block_are_seen() {
        for length in 0..200 {
            let data = vec![7; length];
            let padded = pad(b"p", &data).unwrap();
            assert_eq!(padded.len(), (length + 5).next_multiple_of(64));
            assert_eq!(unpad(&padded, 1), Some(data.as_slice()));
        }
    }

    #[test]
    fn other_padding_is_refused() {
        let good = pad(b"", b"abc").unwrap();
        assert_eq!(unpad(&good, 0), Some(b"abc".as_slice()));
        let changed = |place: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[place] = byte;
            bytes
        };
        for bad in [
            changed(63, 1),
            changed(0, 255),
            changed(3, 61),
            good[..63].to_vec(),
            [good.to_vec(), vec![0; 64]].concat(),
            Vec::new(),
        ] {
            assert_eq!(unpad(&bad, 0), None);
        }
    }
}
