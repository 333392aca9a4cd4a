//! A rekeyed folder computes the same function under a new vocabulary, for every decoder; `encoders.rs` has the others.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, write_json};
use equicrypt_cipher::{NextEpoch, Options, Plan, Secrets, Vocabulary, danger, encrypt, rekey};
use equicrypt_spec::{Manifest, Profile};
use support::{GQA, Shape, difference, golden_configs, key, options, random_model, schedule};

const TOLERANCE: f64 = 1e-9;
const BROKEN: f64 = 1e-3;

fn rekeyed(from: &Path, manifest: &Manifest, to: &Path, byte: u8, epoch: NextEpoch) -> Manifest {
    let encrypted = Checkpoint::open(from).unwrap();
    let rekeyed = rekey(&encrypted, manifest, to, &key(byte), epoch, &|_| ()).unwrap();
    let written = std::fs::read(to.join("equicrypt.json")).unwrap();
    assert_eq!(Manifest::parse(&written).unwrap(), rekeyed.manifest);
    rekeyed.manifest
}

#[test]
fn every_decoder_is_rekeyed_and_rekeyed_again() {
    for (seed, (name, config)) in golden_configs().into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (byte, plain) = (seed as u8, at("plain"));
        random_model(&plain, &config, Dtype::F64, seed as u64);
        for (profile, epoch) in [(Profile::Permute, 0), (Profile::Rotate, 5)] {
            let first = at(&format!("{}-1", profile.name()));
            let options = Options {
                epoch,
                ..options(profile)
            };
            let source = Checkpoint::open(&plain).unwrap();
            let old = encrypt(&source, &first, &key(byte), &options, &|_| ())
                .unwrap()
                .manifest;
            let (second, third) = (first.with_extension("2"), first.with_extension("3"));
            let new = rekeyed(&first, &old, &second, byte, NextEpoch::Next);
            let last = rekeyed(&second, &new, &third, byte, NextEpoch::Later(epoch + 9));
            assert_eq!((new.epoch, last.epoch), (epoch + 1, epoch + 9));
            assert_eq!((new.weights_epoch(), last.weights_epoch()), (epoch, epoch));
            let vocabulary = |manifest| Vocabulary::open(&key(byte), manifest).unwrap();
            for (folder, manifest) in [(&second, &new), (&third, &last)] {
                let difference = difference(&plain, folder, &vocabulary(manifest), seed as u64);
                assert!(difference < TOLERANCE, "{name} {profile:?}: {difference:e}");
            }
            let under_the_old = difference(&plain, &second, &vocabulary(&old), seed as u64);
            assert!(
                under_the_old > BROKEN,
                "{name} {profile:?}: {under_the_old:e}"
            );
        }
    }
}

/// Byte for byte what encrypting the original with the secrets of two epochs would have written, noise included.
#[test]
fn no_bit_is_lost() {
    for (number, dtype) in [Dtype::Bf16, Dtype::F16, Dtype::F32]
        .into_iter()
        .enumerate()
    {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let shape = Shape {
            tied: number > 0,
            ..GQA
        };
        let plain = random_model(&at("plain"), &shape.config(), dtype, 4);
        let source = Checkpoint::open(&plain).unwrap();
        let options = Options {
            noise: 0.1,
            ..options(Profile::Rotate)
        };
        let old = encrypt(&source, &at("old"), &key(4), &options, &|_| ())
            .unwrap()
            .manifest;
        let new = rekeyed(&at("old"), &old, &at("new"), 4, NextEpoch::Next);

        let plan = Plan::new(&source, &options, key(4).id()).unwrap();
        let weights = schedule(&key(4), &old);
        let vocabulary = Vocabulary::open(&key(4), &new).unwrap();
        let secrets = Secrets::derive(&weights, &plan.target, &plan.permits(), &vocabulary);
        let secrets = secrets.with_noise(&weights);
        danger::encrypt_with(&source, &at("expected"), &plan, &secrets, &|_| ()).unwrap();
        let files = ["model.safetensors", "config.json", "tokenizer.json"];
        for file in files
            .into_iter()
            .chain(["generation_config.json", "tokenizer_config.json"])
        {
            let read = |folder: &str| std::fs::read(at(folder).join(file)).unwrap();
            assert!(read("new") == read("expected"), "{dtype:?} {file}");
            assert_eq!(
                read("new") == read("old"),
                file != "model.safetensors",
                "{file}"
            );
        }
    }
}

/// With the epoch of the weights the manifest is again the one that `encrypt` wrote, and so is every byte.
#[test]
fn back_to_the_first_epoch_is_the_first_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let plain = random_model(&at("plain"), &GQA.config(), Dtype::Bf16, 5);
    let source = Checkpoint::open(&plain).unwrap();
    let options = options(Profile::Permute);
    let old = encrypt(&source, &at("old"), &key(5), &options, &|_| ())
        .unwrap()
        .manifest;
    let new = rekeyed(&at("old"), &old, &at("new"), 5, NextEpoch::Next);
    let back = rekeyed(&at("new"), &new, &at("back"), 5, NextEpoch::Any(0));
    assert_eq!(back, old);
    for file in ["model.safetensors", "equicrypt.json"] {
        let read = |folder: &str| std::fs::read(at(folder).join(file)).unwrap();
        assert!(read("back") == read("old"), "{file}");
    }
}

/// Every tensor in a file of its own: those without a vocabulary axis are the same files.
#[test]
fn shards_without_vocabulary_tensors_are_linked() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let plain = random_model(&at("plain"), &GQA.config(), Dtype::F64, 6);
    let source = Checkpoint::open(&plain).unwrap();
    let options = options(Profile::Permute);
    let old = encrypt(&source, &at("old"), &key(6), &options, &|_| ())
        .unwrap()
        .manifest;
    let whole = Checkpoint::open(&at("old")).unwrap();
    std::fs::create_dir(at("shards")).unwrap();
    let headers: Vec<_> = whole.tensors().map(|tensor| tensor.header()).collect();
    let writer = CheckpointWriter::create_sharded(&at("shards"), &headers, 1).unwrap();
    for tensor in whole.tensors() {
        let mut bytes = vec![0; tensor.byte_len as usize];
        whole.read(&tensor.name, 0, &mut bytes).unwrap();
        writer.write(&tensor.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&at("shards").join("config.json"), whole.config()).unwrap();

    let new = rekeyed(&at("shards"), &old, &at("new"), 6, NextEpoch::Next);
    let vocabulary = Vocabulary::open(&key(6), &new).unwrap();
    assert!(difference(&plain, &at("new"), &vocabulary, 6) < TOLERANCE);
    let (mut linked, mut rewritten) = (0, Vec::new());
    let after = Checkpoint::open(&at("new")).unwrap();
    for tensor in after.tensors() {
        let count = after.tensors().len();
        let file = format!("model-{:05}-of-{count:05}.safetensors", tensor.shard + 1);
        let inode = |folder: &str| std::fs::metadata(at(folder).join(&file)).unwrap().ino();
        match inode("shards") == inode("new") {
            true => linked += 1,
            false => rewritten.push(tensor.name.as_str()),
        }
    }
    rewritten.sort_unstable();
    assert_eq!(rewritten, ["lm_head.weight", "model.embed_tokens.weight"]);
    assert_eq!(linked, after.tensors().len() - 2);
}
