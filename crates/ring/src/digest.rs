use std::fmt;

use sha2::{Digest, Sha256};

/// What tells the integer weights of one linear layer from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerDigest([u8; 32]);

/// What tells all integer weights of a model and their scales from those of all other models: the parties of a connection
/// have the same, or there is none. In text 64 hexadecimal digits.
///
/// ```text
/// SHA-256( "equicrypt integer weights 1\0"  u64(layers)  layer... )
/// layer = SHA-256( u64(len name) name  u64(outputs) u64(inputs)  f64(scale)...  i16(weight)... )
/// ```
///
/// Numbers are little-endian, layers in the order of the table, weights row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelDigest([u8; 32]);

impl LayerDigest {
    pub(crate) fn of(name: &str, inputs: usize, scales: &[f64], weights: &[i16]) -> Self {
        let mut hash = Sha256::new();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((scales.len() as u64).to_le_bytes());
        hash.update((inputs as u64).to_le_bytes());
        for scale in scales {
            hash.update(scale.to_le_bytes());
        }
        let mut bytes = [0; 2 * BLOCK];
        for weights in weights.chunks(BLOCK) {
            let (pairs, _) = bytes.as_chunks_mut::<2>();
            for (to, weight) in pairs.iter_mut().zip(weights) {
                *to = weight.to_le_bytes();
            }
            hash.update(&bytes[..2 * weights.len()]);
        }
        Self(hash.finalize().into())
    }
}

impl ModelDigest {
    /// Of the layers in their order.
    #[must_use]
    pub fn of(layers: &[LayerDigest]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"equicrypt integer weights 1\0");
        hash.update((layers.len() as u64).to_le_bytes());
        for layer in layers {
            hash.update(layer.0);
        }
        Self(hash.finalize().into())
    }

    /// Of 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From its text.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for ModelDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Weights that are hashed at a time.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_another_model() {
        let layer = |name, inputs, scales: &[f64], weights: &[i16]| {
            ModelDigest::of(&[LayerDigest::of(name, inputs, scales, weights)])
        };
        let plain = layer("a", 2, &[1.0, 2.0], &[1, 2, 3, 4]);
        let others = [
            layer("b", 2, &[1.0, 2.0], &[1, 2, 3, 4]),
            layer("a", 4, &[1.0], &[1, 2, 3, 4]),
            layer("a", 2, &[1.0, 2.5], &[1, 2, 3, 4]),
            layer("a", 2, &[1.0, 2.0], &[1, 2, 3, 5]),
            ModelDigest::of(&[]),
        ];
        assert_eq!(plain, layer("a", 2, &[1.0, 2.0], &[1, 2, 3, 4]));
        assert!(others.iter().all(|other| *other != plain));
        let text = plain.to_string();
        assert_eq!(ModelDigest::from_hex(&text), Some(plain));
        assert_eq!(ModelDigest::from_hex(&text[2..]), None);
        assert_eq!(ModelDigest::from_hex(&text.replace(&text[..1], "x")), None);
    }

    #[test]
    fn long_layers_are_hashed_to_the_last_weight() {
        let mut weights = vec![7i16; 2 * BLOCK + 3];
        let digest = |weights: &[i16]| LayerDigest::of("a", 1, &[], weights);
        let before = digest(&weights);
        weights[2 * BLOCK + 2] = 8;
        assert_ne!(before, digest(&weights));
    }
}
