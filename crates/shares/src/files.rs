use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use equicrypt_ring::{MaskSeed, ModelDigest, Residues, SEED_BYTES};
use equicrypt_spec::TRANSFORMER_FILES;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Error;
use crate::check::VECTORS;

/// What an owner's folder says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) version: u32,
    /// Of all integer weights.
    pub(crate) digest: String,
    /// Of the checkpoint that it was made of.
    pub(crate) source_fingerprint: String,
    /// In the order in which hosts number them.
    pub(crate) layers: Vec<LayerEntry>,
}

/// One linear layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerEntry {
    pub(crate) name: String,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) has_bias: bool,
}

impl Manifest {
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Error> {
        let json = serde_json::to_value(self).map_err(|error| Error::Folder {
            path: dir.join(MANIFEST_FILE),
            expected: "a manifest".to_owned(),
            found: error.to_string(),
        })?;
        Ok(equicrypt_checkpoint::write_json(
            &dir.join(MANIFEST_FILE),
            &json,
        )?)
    }

    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(MANIFEST_FILE);
        let wrong = |expected: &str, found: String| Error::Folder {
            path: path.clone(),
            expected: expected.to_owned(),
            found,
        };
        if !path.exists() {
            let expected = "a file that `equicrypt shares prepare` has made";
            return Err(wrong(expected, "none".to_owned()));
        }
        let json = equicrypt_checkpoint::read_json(&path)?;
        let version = json.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(FORMAT)) {
            let found = json
                .get("version")
                .map_or("none".to_owned(), ToString::to_string);
            return Err(wrong(&format!("version {FORMAT}"), found));
        }
        serde_json::from_value(json)
            .map_err(|error| wrong("the manifest of an owner's folder", error.to_string()))
    }
}

/// The tensor with the scales of a layer.
pub(crate) fn scales_tensor(layer: usize) -> String {
    format!("shares.scales.{layer}")
}

/// The tensor with its bias.
pub(crate) fn bias_tensor(layer: usize) -> String {
    format!("shares.bias.{layer}")
}

/// What answers are checked with, as it is kept.
pub(crate) struct CheckFile {
    pub(crate) seed: MaskSeed,
    /// W^T s of each layer.
    pub(crate) products: Vec<Residues>,
}

impl CheckFile {
    /// Puts it into a new file that only its owner can read:
    /// `"equicrypt check vectors 1\0" digest (32) seed (32) residues...`.
    pub(crate) fn write(
        dir: &Path,
        digest: &ModelDigest,
        seed: &MaskSeed,
        products: &[&Residues],
    ) -> Result<(), Error> {
        let path = dir.join(CHECK_FILE);
        let mut bytes = Zeroizing::new(Vec::new());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(digest.as_bytes());
        bytes.extend_from_slice(seed.expose());
        for product in products {
            product.append_bytes(&mut bytes);
        }
        let mut options = OpenOptions::new();
        let opened = options.write(true).create_new(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(&bytes));
        written.map_err(|source| Error::File { path, source })
    }

    /// Reads it for a model of these layers.
    pub(crate) fn read(
        dir: &Path,
        digest: &ModelDigest,
        layers: &[LayerEntry],
    ) -> Result<Self, Error> {
        let path = dir.join(CHECK_FILE);
        let fail = |source| Error::File {
            path: path.clone(),
            source,
        };
        let mut file = fs::File::open(&path).map_err(fail)?;
        let mode = file.metadata().map_err(fail)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Error::FileMode { path, mode });
        }
        let mut bytes = Zeroizing::new(Vec::new());
        file.read_to_end(&mut bytes).map_err(fail)?;
        let wrong = |expected: &str, found: &str| Error::Folder {
            path: path.clone(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        };
        let rest = bytes.strip_prefix(MAGIC);
        let rest = rest.ok_or_else(|| wrong("check vectors of version 1", "something else"))?;
        let heads = rest.split_first_chunk::<32>().and_then(|(digest, rest)| {
            let (seed, rest) = rest.split_first_chunk::<SEED_BYTES>()?;
            Some((digest, seed, rest))
        });
        let (found, seed, mut rest) =
            heads.ok_or_else(|| wrong("a digest and a seed", "fewer bytes"))?;
        if found != digest.as_bytes() {
            return Err(wrong("the model of the manifest", "another one"));
        }
        let mut products = Vec::with_capacity(layers.len());
        for layer in layers {
            let length = VECTORS * layer.inputs * 8;
            let (own, later) = rest
                .split_at_checked(length)
                .ok_or_else(|| wrong("check vectors of all layers", "fewer bytes"))?;
            rest = later;
            let product = Residues::from_bytes(layer.inputs, own);
            products.push(product.map_err(|error| wrong("check vectors", &error.to_string()))?);
        }
        if !rest.is_empty() {
            return Err(wrong("check vectors of all layers", "more bytes"));
        }
        Ok(Self {
            seed: MaskSeed::from_bytes(*seed),
            products,
        })
    }
}

/// Copies what a model's folder has beside its weights, as far as the owner needs it: the configuration, the tokenizer, and
/// how a sentence embedding is pooled.
pub(crate) fn copy_others(from: &Path, to: &Path) -> Result<(), Error> {
    let copy = |name: &Path| -> Result<(), Error> {
        let source = from.join(name);
        if !source.is_file() {
            return Ok(());
        }
        let path = to.join(name);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        fs::copy(&source, &path).map(|_| ()).map_err(failed(&path))
    };
    for name in OTHER_FILES.iter().chain(&TRANSFORMER_FILES) {
        copy(Path::new(name))?;
    }
    for module in modules(from)? {
        copy(&module.join("config.json"))?;
    }
    Ok(())
}

/// The folders of sentence-transformers' modules.
pub(crate) fn modules(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let file = dir.join(equicrypt_spec::MODULES_FILE);
    if !file.is_file() {
        return Ok(Vec::new());
    }
    let list = equicrypt_checkpoint::read_list(&file)?;
    let modules = list.as_array().map_or(&[][..], Vec::as_slice);
    let path = |module: &serde_json::Value| Some(module.get("path")?.as_str()?.to_owned());
    // What is not one name, the checkpoint refuses.
    let is_name = |path: &String| !path.is_empty() && !path.contains(['/', '\\']) && path != "..";
    Ok(modules
        .iter()
        .filter_map(path)
        .filter(is_name)
        .map(PathBuf::from)
        .collect())
}

pub(crate) const MANIFEST_FILE: &str = "shares.json";
const CHECK_FILE: &str = "check-vectors.bin";
pub(crate) const FORMAT: u32 = 1;
const MAGIC: &[u8] = b"equicrypt check vectors 1\0";
const OTHER_FILES: &[&str] = &[
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "config_sentence_transformers.json",
];
