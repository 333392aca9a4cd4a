use std::time::Duration;

use equicrypt_cipher::{MasterKey, Vocabulary};
use equicrypt_spec::Manifest;
use serde_json::{Value, json};

use super::*;
use crate::fixture::{END, encryption, folder};
use crate::scripted_host::{DONE, Script, changing_host, chunk, head, model_host, stream_of};
use crate::{Host, Ledger, Owner, Session, Upstream};

mod homophones;

/// A gateway before these hosts.
async fn gateway(hosts: &[String], api_key: Option<ApiKey>) -> String {
    gateway_of(encryption(), None, hosts, api_key).await
}

/// The same with a budget of tokens.
async fn gateway_within(budget: Option<u64>, hosts: &[String], api_key: Option<ApiKey>) -> String {
    gateway_of(encryption(), budget, hosts, api_key).await
}

async fn gateway_of(
    (key, manifest): (MasterKey, Manifest),
    budget: Option<u64>,
    hosts: &[String],
    api_key: Option<ApiKey>,
) -> String {
    let dir = folder();
    let owner = Owner::open(dir.path()).unwrap();
    let epochs = Epochs::new(owner, key, &manifest).unwrap();
    let model = Model::Text(Arc::new(TextModel::new(epochs, true, None).unwrap()));
    let tap = Tap::new(8);
    let pool = pool(budget, hosts, manifest).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let options = GatewayOptions {
        name: "m".into(),
        api_key,
        health: Duration::from_millis(50),
        grace: Duration::from_secs(1),
        shares: None,
    };
    tokio::spawn(serve_gateway(
        listener,
        model,
        pool,
        tap,
        options,
        std::future::pending(),
    ));
    format!("http://{address}")
}

async fn pool(budget: Option<u64>, hosts: &[String], manifest: Manifest) -> Result<Pool, Error> {
    let upstream = |url: String| Upstream {
        open: Box::new(move || Ok(Host::new(&url, None)?.silent_for(Duration::from_millis(700)))),
        manifest: None,
    };
    let hosts = hosts.iter().cloned().map(upstream).collect();
    let dir = tempfile::tempdir().unwrap().keep();
    let ledger = Ledger::open(dir.join("state.json"), &manifest, budget)?;
    Pool::open(hosts, None, manifest, Arc::new(ledger)).await
}

async fn post(url: &str, route: &str, body: Value) -> (u16, String) {
    let client = reqwest::Client::new();
    let sent = client.post(format!("{url}{route}")).json(&body).send();
    let response = sent.await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn chat(url: &str, more: Value) -> (u16, Value) {
    let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 9 });
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let (status, text) = post(url, "/v1/chat/completions", body).await;
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

/// A host's events for these plain ids.
fn says(plain: &[u32], finish: &str) -> String {
    says_in(0, plain, finish)
}

/// The same under the vocabulary of an epoch.
fn says_in(epoch: u32, plain: &[u32], finish: &str) -> String {
    let (key, manifest) = encryption();
    let vocabulary = Vocabulary::open(&key, &manifest.rekeyed(epoch)).unwrap();
    let cipher = vocabulary.encrypt(plain).unwrap();
    let ids: Vec<String> = cipher.as_slice().iter().map(u32::to_string).collect();
    chunk(&ids.join(","), finish)
}

fn letters(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn good(text: &str) -> Script {
    let end = says(&[letters(text), vec![END]].concat(), "\"stop\"");
    stream_of(&format!("{end}{DONE}"))
}

async fn one_host(scripts: Vec<Script>) -> (String, Arc<tokio::sync::Mutex<Vec<String>>>) {
    model_host(&encryption().1, scripts).await
}

#[tokio::test]
async fn an_answer_is_decrypted() {
    let (host, _) = one_host(vec![good("Grüße")]).await;
    let url = gateway(&[host], None).await;
    let (status, answer) = chat(&url, json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "Grüße");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let (_, stream) = post(
        &url,
        "/v1/chat/completions",
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }],
            "stream": true, "stream_options": { "include_usage": true } }),
    )
    .await;
    let events: Vec<&str> = stream.split("\n\n").collect();
    assert_eq!(events[events.len() - 2], "data: [DONE]");
    let usage: Value = serde_json::from_str(&events[events.len() - 3][6..]).unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]["completion_tokens"]),
        (&json!([]), &json!(7))
    );
}

#[tokio::test]
async fn a_stop_string_ends_the_answer_here_and_is_not_sent() {
    let events = format!(
        "{}{}",
        says(&letters("one tw"), "null"),
        says(&letters("o three"), "null")
    );
    let script = || Script {
        hangs: true,
        ..stream_of(&events)
    };
    let (host, requests) = one_host(vec![script()]).await;
    let url = gateway(&[host], None).await;
    let (_, answer) = chat(&url, json!({ "stop": ["two"], "max_tokens": 40 })).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "one ");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let requests = requests.lock().await;
    assert!(
        !requests[0].contains("two") && !requests[0].contains("\"stop\":"),
        "{requests:?}"
    );
}

#[tokio::test]
async fn broken_hosts_are_errors_and_show_nothing() {
    let end = says(&letters("a"), "null");
    let text_only =
        "data: {\"choices\":[{\"index\":0,\"text\":\"hello\",\"finish_reason\":null}]}\n\n";
    for (script, status, code) in [
        (stream_of(text_only), 502, "host_failed"),
        (stream_of(&chunk("264", "null")), 502, "host_failed"),
        (stream_of("data: garbage\n\n"), 502, "host_failed"),
        (stream_of(&end), 502, "host_failed"),
        (stream_of(""), 502, "host_failed"),
        (
            Script {
                writes: vec![head("200 OK", "application/json"), b"{}".to_vec()],
                hangs: false,
            },
            502,
            "host_failed",
        ),
        (
            Script {
                writes: vec![head("500 Oops", "application/json"), b"{}".to_vec()],
                hangs: false,
            },
            502,
            "host_failed",
        ),
        (
            Script {
                writes: vec![head("429 Busy", "application/json"), b"{}".to_vec()],
                hangs: false,
            },
            429,
            "host_overloaded",
        ),
        (
            Script {
                writes: vec![],
                hangs: true,
            },
            504,
            "host_silent",
        ),
        (
            Script {
                writes: vec![],
                hangs: false,
            },
            503,
            "host_unavailable",
        ),
    ] {
        let (host, _) = one_host(vec![script]).await;
        let url = gateway(&[host], None).await;
        let (found, answer) = chat(&url, json!({})).await;
        assert_eq!(
            (found, &answer["error"]["code"]),
            (status, &json!(code)),
            "{answer}"
        );
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("host"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_an_error() {
    let (host, requests) = one_host(vec![stream_of(&says(&letters("abc"), "null"))]).await;
    let url = gateway(&[host], None).await;
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    let (status, stream) = post(&url, "/v1/chat/completions", body).await;
    assert_eq!(status, 200);
    assert!(stream.contains("\"content\":\"abc\""), "{stream}");
    assert!(
        stream.contains("\"error\":{\"message\"") && !stream.contains("[DONE]"),
        "{stream}"
    );
    assert_eq!(
        requests.lock().await.len(),
        1,
        "what was streamed is not asked for again"
    );
}

#[tokio::test]
async fn another_host_is_asked_while_nothing_was_streamed() {
    let (bad, asked) = one_host(vec![stream_of("data: garbage\n\n")]).await;
    let (well, _) = one_host(vec![good("ok")]).await;
    let url = gateway(&[bad, well], None).await;
    for _ in 0..3 {
        let (status, answer) = chat(&url, json!({})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["choices"][0]["message"]["content"], "ok");
    }
    assert!(!asked.lock().await.is_empty());
}

#[tokio::test]
async fn a_host_with_another_manifest_gets_nothing() {
    let mut other = encryption().1;
    other.profile = equicrypt_spec::Profile::Rotate;
    let (host, requests) = model_host(&other, vec![good("ok")]).await;
    let error = pool(None, std::slice::from_ref(&host), encryption().1)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            error,
            Error::OtherManifest {
                field: "profile",
                ..
            }
        ),
        "{error}"
    );
    let (well, _) = one_host(vec![good("ok")]).await;
    let url = gateway(&[host, well], None).await;
    assert_eq!(chat(&url, json!({})).await.0, 200);
    assert!(requests.lock().await.is_empty());
    let state: Value = reqwest::get(format!("{url}/state"))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(
        state["hosts"][0]["fault"]
            .as_str()
            .unwrap()
            .contains("profile"),
        "{state}"
    );
    assert_eq!(state["hosts"][1]["fault"], Value::Null);
}

fn good_in(epoch: u32, text: &str) -> Script {
    let plain = [letters(text), vec![END]].concat();
    let end = says_in(epoch, &plain, "\"stop\"");
    stream_of(&format!("{end}{DONE}"))
}

async fn state(url: &str) -> Value {
    let answer = reqwest::get(format!("{url}/state")).await.unwrap();
    answer.json().await.unwrap()
}

/// The ids of the prompt of a request that a host got.
fn prompt_of(request: &str) -> Vec<u32> {
    let body: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    serde_json::from_value(body["token_ids"].clone()).unwrap()
}

#[tokio::test]
async fn every_host_is_asked_in_its_own_epoch_and_the_newest_first() {
    let manifest = encryption().1;
    let (old, asked_old) = model_host(&manifest, vec![good("old")]).await;
    let busy = || Script {
        writes: vec![head("429 Busy", "application/json"), b"{}".to_vec()],
        hangs: false,
    };
    let scripts = vec![good_in(3, "new"), busy()];
    let (new, asked_new) = model_host(&manifest.rekeyed(3), scripts).await;
    let url = gateway(&[old, new], None).await;
    let said = async || chat(&url, json!({})).await.1["choices"][0]["message"]["content"].clone();
    assert_eq!(said().await, "new");
    assert!(asked_old.lock().await.is_empty());
    // The same question again, for the other host's vocabulary.
    assert_eq!(said().await, "old");
    let prompts = [&asked_old, &asked_new].map(async |asked| prompt_of(&asked.lock().await[0]));
    let prompts = futures_util::future::join_all(prompts).await;
    assert_eq!(prompts[0].len(), prompts[1].len());
    assert_ne!(prompts[0], prompts[1]);
    let state = state(&url).await;
    assert_eq!(
        (&state["epoch"], &state["hosts"][0]["epoch"]),
        (&json!(3), &json!(0))
    );
    let tokens = |epoch: usize| state["epochs"][epoch]["tokens"].as_u64().unwrap() as usize;
    // What was sent to a busy host was seen there.
    assert_eq!(tokens(0), prompts[0].len() + 4);
    assert_eq!(tokens(1), 2 * prompts[0].len() + 4);
}

/// Between two looks at its manifest.
#[tokio::test]
async fn a_host_that_has_just_changed_over_is_asked_again_in_its_new_epoch() {
    let manifest = encryption().1;
    let refuses = Script {
        writes: vec![
            head("421 Misdirected Request", "application/json"),
            b"{}".to_vec(),
        ],
        hangs: false,
    };
    let manifests = [manifest.clone(), manifest.rekeyed(4)];
    let (host, requests) = changing_host(&manifests, vec![refuses, good_in(4, "new")]).await;
    let url = gateway(&[host], None).await;
    let (status, answer) = chat(&url, json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "new");
    let requests = requests.lock().await;
    let told = requests.iter().map(|request| {
        let line = request
            .lines()
            .find(|line| line.starts_with("equicrypt-epoch: "));
        line.unwrap().to_owned()
    });
    let told: Vec<_> = told.collect();
    assert_eq!(told, ["equicrypt-epoch: 0/0", "equicrypt-epoch: 4/0"]);
    assert_ne!(prompt_of(&requests[0]), prompt_of(&requests[1]));
}

#[tokio::test]
async fn the_budget_of_every_epoch_is_kept() {
    let manifest = encryption().1;
    let (old, asked_old) = model_host(&manifest, vec![good("old")]).await;
    let (new, asked_new) = model_host(&manifest.rekeyed(1), vec![good_in(1, "new")]).await;
    let url = gateway_within(Some(100), &[old, new], None).await;
    let mut said = Vec::new();
    let (status, answer) = loop {
        let (status, answer) = chat(&url, json!({})).await;
        if status != 200 {
            break (status, answer);
        }
        said.push(answer["choices"][0]["message"]["content"].clone());
    };
    assert_eq!(status, 403, "{answer}");
    let error = &answer["error"];
    assert_eq!(error["code"], "epoch_budget_exhausted");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("rekey") && message.contains("--budget"),
        "{message}"
    );
    // First all that the newest epoch has, then what the older one has.
    let half = said.len() / 2;
    assert!(
        half > 0 && said[..half].iter().all(|said| said == "new"),
        "{said:?}"
    );
    assert!(said[half..].iter().all(|said| said == "old"), "{said:?}");
    let sent = [asked_old.lock().await.len(), asked_new.lock().await.len()];
    assert_eq!(sent.iter().sum::<usize>(), said.len());
    let state = state(&url).await;
    assert_eq!(state["budget"], 100);
    for epoch in state["epochs"].as_array().unwrap() {
        assert!(
            (50..=110).contains(&epoch["tokens"].as_u64().unwrap()),
            "{state}"
        );
    }
    let metrics = reqwest::get(format!("{url}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("epoch_tokens{epoch=\"1\"}"), "{metrics}");
    assert!(metrics.contains("epoch_budget_tokens 100"), "{metrics}");
}

#[tokio::test]
async fn a_running_answer_is_cut_a_tenth_behind_the_budget() {
    let many = says(&letters(&"a".repeat(10)), "null").repeat(20);
    let (host, _) = one_host(vec![stream_of(&format!(
        "{many}{}",
        says(&[END], "\"stop\"")
    ))])
    .await;
    let url = gateway_within(Some(50), &[host], None).await;
    let body = json!({ "prompt": "b", "max_tokens": 60 });
    let (status, text) = post(&url, "/v1/completions", body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    // One token of the prompt, and the ten with which it passed 55.
    assert_eq!(answer["choices"][0]["text"], "a".repeat(60));
}

/// What is refused here was never seen there.
#[tokio::test]
async fn what_is_not_sent_is_not_counted() {
    let (host, requests) = one_host(vec![good("ok")]).await;
    let url = gateway(&[host], None).await;
    let (status, answer) = chat(&url, json!({ "temperature": -1 })).await;
    assert_eq!(status, 400, "{answer}");
    assert!(requests.lock().await.is_empty());
    assert_eq!(state(&url).await["epoch_tokens"], 0);
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (left, mut was_left) = tokio::sync::mpsc::channel(1);
    let models = json!({ "data": [{ "id": "m", "equicrypt": encryption().1 }] }).to_string();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut socket, _)) = listener.accept().await {
            let (left, models) = (left.clone(), models.clone());
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let read = socket.read(&mut request).await.unwrap();
                if request[..read].starts_with(b"GET") {
                    let head = head("200 OK", "application/json");
                    let _ = socket
                        .write_all(&[head, models.into_bytes()].concat())
                        .await;
                    return;
                }
                socket
                    .write_all(&head("200 OK", "text/event-stream"))
                    .await
                    .unwrap();
                let event = says(&letters("a"), "null");
                while socket.write_all(event.as_bytes()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let _ = left.send(()).await;
            });
        }
    });
    let url = gateway(&[format!("http://{address}")], None).await;
    let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    for streams in [true, false] {
        let mut body = body.clone();
        body["stream"] = json!(streams);
        let sent = reqwest::Client::new()
            .post(format!("{url}/v1/chat/completions"))
            .json(&body)
            .send();
        if streams {
            let mut response = sent.await.unwrap();
            response.chunk().await.unwrap();
            drop(response);
        } else {
            let _ = tokio::time::timeout(Duration::from_millis(60), sent).await;
        }
        let stopped = tokio::time::timeout(Duration::from_secs(5), was_left.recv()).await;
        assert!(stopped.is_ok(), "the host goes on; streams: {streams}");
    }
}

#[tokio::test]
async fn bad_requests_are_refused_by_field_and_not_sent() {
    let (host, requests) = one_host(vec![good("ok")]).await;
    let url = gateway(&[host], None).await;
    let too_long = json!([{ "role": "user", "content": "a".repeat(64) }]);
    for (more, param, words) in [
        (json!({ "messages": [] }), json!("messages"), "one or more"),
        (
            json!({ "messages": [{ "content": "x" }] }),
            json!("messages"),
            "role",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": 3 }] }),
            json!("messages"),
            "content",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            json!("messages"),
            "text parts",
        ),
        (
            json!({ "messages": too_long }),
            Value::Null,
            "context leaves room",
        ),
        (json!({ "max_tokens": 0 }), json!("max_tokens"), "1 or more"),
        (json!({ "n": 0 }), json!("n"), "1 to 128"),
        (json!({ "temperature": -1 }), Value::Null, "temperature"),
        (json!({ "top_p": 0 }), Value::Null, "top_p"),
        (
            json!({ "logit_bias": { "264": 1 } }),
            json!("logit_bias"),
            "below 264",
        ),
        (
            json!({ "logit_bias": { "1": 101 } }),
            Value::Null,
            "logit_bias",
        ),
        (
            json!({ "top_logprobs": 3 }),
            json!("top_logprobs"),
            "logprobs",
        ),
        (
            json!({ "logprobs": true, "top_logprobs": 21 }),
            json!("top_logprobs"),
            "20",
        ),
        (
            json!({ "response_format": { "type": "xml" } }),
            json!("response_format"),
            "json_object",
        ),
        (
            json!({ "tool_choice": "required" }),
            json!("tool_choice"),
            "needs tools",
        ),
        (
            json!({ "tools": [{ "type": "web" }] }),
            json!("tools"),
            "function",
        ),
        (json!({ "functions": [] }), json!("functions"), "tools"),
        (
            json!({ "modalities": ["audio"] }),
            json!("modalities"),
            "text",
        ),
        (json!({ "stop": vec!["x"; 17] }), json!("stop"), "at most"),
        (json!({ "stream": "yes" }), Value::Null, "body"),
    ] {
        let (status, answer) = chat(&url, more.clone()).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &param),
            "{more}: {answer}"
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{more}: {message}");
        assert_eq!(answer["error"]["type"], "invalid_request_error");
    }
    for (route, body) in [
        ("/v1/completions", json!({ "prompt": [264] })),
        ("/v1/completions", json!({ "prompt": "a", "suffix": "b" })),
        (
            "/v1/completions",
            json!({ "prompt": "a", "echo": true, "logprobs": 1 }),
        ),
        ("/v1/completions", json!({ "prompt": [] })),
        ("/v1/embeddings", json!({ "input": "a" })),
        (
            "/v1/responses",
            json!({ "input": "a", "previous_response_id": "x" }),
        ),
        ("/v1/responses", json!({})),
    ] {
        assert_eq!(
            post(&url, route, body.clone()).await.0,
            400,
            "{route} {body}"
        );
    }
    assert_eq!(post(&url, "/v1/nothing", json!({})).await.0, 404);
    assert!(requests.lock().await.is_empty());
}

#[tokio::test]
async fn strangers_are_kept_out() {
    let (host, requests) = one_host(vec![good("ok")]).await;
    let url = gateway(&[host], Some(ApiKey::new("sesame".into()).unwrap())).await;
    let client = reqwest::Client::new();
    let ask = |headers: Vec<(&'static str, &'static str)>, route: &str| {
        let mut request = client.get(format!("{url}{route}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        async move { request.send().await.unwrap().status().as_u16() }
    };
    let key = ("authorization", "Bearer sesame");
    assert_eq!(ask(vec![], "/v1/models").await, 401);
    assert_eq!(
        ask(vec![("authorization", "Bearer other")], "/v1/models").await,
        401
    );
    assert_eq!(ask(vec![key], "/v1/models").await, 200);
    assert_eq!(ask(vec![key], "/v1/models/m").await, 200);
    assert_eq!(ask(vec![key], "/v1/models/other").await, 404);
    assert_eq!(ask(vec![], "/health").await, 200);
    assert_eq!(ask(vec![], "/").await, 200);
    for route in ["/state", "/traffic", "/metrics"] {
        assert_eq!(ask(vec![], route).await, 401, "{route}");
    }
    assert_eq!(
        ask(vec![key, ("origin", "http://evil.example")], "/v1/models").await,
        403
    );
    assert_eq!(ask(vec![key, ("origin", "null")], "/v1/models").await, 403);
    assert_eq!(
        ask(vec![key, ("host", "evil.example")], "/v1/models").await,
        403
    );
    assert!(requests.lock().await.is_empty());
}

#[tokio::test]
async fn the_tap_shows_the_bytes_of_an_exchange() {
    let (host, requests) = one_host(vec![good("ok")]).await;
    let tap = Tap::new(16);
    let mut listener = tap.listen();
    let (key, manifest) = encryption();
    let dir = folder();
    let session = Session::open(Owner::open(dir.path()).unwrap(), &key, &manifest).unwrap();
    let sampling = crate::Sampling::greedy();
    let options = crate::Options {
        vocab_size: session.vocab_size(),
        stop_ids: session.stop_ids(),
        tells_stops: false,
        max_tokens: 5,
        sampling: &sampling,
    };
    let host = Host::new(&host, None).unwrap().tapped(tap);
    let prompt = session.encrypt_prompt(&[1, 2, 3]).unwrap();
    let mut stream = host.generate(&prompt, &options).await.unwrap();
    while stream.next().await.transpose().unwrap().is_some() {}
    let sent = listener.recv().await.unwrap();
    let (_, body) = requests.lock().await[0]
        .split_once("\r\n\r\n")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        (sent.route, sent.bytes.as_slice()),
        (Some("inference/v1/generate"), body.as_bytes())
    );
    assert!(body.contains("\"stop_token_ids\":[]"), "{body}");
    let mut back = Vec::new();
    while let Ok(piece) = listener.try_recv() {
        assert_eq!((piece.route, piece.exchange), (None, sent.exchange));
        back.extend_from_slice(&piece.bytes);
    }
    assert!(String::from_utf8(back).unwrap().ends_with(DONE));
}
