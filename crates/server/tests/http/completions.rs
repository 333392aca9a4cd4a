//! `POST /v1/completions` with token ids.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::common::*;

const PATH: &str = "/v1/completions";

fn body(prompt: Value) -> Value {
    json!({
        "model": "tiny", "prompt": prompt, "temperature": 0.0, "max_tokens": 5, "ignore_eos": true,
        "return_token_ids": true,
    })
}

#[tokio::test]
async fn the_ids_are_those_of_generate() {
    let router = router();
    let generate = json!({
        "token_ids": [4, 9],
        "sampling_params": { "temperature": 0.0, "max_tokens": 5, "ignore_eos": true },
    });
    let expected = ask(&router, "/inference/v1/generate", &generate).await;
    let answer = ask(&router, PATH, &body(json!([4, 9]))).await;
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(
        (&answer["object"], &answer["model"]),
        (&json!("text_completion"), &json!("tiny"))
    );
    assert_eq!(answer["usage"]["completion_tokens"], 5);
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["prompt_token_ids"], json!([4, 9]));
    assert_eq!(choice["token_ids"], expected["choices"][0]["token_ids"]);
}

#[tokio::test]
async fn sixteen_tokens_are_the_default_and_ids_come_on_demand() {
    let router = router();
    let request = json!({ "prompt": [4, 9], "ignore_eos": true, "max_tokens": null });
    let answer = ask(&router, PATH, &request).await;
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    assert_eq!(answer["choices"][0]["token_ids"], Value::Null);
    assert_eq!(answer["choices"][0]["prompt_token_ids"], Value::Null);
}

#[tokio::test]
async fn several_prompts_and_answers_are_numbered_through() {
    let router = router();
    let mut request = body(json!([[4, 9], [1], [30, 31, 32]]));
    request["n"] = json!(2);
    request["temperature"] = json!(1.0);
    request["seed"] = json!(1);
    let answer = ask(&router, PATH, &request).await;
    let choices = answer["choices"].as_array().unwrap().clone();
    assert_eq!(choices.len(), 6);
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    assert_eq!(answer["usage"]["completion_tokens"], 30);
    let prompts = [json!([4, 9]), json!([1]), json!([30, 31, 32])];
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(choice["prompt_token_ids"], prompts[index / 2]);
    }

    request["stream"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let mut chunks = ask_stream(&router, PATH, &request).await;
    let usage = &chunks.pop().unwrap()["usage"];
    assert_eq!(usage["total_tokens"], answer["usage"]["total_tokens"]);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 1 + 2);
    let mut streamed = vec![Vec::new(); 6];
    for chunk in &chunks {
        assert_eq!(chunk["choices"].as_array().unwrap().len(), 1);
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        let is_first = streamed[index].is_empty();
        assert_eq!(choice["prompt_token_ids"].is_null(), !is_first);
        streamed[index].extend(choice["token_ids"].as_array().unwrap().clone());
    }
    for (ids, choice) in streamed.into_iter().zip(choices) {
        assert_eq!(Value::Array(ids), choice["token_ids"]);
    }
}

#[tokio::test]
async fn logprobs_name_ids() {
    let router = router();
    let mut request = body(json!([4, 9]));
    request["logprobs"] = json!(3);
    request["return_tokens_as_token_ids"] = json!(true);
    let answer = ask(&router, PATH, &request).await;
    let choice = &answer["choices"][0];
    let logprobs = &choice["logprobs"];
    for place in 0..5 {
        let name = format!("token_id:{}", choice["token_ids"][place]);
        assert_eq!(logprobs["tokens"][place], name);
        let top = logprobs["top_logprobs"][place].as_object().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[&name], logprobs["token_logprobs"][place]);
        assert_eq!(logprobs["text_offset"][place], 0);
    }
    request["logprobs"] = json!(0);
    let alone = ask(&router, PATH, &request).await;
    let top = &alone["choices"][0]["logprobs"]["top_logprobs"][0];
    assert_eq!(top.as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_field() {
    let router = router();
    let with = |field: &str, value: Value| {
        let mut body = body(json!([4, 9]));
        body[field] = value;
        body
    };
    let cases = [
        ("prompt", body(json!(null))),
        ("prompt", body(json!("text"))),
        ("prompt", body(json!(["text"]))),
        ("prompt", body(json!([]))),
        ("prompt", body(json!([[]]))),
        ("prompt", body(json!([[1], 2]))),
        ("prompt", body(json!([1, [2]]))),
        ("prompt", body(json!([1, -2]))),
        ("prompt", body(json!([VOCAB]))),
        ("prompt", body(json!(7))),
        ("prompt", body(json!(vec![[1]; 9]))),
        ("stop", with("stop", json!("\n"))),
        ("echo", with("echo", json!(true))),
        ("suffix", with("suffix", json!("x"))),
        (
            "response_format",
            with("response_format", json!({ "type": "json_object" })),
        ),
        ("max_tokens", with("max_tokens", json!(0))),
        ("stream", with("stream", json!(1))),
        ("logprobs", with("logprobs", json!(true))),
    ];
    for (field, body) in cases {
        let response = post(&router, PATH, &body.to_string()).await;
        let error = refused(response, StatusCode::BAD_REQUEST).await;
        assert_eq!(error["param"], field, "{body}: {error}");
    }
    let response = post(&router, PATH, &body(json!("text")).to_string()).await;
    let error = refused(response, StatusCode::BAD_REQUEST).await;
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("this host has no tokenizer; send token ids"));
    let response = post(&router, PATH, &with("model", json!("other")).to_string()).await;
    assert_eq!(
        refused(response, StatusCode::NOT_FOUND).await["param"],
        "model"
    );
}
