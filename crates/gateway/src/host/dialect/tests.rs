use equicrypt_cipher::CipherIds;
use serde_json::{Value, json};

use super::*;
use crate::host::{Bias, Sampling};

fn body(name: &str, sampling: &Sampling) -> Value {
    let stop_ids = CipherIds::of_public_text(vec![9]);
    let options = Options {
        vocab_size: 10,
        stop_ids: &stop_ids,
        tells_stops: true,
        max_tokens: 4,
        sampling,
    };
    let ask = Ask {
        prompt: &[3, 4],
        options: &options,
        model: Some("m"),
        cache_salt: "salt",
    };
    let dialect = Dialect::named(name).unwrap();
    serde_json::from_slice(&(dialect.body)(&ask).unwrap()).unwrap()
}

fn read(name: &str, tokens: usize, event: Value) -> Option<Chunk> {
    (Dialect::named(name).unwrap().read)(&event.to_string(), Progress { tokens })
}

fn sampling() -> Sampling {
    Sampling {
        temperature: 0.7,
        top_p: 0.9,
        top_k: 5,
        min_p: 0.1,
        seed: Some(1 << 40),
        presence_penalty: 0.5,
        frequency_penalty: -0.5,
        repetition_penalty: 1.25,
        bias: Bias::new(CipherIds::of_public_text(vec![7]), vec![-2.5]),
        logprobs: Some(2),
    }
}

/// Every field that an engine would otherwise fill in from a default of its own.
#[test]
fn every_request_says_everything() {
    let generate = body("vllm", &sampling());
    assert_eq!(
        generate["sampling_params"]["logit_bias"],
        json!({"7": -2.5})
    );
    assert_eq!(generate["sampling_params"]["max_tokens"], 4);
    let params = [
        (
            "vllm-completions",
            "",
            "prompt",
            "max_tokens",
            "repetition_penalty",
        ),
        (
            "sglang",
            "/sampling_params",
            "input_ids",
            "max_new_tokens",
            "repetition_penalty",
        ),
        ("llamacpp", "", "prompt", "n_predict", "repeat_penalty"),
    ];
    for (name, place, prompt, most, repetition) in params {
        let body = body(name, &sampling());
        let params = body.pointer(place).unwrap();
        assert_eq!(body[prompt], json!([3, 4]), "{name}");
        assert_eq!(body["stream"], true);
        for (field, value) in [
            ("temperature", json!(0.7)),
            ("top_p", json!(0.9)),
            ("top_k", json!(5)),
            ("min_p", json!(0.1)),
            ("presence_penalty", json!(0.5)),
            ("frequency_penalty", json!(-0.5)),
            (repetition, json!(1.25)),
            (most, json!(4)),
        ] {
            assert_eq!(params[field], value, "{name}: {field}");
        }
        assert!(
            !body.to_string().contains("\"stop\":"),
            "{name} gets no stop strings"
        );
    }
    let llama = body("llamacpp", &sampling());
    assert_eq!(llama["logit_bias"], json!([[7, -2.5]]));
    assert_eq!(
        (&llama["n_probs"], &llama["repeat_last_n"]),
        (&json!(2), &json!(6))
    );
    assert!(llama["seed"].as_u64().unwrap() < u64::from(u32::MAX));
    let sglang = body("sglang", &sampling());
    assert_eq!(sglang["sampling_params"]["logit_bias"], json!({"7": -2.5}));
    assert_eq!(sglang["sampling_params"]["stop_token_ids"], json!([9]));
    assert_eq!(
        (&sglang["top_logprobs_num"], &sglang["cache_salt"]),
        (&json!(2), &json!("salt"))
    );
    let completions = body("vllm-completions", &sampling());
    assert_eq!(completions["logit_bias"], json!({"7": -2.5}));
    assert_eq!(
        (&completions["model"], &completions["logprobs"]),
        (&json!("m"), &json!(2))
    );
    let greedy = body("sglang", &Sampling::greedy());
    assert_eq!(greedy["sampling_params"]["top_k"], -1);
    assert!(greedy.get("return_logprob").is_none());
}

/// The events of each engine as its source spells them, with the same answer.
#[test]
fn the_same_answer_from_every_engine() {
    let entry = |id: u32, p: f64| json!({"token_id": id, "logprob": p, "rank": 1});
    let text =
        |id: u32, p: f64| json!({"token": format!("token_id:{id}"), "logprob": p, "bytes": null});
    let llama = |id: u32, p: f64| json!({"id": id, "token": "t ", "bytes": [116], "logprob": p});
    let with = |mut entry: Value, top: Vec<Value>| {
        entry["top_logprobs"] = json!(top);
        entry
    };
    let generate = |content: Value| {
        json!({"request_id": "r", "usage": null, "output_mode": "tokens", "choices": [{
            "index": 0, "finish_reason": null, "stop_reason": null, "token_ids": [8],
            "routed_experts": null, "logprobs": {"content": [content]}}]})
    };
    let meta = json!({"id": "r", "finish_reason": null, "prompt_tokens": 2, "completion_tokens": 3,
        "cached_tokens": 0, "output_token_logprobs": [[-3.0, 1, null], [-2.0, 1, null], [-0.5, 8, null]],
        "output_top_logprobs": [null, [[-2.0, 1, null]], [[-0.5, 8, null], [-1.5, 3, null]]]});
    let events = [
        (
            "vllm",
            generate(with(entry(8, -0.5), vec![entry(8, -0.5), entry(3, -1.5)])),
        ),
        (
            "vllm",
            generate(with(text(8, -0.5), vec![text(8, -0.5), text(3, -1.5)])),
        ),
        (
            "vllm-completions",
            json!({"id": "c", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": "t8 ", "finish_reason": null, "stop_reason": null,
                "prompt_token_ids": [1, 2], "token_ids": [8], "logprobs": {"text_offset": [0],
                    "tokens": ["token_id:8"], "token_logprobs": [-0.5],
                    "top_logprobs": [{"token_id:8": -0.5, "token_id:3": -1.5}]}}]}),
        ),
        (
            "sglang",
            json!({"output_ids": [1, 1, 8], "meta_info": meta}),
        ),
        ("sglang", json!({"output_ids": [8], "meta_info": meta})),
        (
            "llamacpp",
            json!({"index": 0, "content": "t8 ", "tokens": [8], "stop": false, "id_slot": 0,
            "tokens_predicted": 3, "tokens_evaluated": 2, "completion_probabilities": [
                with(llama(8, -0.5), vec![llama(8, -0.5), llama(3, -1.5)])]}),
        ),
    ];
    for (name, event) in events {
        let chunk = read(name, 2, event.clone()).unwrap_or_else(|| panic!("{name}: {event}"));
        let [added] = <[Added; 1]>::try_from(chunk.answers).unwrap();
        assert_eq!((added.ids, added.finish), (vec![8], None), "{name}");
        assert_eq!(added.logprobs.len(), 1, "{name}");
        assert_eq!(
            (added.logprobs[0].token_id, added.logprobs[0].logprob),
            (8, -0.5)
        );
        let top = &added.logprobs[0].top_logprobs;
        let top: Vec<_> = top
            .iter()
            .map(|entry| (entry.token_id, entry.logprob))
            .collect();
        assert_eq!(top, [(8, -0.5), (3, -1.5)], "{name}");
        assert!(!chunk.last);
    }
}

#[test]
fn the_ends_of_every_engine() {
    let usage = json!({"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3});
    let choice = json!({"index": 0, "finish_reason": "length", "token_ids": [8], "logprobs": null, "text": ""});
    let ends = [
        (
            "equicrypt",
            json!({"request_id": "r", "usage": usage, "choices": [choice]}),
            false,
        ),
        (
            "vllm-completions",
            json!({"choices": [choice], "usage": usage}),
            false,
        ),
        (
            "sglang",
            json!({"output_ids": [1, 1, 8], "meta_info": {"finish_reason": {"type": "length", "length": 3},
            "prompt_tokens": 2, "completion_tokens": 3, "cached_tokens": 1}}),
            false,
        ),
        (
            "llamacpp",
            json!({"index": 0, "content": "", "tokens": [8], "stop": true, "stop_type": "limit",
            "tokens_predicted": 3, "tokens_evaluated": 2, "timings": {"cache_n": 1}}),
            true,
        ),
    ];
    for (name, event, last) in ends {
        let chunk = read(name, 2, event).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(
            chunk.answers[0].finish,
            Some(FinishReason::Length),
            "{name}"
        );
        let usage = chunk.usage.unwrap();
        assert_eq!(
            (
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.total_tokens
            ),
            (2, 3, 5)
        );
        assert_eq!(chunk.last, last, "{name}");
    }
}

#[test]
fn text_only_and_other_forms_are_no_chunks() {
    let text_only = json!({"choices": [{"index": 0, "text": "hello", "finish_reason": null}]});
    for (name, event) in [
        ("equicrypt", text_only.clone()),
        ("vllm-completions", text_only.clone()),
        (
            "sglang",
            json!({"text": "hello", "meta_info": {"completion_tokens": 1}}),
        ),
        (
            "sglang",
            json!({"output_ids": [1], "meta_info": {"completion_tokens": 1}}),
        ),
        (
            "sglang",
            json!({"output_ids": [], "meta_info": {"completion_tokens": 9}}),
        ),
        ("llamacpp", json!({"content": "hello", "stop": false})),
        (
            "llamacpp",
            json!({"error": {"code": 400, "message": "no", "type": "invalid"}}),
        ),
    ] {
        assert!(read(name, 2, event.clone()).is_none(), "{name}: {event}");
    }
    for dialect in &DIALECTS {
        for event in ["", "[]", "3", "{", "null", "{\"choices\": {}}"] {
            assert!(
                (dialect.read)(event, Progress { tokens: 0 }).is_none(),
                "{}: {event}",
                dialect.name
            );
        }
    }
}
