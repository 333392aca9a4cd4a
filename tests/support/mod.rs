//! Tiny random models in folders of their own, and what a test does with them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses a part of this"
)]

use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_cipher::{
    Allocation, Homophones, MasterKey, Options, Permit, Plan, Schedule, Secrets, Vocabulary,
    danger, encrypt,
};
use equicrypt_engine::{Chunk, Decoder, Precision, Want};
use equicrypt_spec::{Axis, Group, Kind, Manifest, ModelConfig, Profile, SentenceHead};
use serde_json::{Value, json};

pub const GQA: Shape = Shape {
    heads: 4,
    kv_heads: 2,
    tied: false,
    biases: false,
};
pub const SHAPES: [Shape; 6] = [
    GQA,
    Shape { tied: true, ..GQA },
    Shape {
        biases: true,
        ..GQA
    },
    Shape { kv_heads: 4, ..GQA },
    Shape {
        kv_heads: 1,
        tied: true,
        biases: true,
        ..GQA
    },
    Shape {
        heads: 6,
        kv_heads: 2,
        tied: true,
        biases: false,
    },
];

/// What varies between tiny models.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub tied: bool,
    pub biases: bool,
}

impl Shape {
    pub fn config(self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "vocab_size": 61, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": self.heads, "num_key_value_heads": self.kv_heads, "head_dim": 8,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": self.tied, "attention_bias": self.biases, "mlp_bias": self.biases,
            "bos_token_id": 1, "eos_token_id": 2,
        })
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound as u64) as usize
    }

    /// Uniform in -1 ... 1.
    pub fn symmetric(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * 2f64.powi(-52) - 1.0
    }

    pub fn ids(&mut self, count: usize, vocab: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(vocab) as u32).collect()
    }
}

/// Writes a random model: gains around 1, everything else around 0 and large enough that every layer matters.
pub fn random_model(dir: &Path, config: &Value, dtype: Dtype, seed: u64) -> PathBuf {
    random_sentence_model(dir, config, None, dtype, seed)
}

/// The same with the modules of sentence-transformers.
pub fn random_sentence_model(
    dir: &Path,
    config: &Value,
    head: Option<&SentenceHead>,
    dtype: Dtype,
    seed: u64,
) -> PathBuf {
    std::fs::create_dir_all(dir).unwrap();
    let mut parsed = ModelConfig::from_json(config).unwrap();
    if let Some(head) = head {
        parsed = parsed.with_sentence(head.clone()).unwrap();
    }
    let specs = parsed.architecture.tensors(&parsed);
    let headers: Vec<_> = specs
        .iter()
        .map(|t| TensorHeader::new(&t.name, dtype, &t.shape))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers).unwrap();
    let mut random = Random(seed);
    for spec in &specs {
        let count: usize = spec.shape.iter().product();
        let gain = matches!(spec.row.kind, Kind::Gain { .. });
        let scale = match spec.row.kind {
            Kind::Gain { .. } => 0.8,
            Kind::Bias { .. } | Kind::NormBias { .. } => 0.3,
            Kind::Embed { .. } | Kind::Linear { .. } => {
                1.5 / (spec.shape[spec.shape.len() - 1] as f64).sqrt()
            }
        };
        let values: Vec<f64> = (0..count)
            .map(|_| f64::from(u8::from(gain)) + scale * random.symmetric())
            .collect();
        write(&writer, &spec.name, dtype, &values);
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), config).unwrap();
    for (path, content) in head.iter().flat_map(|head| head.files(parsed.hidden_size)) {
        let file = dir.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content.to_string()).unwrap();
    }
    dir.to_owned()
}

fn write(writer: &CheckpointWriter, name: &str, dtype: Dtype, values: &[f64]) {
    let mut bytes = vec![0; values.len() * dtype.size()];
    dtype.encode_f64(values, &mut bytes);
    writer.write(name, 0, &bytes).unwrap();
}

/// Copies a folder's weights through `change`, which sees each tensor's name and values.
pub fn tampered(from: &Path, to: &Path, change: &mut dyn FnMut(&str, &mut Vec<f64>)) {
    std::fs::create_dir_all(to).unwrap();
    let source = Checkpoint::open(from).unwrap();
    let headers: Vec<_> = source.tensors().map(|t| t.header()).collect();
    let writer = CheckpointWriter::create(to, &headers).unwrap();
    for header in &headers {
        let mut values = source.read_f64(&header.name).unwrap();
        change(&header.name, &mut values);
        write(&writer, &header.name, header.dtype, &values);
    }
    writer.finish().unwrap();
    write_json(&to.join("config.json"), source.config()).unwrap();
}

pub fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

pub fn options(profile: Profile) -> Options {
    Options {
        profile,
        dtype: None,
        epoch: 0,
        expand: 0,
        scales: true,
        rotate_output: false,
        noise: 0.0,
    }
}

/// The configurations of the tiny models of every architecture, with names.
pub fn golden_configs() -> Vec<(String, Value)> {
    let config = |arch: &equicrypt_spec::Architecture, case: &Value| {
        let mut config = case["config"].clone();
        // The one field that this toolkit refuses and transformers ignores.
        if arch.model_type == "deepseek_v2" {
            config["norm_topk_prob"] = false.into();
        }
        let name = case["name"].as_str().unwrap();
        (format!("{} {name}", arch.model_type), config)
    };
    equicrypt_spec::ARCHITECTURES
        .iter()
        .filter(|arch| !arch.is_encoder())
        .flat_map(|arch| {
            let path = format!(
                "{}/tests/golden/decoders/{}.json",
                env!("CARGO_MANIFEST_DIR"),
                arch.model_type
            );
            let text = std::fs::read_to_string(path).unwrap();
            let file: Value = serde_json::from_str(&text).unwrap();
            let cases = file["cases"].as_array().unwrap().clone();
            cases
                .iter()
                .map(|case| config(arch, case))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Encrypts a folder and returns the vocabulary.
pub fn encrypted(plain: &Path, out: &Path, key: &MasterKey, profile: Profile) -> Vocabulary {
    let source = Checkpoint::open(plain).unwrap();
    let summary = encrypt(&source, out, key, &options(profile), &|_| ()).unwrap();
    Vocabulary::open(key, &summary.manifest).unwrap()
}

pub fn schedule(key: &MasterKey, manifest: &Manifest) -> Schedule {
    Schedule::new(
        key,
        &manifest.fingerprint().unwrap(),
        manifest.weights_epoch(),
    )
}

/// Logits after every token, in f64, from a folder's weights.
pub fn logits(dir: &Path, ids: &[u32]) -> Vec<Vec<f64>> {
    let decoder = Decoder::load(&Checkpoint::open(dir).unwrap(), Precision::F64).unwrap();
    let mut cache = decoder.new_cache();
    let chunk = Chunk {
        tokens: ids,
        cache: &mut cache,
        want: Want::All,
    };
    let logits = decoder.forward(&mut [chunk]).unwrap();
    (0..logits[0].rows())
        .map(|row| logits[0].row_f64(row))
        .collect()
}

/// `extra` homophones by Zipf's law, for a folder.
pub fn homophones(plain: &Path, extra: usize) -> Homophones {
    let config = Checkpoint::open(plain).unwrap().model_config().unwrap();
    let ranks = 1..=config.vocab_size;
    let weights: Vec<f64> = ranks.map(|rank| 1.0 / rank as f64).collect();
    let (kept, allocation) = (config.uncounted_id(), Allocation::SquareRoot);
    Homophones::allocate(&weights, kept, extra, allocation).unwrap()
}

/// max |l_enc(c) - l(i)| over a random prompt's positions, all ids i and all homophones c of i, relative to max |l|.
pub fn difference(plain: &Path, encrypted: &Path, vocabulary: &Vocabulary, seed: u64) -> f64 {
    let size = vocabulary.plain_size();
    let config = Checkpoint::open(plain).unwrap().config().clone();
    let context = ModelConfig::from_json(&config).unwrap().exact_context();
    let ids = Random(seed).ids(context.min(17), size);
    let ours = logits(plain, &ids);
    let theirs = logits(encrypted, vocabulary.encrypt(&ids).unwrap().as_slice());
    let mut largest = 0f64;
    let mut difference = 0f64;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for (plain, id) in ours.iter().zip(0u32..) {
            largest = largest.max(plain.abs());
            for cipher in vocabulary.class(id).unwrap() {
                difference = difference.max((plain - theirs[*cipher as usize]).abs());
            }
        }
    }
    assert!(
        largest > 0.1,
        "the model says nothing: largest logit {largest}"
    );
    difference / largest
}

/// The [`difference`] if one axis' secret is drawn from a group of the test's choosing, all others legally.
pub fn difference_with(
    plain: &Path,
    axis: Axis,
    group: Group,
    profile: Profile,
    key: &MasterKey,
) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let source = Checkpoint::open(plain).unwrap();
    let plan = Plan::new(&source, &options(profile), key.id()).unwrap();
    let axes = plan.target.architecture.axes(&plan.target);
    let others = axes
        .into_iter()
        .filter(|other| ![axis, Axis::Vocab].contains(other));
    let mut permits: Vec<Permit> = others
        .map(|axis| Permit::legal(&plan.target, axis, profile, true))
        .collect();
    permits.push(danger::permit_anything(axis, group));
    let schedule = schedule(key, &plan.manifest);
    let vocabulary = Vocabulary::derive(&schedule, plan.target.vocab_size, plan.manifest.kept_id);
    let secrets: Secrets = danger::derive_illegal(&schedule, &plan.target, &permits, &vocabulary);
    let out = dir.path().join("encrypted");
    danger::encrypt_with(&source, &out, &plan, &secrets, &|_| ()).unwrap();
    difference(plain, &out, &vocabulary, 3)
}
