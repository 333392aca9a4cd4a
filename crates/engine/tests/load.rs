//! A decoder read from a folder is the one made in memory from the same numbers.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::path::Path;

use equicrypt_checkpoint::{Checkpoint, CheckpointWriter, Dtype, TensorHeader, write_json};
use equicrypt_engine::{Chunk, Decoder, Error, Precision, Want};
use equicrypt_spec::{ModelConfig, TensorSpec};
use serde_json::{Value, json};

mod tiny;

fn config() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 40, "hidden_size": 24, "intermediate_size": 36,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 32, "attention_bias": true, "tie_word_embeddings": false,
    })
}

/// Writes the tensors, each in the dtype that `dtype` chooses for it.
fn write(dir: &Path, tensors: &[TensorSpec], dtype: impl Fn(&TensorSpec) -> Dtype) {
    let headers: Vec<_> = tensors
        .iter()
        .map(|tensor| TensorHeader::new(&tensor.name, dtype(tensor), &tensor.shape))
        .collect();
    let writer = CheckpointWriter::create(dir, &headers).unwrap();
    for (tensor, header) in tensors.iter().zip(&headers) {
        let values = tiny::values(tensor);
        let mut bytes = vec![0; values.len() * header.dtype.size()];
        header.dtype.encode_f64(&values, &mut bytes);
        writer.write(&tensor.name, 0, &bytes).unwrap();
    }
    writer.finish().unwrap();
    write_json(&dir.join("config.json"), &config()).unwrap();
}

fn logits(decoder: &Decoder) -> Vec<Vec<f64>> {
    let (tokens, mut cache) = ([3, 1, 39, 0, 17, 17, 5], decoder.new_cache());
    let chunk = Chunk {
        tokens: &tokens,
        cache: &mut cache,
        want: Want::All,
    };
    let logits = decoder.forward(&mut [chunk]).unwrap().remove(0);
    (0..logits.rows()).map(|row| logits.row_f64(row)).collect()
}

#[test]
fn every_dtype_is_read_as_it_stands_also_where_they_are_mixed() {
    let model = ModelConfig::from_json(&config()).unwrap();
    let tensors = model.architecture.tensors(&model);
    for dtype in Dtype::ALL.into_iter().map(Some).chain([None]) {
        let dir = tempfile::tempdir().unwrap();
        let mixed = |tensor: &TensorSpec| Dtype::ALL[tensor.name.len() % 4];
        write(dir.path(), &tensors, |tensor| {
            dtype.unwrap_or(mixed(tensor))
        });
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        for precision in [Precision::F32, Precision::F64] {
            let loaded = Decoder::load(&checkpoint, precision).unwrap();
            let mut rounded = |tensor: &TensorSpec| Ok(checkpoint.read_f64(&tensor.name)?);
            let made = Decoder::from_tensors(model.clone(), precision, &mut rounded).unwrap();
            assert_eq!(logits(&loaded), logits(&made));
            if matches!(dtype, Some(Dtype::F32 | Dtype::F64)) {
                let exact = tiny::decoder(&config(), precision);
                assert_eq!(logits(&loaded), logits(&exact));
            }
        }
    }
}

#[test]
fn a_header_that_is_not_the_tables_is_refused_by_name() {
    let config = ModelConfig::from_json(&config()).unwrap();
    let tensors = config.architecture.tensors(&config);
    let mut other = tensors.clone();
    let lost = other.remove(4);
    let refuse = |tensors: &[TensorSpec], name: &str| {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), tensors, |_| Dtype::F32);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let error = Decoder::load(&checkpoint, Precision::F32).err().unwrap();
        assert!(
            matches!(error, Error::Spec(_)) && error.to_string().contains(name),
            "{error}"
        );
    };
    refuse(&other, &lost.name);
    let mut other = tensors.clone();
    other.push(TensorSpec {
        name: "another".into(),
        ..tensors[0].clone()
    });
    refuse(&other, "another");
    let mut other = tensors.clone();
    other[2].shape[0] += 1;
    refuse(&other, &tensors[2].name);
}
