//! Every architecture with its linear layers computed elsewhere, from what a checkpoint says of them.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_engine::{
    Chunk, Decoder, Encoder, Error, Linear, LinearId, LinearLayers, LinearWeights, Linears, Part,
    Pending, Precision, Projection, Rows, Text, Values, Want,
};
use equicrypt_spec::{ARCHITECTURES, Architecture, ModelConfig};
use serde_json::Value;

#[allow(dead_code, reason = "other tests use the rest")]
mod tiny;

/// How many vectors each layer was asked about.
type Asked = Arc<Mutex<BTreeMap<String, Vec<usize>>>>;

/// Computes them row by row.
struct Elsewhere<'a> {
    layers: &'a LinearLayers<'a>,
    asked: Asked,
}

struct RowByRow {
    name: String,
    weights: LinearWeights,
    asked: Asked,
}

impl Linears for Elsewhere<'_> {
    fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error> {
        let name = id.to_string();
        self.asked.lock().unwrap().insert(name.clone(), Vec::new());
        Ok(Box::new(RowByRow {
            name,
            weights: self.layers.read(id)?,
            asked: Arc::clone(&self.asked),
        }))
    }

    fn has(&self, id: LinearId) -> bool {
        self.layers.ids().contains(&id)
    }
}

impl Linear for RowByRow {
    fn forward(&self, x: &Rows) -> Result<Rows, Error> {
        let Values::F64(values) = &x.values else {
            panic!("asked in another precision")
        };
        let (width, weights) = (self.weights.outputs(), &self.weights);
        let rows: Vec<&[f64]> = values.chunks_exact(weights.inputs()).collect();
        let mut asked = self.asked.lock().unwrap();
        asked.get_mut(&self.name).unwrap().push(rows.len());
        let mut y = Vec::new();
        for x in rows {
            for output in 0..width {
                let mut row = Vec::new();
                weights.append_row(output, &mut row);
                let bias = weights.bias().map_or(0.0, |bias| bias[output]);
                y.push(row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + bias);
            }
        }
        let values = Values::F64(y);
        Ok(Rows { width, values })
    }
}

#[test]
fn decoders_give_the_same_logits_and_do_not_show_which_experts_count() {
    for (arch, config) in configs(|arch| !arch.is_encoder()) {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = folder(&dir.path().join("model"), &config);
        let layers = LinearLayers::open(&checkpoint).unwrap();
        let asked = Asked::default();
        let mut linears = Elsewhere {
            layers: &layers,
            asked: Arc::clone(&asked),
        };
        let part = part(&dir.path().join("part"), &config, &layers);
        let here = Decoder::load(&checkpoint, Precision::F64).unwrap();
        let elsewhere = Decoder::load_with_linears(&part, Precision::F64, &mut linears).unwrap();
        let tokens: Vec<u32> = (0..9)
            .map(|i| (i * 7 + 3) % here.config().vocab_size as u32)
            .collect();
        let logits = |decoder: &Decoder| {
            let mut cache = decoder.new_cache();
            let chunk = Chunk {
                tokens: &tokens,
                cache: &mut cache,
                want: Want::All,
            };
            let logits = decoder.forward(&mut [chunk]).unwrap().remove(0);
            (0..logits.rows())
                .flat_map(|row| logits.row_f64(row))
                .collect::<Vec<_>>()
        };
        for (a, b) in logits(&here).iter().zip(logits(&elsewhere)) {
            assert!((a - b).abs() < 1e-9, "{arch}: {a} {b}");
        }
        let mut ids: Vec<_> = layers.ids().iter().map(LinearId::to_string).collect();
        ids.sort();
        let asked = asked.lock().unwrap();
        assert_eq!(ids, asked.keys().cloned().collect::<Vec<_>>(), "{arch}");
        assert!(asked.values().all(|rows| *rows == [9]), "{arch}: {asked:?}");
    }
}

/// Counts what has been asked, and looks at the count when it is waited for.
struct Together {
    linear: Box<dyn Linear>,
    asked: Arc<Mutex<usize>>,
    all: usize,
}

impl Linear for Together {
    fn forward(&self, _: &Rows) -> Result<Rows, Error> {
        panic!("not asked before it is waited for")
    }

    fn ask(&self, x: &Rows) -> Result<Pending<'_>, Error> {
        *self.asked.lock().unwrap() += 1;
        let x = x.clone();
        Ok(Box::new(move || {
            assert_eq!(*self.asked.lock().unwrap(), self.all);
            self.linear.forward(&x)
        }))
    }
}

/// Where hosts are far away, a mixture of experts costs two round trips, not two for each expert.
#[test]
fn experts_elsewhere_are_asked_at_once() {
    struct Mixture<'a>(&'a LinearLayers<'a>, Arc<Mutex<usize>>, usize);
    impl Linears for Mixture<'_> {
        fn linear(&mut self, id: LinearId) -> Result<Box<dyn Linear>, Error> {
            let linear = self.0.here(id, Precision::F64)?;
            Ok(match (id.projection, id.layer) {
                (Projection::ExpertGateUp | Projection::Router, Some(0)) => Box::new(Together {
                    linear,
                    asked: Arc::clone(&self.1),
                    all: self.2,
                }),
                _ => linear,
            })
        }
    }
    let (_, config) = configs(|arch| arch.model_type == "mixtral").remove(0);
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = folder(&dir.path().join("model"), &config);
    let layers = LinearLayers::open(&checkpoint).unwrap();
    let experts = layers.config().experts.as_ref().unwrap().count;
    let mut linears = Mixture(&layers, Arc::default(), experts + 1);
    let decoder = Decoder::load_with_linears(&checkpoint, Precision::F64, &mut linears).unwrap();
    let chunk = Chunk {
        tokens: &[1, 2],
        cache: &mut decoder.new_cache(),
        want: Want::Last,
    };
    decoder.forward(&mut [chunk]).unwrap();
    assert_eq!(*linears.1.lock().unwrap(), experts + 1);
}

#[test]
fn encoders_give_the_same_vectors() {
    for (arch, config) in configs(Architecture::is_encoder) {
        let dir = tempfile::tempdir().unwrap();
        let checkpoint = folder(&dir.path().join("model"), &config);
        let layers = LinearLayers::open(&checkpoint).unwrap();
        let asked = Asked::default();
        let mut linears = Elsewhere {
            layers: &layers,
            asked: Arc::clone(&asked),
        };
        let part = part(&dir.path().join("part"), &config, &layers);
        let here = Encoder::load(&checkpoint, Precision::F64).unwrap();
        let elsewhere = Encoder::load_with_linears(&part, Precision::F64, &mut linears).unwrap();
        let long: Vec<u32> = (0..9)
            .map(|i| (i * 7 + 3) % here.config().vocab_size as u32)
            .collect();
        let texts = [&long[..], &long[2..7]].map(|tokens| Text {
            tokens,
            token_types: &[],
        });
        let mut compared = 0;
        for part in [Part::TokenVectors, Part::Pooled, Part::Answer] {
            let Ok(expected) = here.forward(&texts, part) else {
                assert!(elsewhere.forward(&texts, part).is_err());
                continue;
            };
            let found = elsewhere.forward(&texts, part).unwrap();
            for (a, b) in expected.iter().zip(&found) {
                assert_eq!((a.rows(), a.width()), (b.rows(), b.width()));
                for (a, b) in a.to_f64().iter().zip(b.to_f64()) {
                    assert!((a - b).abs() < 1e-9, "{arch}: {a} {b}");
                }
            }
            compared += 1;
        }
        assert!(compared > 0);
        let mut ids: Vec<_> = layers.ids().iter().map(LinearId::to_string).collect();
        ids.sort();
        assert_eq!(
            ids,
            asked.lock().unwrap().keys().cloned().collect::<Vec<_>>(),
            "{arch}"
        );
    }
}

#[test]
fn a_part_has_the_layers_that_it_has() {
    let (_, config) = configs(|arch| arch.model_type == "qwen2").remove(0);
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = folder(&dir.path().join("model"), &config);
    let whole = LinearLayers::open(&checkpoint).unwrap();
    let part = part(&dir.path().join("part"), &config, &whole);
    let empty = LinearLayers::open_part(&part).unwrap();
    assert!(empty.ids().is_empty());
    let message = empty.read(whole.ids()[0]).err().unwrap().to_string();
    assert!(message.contains("no such layer"), "{message}");
    let x = Rows {
        width: whole.config().hidden_size,
        values: Values::F64(vec![0.5; whole.config().hidden_size]),
    };
    let linear = LinearLayers::open_part(&checkpoint).unwrap();
    let linear = linear.here(whole.ids()[0], Precision::F64).unwrap();
    let weights = whole.read(whole.ids()[0]).unwrap();
    let Values::F64(y) = linear.forward(&x).unwrap().values else {
        panic!("answered in another precision")
    };
    for (output, y) in y.into_iter().enumerate() {
        let mut row = Vec::new();
        weights.append_row(output, &mut row);
        let bias = weights.bias().map_or(0.0, |bias| bias[output]);
        assert!((row.iter().sum::<f64>() * 0.5 + bias - y).abs() < 1e-12);
    }
}

/// The first two configurations of each architecture's golden file.
fn configs(wanted: impl Fn(&Architecture) -> bool) -> Vec<(String, Value)> {
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
        ModelConfig::from_json(config).is_ok_and(|config| config.exact_context() >= 9)
    };
    let found: Vec<_> = files.filter(|(_, config)| sound(config)).collect();
    assert!(!found.is_empty());
    found
}

/// A whole model.
fn folder(dir: &Path, json: &Value) -> Checkpoint {
    let config = ModelConfig::from_json(json).unwrap();
    let tensors = config.architecture.tensors(&config);
    write(
        dir,
        json,
        tensors.iter().map(|tensor| (tensor.name.clone(), tensor)),
    )
}

/// What is needed beside the linear layers, under the names of the table.
fn part(dir: &Path, json: &Value, layers: &LinearLayers<'_>) -> Checkpoint {
    let config = layers.config();
    let all = config.architecture.tensors(config);
    let name = |key| {
        all.iter()
            .find(|tensor| tensor.key() == key)
            .unwrap()
            .name
            .clone()
    };
    let others = layers.others().into_iter();
    write(dir, json, others.map(|tensor| (name(tensor.key()), tensor)))
}

fn write<'a>(
    dir: &Path,
    json: &Value,
    tensors: impl Iterator<Item = (String, &'a equicrypt_spec::TensorSpec)>,
) -> Checkpoint {
    std::fs::create_dir(dir).unwrap();
    let tensors: Vec<_> = tensors.collect();
    let headers: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| TensorHeader::new(name, Dtype::F64, &tensor.shape))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers).unwrap();
    for (name, tensor) in tensors {
        let values = tiny::values(tensor);
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        writer.write(&name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), json).unwrap();
    Checkpoint::open(dir).unwrap()
}
