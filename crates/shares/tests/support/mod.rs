//! Tiny models, hosts in this process, and somebody between an owner and a host.
#![allow(dead_code, unreachable_pub, reason = "not every test uses everything")]

pub mod tap;
#[path = "../../../engine/tests/tiny/mod.rs"]
mod tiny;
pub mod uniform;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_engine::{Chunk, Decoder, Encoder, KvCache, Precision, Want};
use equicrypt_linear_host::{HostHandle, HostOptions, LinearHost, LinearModel};
use equicrypt_ring::IntegerWeights;
use equicrypt_sealed::{Address, TransportSecret};
use equicrypt_shares::{
    HeadPlace, HostAddress, OwnerModel, PrepareOptions, Remote, RemoteOptions, prepare,
};
use equicrypt_spec::{ARCHITECTURES, Architecture, Kind, Layout, ModelConfig, TensorSpec};
use serde_json::Value;

/// A model, the owner's folder of it, and a place for sockets.
pub struct Scene {
    pub dir: tempfile::TempDir,
    pub json: Value,
    pub model: Arc<LinearModel>,
    pub owner: Arc<OwnerModel>,
}

/// A host in this process, which ends with it.
pub struct Host {
    pub address: HostAddress,
    pub handle: HostHandle,
    thread: Option<JoinHandle<()>>,
}

impl Scene {
    pub fn new(json: &Value) -> Self {
        Self::with_head(json, HeadPlace::Remote)
    }

    pub fn with_head(json: &Value, head: HeadPlace) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = folder(&dir.path().join("model"), json);
        let owner = dir.path().join("owner");
        let prepared = prepare(&checkpoint, &owner, &PrepareOptions { head }).unwrap();
        let model = LinearModel::load(&checkpoint).unwrap();
        assert_eq!(prepared.digest, model.digest());
        Self {
            json: json.clone(),
            model: Arc::new(model),
            owner: Arc::new(OwnerModel::open(&owner).unwrap()),
            dir,
        }
    }

    /// A host at a socket of this name.
    pub fn host(&self, name: &str) -> Host {
        let address = Address::Unix(self.socket(name));
        Host::start(Arc::clone(&self.model), &address)
    }

    pub fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.sock"))
    }

    pub fn remote(&self, a: &HostAddress, b: &HostAddress) -> Arc<Remote> {
        self.remote_with(a, b, RemoteOptions::default())
    }

    pub fn remote_with(
        &self,
        a: &HostAddress,
        b: &HostAddress,
        options: RemoteOptions,
    ) -> Arc<Remote> {
        Remote::new(Arc::clone(&self.owner), [a.clone(), b.clone()], options).unwrap()
    }

    /// The model in f64 with the weights that the integers stand for.
    pub fn rounded_decoder(&self) -> Decoder {
        let config = ModelConfig::from_json(&self.json).unwrap();
        Decoder::from_tensors(config, Precision::F64, &mut |tensor| Ok(rounded(tensor))).unwrap()
    }

    pub fn rounded_encoder(&self) -> Encoder {
        let config = ModelConfig::from_json(&self.json).unwrap();
        Encoder::from_tensors(config, Precision::F64, &mut |tensor| Ok(rounded(tensor))).unwrap()
    }
}

impl Host {
    pub fn start(model: Arc<LinearModel>, address: &Address) -> Self {
        let secret = TransportSecret::generate().unwrap();
        let pin = secret.public().unwrap().fingerprint();
        let host = LinearHost::listen(model, secret, address, HostOptions::default()).unwrap();
        let address = HostAddress {
            address: host.address().clone(),
            pin: Some(pin),
        };
        let handle = host.handle();
        let thread = std::thread::spawn(move || host.run(|_| ()));
        Self {
            address,
            handle,
            thread: Some(thread),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.handle.shut_down();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Soon enough for a test, and late enough for a busy machine.
pub fn patient() -> RemoteOptions {
    RemoteOptions {
        timeout: Duration::from_secs(60),
        ..RemoteOptions::default()
    }
}

/// The configurations of the golden files, with the architecture's name.
pub fn configs(wanted: impl Fn(&Architecture) -> bool) -> Vec<(String, Value)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let architectures = ARCHITECTURES.iter().filter(|arch| wanted(arch));
    let files = architectures.flat_map(|arch| {
        let kind = if arch.is_encoder() {
            "encoders"
        } else {
            "decoders"
        };
        let file = dir.join(kind).join(format!("{}.json", arch.model_type));
        let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let cases = golden["cases"].as_array().unwrap().clone();
        let name = arch.model_type;
        cases
            .into_iter()
            .map(move |case| (name.to_owned(), case["config"].clone()))
    });
    let sound = |config: &Value| {
        ModelConfig::from_json(config).is_ok_and(|config| config.exact_context() >= 12)
    };
    let found: Vec<_> = files.filter(|(_, config)| sound(config)).collect();
    assert!(!found.is_empty());
    found
}

/// The first configuration of an architecture.
pub fn config(model_type: &str) -> Value {
    configs(|arch| arch.model_type == model_type).remove(0).1
}

/// Logits of the new tokens.
pub fn try_run(
    decoder: &Decoder,
    cache: &mut KvCache,
    tokens: &[u32],
) -> Result<Vec<f64>, equicrypt_engine::Error> {
    let want = Want::All;
    let chunk = Chunk {
        tokens,
        cache,
        want,
    };
    let logits = decoder.forward(&mut [chunk])?.remove(0);
    Ok((0..logits.rows())
        .flat_map(|row| logits.row_f64(row))
        .collect())
}

pub fn run(decoder: &Decoder, cache: &mut KvCache, tokens: &[u32]) -> Vec<f64> {
    try_run(decoder, cache, tokens).unwrap()
}

pub fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f64::max)
}

pub fn tokens(len: u32, vocab: usize, seed: u32) -> Vec<u32> {
    (0..len)
        .map(|i| (i * 17 + i * i * 3 + seed * 29) % vocab as u32)
        .collect()
}

/// A whole model with the weights of a formula.
pub fn folder(dir: &Path, json: &Value) -> Checkpoint {
    std::fs::create_dir(dir).unwrap();
    let config = ModelConfig::from_json(json).unwrap();
    let tensors = config.architecture.tensors(&config);
    let headers: Vec<_> = tensors
        .iter()
        .map(|tensor| TensorHeader::new(&tensor.name, Dtype::F64, &tensor.shape))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers).unwrap();
    for tensor in &tensors {
        let values = tiny::values(tensor);
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.write(&tensor.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), json).unwrap();
    Checkpoint::open(dir).unwrap()
}

/// A tensor's values; of a linear layer those that integers and scales stand for.
fn rounded(tensor: &TensorSpec) -> Vec<f64> {
    let values = tiny::values(tensor);
    let Kind::Linear { layout, .. } = tensor.row.kind else {
        return values;
    };
    let (outputs, inputs) = match layout {
        Layout::OutByInput => (tensor.shape[0], tensor.shape[1]),
        Layout::InputByOut => (tensor.shape[1], tensor.shape[0]),
    };
    let place = |output: usize, input: usize| match layout {
        Layout::OutByInput => output * inputs + input,
        Layout::InputByOut => input * outputs + output,
    };
    let integers = IntegerWeights::quantise(outputs, inputs, |output, row| {
        row.extend((0..inputs).map(|input| values[place(output, input)]));
    });
    let integers = integers.unwrap();
    let mut rounded = values.clone();
    for output in 0..outputs {
        for (input, integer) in integers.row(output).iter().enumerate() {
            rounded[place(output, input)] = f64::from(*integer) * integers.scales()[output];
        }
    }
    rounded
}
