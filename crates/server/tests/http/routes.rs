//! The other routes, the key, and the errors that every route has in common.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use equicrypt_server::{ApiKey, Host, HostOptions, app};
use equicrypt_spec::{FORMAT_VERSION, KeyId, Manifest, Profile};
use serde_json::{Value, json};

use crate::common::*;

fn manifest() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        key_id: KeyId([1, 2, 3, 4, 5, 6, 7, 8]),
        epoch: 2,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "llama".into(),
        source_fingerprint: "cd".repeat(32),
        vocab_size: VOCAB as usize,
        plain_vocab_size: 38,
        dtype: "F32".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    }
}

async fn json_at(router: &axum::Router, path: &str) -> Value {
    let response = get(router, path).await;
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_str(&text(response).await).unwrap()
}

#[tokio::test]
async fn ids_of_another_epoch_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 128);
    std::fs::write(dir.path().join("equicrypt.json"), manifest().to_text()).unwrap();
    let router = app(
        Host::open(dir.path(), HostOptions::default()).unwrap(),
        None,
    );
    let body = json!({ "token_ids": [1], "sampling_params": { "max_tokens": 1 } });
    for (epochs, status) in [
        (None, StatusCode::OK),
        (Some("2/2"), StatusCode::OK),
        (Some("2/0"), StatusCode::MISDIRECTED_REQUEST),
        (Some("1/1"), StatusCode::MISDIRECTED_REQUEST),
        (Some(""), StatusCode::MISDIRECTED_REQUEST),
    ] {
        let mut request = Request::post("/inference/v1/generate");
        if let Some(epochs) = epochs {
            request = request.header("equicrypt-epoch", epochs);
        }
        let request = request.header("content-type", "application/json");
        let response = send(&router, request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(response.status(), status, "{epochs:?}");
    }
}

#[tokio::test]
async fn health_version_and_metrics_answer() {
    let router = router();
    let response = get(&router, "/health").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(text(response).await, "");
    let version = json_at(&router, "/version").await;
    assert_eq!(version["server"], "equicrypt");
    assert!(version["version"].is_string());

    let body = json!({
        "token_ids": [1, 2, 30], "sampling_params": { "max_tokens": 5, "ignore_eos": true },
    });
    ask(&router, "/inference/v1/generate", &body).await;
    get(&router, "/nowhere").await;
    let metrics = text(get(&router, "/metrics").await).await;
    for line in [
        "equicrypt_prompt_tokens_total 3",
        "equicrypt_generated_tokens_total 5",
        "equicrypt_forward_passes_total 5",
        "equicrypt_requests_total{result=\"finished\"} 1",
        "equicrypt_requests_waiting 0",
        "equicrypt_http_responses_total{class=\"4xx\"} 1",
        "# TYPE equicrypt_generated_tokens_total counter",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
}

#[tokio::test]
async fn a_folder_is_served_plain_or_with_its_manifest() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("my-model");
    std::fs::create_dir(&dir).unwrap();
    save(&dir, 128);
    let plain = Host::open(&dir, HostOptions::default()).unwrap();
    let models = json_at(&app(plain.clone(), None), "/v1/models").await;
    assert_eq!(models["object"], "list");
    let model = &models["data"][0];
    assert_eq!(
        (&model["id"], &model["object"]),
        (&json!("my-model"), &json!("model"))
    );
    assert_eq!(model["max_model_len"], 128);
    assert!(model.get("equicrypt").is_none());

    let body = json!({
        "token_ids": [1, 2, 30],
        "sampling_params": { "temperature": 0.0, "max_tokens": 5, "ignore_eos": true },
    });
    let from_disk = ask(&app(plain, None), "/inference/v1/generate", &body).await;
    let in_memory = ask(&router(), "/inference/v1/generate", &body).await;
    let ids = |answer: &Value| answer["choices"][0]["token_ids"].clone();
    assert_eq!(ids(&from_disk), ids(&in_memory));

    std::fs::write(dir.join("equicrypt.json"), manifest().to_text()).unwrap();
    let options = HostOptions {
        name: Some("served".into()),
        ..HostOptions::default()
    };
    let encrypted = Host::open(&dir, options).unwrap();
    assert_eq!(encrypted.manifest(), Some(&manifest()));
    let models = json_at(&app(encrypted, None), "/v1/models").await;
    assert_eq!(models["data"][0]["id"], "served");
    assert_eq!(models["data"][0]["equicrypt"], json!(manifest()));
}

#[tokio::test]
async fn end_ids_of_generation_config_count() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 128);
    let body = json!({
        "token_ids": [1],
        "sampling_params": { "temperature": 0.0, "max_tokens": 3, "logit_bias": { "20": 100.0 } },
    });
    for (eos, length) in [(json!([19, 20]), 1), (json!(20), 1), (json!(null), 3)] {
        let config = json!({ "eos_token_id": eos });
        std::fs::write(
            dir.path().join("generation_config.json"),
            config.to_string(),
        )
        .unwrap();
        let host = Host::open(dir.path(), HostOptions::default()).unwrap();
        let answer = ask(&app(host, None), "/inference/v1/generate", &body).await;
        assert_eq!(answer["usage"]["completion_tokens"], length);
    }
    let config = json!({ "eos_token_id": "</s>" }).to_string();
    std::fs::write(dir.path().join("generation_config.json"), config).unwrap();
    let error = Host::open(dir.path(), HostOptions::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("generation_config.json: eos_token_id")
    );
}

#[test]
fn folders_that_contradict_themselves_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), 128);
    let cases = [
        (
            "vocab_size",
            Manifest {
                vocab_size: 41,
                ..manifest()
            }
            .to_text(),
        ),
        (
            "architecture",
            Manifest {
                architecture: "other".into(),
                ..manifest()
            }
            .to_text(),
        ),
        ("equicrypt.json", "{}".into()),
        ("equicrypt.json", "no manifest".into()),
    ];
    for (word, text) in cases {
        std::fs::write(dir.path().join("equicrypt.json"), text).unwrap();
        let error = Host::open(dir.path(), HostOptions::default()).unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
    }
    let nowhere = dir.path().join("none");
    assert!(Host::open(&nowhere, HostOptions::default()).is_err());
}

#[tokio::test]
async fn errors_have_openais_shape() {
    let router = router();
    let not_found = refused(get(&router, "/v1/chat").await, StatusCode::NOT_FOUND).await;
    assert!(
        not_found["message"]
            .as_str()
            .unwrap()
            .contains("/inference/v1/generate")
    );
    let wrong_method = get(&router, "/v1/completions").await;
    refused(wrong_method, StatusCode::METHOD_NOT_ALLOWED).await;
    for path in ["/inference/v1/generate", "/v1/completions"] {
        for body in [
            "",
            "{",
            "[]",
            "7",
            "\"text\"",
            "{\"token_ids\": [1e999]}",
            "\u{0}",
        ] {
            refused(post(&router, path, body).await, StatusCode::BAD_REQUEST).await;
        }
        let deep = "[".repeat(100_000);
        refused(post(&router, path, &deep).await, StatusCode::BAD_REQUEST).await;
        let long = format!("{{\"prompt\": [1{}]}}", ", 1".repeat(1 << 20));
        refused(
            post(&router, path, &long).await,
            StatusCode::PAYLOAD_TOO_LARGE,
        )
        .await;
    }
}

#[tokio::test]
async fn a_key_guards_everything_but_health() {
    let key = ApiKey::new("sesame").unwrap();
    let router = app(host(128, options()), Some(key));
    assert_eq!(get(&router, "/health").await.status(), StatusCode::OK);
    let with = |value: &str| {
        let request = Request::get("/v1/models").header("authorization", value);
        send(&router, request.body(Body::empty()).unwrap())
    };
    for right in ["Bearer sesame", "bearer sesame"] {
        assert_eq!(with(right).await.status(), StatusCode::OK);
    }
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer sesam",
        "Bearer sesame2",
        "Basic sesame",
        "sesame",
    ] {
        let response = with(wrong).await;
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        refused(response, StatusCode::UNAUTHORIZED).await;
    }
    for path in ["/metrics", "/version", "/nowhere"] {
        refused(get(&router, path).await, StatusCode::UNAUTHORIZED).await;
    }
    let response = post(&router, "/inference/v1/generate", "{").await;
    refused(response, StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_closed_engine_answers_503() {
    let host = host(128, options());
    let router = app(host.clone(), None);
    host.engine().close();
    refused(
        get(&router, "/health").await,
        StatusCode::SERVICE_UNAVAILABLE,
    )
    .await;
    let body = json!({ "token_ids": [1], "sampling_params": {} }).to_string();
    let response = post(&router, "/inference/v1/generate", &body).await;
    refused(response, StatusCode::SERVICE_UNAVAILABLE).await;
}
