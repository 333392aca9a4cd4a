use super::{Chunk, Decoder};
use crate::Error;

/// Other names of a decoder's ids.
pub(super) struct Names {
    id_of: Vec<u32>,
}

impl Decoder {
    /// The same decoder under other names: what is called c is its id `id_of[c]`, in tokens and in logits.
    ///
    /// # Errors
    /// If `id_of` does not name each id once.
    pub fn renamed(self, id_of: Vec<u32>) -> Result<Self, Error> {
        let vocab = self.config().vocab_size;
        let mut named = vec![false; vocab];
        for id in &id_of {
            match named.get_mut(*id as usize) {
                Some(named) if !*named => *named = true,
                _ => return Err(Error::Names { id: *id, vocab }),
            }
        }
        if id_of.len() != vocab {
            let id = named.iter().position(|named| !named).unwrap_or_default() as u32;
            return Err(Error::Names { id, vocab });
        }
        let names = Some(Names { id_of });
        Ok(Self { names, ..self })
    }
}

impl Names {
    /// The ids of each chunk's names; a name that there is none of stays, and is refused as an id.
    pub(super) fn ids(&self, chunks: &[Chunk<'_>]) -> Vec<Vec<u32>> {
        let id = |name: &u32| self.id_of.get(*name as usize).copied().unwrap_or(*name);
        let of_chunk = |chunk: &Chunk<'_>| chunk.tokens.iter().map(id).collect();
        chunks.iter().map(of_chunk).collect()
    }

    /// Rows by name, of rows by id.
    pub(super) fn rows<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        let by_name = |row: &[T]| -> Vec<T> {
            let ids = self.id_of.iter();
            ids.map(|id| row[*id as usize]).collect()
        };
        rows.chunks_exact(self.id_of.len())
            .flat_map(by_name)
            .collect()
    }
}
