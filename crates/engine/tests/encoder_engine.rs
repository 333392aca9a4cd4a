//! The engine of an encoder: many requests in one pass, and what happens to those that nobody wants or that do not fit.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use equicrypt_engine::{
    EncodeRequest, Encoder, EncoderEngine, EncoderOptions, Part, Precision, SubmitError, Text,
};
use equicrypt_spec::ModelConfig;
use serde_json::json;

#[allow(dead_code, reason = "the decoders' tests use the rest")]
mod tiny;

fn encoder() -> Encoder {
    let config = ModelConfig::from_json(&json!({
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": 50,
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
        "max_position_embeddings": 64, "type_vocab_size": 2, "num_labels": 3,
    }))
    .unwrap();
    Encoder::from_tensors(config, Precision::F32, &mut |tensor| {
        Ok(tiny::values(tensor))
    })
    .unwrap()
}

fn request(lengths: &[usize], part: Part) -> EncodeRequest {
    let text = |length: &usize| ((0..*length as u32).map(|i| i % 50).collect(), Vec::new());
    EncodeRequest {
        texts: lengths.iter().map(text).collect(),
        part,
    }
}

#[test]
fn every_text_gets_its_own_answer_however_passes_are_cut() {
    let plain = encoder();
    let expected = |length: usize, part| {
        let (tokens, token_types) = request(&[length], part).texts.remove(0);
        let text = Text {
            tokens: &tokens,
            token_types: &token_types,
        };
        plain.forward(&[text], part).unwrap().remove(0)
    };
    for pass_tokens in [1, 30, 64, 10_000] {
        let options = EncoderOptions {
            pass_tokens,
            ..EncoderOptions::default()
        };
        let engine = EncoderEngine::start(encoder(), options).unwrap();
        let lengths: Vec<usize> = (1..40).map(|n| n * 7 % 60 + 1).collect();
        std::thread::scope(|scope| {
            for thread in 0..6 {
                let (engine, lengths, expected) = (&engine, &lengths, &expected);
                scope.spawn(move || {
                    let part = [Part::Answer, Part::TokenVectors][thread % 2];
                    let own = &lengths[thread..];
                    let encoding = engine.submit(request(own, part)).unwrap();
                    let answers = encoding.blocking_answers().unwrap();
                    assert_eq!(answers.len(), own.len());
                    for (length, answer) in own.iter().zip(&answers) {
                        assert_eq!(*answer, expected(*length, part));
                    }
                });
            }
        });
        let counts = engine.counts();
        assert_eq!((counts.finished, counts.failed, counts.waiting), (6, 0, 0));
        assert_eq!(counts.prompt_tokens as usize, {
            (0..6)
                .map(|t| lengths[t..].iter().sum::<usize>())
                .sum::<usize>()
        });
    }
}

#[test]
fn what_cannot_be_read_or_does_not_fit_is_refused_at_once() {
    let options = EncoderOptions {
        max_queue: 4,
        pass_tokens: 1,
    };
    let engine = EncoderEngine::start(encoder(), options).unwrap();
    let param = |request| match engine.submit(request).unwrap_err() {
        SubmitError::Invalid { param, .. } => param,
        other => panic!("{other}"),
    };
    assert_eq!(param(request(&[], Part::Answer)), "input");
    assert_eq!(param(request(&[3, 0], Part::Answer)), "input");
    assert_eq!(param(request(&[65], Part::Answer)), "input");
    assert_eq!(param(request(&[3], Part::Pooled)), "task");
    let mut typed = request(&[3], Part::Answer);
    typed.texts[0].1 = vec![0, 1];
    assert_eq!(param(typed), "token_type_ids");

    // A request that is larger than the queue is taken if nothing waits. Many passes of one text
    // each: it still waits when the next one comes, however slow this thread is.
    let large = engine.submit(request(&[60; 50_000], Part::Answer)).unwrap();
    let result = engine.submit(request(&[1; 4], Part::Answer));
    assert!(matches!(result, Err(SubmitError::Overloaded { .. })));
    assert_eq!(engine.counts().overloaded, 1);
    drop((large, result));
    engine.join();
    assert!(matches!(
        engine.submit(request(&[1], Part::Answer)),
        Err(SubmitError::ShuttingDown)
    ));
}

#[test]
fn those_who_wait_hear_of_an_abort() {
    let options = EncoderOptions {
        max_queue: 1 << 20,
        pass_tokens: 1,
    };
    let engine = EncoderEngine::start(encoder(), options).unwrap();
    let waiting = engine.submit(request(&[60; 50_000], Part::Answer)).unwrap();
    engine.abort();
    assert!(waiting.blocking_answers().is_err());
    engine.join();
}
