use crate::{Error, Modulus, PRIMES};

/// Vectors over the ring: of each the residues modulo the first prime, and then those modulo the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residues {
    width: usize,
    values: Vec<u32>,
}

impl Residues {
    /// So many zero vectors.
    #[must_use]
    pub fn zeros(rows: usize, width: usize) -> Self {
        Self {
            width,
            values: vec![0; 2 * rows * width],
        }
    }

    /// Elements of a vector.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many vectors there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.values.len().checked_div(2 * self.width).unwrap_or(0)
    }

    /// The residues of one vector, for each prime.
    ///
    /// # Panics
    /// If there is no such vector.
    #[must_use]
    pub fn row(&self, row: usize) -> [&[u32]; 2] {
        let row = &self.values[2 * row * self.width..][..2 * self.width];
        row.split_at(self.width).into()
    }

    /// The same, to be changed. What is put there must be less than its prime.
    pub fn row_mut(&mut self, row: usize) -> [&mut [u32]; 2] {
        let row = &mut self.values[2 * row * self.width..][..2 * self.width];
        row.split_at_mut(self.width).into()
    }

    /// All residues, vector by vector.
    #[must_use]
    pub fn values(&self) -> &[u32] {
        &self.values
    }

    /// The same, to be changed. What is put there must be less than its prime.
    pub fn values_mut(&mut self) -> &mut [u32] {
        &mut self.values
    }

    /// Appends a vector of as many elements, from the residues for each prime.
    ///
    /// # Errors
    /// If it has another width.
    pub fn push(&mut self, row: [&[u32]; 2]) -> Result<(), Error> {
        if let Some(wrong) = row.iter().find(|half| half.len() != self.width) {
            return Err(Error::Length {
                what: "a vector",
                expected: self.width,
                found: wrong.len(),
            });
        }
        row.iter()
            .for_each(|half| self.values.extend_from_slice(half));
        Ok(())
    }

    /// Takes `others` away from these, residue by residue: how a mask is put on.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn subtract(&mut self, others: &Self) -> Result<(), Error> {
        self.each_with(others, Modulus::subtract)
    }

    /// Adds `others` to these: how a mask is taken off.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn add(&mut self, others: &Self) -> Result<(), Error> {
        self.each_with(others, Modulus::add)
    }

    /// Eight bytes an element, little-endian.
    pub fn append_bytes(&self, out: &mut Vec<u8>) {
        append_words(&self.values, out);
    }

    /// Reads them back.
    ///
    /// # Errors
    /// If the bytes are no whole vectors, or one is no residue: there is one way only to write an element.
    pub fn from_bytes(width: usize, bytes: &[u8]) -> Result<Self, Error> {
        let (words, rest) = bytes.as_chunks::<4>();
        if width == 0 || !rest.is_empty() || !words.len().is_multiple_of(2 * width) {
            return Err(Error::Length {
                what: "vectors of a message",
                expected: (words.len() / (2 * width.max(1))) * 2 * width,
                found: words.len(),
            });
        }
        let values: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
        for (index, half) in values.chunks_exact(width).enumerate() {
            let modulus = PRIMES[index % 2].get();
            // A maximum is found faster than the first of several.
            if half.iter().fold(0, |most, value| most.max(*value)) < modulus {
                continue;
            }
            let within = half.iter().position(|value| *value >= modulus);
            return Err(Error::Residue {
                place: index * width + within.unwrap_or(0),
                modulus,
            });
        }
        Ok(Self { width, values })
    }

    #[inline]
    fn each_with(
        &mut self,
        others: &Self,
        operation: impl Fn(Modulus, u32, u32) -> u32,
    ) -> Result<(), Error> {
        if self.width != others.width || self.values.len() != others.values.len() {
            return Err(Error::Length {
                what: "vectors",
                expected: self.values.len(),
                found: others.values.len(),
            });
        }
        let width = self.width.max(1);
        let halves = self.values.chunks_exact_mut(width);
        for ((these, others), prime) in halves
            .zip(others.values.chunks_exact(width))
            .zip(PRIMES.into_iter().cycle())
        {
            for (a, b) in these.iter_mut().zip(others) {
                *a = operation(prime, *a, *b);
            }
        }
        Ok(())
    }
}

/// Four bytes each, little-endian.
pub(crate) fn append_words(values: &[u32], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 4 * values.len(), 0);
    let (words, _) = out[start..].as_chunks_mut::<4>();
    for (word, value) in words.iter_mut().zip(values) {
        *word = value.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_that_is_no_residue_is_named() {
        let mut bytes = Vec::new();
        Residues::zeros(3, 2).append_bytes(&mut bytes);
        assert!(Residues::from_bytes(2, &bytes).is_ok());
        for (place, prime) in [(0, 0), (3, 1), (9, 0), (11, 1)] {
            let mut bytes = bytes.clone();
            bytes[4 * place..][..4].copy_from_slice(&PRIMES[prime].get().to_le_bytes());
            let error = Residues::from_bytes(2, &bytes).unwrap_err();
            assert!(matches!(error, Error::Residue { place: found, .. } if found == place));
            bytes[4 * place..][..4].copy_from_slice(&(PRIMES[prime].get() - 1).to_le_bytes());
            assert!(Residues::from_bytes(2, &bytes).is_ok());
        }
        for cut in 1..16 {
            assert!(Residues::from_bytes(2, &bytes[cut..]).is_err());
        }
        assert!(Residues::from_bytes(0, &bytes).is_err());
    }

    /// Exhaustively over small fields, with the operation that puts masks on: whatever the element, every masked one is as
    /// frequent as any other.
    #[test]
    fn a_masked_element_is_uniform_whatever_it_hides() {
        for prime in [2, 3, 5, 7].map(Modulus::new) {
            for hidden in 0..prime.get() {
                let mut seen = vec![0; prime.get() as usize];
                for mask in 0..prime.get() {
                    seen[prime.subtract(hidden, mask) as usize] += 1;
                }
                assert!(seen.iter().all(|count| *count == 1));
            }
        }
    }

    proptest! {
        #[test]
        fn bytes_and_masks_come_off_again(width in 1..9usize, rows in 0..5usize, seed: u32) {
            let mut values = Residues::zeros(rows, width);
            let mut mask = values.clone();
            for row in 0..rows {
                for (which, half) in values.row_mut(row).into_iter().enumerate() {
                    for (i, value) in half.iter_mut().enumerate() {
                        *value = seed.wrapping_mul(i as u32 + 3) % PRIMES[which].get();
                    }
                }
                for (which, half) in mask.row_mut(row).into_iter().enumerate() {
                    for (i, value) in half.iter_mut().enumerate() {
                        *value = (!seed).wrapping_mul(i as u32 + 7) % PRIMES[which].get();
                    }
                }
            }
            let mut masked = values.clone();
            masked.subtract(&mask).unwrap();
            let mut bytes = Vec::new();
            masked.append_bytes(&mut bytes);
            prop_assert_eq!(bytes.len(), 8 * rows * width);
            let mut back = Residues::from_bytes(width, &bytes).unwrap();
            prop_assert_eq!(&back, &masked);
            back.add(&mask).unwrap();
            prop_assert_eq!(back, values);
        }
    }
}
