use crate::Error;

/// Other names of a model's ids.
pub(crate) struct Names {
    id_of: Vec<u32>,
}

impl Names {
    /// What is called c is the id `id_of[c]`.
    ///
    /// # Errors
    /// If `id_of` does not name each of `vocab` ids once.
    pub(crate) fn new(id_of: Vec<u32>, vocab: usize) -> Result<Self, Error> {
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
        Ok(Self { id_of })
    }

    /// The ids of names; a name that there is none of stays, and is refused as an id.
    pub(crate) fn ids(&self, names: &[u32]) -> Vec<u32> {
        let id = |name: &u32| self.id_of.get(*name as usize).copied().unwrap_or(*name);
        names.iter().map(id).collect()
    }

    /// Rows by name, of rows by id.
    pub(crate) fn rows<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        let by_name = |row: &[T]| -> Vec<T> {
            let ids = self.id_of.iter();
            ids.map(|id| row[*id as usize]).collect()
        };
        rows.chunks_exact(self.id_of.len())
            .flat_map(by_name)
            .collect()
    }
}
