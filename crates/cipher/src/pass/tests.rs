//! The write pass against its definition: every output tensor made whole, one map after the other, by `Action::apply`.

use equicrypt_checkpoint::{CheckpointWriter, TensorHeader, write_json};
use equicrypt_spec::Profile;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::rng::SecretRng;
use crate::{Homophones, MasterKey, Options, Schedule, Vocabulary};

/// Whatever of a model and of how it is encrypted makes a difference to the pass.
#[derive(Debug, Clone)]
struct Case {
    model_type: &'static str,
    hidden: usize,
    ffn: usize,
    vocab: usize,
    stored: Dtype,
    options: Options,
    homophones: usize,
    held_values: usize,
    split: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let dtypes = prop::sample::select(Dtype::ALL.to_vec());
    let output = prop::option::of(dtypes.clone());
    let model = (0usize..2, 1usize..6, 1usize..90, 2usize..90, dtypes, output);
    let how = (
        any::<bool>(),
        0usize..2,
        prop::sample::select(vec![0.0, 0.0, 0.3]),
        prop::sample::select(vec![0usize, 5]),
        prop::sample::select(vec![1usize, 3000, HELD_VALUES]),
        any::<bool>(),
    );
    (model, how).prop_map(|(model, how)| {
        let (gpt, heads_wide, ffn, vocab, stored, dtype) = model;
        let (rotates, expands, noise, homophones, held_values, split) = how;
        // GPT-2 stores its matrices the other way round, and its norms stand on the mean.
        let model_type = ["llama", "gpt2"][gpt];
        let profile = [Profile::Permute, Profile::Rotate][usize::from(rotates)];
        let wider = rotates && model_type == "llama";
        Case {
            model_type,
            hidden: 8 * heads_wide,
            ffn,
            vocab,
            stored,
            options: Options {
                profile,
                dtype,
                epoch: 0,
                expand: if wider { 4 * expands } else { 0 },
                scales: true,
                rotate_output: false,
                noise,
            },
            homophones,
            held_values,
            split,
        }
    })
}

impl Case {
    fn config(&self) -> Value {
        match self.model_type {
            "llama" => json!({
                "model_type": "llama", "hidden_act": "silu", "vocab_size": self.vocab,
                "hidden_size": self.hidden, "intermediate_size": self.ffn,
                "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2,
                "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
                "tie_word_embeddings": self.ffn.is_multiple_of(2),
            }),
            _ => json!({
                "model_type": "gpt2", "activation_function": "gelu_new", "vocab_size": self.vocab,
                "n_embd": self.hidden, "n_inner": self.ffn, "n_layer": 1, "n_head": 4,
                "n_positions": 16, "layer_norm_epsilon": 1e-5,
            }),
        }
    }

    fn write(&self, dir: &std::path::Path) -> Checkpoint {
        let config = self.config();
        let parsed = equicrypt_spec::ModelConfig::from_json(&config).unwrap();
        let headers: Vec<TensorHeader> = (parsed.architecture.tensors(&parsed).iter())
            .map(|spec| TensorHeader::new(&spec.name, self.stored, &spec.shape))
            .collect();
        let writer = CheckpointWriter::create(dir, &headers).unwrap();
        let mut stream = SecretRng::new(&[9; 32]);
        for header in &headers {
            let values: Vec<f64> = (0..header.shape.iter().product())
                .map(|_| stream.gaussian_pair().0)
                .collect();
            let mut bytes = vec![0; values.len() * self.stored.size()];
            self.stored.encode_f64(&values, &mut bytes);
            writer.write(&header.name, 0, &bytes).unwrap();
        }
        writer.finish().unwrap();
        write_json(&dir.join("config.json"), &config).unwrap();
        Checkpoint::open(dir).unwrap()
    }

    fn secrets(&self, source: &Checkpoint, plan: &Plan, homophones: &Homophones) -> Secrets {
        let key = MasterKey::from_bytes([5; 32]);
        let schedule = Schedule::new(&key, &source.fingerprint().unwrap(), 0);
        let vocabulary = Vocabulary::with_homophones(&schedule, homophones, None);
        let secrets = Secrets::derive(&schedule, &plan.target, &plan.permits(), &vocabulary);
        match self.options.noise > 0.0 {
            true => secrets.with_noise(&schedule),
            false => secrets,
        }
    }

    fn check<T: Real>(&self, source: &Checkpoint, plan: &Plan, secrets: &Secrets) {
        let place = tempfile::tempdir().unwrap();
        let headers: Vec<TensorHeader> = (plan.outputs.iter())
            .map(|o| TensorHeader::new(o.spec.name.as_str(), o.dtype, &o.spec.shape))
            .collect();
        let writer = CheckpointWriter::create(place.path(), &headers).unwrap();
        let mut pass = Pass::<T>::new(source, &writer, plan, secrets, &|_| ());
        pass.held_values = self.held_values;
        let split = if self.split {
            Split::Freely
        } else {
            Split::Never
        };
        let defined: Vec<Vec<u8>> = (plan.outputs.iter())
            .map(|output| {
                pass.tensor(output, split).unwrap();
                definition(&pass, output)
            })
            .collect();
        writer.finish().unwrap();
        write_json(&place.path().join("config.json"), &self.config()).unwrap();
        let written = Checkpoint::open(place.path()).unwrap();
        for (output, defined) in plan.outputs.iter().zip(defined) {
            let mut bytes = vec![0; defined.len()];
            written.read(&output.spec.name, 0, &mut bytes).unwrap();
            assert!(bytes == defined, "{} of {self:?}", output.spec.name);
        }
    }
}

/// The bytes of an output, made the plain way.
fn definition<T: Real>(pass: &Pass<'_, T>, output: &OutputTensor) -> Vec<u8> {
    let values = match output.work {
        Work::Constant(value) => vec![T::from_f64(value); output.values()],
        _ => transformed(pass, output),
    };
    let mut bytes = vec![0; values.len() * output.dtype.size()];
    T::encode(output.dtype, &values, &mut bytes);
    bytes
}

fn transformed<T: Real>(pass: &Pass<'_, T>, output: &OutputTensor) -> Vec<T> {
    let ready = pass.ready(output).unwrap();
    let ((height, width), (tall, wide)) = (ready.from, ready.to);
    let mut bytes = vec![0; height * width * ready.dtype.size()];
    pass.source.read(&ready.source, 0, &mut bytes).unwrap();
    let mut source = vec![T::default(); height * width];
    T::decode(ready.dtype, &bytes, &mut source);
    let mut rows: Vec<Vec<T>> = source.chunks_exact(width).map(<[T]>::to_vec).collect();
    for (index, row) in rows.iter_mut().enumerate() {
        if let (Some((label, deviation)), Some(noise)) = (ready.noise, pass.secrets.noise()) {
            noise.add(label, index, deviation, row);
        }
        let factor = match &ready.row_factors {
            Some(factors) => factors[index] * ready.scale,
            None => ready.scale,
        };
        row.iter_mut().for_each(|value| *value = *value * factor);
        if let Some(factors) = &ready.column_factors {
            for (value, factor) in row.iter_mut().zip(factors) {
                *value = *value * *factor;
            }
        }
        row.resize(wide, T::default());
        if let Some(columns) = &ready.columns {
            columns.apply(row, 1);
        }
    }
    match ready.rows.as_monomial() {
        Some((source, factor)) => (source.iter().zip(factor))
            .flat_map(|(from, factor)| rows[*from as usize].iter().map(|value| *factor * *value))
            .collect(),
        None => {
            rows.resize(tall, vec![T::default(); wide]);
            let mut all = rows.concat();
            ready.rows.apply(&mut all, wide);
            all
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Bit for bit, whatever the shapes, the dtypes, the secrets, and the way it is cut into parts.
    #[test]
    fn the_pass_writes_what_its_definition_says(case in cases()) {
        let place = tempfile::tempdir().unwrap();
        let source = case.write(place.path());
        let weights: Vec<f64> = (0..case.vocab).map(|id| (1 + id % 7) as f64).collect();
        let homophones = Homophones::allocate(
            &weights,
            None,
            case.homophones,
            crate::Allocation::Proportional,
        )
        .unwrap();
        let id = MasterKey::from_bytes([5; 32]).id();
        let plan = Plan::with_homophones(&source, &case.options, &homophones, id).unwrap();
        let secrets = case.secrets(&source, &plan, &homophones);
        match plan.takes_part(Dtype::F64) {
            true => case.check::<f64>(&source, &plan, &secrets),
            false => case.check::<f32>(&source, &plan, &secrets),
        }
    }
}
