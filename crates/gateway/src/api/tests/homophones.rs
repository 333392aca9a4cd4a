//! A model in which some plain ids have several cipher ids.

use super::*;
use crate::fixture::{VOCAB, homophonic_encryption};

fn vocabulary() -> Vocabulary {
    let (key, manifest) = homophonic_encryption();
    Vocabulary::open(&key, &manifest).unwrap()
}

async fn before(scripts: Vec<Script>) -> (String, Arc<tokio::sync::Mutex<Vec<String>>>) {
    let (host, requests) = model_host(&homophonic_encryption().1, scripts).await;
    let url = gateway_of(homophonic_encryption(), None, &[host], None).await;
    (url, requests)
}

/// What the host says: the last homophone of each id, which no prompt would always choose.
fn last_homophones(plain: &[u32]) -> Vec<u32> {
    let vocabulary = vocabulary();
    let last = |id: &u32| *vocabulary.class(*id).unwrap().last().unwrap();
    plain.iter().map(last).collect()
}

fn script(cipher: &[u32]) -> Script {
    let ids: Vec<String> = cipher.iter().map(u32::to_string).collect();
    stream_of(&format!("{}{DONE}", chunk(&ids.join(","), "\"stop\"")))
}

fn body(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[tokio::test]
async fn a_second_turn_repeats_the_homophones_that_the_host_wrote() {
    let said = [letters("each area"), vec![END]].concat();
    let cipher = last_homophones(&said);
    let (url, requests) = before(vec![script(&cipher)]).await;
    let (_, answer) = chat(&url, json!({ "temperature": 0, "max_tokens": 10 })).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "each area");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let messages = json!([
        { "role": "user", "content": "hi" }, { "role": "assistant", "content": "each area" },
        { "role": "user", "content": "e" },
    ]);
    let (status, answer) = chat(
        &url,
        json!({ "temperature": 0, "max_tokens": 10, "messages": messages }),
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let requests = requests.lock().await;
    let [first, second] = [0, 1].map(|turn| body(&requests[turn]));
    let (first_ids, second_ids) = (ids(&first["token_ids"]), ids(&second["token_ids"]));
    let seen = [first_ids.as_slice(), &cipher[..cipher.len() - 1]].concat();
    assert!(second_ids.starts_with(&seen), "{second_ids:?} {seen:?}");
    let plain = vocabulary().decrypt(&second_ids).unwrap();
    let fresh = vocabulary().encrypt(&plain).unwrap();
    assert_ne!(
        fresh.as_slice(),
        second_ids,
        "the answer's own homophones are kept"
    );
    // Every homophone of an end ends.
    let mut stops = ids(&first["sampling_params"]["stop_token_ids"]);
    stops.sort_unstable();
    let all = vocabulary().encrypt_to_all(&[END, 258]).unwrap();
    assert_eq!(stops, all.as_slice());
    assert!(stops.len() > 2);
}

#[tokio::test]
async fn hosts_are_told_biases_that_make_draws_exact() {
    let (url, requests) = before(vec![script(&last_homophones(&[END]))]).await;
    let vocabulary = vocabulary();
    let classes: Vec<_> = vocabulary.homophonic_classes().collect();
    let many: usize = classes.iter().map(|(_, class)| class.len()).sum();
    for (more, biased) in [
        (json!({ "temperature": 0 }), 0),
        (json!({ "temperature": 0.5 }), many),
        (
            json!({ "temperature": 0.5, "top_p": 0.9 }),
            many - classes.len(),
        ),
        (
            json!({ "temperature": 0, "presence_penalty": 1 }),
            many - classes.len(),
        ),
        (
            json!({ "temperature": 0, "logit_bias": { "101": 2 } }),
            vocabulary.class(101).unwrap().len(),
        ),
        (
            json!({ "temperature": 1, "logit_bias": { "7": 2 } }),
            many + 1,
        ),
    ] {
        let (status, answer) = chat(&url, more.clone()).await;
        assert_eq!(status, 200, "{more}: {answer}");
        let sent = body(requests.lock().await.last().unwrap());
        let bias = sent["sampling_params"]["logit_bias"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        assert_eq!(bias.len(), biased, "{more}");
    }
    let e = vocabulary.class(101).unwrap();
    let (_, _) = chat(
        &url,
        json!({ "temperature": 0.5, "logit_bias": { "101": 1 } }),
    )
    .await;
    let sent = body(requests.lock().await.last().unwrap());
    for homophone in e {
        let found = sent["sampling_params"]["logit_bias"][homophone.to_string()]
            .as_f64()
            .unwrap();
        assert!((found - (1.0 - 0.5 * (e.len() as f64).ln())).abs() < 1e-12);
    }
    let before = requests.lock().await.len();
    for (more, word) in [
        (json!({ "repetition_penalty": 1.1 }), "repetition_penalty"),
        (json!({ "temperature": 4.5 }), "temperature"),
    ] {
        let (status, answer) = chat(&url, more).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(status == 400 && message.contains(word), "{answer}");
        assert!(message.contains("homophones"), "{answer}");
    }
    assert_eq!(requests.lock().await.len(), before, "nothing was sent");
}

/// JSON is followed though most of what a host offers is one plain id.
#[tokio::test]
async fn a_grammar_chooses_among_plain_ids() {
    let vocabulary = vocabulary();
    let cipher = |letter: u8| *vocabulary.class(letter.into()).unwrap().first().unwrap();
    let entry = |id: u32, logprob: f64| json!({ "token": format!("token_id:{id}"), "token_id": id, "logprob": logprob });
    // The likeliest are all the homophones of "e", which no JSON object begins with; then a brace.
    let e = vocabulary.class(u32::from(b'e')).unwrap();
    let mut top: Vec<Value> = e.iter().map(|id| entry(*id, -3.0)).collect();
    top.push(entry(cipher(b'{'), -4.0));
    let mut drawn = entry(e[0], -3.0);
    drawn["top_logprobs"] = json!(top);
    let event = |ids: &[u32], logprobs: Vec<Value>, finish: Value| {
        let event = json!({ "request_id": "r", "usage": null, "choices": [{
            "index": 0, "finish_reason": finish, "stop_reason": null, "token_ids": ids,
            "logprobs": { "content": logprobs },
        }]});
        format!("data: {event}\n\n")
    };
    let first = Script {
        hangs: true,
        ..stream_of(&event(&[e[0]], vec![drawn], Value::Null))
    };
    let rest = last_homophones(&[letters("}"), vec![END]].concat());
    let entries = rest.iter().map(|id| entry(*id, -0.1)).collect();
    let rest = stream_of(&format!("{}{DONE}", event(&rest, entries, json!("stop"))));
    let (url, requests) = before(vec![first, rest]).await;
    let json = json!({ "temperature": 0, "response_format": { "type": "json_object" } });
    let (status, answer) = chat(&url, json).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["choices"][0]["message"]["content"], "{}");
    let requests = requests.lock().await;
    let [first, second] = [0, 1].map(|turn| ids(&body(&requests[turn])["token_ids"]));
    assert_eq!(second[..first.len()], first);
    assert_eq!(
        vocabulary.decrypt(&second[first.len()..]).unwrap(),
        letters("{")
    );
    assert!(vocabulary.size() > VOCAB);
}
