use std::collections::HashMap;
use std::path::{Path, PathBuf};

use equicrypt_spec::{DENSE_FOLDER, SENTENCE_DENSE_PREFIX};
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
    /// than that has a shard of its own. Those of a sentence embedding's linear layer, `dense/...`,
    /// must come last: they have a file in a folder of their own, as sentence-transformers has it.
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
        let is_dense = |tensor: &TensorHeader| tensor.name.starts_with(SENTENCE_DENSE_PREFIX);
        let dense_from = tensors.iter().position(is_dense).unwrap_or(tensors.len());
        let (tensors, dense) = tensors.split_at(dense_from);
        if !dense.iter().all(is_dense) {
            return Err(layout(format!("{SENTENCE_DENSE_PREFIX} is not last")));
        }
        let (groups, total) = group(tensors, max_shard_bytes).map_err(|index| {
            layout(match tensors.get(index) {
                Some(tensor) => {
                    format!("tensor {:?} makes it larger than 64 bits say", tensor.name)
                }
                None => "too many tensors".to_owned(),
            })
        })?;
        let mut places = HashMap::with_capacity(tensors.len());
        for (shard, group) in groups.iter().copied().chain([dense]).enumerate() {
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
        if !dense.is_empty() {
            let folder = dir.join(DENSE_FOLDER);
            std::fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
            let inner = |tensor: &TensorHeader| TensorHeader {
                name: tensor.name[SENTENCE_DENSE_PREFIX.len()..].to_owned(),
                ..tensor.clone()
            };
            let inner: Vec<TensorHeader> = dense.iter().map(inner).collect();
            let file = folder.join("model.safetensors");
            shards.push(SafetensorsWriter::create(
                &file,
                &inner,
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
    fn a_sentence_embedding_has_its_linear_layer_in_a_folder_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let header = |name: &str| TensorHeader::new(name, Dtype::F32, &[1]);
        let names = ["a", "b", "dense/linear.weight"];
        let headers = names.map(header);
        assert!(CheckpointWriter::create(dir.path(), &[headers[2].clone(), header("a")]).is_err());
        let writer = CheckpointWriter::create_sharded(dir.path(), &headers, 4).unwrap();
        for (value, name) in names.iter().enumerate() {
            let bytes = (value as f32).to_le_bytes();
            writer.write(name, 0, &bytes).unwrap();
        }
        writer.finish().unwrap();
        let head = equicrypt_spec::SentenceHead {
            pooling: equicrypt_spec::Pooling::Mean,
            width: 1,
            dense: Some(equicrypt_spec::SentenceDense {
                input: 1,
                bias: false,
                tanh: true,
            }),
            normalize: true,
        };
        for (path, content) in head.files(1) {
            let file = dir.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, content.to_string()).unwrap();
        }
        write_json(&dir.path().join("config.json"), &json!({})).unwrap();
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        assert_eq!(checkpoint.tensors().len(), 3);
        assert_eq!(checkpoint.read_f32("dense/linear.weight").unwrap(), [2.0]);
        std::fs::write(
            dir.path().join("modules.json"),
            std::fs::read_to_string(dir.path().join("modules.json"))
                .unwrap()
                .replace("2_Dense", "../2_Dense"),
        )
        .unwrap();
        let message = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("../2_Dense"), "{message}");
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
