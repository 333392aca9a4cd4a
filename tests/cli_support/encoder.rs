//! A small encoder, encrypted and served, and the commands that ask it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use equicrypt_checkpoint::{Checkpoint, Dtype, read_json};
use equicrypt_cipher::{encrypt, write_key_file};
use equicrypt_engine::{Encoder, Part, Precision, Text};
use equicrypt_gateway::{EncoderOwner, Long, Prepared};
use equicrypt_spec::{MANIFEST_FILE, Manifest, Pooling, Profile, SentenceHead};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::server::Server;
use super::{KEY, OTHER_KEY, Ran, args, command, equicrypt_reading};
use crate::support::{key, options, random_sentence_model};

/// An encoder, its key, and where it is served encrypted.
pub struct Served {
    dir: TempDir,
    pub server: Server,
}

impl Served {
    /// A BERT of this class, changed.
    pub fn new(class: &str, profile: Profile, change: impl FnOnce(&mut Value)) -> Self {
        Self::serving(class, profile, change, &[])
    }

    /// The same, and `serve` has these options.
    pub fn serving(
        class: &str,
        profile: Profile,
        change: impl FnOnce(&mut Value),
        serve: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let head = (class == "BertModel" || class == "RobertaModel").then_some(SentenceHead {
            pooling: Pooling::Mean,
            width: 0,
            dense: None,
            normalize: true,
        });
        write_model(&dir.path().join("model"), class, head.as_ref(), change);
        write_key_file(&dir.path().join("key"), &key(KEY), None).unwrap();
        write_key_file(&dir.path().join("other-key"), &key(OTHER_KEY), None).unwrap();
        let source = Checkpoint::open(&dir.path().join("model")).unwrap();
        let options = equicrypt_cipher::Options {
            rotate_output: profile == Profile::Rotate && head.is_some(),
            dtype: Some(Dtype::F32),
            ..options(profile)
        };
        let out = dir.path().join("encrypted");
        encrypt(&source, &out, &key(KEY), &options, &|_| ()).unwrap();
        let server = Server::start_with(&out, serve);
        Self { dir, server }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn model(&self) -> PathBuf {
        self.path("model")
    }

    pub fn run(&self, command: &str, rest: &[&str]) -> Ran {
        self.run_reading("", command, rest)
    }

    pub fn run_reading(&self, input: &str, command: &str, rest: &[&str]) -> Ran {
        self.run_at(&self.server.url(), input, command, rest)
    }

    /// The same of whoever is at another address.
    pub fn run_at(&self, url: &str, input: &str, command: &str, rest: &[&str]) -> Ran {
        let (model, key) = (self.model(), self.path("key"));
        let shared = args!["--model", &model, "--key", &key, "--host", url];
        let all = args![command].into_iter().chain(shared);
        equicrypt_reading(input, all.chain(rest.iter().map(OsStr::new)))
    }

    /// A gateway for the owner, with these options.
    pub fn gateway(&self, options: &[&str]) -> Server {
        let (model, key) = (self.model(), self.path("key"));
        let mut command = command(args!["gateway", "--model", &model, "--key", &key]);
        command.args(["--listen", "127.0.0.1:0", "--budget", "off"]);
        command.args(options);
        Server::run(command, &model)
    }

    pub fn owner(&self) -> EncoderOwner {
        EncoderOwner::open(&self.model()).unwrap()
    }

    pub fn prepared(&self, text: &str) -> Prepared {
        self.owner().encode(text, Long::Truncate).unwrap()
    }

    /// What the plain model says.
    pub fn plain(&self, text: &Prepared) -> Vec<Vec<f64>> {
        let model = Checkpoint::open(&self.model()).unwrap();
        let encoder = Encoder::load(&model, Precision::F32).unwrap();
        let text = Text {
            tokens: text.ids(),
            token_types: text.token_types(),
        };
        let answer = encoder.forward(&[text], Part::Answer).unwrap().remove(0);
        let rows = answer.to_f64();
        rows.chunks(answer.width()).map(<[f64]>::to_vec).collect()
    }

    pub fn manifest(&self) -> Manifest {
        let text = std::fs::read(self.path("encrypted").join(MANIFEST_FILE)).unwrap();
        Manifest::parse(&text).unwrap()
    }
}

pub fn unchanged(_: &mut Value) {}

/// Of a RoBERTa whose tokenizer is BERT's.
pub fn roberta(config: &mut Value) {
    config["model_type"] = json!("roberta");
    config["type_vocab_size"] = json!(1);
    config["pad_token_id"] = json!(1);
}

pub fn three_labels(config: &mut Value) {
    config["id2label"] = json!({"0": "calm", "1": "angry", "2": "glad"});
}

pub fn one_label(config: &mut Value) {
    config["id2label"] = json!({"0": "LABEL_0"});
}

fn write_model(
    dir: &Path,
    class: &str,
    head: Option<&SentenceHead>,
    change: impl FnOnce(&mut Value),
) {
    let mut config = json!({
        "model_type": "bert", "architectures": [class], "vocab_size": 96, "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
        "max_position_embeddings": 40, "type_vocab_size": 2,
    });
    change(&mut config);
    random_sentence_model(dir, &config, head, Dtype::F32, 3);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wordpiece");
    std::fs::copy(golden.join("tokenizer.json"), dir.join("tokenizer.json")).unwrap();
    let cases = read_json(&golden.join("cases.json")).unwrap();
    let settings = &cases["variants"][0]["tokenizer_config"];
    std::fs::write(dir.join("tokenizer_config.json"), settings.to_string()).unwrap();
}
