//! `POST /inference/v1/generate`, in vLLM's shape.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use crate::common::*;

const PATH: &str = "/inference/v1/generate";

fn body(sampling: Value) -> Value {
    json!({ "token_ids": [17, 9, 5], "sampling_params": sampling })
}

fn greedy(max_tokens: usize) -> Value {
    json!({ "temperature": 0.0, "max_tokens": max_tokens, "ignore_eos": true })
}

#[tokio::test]
async fn an_answer_has_vllms_fields() {
    let router = router();
    let mut request = body(greedy(4));
    request["request_id"] = json!("abc");
    request["return_token_ids"] = json!(true);
    request["sampling_params"]["logprobs"] = json!(2);
    let answer = ask(&router, PATH, &request).await;
    assert_eq!(answer["request_id"], "generate-tokens-abc");
    assert_eq!(answer["model"], "tiny");
    assert_eq!(answer["output_mode"], "tokens");
    assert_eq!(answer["prompt_token_ids"], json!([17, 9, 5]));
    assert!(answer["created"].as_u64().unwrap() > 1_600_000_000);
    assert_eq!(answer["usage"]["prompt_tokens"], 3);
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    assert_eq!(answer["usage"]["total_tokens"], 7);
    assert_eq!(answer["choices"].as_array().unwrap().len(), 1);
    let choice = &answer["choices"][0];
    assert_eq!(
        (&choice["index"], &choice["finish_reason"]),
        (&json!(0), &json!("length"))
    );
    assert_eq!(choice["stop_reason"], Value::Null);
    let ids = choice["token_ids"].as_array().unwrap();
    assert_eq!(ids.len(), 4);
    let logprobs = choice["logprobs"]["content"].as_array().unwrap();
    for (id, logprob) in ids.iter().zip(logprobs) {
        assert_eq!((&logprob["token_id"], &logprob["rank"]), (id, &json!(1)));
        let top = logprob["top_logprobs"].as_array().unwrap();
        assert_eq!((top.len(), &top[0]["token_id"]), (2, id));
        assert!(top[0]["logprob"].as_f64() > top[1]["logprob"].as_f64());
    }

    let plain = ask(&router, PATH, &body(greedy(4))).await;
    assert_eq!(plain["choices"][0]["token_ids"], choice["token_ids"]);
    assert_eq!(plain["choices"][0]["logprobs"], Value::Null);
    assert_eq!(plain["prompt_token_ids"], Value::Null);
    assert_ne!(
        plain["request_id"],
        ask(&router, PATH, &body(greedy(4))).await["request_id"]
    );
}

#[tokio::test]
async fn the_request_id_may_come_in_a_header() {
    let router = router();
    let completion = json!({ "prompt": [1], "max_tokens": 1 });
    for (path, body, id) in [
        (PATH, body(greedy(1)), "generate-tokens-from-header"),
        ("/v1/completions", completion, "cmpl-from-header"),
    ] {
        let request = Request::post(path)
            .header("X-Request-Id", "from-header")
            .body(Body::from(body.to_string()));
        let answer = text(send(&router, request.unwrap()).await).await;
        assert!(answer.contains(id), "{answer}");
    }
}

#[tokio::test]
async fn a_stream_gives_the_same_ids_one_by_one() {
    let router = router();
    let whole = ask(&router, PATH, &body(greedy(9))).await;
    let mut request = body(greedy(9));
    request["stream"] = json!(true);
    request["return_token_ids"] = json!(true);
    request["stream_options"] = json!({ "include_usage": true });
    let mut chunks = ask_stream(&router, PATH, &request).await;
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 9);
    assert_eq!(chunks.len(), 9);
    let mut ids = Vec::new();
    for (place, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk["request_id"], last["request_id"]);
        assert_eq!(chunk["usage"], Value::Null);
        let prompt = if place == 0 {
            json!([17, 9, 5])
        } else {
            Value::Null
        };
        assert_eq!(chunk["prompt_token_ids"], prompt);
        let reason = if place == 8 {
            json!("length")
        } else {
            Value::Null
        };
        assert_eq!(chunk["choices"][0]["finish_reason"], reason);
        ids.extend(chunk["choices"][0]["token_ids"].as_array().unwrap().clone());
    }
    assert_eq!(Value::Array(ids), whole["choices"][0]["token_ids"]);
    request.as_object_mut().unwrap().remove("stream_options");
    assert_eq!(ask_stream(&router, PATH, &request).await.len(), 9);
}

#[tokio::test]
async fn several_answers_stream_beside_each_other() {
    let router = router();
    let sampling = json!({ "n": 3, "seed": 4, "max_tokens": 6, "ignore_eos": true });
    let whole = ask(&router, PATH, &body(sampling.clone())).await;
    let mut request = body(sampling);
    request["stream"] = json!(true);
    let mut ids = vec![Vec::new(); 3];
    for chunk in ask_stream(&router, PATH, &request).await {
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        ids[index].extend(choice["token_ids"].as_array().unwrap().clone());
    }
    for (index, ids) in ids.into_iter().enumerate() {
        assert_eq!(whole["choices"][index]["index"], index);
        assert_eq!(whole["choices"][index]["token_ids"], Value::Array(ids));
    }
    assert_eq!(whole["usage"]["completion_tokens"], 18);
}

#[tokio::test]
async fn stops_name_the_id() {
    let router = router();
    let mut sampling = greedy(5);
    sampling["logit_bias"] = json!({ "21": 100.0 });
    sampling["stop_token_ids"] = json!([21]);
    let answer = ask(&router, PATH, &body(sampling)).await;
    let choice = &answer["choices"][0];
    assert_eq!(choice["token_ids"], json!([21]));
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["stop_reason"], 21);
}

#[tokio::test]
async fn prefixes_are_shared_within_a_salt() {
    let router = router();
    let mut request = body(greedy(2));
    request["token_ids"] = json!(vec![7; 30]);
    let cached = |answer: Value| answer["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(cached(ask(&router, PATH, &request).await), 0);
    request["cache_salt"] = json!("a");
    assert_eq!(cached(ask(&router, PATH, &request).await), 0);
    assert_eq!(cached(ask(&router, PATH, &request).await), 29);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_by_field() {
    let router = router();
    let with = |field: &str, value: Value| {
        let mut body = body(greedy(4));
        body[field] = value;
        body
    };
    let sampling = |field: &str, value: Value| {
        let mut sampling = greedy(4);
        sampling[field] = value;
        body(sampling)
    };
    let cases = [
        ("token_ids", with("token_ids", json!([]))),
        ("token_ids", with("token_ids", json!([VOCAB]))),
        ("token_ids", with("token_ids", json!([-1]))),
        ("token_ids", with("token_ids", json!("text"))),
        ("token_ids", with("token_ids", json!(null))),
        ("token_ids", with("token_ids", json!(vec![1; 128]))),
        ("sampling_params", with("sampling_params", json!(null))),
        ("sampling_params", with("sampling_params", json!(7))),
        ("stream", with("stream", json!("yes"))),
        ("output_mode", with("output_mode", json!("text"))),
        ("features", with("features", json!({ "image": 1 }))),
        ("stop", sampling("stop", json!(["\n"]))),
        ("stop", sampling("stop", json!("x"))),
        (
            "structured_outputs",
            sampling("structured_outputs", json!({ "json": {} })),
        ),
        ("prompt_logprobs", sampling("prompt_logprobs", json!(0))),
        ("n", sampling("n", json!(0))),
        ("n", sampling("n", json!(2))),
        ("n", sampling("n", json!(1.5))),
        ("max_tokens", sampling("max_tokens", json!(0))),
        ("temperature", sampling("temperature", json!(-1))),
        ("temperature", sampling("temperature", json!("warm"))),
        ("logit_bias", sampling("logit_bias", json!({ "40": 1.0 }))),
        ("logit_bias", sampling("logit_bias", json!({ "x": 1.0 }))),
        ("logprobs", sampling("logprobs", json!(65))),
        ("seed", sampling("seed", json!(-1))),
    ];
    for (field, body) in cases {
        let response = post(&router, PATH, &body.to_string()).await;
        let error = refused(response, StatusCode::BAD_REQUEST).await;
        assert_eq!(error["param"], field, "{body}: {error}");
    }
    let stop = post(&router, PATH, &sampling("stop", json!(["\n"])).to_string()).await;
    let advice = refused(stop, StatusCode::BAD_REQUEST).await["message"].to_string();
    assert!(
        advice.contains("match stop strings at the owner's side"),
        "{advice}"
    );
}

#[tokio::test]
async fn nulls_and_unknown_fields_mean_nothing() {
    let router = router();
    let request = json!({
        "token_ids": [17, 9, 5], "model": null, "stream": null, "stream_options": null,
        "priority": 0, "features": null, "cache_salt": null, "kv_transfer_params": null,
        "sampling_params": {
            "temperature": 0.0, "max_tokens": 4, "ignore_eos": true, "seed": null, "n": null,
            "top_p": null, "stop": null, "stop_token_ids": null, "logit_bias": null,
            "detokenize": false, "structured_outputs": null, "stop_token_ids": [],
        },
    });
    let answer = ask(&router, PATH, &request).await;
    let plain = ask(&router, PATH, &body(greedy(4))).await;
    assert_eq!(answer["choices"], plain["choices"]);
}
