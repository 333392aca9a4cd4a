use axum::Router;
use axum::http::StatusCode;
use base64::Engine as _;
use equicrypt_engine::{Encoder, EncoderEngine, EncoderOptions, Part, Precision, Text};
use equicrypt_server::{Host, app};
use equicrypt_spec::{ModelConfig, Pooling, SentenceDense, SentenceHead};
use serde_json::{Value, json};

use crate::common::*;

fn encoder(class: &str, labels: usize) -> Encoder {
    let config = ModelConfig::from_json(&json!({
        "architectures": [class], "model_type": "bert", "vocab_size": VOCAB, "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24,
        "max_position_embeddings": 32, "type_vocab_size": 2, "num_labels": labels,
    }))
    .unwrap();
    let config = match class {
        "BertModel" => config.with_sentence(SentenceHead {
            pooling: Pooling::Mean,
            width: 6,
            dense: Some(SentenceDense {
                input: 16,
                bias: true,
                tanh: false,
            }),
            normalize: true,
        }),
        _ => Ok(config),
    };
    Encoder::from_tensors(config.unwrap(), Precision::F32, &mut |tensor| {
        Ok(values(tensor).into_iter().map(f64::from).collect())
    })
    .unwrap()
}

fn router_of(class: &str, labels: usize) -> Router {
    let options = EncoderOptions {
        max_queue: 8,
        ..EncoderOptions::default()
    };
    let engine = EncoderEngine::start(encoder(class, labels), options).unwrap();
    app(Host::new(engine, "tiny".into(), None), None)
}

/// What the encoder itself gives.
fn direct(class: &str, labels: usize, tokens: &[u32], token_types: &[u32], part: Part) -> Vec<f32> {
    let text = Text {
        tokens,
        token_types,
    };
    encoder(class, labels).forward(&[text], part).unwrap()[0].to_f32()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test]
async fn embeddings_come_in_order_as_numbers_or_base64() {
    let router = router_of("BertModel", 0);
    let body = json!({ "model": "tiny", "input": [[1, 2, 3], [4], [5, 6]] });
    let answer = ask(&router, "/v1/embeddings", &body).await;
    assert_eq!(answer["object"], "list");
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    for (index, tokens) in [&[1, 2, 3][..], &[4], &[5, 6]].into_iter().enumerate() {
        let expected = direct("BertModel", 0, tokens, &[], Part::Answer);
        let data = &answer["data"][index];
        assert_eq!(data["index"], index);
        assert_eq!(floats(&data["embedding"]), expected);
    }
    let body = json!({ "input": [1, 2, 3], "encoding_format": "base64" });
    let answer = ask(&router, "/v1/embeddings", &body).await;
    let text = answer["data"][0]["embedding"].as_str().unwrap();
    let bytes = base64::prelude::BASE64_STANDARD.decode(text).unwrap();
    let (chunks, _) = bytes.as_chunks::<4>();
    let found: Vec<f32> = chunks
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk))
        .collect();
    assert_eq!(found, direct("BertModel", 0, &[1, 2, 3], &[], Part::Answer));
}

#[tokio::test]
async fn token_types_and_activations_are_obeyed() {
    let router = router_of("BertForSequenceClassification", 3);
    let (tokens, types) = ([1, 2, 3, 4], [0, 0, 1, 1]);
    let mut body = json!({ "input": [tokens], "token_type_ids": [types], "use_activation": false });
    let answer = ask(&router, "/classify", &body).await;
    let logits = direct(
        "BertForSequenceClassification",
        3,
        &tokens,
        &types,
        Part::Answer,
    );
    assert_eq!(floats(&answer["data"][0]["probs"]), logits);
    assert_eq!(answer["data"][0]["num_classes"], 3);
    body["use_activation"] = json!(true);
    let answer = ask(&router, "/classify", &body).await;
    let probs = floats(&answer["data"][0]["probs"]);
    assert!((probs.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let largest = |values: &[f32]| {
        let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.unwrap().0
    };
    assert_eq!(largest(&probs), largest(&logits));
    assert_eq!(
        answer["data"][0]["label"],
        format!("LABEL_{}", largest(&logits))
    );
}

#[tokio::test]
async fn reranking_puts_the_best_first() {
    let router = router_of("BertForSequenceClassification", 1);
    let input = [[1, 2, 9], [3, 4, 8], [5, 6, 7]];
    let mut body = json!({ "input": input, "token_type_ids": [[0, 0, 1], [0, 0, 1], [0, 0, 1]] });
    let answer = ask(&router, "/rerank", &body).await;
    let results = answer["results"].as_array().unwrap().clone();
    let scores: Vec<f64> = results
        .iter()
        .map(|r| r["relevance_score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores.len(), 3);
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 1.0 && scores[2] >= 0.0);
    for (result, score) in results.iter().zip(&scores) {
        let tokens = input[result["index"].as_u64().unwrap() as usize];
        let class = "BertForSequenceClassification";
        let logit = direct(class, 1, &tokens, &[0, 0, 1], Part::Answer)[0];
        let expected = 1.0 / (1.0 + f64::from(-logit).exp());
        assert!((expected - score).abs() < 1e-6);
    }
    body["top_n"] = json!(1);
    let answer = ask(&router, "/rerank", &body).await;
    assert_eq!(answer["results"].as_array().unwrap().len(), 1);
    assert_eq!(answer["results"][0]["index"], results[0]["index"]);
}

#[tokio::test]
async fn pooling_gives_what_the_model_is_made_for() {
    for (class, task, rows) in [
        ("BertModel", "token_embed", 16),
        ("BertForTokenClassification", "token_classify", 5),
        ("BertForMaskedLM", "token_logits", VOCAB as usize),
    ] {
        let router = router_of(class, 5);
        let body = json!({ "input": [[1, 2, 3]], "task": task, "use_activation": false });
        let answer = ask(&router, "/pooling", &body).await;
        let found: Vec<Vec<f32>> =
            serde_json::from_value(answer["data"][0]["data"].clone()).unwrap();
        let part = if task == "token_embed" {
            Part::TokenVectors
        } else {
            Part::Answer
        };
        let expected = direct(class, 5, &[1, 2, 3], &[], part);
        assert_eq!((found.len(), found[0].len()), (3, rows));
        assert_eq!(found.concat(), expected);
        let mut some = body.clone();
        some["positions"] = json!([[2, 0]]);
        let answer = ask(&router, "/pooling", &some).await;
        let picked: Vec<Vec<f32>> =
            serde_json::from_value(answer["data"][0]["data"].clone()).unwrap();
        assert_eq!(picked, [found[2].clone(), found[0].clone()]);
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_field() {
    let features = router_of("BertModel", 0);
    let labels = router_of("BertForSequenceClassification", 3);
    let decoder = router();
    for (router, path, body, word) in [
        (&features, "/v1/embeddings", json!({}), "input"),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": "text" }),
            "input",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": ["text"] }),
            "input",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [[1], "text"] }),
            "input",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [[]] }),
            "input",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [[VOCAB]] }),
            "input",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [vec![1; 33]] }),
            "at most 32",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": vec![[1]; 9] }),
            "at most 8",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [1], "dimensions": 3 }),
            "dimensions",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [1], "encoding_format": "hex" }),
            "encoding_format",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [1], "token_type_ids": [[2]] }),
            "token types",
        ),
        (
            &features,
            "/v1/embeddings",
            json!({ "input": [1], "token_type_ids": [[0], [0]] }),
            "token_type_ids",
        ),
        (
            &features,
            "/pooling",
            json!({ "input": [1], "task": "sing" }),
            "task",
        ),
        (
            &features,
            "/pooling",
            json!({ "input": [1], "task": "token_embed", "positions": [[1]] }),
            "positions",
        ),
        (&features, "/classify", json!({ "input": [1] }), "features"),
        (
            &features,
            "/rerank",
            json!({ "query": "a", "documents": ["b"] }),
            "query",
        ),
        (&labels, "/rerank", json!({ "input": [1] }), "3 labels"),
        (
            &labels,
            "/v1/embeddings",
            json!({ "input": [1] }),
            "sequence classification",
        ),
        (
            &labels,
            "/inference/v1/generate",
            json!({ "token_ids": [1], "sampling_params": {} }),
            "encoder",
        ),
        (
            &labels,
            "/v1/completions",
            json!({ "prompt": [1] }),
            "encoder",
        ),
        (
            &decoder,
            "/v1/embeddings",
            json!({ "input": [1] }),
            "decoder",
        ),
    ] {
        let response = post(router, path, &body.to_string()).await;
        let status = response.status();
        let message = text(response).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{message}");
        assert!(message.contains(word), "{path} {body}: {message}");
    }
    let answer = ask(&features, "/v1/embeddings", &json!({ "input": [1] })).await;
    assert_eq!(answer["usage"]["total_tokens"], 1);
    let metrics = text(get(&features, "/metrics").await).await;
    assert!(
        metrics.contains("equicrypt_prompt_tokens_total 1\n"),
        "{metrics}"
    );
}
