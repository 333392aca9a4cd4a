use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use crate::folder::INDEX_FILE;
use crate::json::write_json;
use crate::safetensors::SafetensorsWriter;
use crate::{Error, TensorHeader};

/// The weights of a Hugging Face folder being written: `model.safetensors`, or shards and an
/// index.
///
/// All headers come first; data follows in blocks, in any order, from any thread. Put it in a
/// [`StagedDir`](crate::StagedDir): a writer that fails leaves its incomplete files behind.
#[derive(Debug)]
pub struct CheckpointWriter {
    dir: PathBuf,
    shards: Vec<SafetensorsWriter>,
    /// For each name its shard, and its number in that shard.
    places: HashMap<String, (usize, usize)>,
}

impl CheckpointWriter {
    /// [`CheckpointWriter::create_sharded`] with [`DEFAULT_MAX_SHARD_BYTES`].
    ///
    /// # Errors
    /// As there.
    pub fn create(dir: &Path, tensors: &[TensorHeader]) -> Result<CheckpointWriter, Error> {
        CheckpointWriter::create_sharded(dir, tensors, DEFAULT_MAX_SHARD_BYTES)
    }

    /// Creates the files in the folder `dir`, headers written, lengths final.
    ///
    /// Tensors keep their order; a new shard `model-00001-of-0000N.safetensors` begins where a
    /// tensor would take the one before past `max_shard_bytes` of data. A single tensor larger
    /// than that has a shard of its own.
    ///
    /// # Errors
    /// If a file exists or cannot be created, or a name is empty, reserved or occurs twice.
    pub fn create_sharded(
        dir: &Path,
        tensors: &[TensorHeader],
        max_shard_bytes: u64,
    ) -> Result<CheckpointWriter, Error> {
        let layout = |problem: String| Error::Layout {
            path: dir.to_path_buf(),
            problem,
        };
        let (groups, total) = group(tensors, max_shard_bytes).map_err(|index| {
            layout(match tensors.get(index) {
                Some(tensor) => {
                    format!("tensor {:?} makes it larger than 64 bits say", tensor.name)
                }
                None => "too many tensors".to_owned(),
            })
        })?;
        let mut places = HashMap::with_capacity(tensors.len());
        for (shard, group) in groups.iter().enumerate() {
            for (number, tensor) in group.iter().enumerate() {
                if places
                    .insert(tensor.name.clone(), (shard, number))
                    .is_some()
                {
                    return Err(layout(format!("the name {:?} occurs twice", tensor.name)));
                }
            }
        }

        let names: Vec<String> = match groups.len() {
            1 => vec!["model.safetensors".to_owned()],
            n => (1..=n)
                .map(|i| format!("model-{i:05}-of-{n:05}.safetensors"))
                .collect(),
        };
        let mut shards = Vec::with_capacity(groups.len());
        for (group, name) in groups.iter().zip(&names) {
            shards.push(SafetensorsWriter::create(
                &dir.join(name),
                group,
                &[("format", "pt")],
            )?);
        }
        if groups.len() > 1 {
            let mut map = Map::new();
            for (group, name) in groups.iter().zip(&names) {
                map.extend(
                    group
                        .iter()
                        .map(|tensor| (tensor.name.clone(), json!(name))),
                );
            }
            let index =
                json!({"metadata": {"total_size": total}, "weight_map": Value::Object(map)});
            write_json(&dir.join(INDEX_FILE), &index)?;
        }
        Ok(CheckpointWriter {
            dir: dir.to_path_buf(),
            shards,
            places,
        })
    }

    /// Writes `bytes` into tensor `name`, from its byte `byte_offset` on; every byte once.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be written.
    pub fn write(&self, name: &str, byte_offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let missing = || Error::NoSuchTensor {
            place: self.dir.clone(),
            name: name.to_owned(),
        };
        let (shard, number) = self.places.get(name).copied().ok_or_else(missing)?;
        self.shards
            .get(shard)
            .ok_or_else(missing)?
            .write_at(number, byte_offset, bytes)
    }

    /// Flushes every file to the disk.
    ///
    /// # Errors
    /// If the bytes written to a tensor are not as many as it has, or the disk refuses.
    pub fn finish(self) -> Result<(), Error> {
        self.shards
            .into_par_iter()
            .map(SafetensorsWriter::finish)
            .collect()
    }
}

/// Bytes of data in one shard: 5 GB, the size that Hugging Face tools write.
pub const DEFAULT_MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// The tensors in runs of at most `max` bytes, at least one run, and their bytes in all; or the
/// number of the tensor that is too large.
fn group(tensors: &[TensorHeader], max: u64) -> Result<(Vec<&[TensorHeader]>, u64), usize> {
    let mut groups = Vec::new();
    let (mut first, mut in_group, mut total) = (0, 0u64, 0u64);
    for (index, tensor) in tensors.iter().enumerate() {
        let len = tensor.byte_len().ok_or(index)?;
        total = total.checked_add(len).ok_or(index)?;
        if index > first && in_group + len > max {
            groups.push(&tensors[first..index]);
            (first, in_group) = (index, 0);
        }
        in_group += len;
    }
    groups.push(&tensors[first..]);
    Ok((groups, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, Dtype};

    fn lens(groups: &[&[TensorHeader]]) -> Vec<usize> {
        groups.iter().map(|g| g.len()).collect()
    }

    #[test]
    fn shards_break_before_they_grow_too_large() {
        let sizes = [3, 3, 4, 12, 1];
        let tensors: Vec<TensorHeader> = sizes
            .iter()
            .enumerate()
            .map(|(i, n)| TensorHeader::new(i.to_string(), Dtype::F16, &[*n]))
            .collect();
        let (groups, total) = group(&tensors, 20).unwrap();
        assert_eq!((lens(&groups), total), (vec![3, 1, 1], 46));
        assert_eq!(lens(&group(&tensors, 46).unwrap().0), [5]);
        assert_eq!(lens(&group(&tensors, 0).unwrap().0), [1; 5]);
        assert_eq!(lens(&group(&[], 0).unwrap().0), [0]);
        let huge = TensorHeader::new("huge", Dtype::F64, &[usize::MAX / 8]);
        assert_eq!(group(&[huge.clone(), huge], 1).unwrap_err(), 1);
    }

    #[test]
    fn sharded_or_not_the_checkpoint_reads_back() {
        let headers: Vec<TensorHeader> = (0..5)
            .map(|i| TensorHeader::new(format!("t{i}"), Dtype::F32, &[i, 2]))
            .collect();
        for max in [1, 20, u64::MAX] {
            let dir = tempfile::tempdir().unwrap();
            let writer = CheckpointWriter::create_sharded(dir.path(), &headers, max).unwrap();
            headers.par_iter().for_each(|header| {
                let values: Vec<f32> = (0..header.shape[0] * 2).map(|v| v as f32).collect();
                for (i, value) in values.iter().enumerate() {
                    writer
                        .write(&header.name, 4 * i as u64, &value.to_le_bytes())
                        .unwrap();
                }
            });
            assert!(matches!(
                writer.write("t9", 0, &[]),
                Err(Error::NoSuchTensor { .. })
            ));
            writer.finish().unwrap();
            write_json(&dir.path().join("config.json"), &json!({})).unwrap();
            assert_eq!(
                dir.path().join("model.safetensors").exists(),
                max == u64::MAX
            );
            let checkpoint = Checkpoint::open(dir.path()).unwrap();
            assert_eq!(checkpoint.tensors().len(), 5);
            assert_eq!(
                checkpoint.read_f32("t3").unwrap(),
                [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
            );
            assert_eq!(checkpoint.read_f64("t1").unwrap(), [0.0, 1.0]);
        }
    }
}
