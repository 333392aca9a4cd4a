use std::collections::{HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use equicrypt_spec::{MODULES_FILE, ModelConfig, SENTENCE_DENSE_PREFIX, SentenceHead};
use serde_json::Value;

use crate::json::{read_json, read_list};
use crate::safetensors::SafetensorsFile;
use crate::{Error, IgnoredTensor, TensorInfo};

/// An open Hugging Face model folder: `config.json`, and either `model.safetensors` or
/// `model.safetensors.index.json` with its shards. If sentence-transformers saved it, `modules.json`
/// with the pooling, and the linear layer behind it, whose tensors are named `dense/...` here.
///
/// Opening reads headers only. All reads are positioned and may come from many threads.
#[derive(Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    config: Value,
    sentence: Option<SentenceHead>,
    files: Vec<SafetensorsFile>,
    tensors: Vec<TensorInfo>,
    /// For each tensor its number inside its file.
    numbers: Vec<usize>,
    by_name: HashMap<String, usize>,
    ignored: Vec<IgnoredTensor>,
}

/// Where a tensor's bytes are.
pub(crate) struct Place {
    /// The number of its file.
    pub(crate) shard: usize,
    pub(crate) byte_len: u64,
    /// Its first byte, counted from the start of the file.
    pub(crate) file_offset: u64,
}

impl Checkpoint {
    /// Opens the folder `dir`.
    ///
    /// With both a `model.safetensors` and an index, the single file is taken, as `transformers`
    /// does. An index must name every tensor of its shards and nothing else.
    ///
    /// # Errors
    /// If the folder, `config.json` or the weights are missing or unsound, or hold integer or
    /// 8-bit weights.
    pub fn open(dir: &Path) -> Result<Checkpoint, Error> {
        let unusable = |problem: String| Error::Folder {
            dir: dir.to_path_buf(),
            problem,
        };
        if !dir.is_dir() {
            let problem = match (dir.exists(), dir.extension().is_some_and(|e| e == "gguf")) {
                (true, true) => "it is a GGUF file; import it into a folder first",
                (true, false) => "it is not a folder; give the folder that holds config.json",
                (false, _) => "it does not exist",
            };
            return Err(unusable(problem.to_owned()));
        }
        let config_file = dir.join("config.json");
        if !config_file.is_file() {
            return Err(unusable(
                "config.json is missing; give the folder that a Hugging Face download put it in"
                    .to_owned(),
            ));
        }
        let config = read_json(&config_file)?;

        let single = dir.join("model.safetensors");
        let index = dir.join(INDEX_FILE);
        let files = if single.exists() {
            vec![SafetensorsFile::open(&single)?]
        } else if index.exists() {
            open_shards(dir, &index)?
        } else {
            return Err(unusable(missing_weights(dir)));
        };

        let (sentence, dense) = match dir.join(MODULES_FILE).is_file() {
            true => sentence_head(dir)?,
            false => (None, None),
        };
        let transformer_files = files.len();
        let files: Vec<SafetensorsFile> = files.into_iter().chain(dense).collect();

        let mut checkpoint = Checkpoint {
            dir: dir.to_path_buf(),
            config,
            sentence,
            files: Vec::new(),
            tensors: Vec::new(),
            numbers: Vec::new(),
            by_name: HashMap::new(),
            ignored: Vec::new(),
        };
        for (shard, file) in files.iter().enumerate() {
            checkpoint.ignored.extend_from_slice(file.ignored());
            for (number, info) in file.tensors().iter().enumerate() {
                let index = checkpoint.tensors.len();
                let name = match shard < transformer_files {
                    true => info.name.clone(),
                    false => format!("{SENTENCE_DENSE_PREFIX}{}", info.name),
                };
                if checkpoint.by_name.insert(name.clone(), index).is_some() {
                    return Err(unusable(format!("tensor {name:?} is in two shards")));
                }
                checkpoint.tensors.push(TensorInfo {
                    name,
                    shard,
                    ..info.clone()
                });
                checkpoint.numbers.push(number);
            }
        }
        checkpoint.files = files;
        Ok(checkpoint)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `config.json`: always an object.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// What the folder says of the model: `config.json`, and `modules.json` if there is one.
    ///
    /// # Errors
    /// If a field, an architecture or a module is not supported.
    pub fn model_config(&self) -> Result<ModelConfig, equicrypt_spec::Error> {
        let config = ModelConfig::from_json(&self.config)?;
        match &self.sentence {
            Some(head) => config.with_sentence(head.clone()),
            None => Ok(config),
        }
    }

    /// Every tensor, shard by shard, in the order of the data.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter()
    }

    /// Integer and boolean buffers that are not read; see [`IgnoredTensor`].
    pub fn ignored(&self) -> &[IgnoredTensor] {
        &self.ignored
    }

    /// The tensor of this name, if there is one.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name
            .get(name)
            .and_then(|index| self.tensors.get(*index))
    }

    /// Fills `out` with the bytes of tensor `name` from `byte_offset` on.
    ///
    /// # Errors
    /// If there is no such tensor, the bytes reach past its end, or the file cannot be read.
    pub fn read(&self, name: &str, byte_offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let missing = || self.no_such_tensor(name);
        let index = *self.by_name.get(name).ok_or_else(missing)?;
        let (Some(info), Some(number)) = (self.tensors.get(index), self.numbers.get(index)) else {
            return Err(missing());
        };
        let file = self.files.get(info.shard).ok_or_else(missing)?;
        file.read_at(*number, byte_offset, out)
    }

    /// The whole tensor as f32, rounded to nearest even if it is stored as F64.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>, Error> {
        let (info, bytes) = self.read_all(name)?;
        let mut out = vec![0.0; bytes.len() / info.dtype.size()];
        info.dtype.decode_f32(&bytes, &mut out);
        Ok(out)
    }

    /// The whole tensor as f64, exactly.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_f64(&self, name: &str) -> Result<Vec<f64>, Error> {
        let (info, bytes) = self.read_all(name)?;
        let mut out = vec![0.0; bytes.len() / info.dtype.size()];
        info.dtype.decode_f64(&bytes, &mut out);
        Ok(out)
    }

    /// The files of the weights.
    pub(crate) fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(SafetensorsFile::path)
    }

    /// Where a tensor's bytes are.
    pub(crate) fn place(&self, name: &str) -> Result<Place, Error> {
        let found = self.by_name.get(name).and_then(|index| {
            let (info, number) = (self.tensors.get(*index)?, *self.numbers.get(*index)?);
            Some(Place {
                shard: info.shard,
                byte_len: info.byte_len,
                file_offset: self.files.get(info.shard)?.start_of(number)?,
            })
        });
        found.ok_or_else(|| self.no_such_tensor(name))
    }

    pub(crate) fn no_such_tensor(&self, name: &str) -> Error {
        Error::NoSuchTensor {
            place: self.dir.clone(),
            name: name.to_owned(),
        }
    }

    fn read_all(&self, name: &str) -> Result<(&TensorInfo, Vec<u8>), Error> {
        let info = (self.tensor(name)).ok_or_else(|| self.no_such_tensor(name))?;
        // The header was checked against the file's length, so this is no larger than the file.
        let mut bytes = vec![0; info.byte_len as usize];
        self.read(name, 0, &mut bytes)?;
        Ok((info, bytes))
    }
}

/// What the folder `dir` says of its model, as [`Checkpoint::model_config`]; its weights need not be there.
///
/// # Errors
/// If `config.json` or a file that `modules.json` names cannot be read, or says what is not supported.
pub fn model_config(dir: &Path) -> Result<ModelConfig, Error> {
    let config = ModelConfig::from_json(&read_json(&dir.join("config.json"))?)?;
    match dir.join(MODULES_FILE).is_file() {
        true => Ok(config.with_sentence(read_modules(dir)?.0)?),
        false => Ok(config),
    }
}

/// What `modules.json` says, and the file of its linear layer.
fn sentence_head(dir: &Path) -> Result<(Option<SentenceHead>, Option<SafetensorsFile>), Error> {
    let (head, folder) = read_modules(dir)?;
    let Some(folder) = folder else {
        return Ok((Some(head), None));
    };
    let file = folder.join("model.safetensors");
    if !file.is_file() {
        let problem = missing_weights(&folder);
        return Err(Error::Folder {
            dir: folder,
            problem,
        });
    }
    Ok((Some(head), Some(SafetensorsFile::open(&file)?)))
}

/// What `modules.json` says, and the folder of its linear layer.
fn read_modules(dir: &Path) -> Result<(SentenceHead, Option<PathBuf>), Error> {
    let bad = |problem: String| Error::Json {
        file: dir.join(MODULES_FILE),
        problem,
    };
    let module = |folder: &str| match is_plain_name(folder) {
        true => Ok(dir.join(folder)),
        false => Err(bad(format!(
            "the module {folder:?} is not a folder of this folder"
        ))),
    };
    let modules = read_list(&dir.join(MODULES_FILE))?;
    let (head, folder) = SentenceHead::read(&modules, |folder| {
        read_json(&module(folder)?.join("config.json"))
    })?;
    let folder = folder.map(|folder| module(&folder)).transpose()?;
    Ok((head, folder))
}

/// The shards that the index names, sorted by name, checked against it both ways.
fn open_shards(dir: &Path, index: &Path) -> Result<Vec<SafetensorsFile>, Error> {
    let bad = |problem: String| Error::Json {
        file: index.to_path_buf(),
        problem,
    };
    let json = read_json(index)?;
    let map = json
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| bad("\"weight_map\" should be an object of file names".to_owned()))?;
    let mut shards: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for (tensor, shard) in map {
        let shard = shard
            .as_str()
            .ok_or_else(|| bad(format!("weight_map: tensor {tensor:?} should name a file")))?;
        if !is_plain_name(shard) {
            return Err(bad(format!(
                "weight_map: tensor {tensor:?} is in {shard:?}, which is not a file of this folder"
            )));
        }
        if seen.insert(shard) {
            shards.push(shard);
        }
    }
    if shards.is_empty() {
        return Err(bad("\"weight_map\" names no tensors".to_owned()));
    }
    shards.sort_unstable();

    let mut files = Vec::with_capacity(shards.len());
    let mut found = 0;
    for shard in shards {
        let file = SafetensorsFile::open(&dir.join(shard))?;
        let names = file.tensors().iter().map(|t| &t.name);
        for name in names.chain(file.ignored().iter().map(|t| &t.name)) {
            match map.get(name).and_then(Value::as_str) {
                Some(named) if named == shard => found += 1,
                Some(named) => {
                    return Err(bad(format!(
                        "tensor {name:?} is in {shard}, not in {named}"
                    )));
                }
                None => return Err(bad(format!("tensor {name:?} of {shard} is not listed"))),
            }
        }
        files.push(file);
    }
    if found != map.len() {
        let held: HashSet<&str> = files
            .iter()
            .flat_map(|f| {
                let ignored = f.ignored().iter().map(|t| t.name.as_str());
                f.tensors().iter().map(|t| t.name.as_str()).chain(ignored)
            })
            .collect();
        let absent = map.keys().find(|name| !held.contains(name.as_str()));
        return Err(bad(format!(
            "tensor {absent:?} is listed, but is in no shard"
        )));
    }
    Ok(files)
}

/// Whether `name` is one file name, without a folder, a drive or `..`.
///
/// The folder's files may be links (the Hugging Face cache makes them so); the index may not say
/// where to look.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    ) && !name.contains(['/', '\\', ':', '\0'])
}

fn missing_weights(dir: &Path) -> String {
    let pickled = [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "consolidated.00.pth",
    ];
    match pickled.into_iter().find(|name| dir.join(name).exists()) {
        Some(name) => format!(
            "it holds {name} only, which can run code when it is read; convert it to safetensors"
        ),
        None => format!("neither model.safetensors nor {INDEX_FILE} is in it"),
    }
}

pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

#[cfg(test)]
mod tests;
