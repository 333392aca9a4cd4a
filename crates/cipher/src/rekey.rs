//! A new vocabulary for an encrypted model, without its original: with the old bijection p and the new one q from cipher ids
//! to plain ids, row c of every tensor with a vocabulary axis becomes row p^-1(q(c)) of the old one. Bytes are moved, never
//! decoded, so nothing is rounded.

use std::ops::Range;
use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, CheckpointAgain, Files, StagedDir};
use equicrypt_spec::{Axis, MANIFEST_FILE, Manifest, TensorSpec};
use rayon::prelude::*;

use crate::schedule::Schedule;
use crate::{Error, Homophones, MasterKey, Vocabulary};

/// Which epoch a rekeyed model gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextEpoch {
    /// The one behind the present one.
    Next,
    /// This one, if it lies behind the present one.
    Later(u32),
    /// This one, even if it lies before the present one and had its traffic.
    Any(u32),
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Rekeyed {
    /// The new public manifest.
    pub manifest: Manifest,
    /// Tensors that were rewritten.
    pub tensors: usize,
    /// Their size in bytes.
    pub bytes: u64,
    /// What became of the weights' files.
    pub files: Files,
}

/// Writes the encrypted folder of `encrypted`, whose manifest is given, into the new folder `out` with the vocabulary of
/// another epoch. Every other secret stays: adapters, sentence embeddings, labels and vectors in a database stay valid.
/// `progress` is told, from any thread, how many bytes were written since it was last called.
///
/// Rows keep the noise that they were encrypted with: a second draw could be averaged with the first.
///
/// Fails if the key is not the one that encrypted it, if manifest and folder contradict each other, and on an epoch that
/// `epoch` does not allow; then `out` does not exist. Memory holds a block of rows for each core.
pub fn rekey(
    encrypted: &Checkpoint,
    manifest: &Manifest,
    out: &Path,
    key: &MasterKey,
    epoch: NextEpoch,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Rekeyed, Error> {
    let epoch = epoch.after(manifest.epoch)?;
    let old = Vocabulary::open(key, manifest)?;
    let mut manifest_after = manifest.rekeyed(epoch);
    let schedule = Schedule::new(key, &manifest.fingerprint()?, epoch);
    manifest_after.homophone_table =
        Homophones::of(key, manifest)?.seal(&schedule, &manifest_after)?;
    let new = Vocabulary::open(key, &manifest_after)?;
    let rows = moves(&old, &new);
    let changed = changed(encrypted, manifest)?;
    let names: Vec<&str> = changed.iter().map(|(spec, _)| spec.name.as_str()).collect();

    let staged = StagedDir::new(out)?;
    for name in public_files(encrypted)? {
        copy(&encrypted.dir().join(&name), &staged.path().join(&name))?;
    }
    let again = CheckpointAgain::create(encrypted, staged.path(), &names, progress)?;
    for (spec, axis) in &changed {
        let moved = Moved::new(encrypted, spec, *axis);
        moved.write(&again, &rows, progress)?;
    }
    let files = again.finish()?;
    let path = staged.path().join(MANIFEST_FILE);
    std::fs::write(&path, manifest_after.to_text()).map_err(io("write", &path))?;
    staged.commit()?;
    let bytes = names.iter().filter_map(|name| encrypted.tensor(name));
    Ok(Rekeyed {
        manifest: manifest_after,
        tensors: names.len(),
        bytes: bytes.map(|tensor| tensor.byte_len).sum(),
        files,
    })
}

impl NextEpoch {
    fn after(self, present: u32) -> Result<u32, Error> {
        let refuse = |found, problem| {
            Err(Error::Epoch {
                present,
                found,
                problem,
            })
        };
        let (epoch, may_be_lower) = match self {
            Self::Next => match present.checked_add(1) {
                Some(epoch) => (epoch, false),
                None => return refuse(present, "is the last one; use another key"),
            },
            Self::Later(epoch) => (epoch, false),
            Self::Any(epoch) => (epoch, true),
        };
        match epoch {
            _ if epoch == present => refuse(epoch, "is that epoch already; choose a later one"),
            _ if epoch < present && !may_be_lower => refuse(
                epoch,
                "lies before it, and may have had its traffic; choose a later one, or give --allow-lower",
            ),
            _ => Ok(epoch),
        }
    }
}

/// For each new cipher id the old one of the same plain id. Of several cipher ids of one plain id, whose rows are copies of one
/// another, the first follows the first, and so on, round and round if there are fewer.
fn moves(old: &Vocabulary, new: &Vocabulary) -> Vec<u32> {
    let plain_ids = old.rows().iter().chain(new.rows()).max();
    let plain_ids = plain_ids.map_or(0, |most| *most as usize + 1);
    let mut classes = vec![(0, 0); plain_ids];
    let mut by_plain: Vec<u32> = (0..old.size() as u32).collect();
    by_plain.sort_by_key(|id| old.rows()[*id as usize]);
    for (place, id) in by_plain.iter().enumerate() {
        let (start, count) = &mut classes[old.rows()[*id as usize] as usize];
        if *count == 0 {
            *start = place;
        }
        *count += 1;
    }
    let mut taken = vec![0; plain_ids];
    let of_plain = |plain: &u32| {
        let plain = *plain as usize;
        let (start, count) = classes[plain];
        let place = start + taken[plain] % count.max(1);
        taken[plain] += 1;
        by_plain[place]
    };
    new.rows().iter().map(of_plain).collect()
}

/// The tensors with a vocabulary axis, by the architecture's table, and which of their axes it is.
fn changed(encrypted: &Checkpoint, manifest: &Manifest) -> Result<Vec<(TensorSpec, usize)>, Error> {
    let config = encrypted.model_config()?;
    let arch = config.architecture;
    if arch.model_type != manifest.architecture || config.vocab_size != manifest.vocab_size {
        return Err(Error::ForeignManifest {
            dir: encrypted.dir().to_owned(),
        });
    }
    let header = encrypted
        .tensors()
        .map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
    let specs = arch.check(&config, header)?.into_iter();
    let changed = specs.filter_map(|spec| {
        let sides = spec.row.kind.sides();
        let axis = sides.iter().position(|side| {
            let factors = side.factors();
            factors.iter().any(|factor| factor.axis == Axis::Vocab)
        })?;
        Some((spec, axis))
    });
    Ok(changed.collect())
}

/// One tensor seen as `outer` blocks of as many rows as there are ids, of `width` bytes each.
struct Moved<'a> {
    source: &'a Checkpoint,
    name: &'a str,
    outer: usize,
    ids: usize,
    width: usize,
}

impl<'a> Moved<'a> {
    fn new(source: &'a Checkpoint, spec: &'a TensorSpec, axis: usize) -> Self {
        let size = source
            .tensor(&spec.name)
            .map_or(1, |tensor| tensor.dtype.size());
        let (before, from) = spec.shape.split_at(axis);
        let (ids, behind) = from.split_first().unwrap_or((&1, &[]));
        Self {
            source,
            name: &spec.name,
            outer: before.iter().product(),
            ids: *ids,
            width: behind.iter().product::<usize>() * size,
        }
    }

    fn write(
        &self,
        again: &CheckpointAgain<'_>,
        rows: &[u32],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<(), Error> {
        let whole = self.ids * self.width;
        for block in 0..self.outer {
            let start = (block * whole) as u64;
            // A read for each row of a few bytes would take longer than reading everything.
            let held = match whole <= HELD_BYTES {
                true => {
                    let mut held = vec![0; whole];
                    self.source.read(self.name, start, &mut held)?;
                    Some(held)
                }
                false => None,
            };
            let step = (BLOCK_BYTES / self.width.max(1)).max(1);
            blocks(self.ids, step)
                .into_par_iter()
                .try_for_each(|range| {
                    let bytes = self.gathered(start, &rows[range.clone()], held.as_deref())?;
                    let offset = start + (range.start * self.width) as u64;
                    again.write(self.name, offset, &bytes)?;
                    progress(bytes.len() as u64);
                    Ok::<_, Error>(())
                })?;
        }
        Ok(())
    }

    /// These rows of the source, one behind the other.
    fn gathered(&self, start: u64, rows: &[u32], held: Option<&[u8]>) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; rows.len() * self.width];
        for (row, out) in rows.iter().zip(bytes.chunks_exact_mut(self.width)) {
            let from = *row as usize * self.width;
            match held {
                Some(held) => out.copy_from_slice(&held[from..from + self.width]),
                None => self.source.read(self.name, start + from as u64, out)?,
            }
        }
        Ok(bytes)
    }
}

fn blocks(size: usize, step: usize) -> Vec<Range<usize>> {
    (0..size)
        .step_by(step)
        .map(|start| start..(start + step).min(size))
        .collect()
}

/// What `encrypt` writes beside the weights, where it is there: nothing else is for a host.
fn public_files(encrypted: &Checkpoint) -> Result<Vec<String>, Error> {
    let config = encrypted.model_config()?;
    let sentence = config.sentence.as_ref();
    let modules = sentence.map(|head| head.files(config.hidden_size));
    let modules = modules.into_iter().flatten().map(|(path, _)| path);
    let files = PUBLIC_FILES.iter().map(|name| (*name).to_owned());
    Ok(files
        .chain(modules)
        .filter(|name| encrypted.dir().join(name).is_file())
        .collect())
}

fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    }
    std::fs::copy(from, to).map_err(io("copy", from))?;
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| {
        Error::Checkpoint(equicrypt_checkpoint::Error::Io {
            action,
            path,
            source,
        })
    }
}

const PUBLIC_FILES: [&str; 5] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
];

/// Bytes of a block of rows.
const BLOCK_BYTES: usize = 2 << 20;

/// The most that is read at once: 64 MB.
const HELD_BYTES: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;

    #[test]
    fn epochs_go_up_unless_told_otherwise() {
        assert_eq!(NextEpoch::Next.after(4).unwrap(), 5);
        assert_eq!(NextEpoch::Later(9).after(4).unwrap(), 9);
        assert_eq!(NextEpoch::Any(3).after(4).unwrap(), 3);
        for (epoch, present) in [
            (NextEpoch::Later(4), 4),
            (NextEpoch::Any(4), 4),
            (NextEpoch::Later(3), 4),
            (NextEpoch::Next, u32::MAX),
        ] {
            let message = epoch.after(present).unwrap_err().to_string();
            assert!(message.contains(&present.to_string()), "{message}");
        }
    }

    #[test]
    fn every_id_comes_from_the_one_of_the_same_plain_id() {
        let key = MasterKey::from_bytes([3; 32]);
        let at = |epoch| Vocabulary::derive(&Schedule::new(&key, &[1; 32], epoch), 300, Some(7));
        let (old, new) = (at(0), at(1));
        let moves = moves(&old, &new);
        for (to, from) in moves.iter().enumerate() {
            assert_eq!(new.rows()[to], old.rows()[*from as usize]);
        }
        assert_eq!(moves[7], 7);
        assert!(
            moves
                .iter()
                .enumerate()
                .filter(|(to, from)| *to == **from as usize)
                .count()
                < 20
        );
    }
}
