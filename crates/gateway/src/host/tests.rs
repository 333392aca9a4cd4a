use std::time::Instant;

use equicrypt_cipher::CipherIds;
use equicrypt_spec::wire::FinishReason;
use tokio::net::TcpListener;

use super::*;
use crate::Step;
use crate::scripted_host::{DONE, Script, USAGE, chunk, head, host, stream_of};

async fn ask(url: &str) -> Result<Vec<Step>, Error> {
    let prompt = CipherIds::of_public_text(vec![3, 4]);
    let stop_ids = CipherIds::of_public_text(vec![9]);
    let key = ApiKey::new("hunter2".into()).unwrap();
    let host = Host::with_silence(url, Some(&key), Duration::from_millis(1500))?;
    let mut stream = host
        .generate(&prompt, &options(&stop_ids, &sampling()))
        .await?;
    let mut steps = Vec::new();
    while let Some(step) = stream.next().await {
        if let Err(error) = step {
            assert!(stream.next().await.is_none(), "goes on after {error}");
            return Err(error);
        }
        steps.extend(step);
    }
    assert!(stream.next().await.is_none());
    Ok(steps)
}

fn sampling() -> Sampling {
    Sampling {
        temperature: 0.5,
        seed: Some(1),
        ..Sampling::greedy()
    }
}

fn options<'a>(stop_ids: &'a CipherIds, sampling: &'a Sampling) -> Options<'a> {
    Options {
        vocab_size: 10,
        stop_ids,
        tells_stops: true,
        max_tokens: 4,
        sampling,
    }
}

async fn error_of(script: Script) -> String {
    let (url, _) = host(script).await;
    let message = ask(&url).await.unwrap_err().to_string();
    assert!(message.contains(url.trim_end_matches('/')), "{message}");
    message
}

fn ids(steps: &[Step]) -> Vec<u32> {
    steps.iter().flat_map(|step| step.ids.clone()).collect()
}

#[tokio::test]
async fn answers_cut_anywhere_are_read_alike() {
    let events = format!(
        ": hello\n\n{}{}{}{USAGE}{DONE}",
        chunk("1,2", "null"),
        chunk("", "null"),
        chunk("9", "\"stop\"")
    );
    let mut bytes = head("200 OK", "text/event-stream");
    bytes.extend_from_slice(events.as_bytes());
    for size in [1, 7, 64, 10_000] {
        let writes = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        let (url, _) = host(Script {
            writes,
            hangs: false,
        })
        .await;
        let steps = ask(&url).await.unwrap();
        assert_eq!(ids(&steps), [1, 2, 9], "in writes of {size}");
        assert_eq!(steps.len(), 3);
        assert_eq!(steps[1].finish, Some(FinishReason::Stop));
        assert_eq!(steps[2].usage.map(|usage| usage.total_tokens), Some(5));
    }
}

#[tokio::test]
async fn a_request_carries_cipher_ids_and_how_to_sample() {
    let (url, requests) = host(stream_of(&format!("{}{DONE}", chunk("1", "\"length\"")))).await;
    ask(&url).await.unwrap();
    ask(&url).await.unwrap();
    let requests = requests.lock().await;
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("POST /prefix/inference/v1/generate HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer hunter2"), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["token_ids"], serde_json::json!([3, 4]));
    assert_eq!(body["stream"], true);
    let sampling = &body["sampling_params"];
    assert_eq!(sampling["stop_token_ids"], serde_json::json!([9]));
    assert_eq!(
        (&sampling["ignore_eos"], &sampling["max_tokens"]),
        (&true.into(), &4.into())
    );
    assert_eq!(
        (&sampling["seed"], &sampling["temperature"]),
        (&1.into(), &0.5.into())
    );
    let other: Value = serde_json::from_str(requests[1].split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["cache_salt"].as_str().unwrap().len(), 32);
    assert_ne!(
        body["cache_salt"], other["cache_salt"],
        "hosts share a salt"
    );
}

#[tokio::test]
async fn a_broken_answer_is_an_error() {
    let good = chunk("1", "null");
    let end = chunk("2", "\"stop\"");
    for (events, expected) in [
        (good.clone(), "without a finish_reason"),
        (format!("{good}{DONE}"), "without a finish_reason"),
        (String::new(), "without a finish_reason"),
        (
            format!("{good}data: {{\"choices\": 3}}\n\n"),
            "another form",
        ),
        (format!("{good}data: garbage\n\n"), "another form"),
        (chunk("10", "null"), "outside the vocabulary of 10"),
        (chunk("-1", "null"), "another form"),
        (chunk("4294967296", "null"), "another form"),
        (chunk("1.5", "null"), "another form"),
        (chunk("1,1,1,1,1", "null"), "max_tokens"),
        (
            format!("{}{good}{end}", chunk("1,1,1", "null")),
            "max_tokens",
        ),
        (format!("{end}{good}"), "after finish_reason"),
        (chunk("1", "\"error\""), "\"error\""),
        (chunk("1", "\"abort\""), "\"abort\""),
        (chunk("1", "\"whim\""), "another form"),
        (good.replace("\"index\":0", "\"index\":1"), "one answer"),
        (
            format!("{good}data: {}", "a".repeat(5 << 20)),
            "longer than",
        ),
        (
            format!(
                "{good}data: {{\"error\":{{\"message\":\"out\\u001b[2J of memory\",\"type\":\"x\",\"code\":500}}}}\n\n"
            ),
            "out\\u{1b}[2J of memory",
        ),
    ] {
        let (url, _) = host(stream_of(&events)).await;
        let message = ask(&url).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_well_needs_no_last_word() {
    let (url, _) = host(stream_of(&chunk("1", "\"stop\""))).await;
    assert_eq!(ids(&ask(&url).await.unwrap()), [1]);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error() {
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99999\r\n\r\n";
    let message = error_of(Script {
        writes: vec![head.to_vec(), chunk("1", "null").into()],
        hangs: false,
    })
    .await;
    assert!(message.contains("check the address"), "{message}");
    error_of(Script {
        writes: vec![b"garbage\r\n\r\n".to_vec()],
        hangs: false,
    })
    .await;
    error_of(Script {
        writes: vec![],
        hangs: false,
    })
    .await;
}

#[tokio::test]
async fn silence_is_an_error_and_slowness_is_not() {
    for writes in [
        vec![],
        vec![head("200 OK", "text/event-stream")],
        vec![
            head("200 OK", "text/event-stream"),
            chunk("1", "null").into(),
        ],
        vec![head("503 Service Unavailable", "text/plain")],
    ] {
        let broken = writes
            .first()
            .is_some_and(|head: &Vec<u8>| head.starts_with(b"HTTP/1.1 503"));
        let begun = Instant::now();
        let message = error_of(Script {
            writes,
            hangs: true,
        })
        .await;
        assert!(begun.elapsed() < Duration::from_secs(10));
        let expected = if broken { "503" } else { "nothing received" };
        assert!(message.contains(expected), "{message}");
    }
    let mut writes = vec![head("200 OK", "text/event-stream")];
    let text = format!("{}{}", chunk("1", "null"), chunk("2", "\"length\""));
    writes.extend(text.bytes().map(|byte| vec![byte]));
    let (url, _) = host(Script {
        writes,
        hangs: false,
    })
    .await;
    assert_eq!(ids(&ask(&url).await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn refusals_are_readable() {
    let body = "{\"error\":{\"message\":\"prompt has 9\\nids\",\"type\":\"BadRequestError\",\"code\":400}}";
    for (status, body, expected) in [
        (
            "400 Bad Request",
            body,
            vec!["400", "prompt has 9\\nids", "does not fit"],
        ),
        ("401 Unauthorized", "", vec!["401", "API key"]),
        ("404 Not Found", "<html>", vec!["404", "--enable-scale-out"]),
        ("429 Too Many Requests", body, vec!["429", "busy"]),
        (
            "500 Internal Server Error",
            "null",
            vec!["500", "no readable reason"],
        ),
        ("204 No Content", "", vec!["204"]),
    ] {
        let message = error_of(Script {
            writes: vec![head(status, "application/json"), body.into()],
            hangs: false,
        })
        .await;
        for part in expected {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(!message.contains("hunter2"), "{message}");
    }
    let moved = b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let message = error_of(Script {
        writes: vec![moved.to_vec()],
        hangs: false,
    })
    .await;
    assert!(message.contains("redirects are not followed"), "{message}");
    let message = error_of(Script {
        writes: vec![head("200 OK", "application/json"), b"{}".to_vec()],
        hangs: false,
    })
    .await;
    assert!(message.contains("application/json"), "{message}");
}

#[tokio::test]
async fn nobody_there_is_an_error_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let message = ask(&url).await.unwrap_err().to_string();
    assert!(
        message.contains("refused") && message.contains(&url),
        "{message}"
    );
}

#[tokio::test]
async fn bad_options_and_foreign_ids_are_not_sent() {
    let (url, requests) = host(stream_of("")).await;
    let client = Host::new(&url, None).unwrap();
    let of = |ids: &[u32]| CipherIds::of_public_text(ids.to_vec());
    let (stop_ids, foreign) = (of(&[]), of(&[10]));
    let good = sampling();
    let bias = |value| Bias::new(of(&[1]), vec![value]);
    let bad = [
        Sampling {
            temperature: f64::NAN,
            ..sampling()
        },
        Sampling {
            temperature: -0.1,
            ..sampling()
        },
        Sampling {
            top_p: 0.0,
            ..sampling()
        },
        Sampling {
            top_p: 1.1,
            ..sampling()
        },
        Sampling {
            min_p: 1.1,
            ..sampling()
        },
        Sampling {
            presence_penalty: 2.1,
            ..sampling()
        },
        Sampling {
            frequency_penalty: f64::INFINITY,
            ..sampling()
        },
        Sampling {
            repetition_penalty: 0.0,
            ..sampling()
        },
        Sampling {
            bias: bias(100.5),
            ..sampling()
        },
        Sampling {
            bias: bias(f64::NAN),
            ..sampling()
        },
        Sampling {
            bias: Bias::new(of(&[10]), vec![1.0]),
            ..sampling()
        },
        Sampling {
            logprobs: Some(65),
            ..sampling()
        },
    ];
    let none = Options {
        max_tokens: 0,
        ..options(&stop_ids, &good)
    };
    let mut wrong = vec![
        (of(&[]), options(&stop_ids, &good)),
        (of(&[10]), options(&stop_ids, &good)),
        (of(&[1]), options(&foreign, &good)),
        (of(&[1]), none),
    ];
    wrong.extend(bad.iter().map(|bad| (of(&[1]), options(&stop_ids, bad))));
    for (place, (prompt, options)) in wrong.iter().enumerate() {
        let asked = client.generate(prompt, options).await;
        assert!(asked.is_err(), "case {place}");
    }
    assert!(requests.lock().await.is_empty());
}

#[tokio::test]
async fn the_manifest_is_read_from_the_list_of_models() {
    let manifest = serde_json::json!({
        "format_version": 1, "key_id": "0001020304050607", "epoch": 0, "profile": "permute",
        "architecture": "llama", "source_fingerprint": "ab".repeat(32), "vocab_size": 10,
        "plain_vocab_size": 10, "dtype": "BF16",
    });
    let list = |entry: Value| serde_json::json!({"object": "list", "data": [entry]}).to_string();
    let published = list(serde_json::json!({"id": "m", "equicrypt": manifest}));
    let mut wrong = manifest.clone();
    wrong["epoch"] = (-1).into();
    for (body, expected) in [
        (published, None),
        (
            list(serde_json::json!({"id": "m"})),
            Some("--manifest FILE"),
        ),
        (
            list(serde_json::json!({"equicrypt": 3})),
            Some("--manifest FILE"),
        ),
        (
            list(serde_json::json!({"equicrypt": wrong})),
            Some("that it publishes"),
        ),
        ("{\"data\": []}".into(), Some("--manifest FILE")),
        ("<html>".into(), Some("expected JSON")),
        ("[".repeat(100_000), Some("expected JSON")),
        (" ".repeat(5 << 20), Some("more than")),
    ] {
        let writes = vec![head("200 OK", "application/json"), body.into_bytes()];
        let (url, requests) = host(Script {
            writes,
            hangs: false,
        })
        .await;
        let answer = Host::new(&url, None).unwrap().manifest().await;
        let requests = requests.lock().await;
        assert!(
            requests[0].starts_with("GET /prefix/v1/models HTTP/1.1\r\n"),
            "{requests:?}"
        );
        assert!(!requests[0].contains("authorization"));
        match expected {
            None => assert_eq!(answer.unwrap().key_id.to_string(), "0001020304050607"),
            Some(expected) => {
                let message = answer.unwrap_err().to_string();
                assert!(message.contains(expected), "{expected}: {message}");
            }
        }
    }
}
