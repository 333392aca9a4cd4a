//! Texts a second of the encoder, each text with 128 tokens: one at a time, and several together.
//!
//!     EQUICRYPT_MINILM=DIR EQUICRYPT_BENCH_JSON=FILE cargo bench -p equicrypt-engine --bench encode [-- NAME]
//!
//! Without a folder, a model of the sizes of all-MiniLM-L6-v2 with meaningless weights stands in: the time does not depend on
//! their values. Each figure is the best of some repetitions, because whatever else the machine does only ever adds time; the
//! median stands beside it.

#![allow(clippy::print_stdout, reason = "the table is the point")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use equicrypt_checkpoint::Checkpoint;
use equicrypt_engine::{Encoder, Part, Precision, Text};
use equicrypt_spec::ModelConfig;
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let (model, encoder) = match std::env::var_os("EQUICRYPT_MINILM") {
        Some(dir) => {
            let checkpoint = Checkpoint::open(Path::new(&dir))?;
            (
                "all-MiniLM-L6-v2",
                Encoder::load(&checkpoint, Precision::F32)?,
            )
        }
        None => ("the sizes of all-MiniLM-L6-v2", stand_in()?),
    };
    let load = start.elapsed().as_secs_f64();
    println!("{model}, f32, {} threads, loaded in {load:.2} s", threads());
    println!("{:<34}{:>14}{:>14}", "", "best texts/s", "median");
    let mut figures = Map::new();
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let chosen = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter));
    for texts in [1, 8, 32] {
        let name = format!("{texts} texts of {TOKENS} tokens");
        if chosen(&name) {
            let (best, median) = measure(&encoder, texts)?;
            println!("{name:<34}{best:>14.1}{median:>14.1}");
            figures.insert(name, json!({ "best": best, "median": median }));
        }
    }
    if let Some(file) = std::env::var_os("EQUICRYPT_BENCH_JSON") {
        let report = json!({
            "model": model, "threads": threads(), "load_seconds": load, "texts_per_second": Value::Object(figures),
        });
        std::fs::write(file, format!("{report:#}\n"))?;
    }
    Ok(())
}

/// The best rate and the median.
fn measure(encoder: &Encoder, texts: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let vocab = encoder.config().vocab_size;
    let ids: Vec<Vec<u32>> = (0..texts)
        .map(|text| {
            (0..TOKENS)
                .map(|token| ((text * TOKENS + token) * 7919 % vocab) as u32)
                .collect()
        })
        .collect();
    let texts: Vec<Text<'_>> = ids
        .iter()
        .map(|tokens| Text {
            tokens,
            token_types: &[],
        })
        .collect();
    let mut rates = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while rates.len() < 5 || Instant::now() < deadline {
        let start = Instant::now();
        let answers = encoder.forward(&texts, Part::TokenVectors)?;
        rates.push(answers.len() as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    Ok((rates[rates.len() - 1], rates[rates.len() / 2]))
}

fn stand_in() -> Result<Encoder, Box<dyn Error>> {
    let config = ModelConfig::from_json(&json!({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522, "hidden_size": 384,
        "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 12,
        "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }))?;
    let encoder = Encoder::from_tensors(config, Precision::F32, &mut |tensor| {
        let len = tensor.shape.iter().product::<usize>() as u64;
        // Not what bfloat16 can express, so that it is stored as a published checkpoint is.
        Ok((0..len)
            .map(|i| f64::from(((i * 2_654_435_761) % 1021) as f32 / 16384.1 - 0.03116))
            .collect())
    })?;
    Ok(encoder)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Tokens of a text.
const TOKENS: usize = 128;
/// How long each case is repeated.
const PATIENCE: Duration = Duration::from_secs(4);
