//! Tokens a second of the decoder: prompts, one answer, several answers at once.
//!
//!     EQUICRYPT_SMOLLM2=DIR EQUICRYPT_DTYPE=f32|bf16|q8_0 EQUICRYPT_BENCH_JSON=FILE cargo bench -p equicrypt-engine --bench decode [-- NAME]
//!
//! Without a folder, a model of the sizes of SmolLM2-135M with meaningless weights stands in: the time
//! does not depend on their values. Each figure is the best of some repetitions, because whatever else
//! the machine does only ever adds time; the median stands beside it.

#![allow(clippy::print_stdout, reason = "the table is the point")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Chunk, Decoder, KvCache, Precision, Want};
use equicrypt_spec::ModelConfig;
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let (model, decoder) = match std::env::var_os("EQUICRYPT_SMOLLM2") {
        Some(dir) => {
            let checkpoint = Checkpoint::open(Path::new(&dir))?;
            ("SmolLM2-135M", Decoder::load(&checkpoint, precision()?)?)
        }
        None => ("the sizes of SmolLM2-135M", stand_in()?),
    };
    let load = start.elapsed().as_secs_f64();
    println!(
        "{model}, {:?}, {} threads, loaded in {load:.2} s",
        precision()?,
        threads()
    );
    println!("{:<34}{:>14}{:>14}", "", "best tokens/s", "median");
    let mut figures = Map::new();
    figures.insert("load_seconds".into(), json!(load));
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let chosen = |name: &str| {
        filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
    };
    for (name, case) in cases().into_iter().filter(|(name, _)| chosen(name)) {
        let (best, median) = measure(&decoder, &case)?;
        println!("{name:<34}{best:>14.1}{median:>14.1}");
        figures.insert(name, json!({ "best": best, "median": median }));
    }
    if let Some(file) = std::env::var_os("EQUICRYPT_BENCH_JSON") {
        let report = json!({
            "model": model, "threads": threads(), "tokens_per_second": Value::Object(figures),
        });
        std::fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// `sequences` with `context` tokens each get `chunk` new ones, `steps` times.
struct Case {
    sequences: usize,
    context: usize,
    chunk: usize,
    steps: usize,
}

fn cases() -> Vec<(String, Case)> {
    let prefill = |chunk| {
        let case = Case {
            sequences: 1,
            context: 0,
            chunk,
            steps: 1,
        };
        (format!("prompt of {chunk}"), case)
    };
    let decode = |sequences, context| {
        let case = Case {
            sequences,
            context,
            chunk: 1,
            steps: 8,
        };
        (format!("{sequences} sequences, context {context}"), case)
    };
    vec![
        prefill(16),
        prefill(64),
        prefill(512),
        prefill(2048),
        decode(1, 64),
        decode(1, 1024),
        decode(1, 4096),
        decode(2, 64),
        decode(4, 64),
        decode(8, 64),
        decode(8, 1024),
        decode(16, 64),
    ]
}

fn measure(decoder: &Decoder, case: &Case) -> Result<(f64, f64), Box<dyn Error>> {
    let mut cache = decoder.new_cache();
    for start in (0..case.context).step_by(512) {
        let tokens = tokens(decoder, start, 512.min(case.context - start));
        step(
            decoder,
            std::slice::from_mut(&mut cache),
            &tokens,
            Want::Nothing,
        )?;
    }
    let new = tokens(decoder, case.context, case.chunk);
    let mut rates = Vec::new();
    let deadline = Instant::now() + std::time::Duration::from_secs(SECONDS);
    while rates.len() < 3 || Instant::now() < deadline {
        let mut caches: Vec<_> = (0..case.sequences).map(|_| cache.fork()).collect();
        for _ in 0..case.steps {
            let start = Instant::now();
            step(decoder, &mut caches, &new, Want::Last)?;
            let tokens = (case.sequences * case.chunk) as f64;
            rates.push(tokens / start.elapsed().as_secs_f64());
        }
    }
    rates.sort_by(f64::total_cmp);
    Ok((rates[rates.len() - 1], rates[rates.len() / 2]))
}

fn step(
    decoder: &Decoder,
    caches: &mut [KvCache],
    tokens: &[u32],
    want: Want,
) -> Result<(), Box<dyn Error>> {
    let mut chunks: Vec<_> = caches
        .iter_mut()
        .map(|cache| Chunk {
            tokens,
            cache,
            want,
        })
        .collect();
    decoder.forward(&mut chunks)?;
    Ok(())
}

fn tokens(decoder: &Decoder, start: usize, len: usize) -> Vec<u32> {
    let vocab = decoder.config().vocab_size;
    (start..start + len)
        .map(|i| ((i * 7919 + 13) % vocab) as u32)
        .collect()
}

fn stand_in() -> Result<Decoder, Box<dyn Error>> {
    let config = ModelConfig::from_json(&json!({
        "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
        "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536,
        "rms_norm_eps": 1e-5, "rope_theta": 100000, "max_position_embeddings": 8192,
        "tie_word_embeddings": true,
    }))?;
    let decoder = Decoder::from_tensors(config, precision()?, &mut |tensor| {
        let len = tensor.shape.iter().product::<usize>() as u64;
        Ok((0..len)
            .map(|i| ((i * 2_654_435_761) % 1024) as f64 / 16384.0 - 0.03125)
            .collect())
    })?;
    Ok(decoder)
}

fn precision() -> Result<Precision, Box<dyn Error>> {
    match std::env::var("EQUICRYPT_DTYPE").as_deref() {
        Err(_) | Ok("f32") => Ok(Precision::F32),
        Ok("bf16") => Ok(Precision::Bf16),
        Ok("q8_0") => Ok(Precision::Q8_0),
        Ok(other) => Err(format!("EQUICRYPT_DTYPE is f32, bf16 or q8_0, not {other:?}").into()),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// How long each case is repeated.
const SECONDS: u64 = 3;
