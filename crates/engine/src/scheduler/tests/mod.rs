//! The engine against a plain loop over the same tiny random model.

mod answers;
mod faults;
mod limits;
mod sharing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use equicrypt_spec::ModelConfig;
use serde_json::json;

use super::*;
use crate::{Chunk, Precision, Sampler, Want};

/// Ends the tiny model's answers.
const EOS: u32 = 3;
const CONTEXT: usize = 96;
const VOCAB: u32 = 40;

fn decoder() -> Arc<Decoder> {
    let config = json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": CONTEXT, "eos_token_id": EOS, "tie_word_embeddings": false,
    });
    let config = ModelConfig::from_json(&config).unwrap();
    let mut state = 1u64;
    let decoder = Decoder::from_tensors(config, Precision::F32, &mut |tensor| {
        let size: usize = tensor.shape.iter().product();
        Ok((0..size)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
            })
            .collect())
    });
    Arc::new(decoder.unwrap())
}

fn options() -> EngineOptions {
    EngineOptions {
        max_batch: 4,
        max_queue: 16,
        prefill_chunk: 8,
        cached_tokens: 0,
        ..EngineOptions::default()
    }
}

fn engine(options: EngineOptions) -> Engine {
    Engine::start(decoder(), options).unwrap()
}

fn probed(
    options: EngineOptions,
    probe: impl Fn(&[Chunk<'_>]) -> Result<(), Error> + Send + 'static,
) -> Engine {
    let mut model = Model::new(decoder());
    model.probe = Some(Box::new(probe));
    Engine::start_with(model, options).unwrap()
}

/// An engine whose every step waits for a message, and where to send them.
fn stepped(options: EngineOptions) -> (Engine, std::sync::mpsc::Sender<()>) {
    let (go, wait) = channel::<()>();
    let engine = probed(options, move |_| {
        // An error means that the test lets go of the engine.
        let _ = wait.recv();
        Ok(())
    });
    (engine, go)
}

fn wait_for(condition: impl Fn() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it did not happen within five seconds");
}

fn greedy(max_tokens: usize) -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        max_tokens: Some(max_tokens),
        ignore_eos: true,
        ..SamplingParams::default()
    }
}

fn seeded(seed: u64, max_tokens: usize) -> SamplingParams {
    SamplingParams {
        temperature: 1.0,
        seed: Some(seed),
        ..greedy(max_tokens)
    }
}

fn request(prompt: &[u32], sampling: SamplingParams) -> Request {
    Request {
        prompt: prompt.to_vec(),
        sampling,
        salt: None,
    }
}

/// All that came of a request.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    ids: BTreeMap<usize, Vec<u32>>,
    finishes: BTreeMap<usize, Finish>,
    usage: Option<Usage>,
    aborted: bool,
    failure: Option<String>,
}

fn collect(mut generation: Generation) -> Outcome {
    let mut outcome = Outcome::default();
    while let Some(event) = generation.blocking_next() {
        match event {
            Event::Token {
                index, id, finish, ..
            } => {
                assert!(
                    !outcome.finishes.contains_key(&index),
                    "an id after the end"
                );
                outcome.ids.entry(index).or_default().push(id);
                outcome
                    .finishes
                    .extend(finish.map(|finish| (index, finish)));
            }
            Event::Done(usage) => outcome.usage = Some(usage),
            Event::Aborted(usage) => {
                outcome.usage = Some(usage);
                outcome.aborted = true;
            }
            Event::Failed { message } => outcome.failure = Some(message),
        }
    }
    outcome
}

fn run(engine: &Engine, request: Request) -> Outcome {
    collect(engine.submit(request).unwrap())
}

/// The same answers without batches, caches, chunks or threads.
fn reference(decoder: &Decoder, request: &Request) -> BTreeMap<usize, Vec<u32>> {
    let params = &request.sampling;
    let mut stops = params.stop_token_ids.clone();
    if !params.ignore_eos {
        stops.push(EOS);
    }
    let room = CONTEXT - request.prompt.len();
    let most = params.max_tokens.unwrap_or(room).min(room);
    let answer = |index| {
        let seed = params.seed.unwrap_or(0);
        let mut sampler = Sampler::new(params, &request.prompt, &stops, seed, index);
        let mut tokens = request.prompt.clone();
        for _ in 0..most {
            let mut cache = decoder.new_cache();
            let chunk = Chunk {
                tokens: &tokens,
                cache: &mut cache,
                want: Want::Last,
            };
            let logits = decoder.forward(&mut [chunk]).unwrap();
            let id = sampler.sample(logits[0].row(0)).unwrap().id;
            tokens.push(id);
            if stops.contains(&id) {
                break;
            }
        }
        tokens.split_off(request.prompt.len())
    };
    (0..params.n).map(|index| (index, answer(index))).collect()
}
