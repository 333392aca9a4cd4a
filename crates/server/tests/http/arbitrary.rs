//! Whatever a client sends, it is the client's fault or it is answered.

use axum::Router;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::common::*;

const FIELDS: &[&str] = &[
    "token_ids",
    "prompt",
    "model",
    "sampling_params",
    "stream",
    "stream_options",
    "request_id",
    "return_token_ids",
    "cache_salt",
    "max_tokens",
    "min_tokens",
    "n",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "stop_token_ids",
    "ignore_eos",
    "logit_bias",
    "allowed_token_ids",
    "logprobs",
    "stop",
    "include_usage",
    "output_mode",
];

/// Numbers near every limit.
fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec![-1i64, 0, 1, 2, 3, 39, 40, 64, 65, 127, 128, i64::MAX])
            .prop_map(Value::from),
        prop::sample::select(vec![
            -0.5,
            1e-6,
            0.5,
            1.0,
            1.5,
            1e30,
            1e31,
            f64::MAX,
            -f64::MAX
        ])
        .prop_map(Value::from),
        Just(Value::from(u64::MAX)),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number(),
        "[a-z0-9]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let key = prop_oneof![
            prop::sample::select(FIELDS).prop_map(str::to_owned),
            "[0-9]{1,3}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(0u32..45, 1..6).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A request that would be answered, with some fields replaced by anything.
fn near_request() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(FIELDS).prop_map(str::to_owned);
    let change = (field, json_value(), any::<bool>());
    prop::collection::vec(change, 0..4).prop_map(|changes| {
        let mut body = json!({
            "token_ids": [1, 2], "prompt": [1, 2], "max_tokens": 3,
            "sampling_params": { "max_tokens": 3 },
        });
        for (field, value, nested) in changes {
            let sampling = body
                .get_mut("sampling_params")
                .and_then(Value::as_object_mut);
            match sampling {
                Some(sampling) if nested => drop(sampling.insert(field, value)),
                _ => drop(
                    body.as_object_mut()
                        .map(|body: &mut Map<_, _>| body.insert(field, value)),
                ),
            }
        }
        body
    })
}

fn status(runtime: &tokio::runtime::Runtime, router: &Router, path: &str, body: &str) -> u16 {
    runtime.block_on(async {
        let response = post(router, path, body).await;
        let status = response.status().as_u16();
        let text = text(response).await;
        // A stream's errors come as events.
        if text.contains("\"code\":5") {
            500
        } else {
            status
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_body_is_the_hosts_fault(
        body in prop_oneof![json_value(), near_request(), near_request()],
    ) {
        thread_local! {
            static HOST: (tokio::runtime::Runtime, Router) =
                (tokio::runtime::Runtime::new().unwrap(), router());
        }
        HOST.with(|(runtime, router)| {
            for path in ["/inference/v1/generate", "/v1/completions"] {
                let status = status(runtime, router, path, &body.to_string());
                prop_assert!(matches!(status, 200 | 400 | 404), "{path} {status}: {body}");
            }
            Ok(())
        })?;
    }

    #[test]
    fn nor_are_bytes(body in prop::collection::vec(any::<u8>(), 0..64)) {
        thread_local! {
            static HOST: (tokio::runtime::Runtime, Router) =
                (tokio::runtime::Runtime::new().unwrap(), router());
        }
        HOST.with(|(runtime, router)| {
            let text = String::from_utf8_lossy(&body);
            let status = status(runtime, router, "/inference/v1/generate", &text);
            prop_assert_eq!(status, 400);
            Ok(())
        })?;
    }
}
