use crate::{Error, Renaming};

use super::draws::Draws;

/// tau: which row of the obfuscated embedding each plain id became. For scoring only.
pub struct AloePriSecret {
    plain_of: Vec<u32>,
    cipher_of: Vec<u32>,
}

impl AloePriSecret {
    pub(super) fn draw(rng: &mut Draws, size: usize) -> Self {
        let plain_of: Vec<u32> = rng.permutation(size).iter().map(|id| *id as u32).collect();
        let mut cipher_of = vec![0; size];
        for (cipher, plain) in plain_of.iter().enumerate() {
            cipher_of[*plain as usize] = cipher as u32;
        }
        Self {
            plain_of,
            cipher_of,
        }
    }

    /// The plain id behind each obfuscated one, in their order.
    #[must_use]
    pub fn plain_of(&self) -> &[u32] {
        &self.plain_of
    }
}

impl Renaming for AloePriSecret {
    fn size(&self) -> usize {
        self.plain_of.len()
    }

    fn to_cipher(&self, plain: &[u32]) -> Result<Vec<u32>, Error> {
        look_up(&self.cipher_of, plain)
    }

    fn to_plain(&self, cipher: &[u32]) -> Result<Vec<u32>, Error> {
        look_up(&self.plain_of, cipher)
    }
}

fn look_up(table: &[u32], ids: &[u32]) -> Result<Vec<u32>, Error> {
    ids.iter()
        .map(|id| {
            let found = table.get(*id as usize).copied();
            found.ok_or(Error::Id { size: table.len() })
        })
        .collect()
}
