//! What is sent to a host, and what is believed of its answers.

use equicrypt_cipher::MasterKey;
use equicrypt_spec::{FORMAT_VERSION, Manifest, Profile};
use serde_json::{Value, json};

use crate::encoder::fixture::{VOCAB, folder, sentence_folder, set};
use crate::scripted_host::{Script, head, host};
use crate::{EncoderOwner, EncoderSession, Error, Host, Long, Prepared};

fn key() -> MasterKey {
    MasterKey::from_bytes([7; 32])
}

fn manifest() -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        key_id: key().id(),
        epoch: 0,
        weights_epoch: None,
        profile: Profile::Permute,
        architecture: "bert".into(),
        source_fingerprint: "ab".repeat(32),
        vocab_size: VOCAB,
        plain_vocab_size: VOCAB,
        dtype: "F32".into(),
        kept_id: None,
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    }
}

fn session(dir: &tempfile::TempDir) -> EncoderSession {
    let owner = EncoderOwner::open(dir.path()).unwrap();
    EncoderSession::open(owner, &key(), &manifest()).unwrap()
}

fn texts(session: &EncoderSession, texts: &[&str]) -> Vec<Prepared> {
    let encode = |text: &&str| session.owner().encode(text, Long::Refuse).unwrap();
    texts.iter().map(encode).collect()
}

fn answer(body: impl ToString) -> Script {
    Script {
        writes: vec![head("200 OK", "application/json"), body.to_string().into()],
        hangs: false,
    }
}

/// A host with this answer; what it was asked comes back with the address.
async fn with(body: impl ToString) -> (Host, impl AsyncFn() -> (String, Value)) {
    let (url, requests) = host(answer(body)).await;
    let asked = async move || {
        let requests = requests.lock().await;
        let (head, body) = requests.last().unwrap().split_once("\r\n\r\n").unwrap();
        let line = head.lines().next().unwrap().to_owned();
        (line, serde_json::from_str(body).unwrap())
    };
    (Host::new(&url, None).unwrap(), asked)
}

fn base64(values: &[f32]) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

fn embeddings(vectors: &[Value]) -> Value {
    let data = vectors
        .iter()
        .enumerate()
        .map(|(index, vector)| json!({"index": index, "object": "embedding", "embedding": vector}));
    json!({"id": "e", "object": "list", "created": 1, "model": "m", "data": data.collect::<Vec<_>>(),
        "usage": {"prompt_tokens": 2, "total_tokens": 2, "completion_tokens": 0}})
}

fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

#[tokio::test]
async fn embeddings_are_sent_for_as_cipher_ids_and_decrypted() {
    let session = session(&sentence_folder());
    let texts = texts(&session, &["the cat", "a [MASK]"]);
    let vector = [0.1f32, -0.25, 3.0, 4.0, -5.0, 6.0, 7.5, 8.0];
    let floats = json!(vector.map(f64::from));
    let (host, asked) = with(embeddings(&[json!(base64(&vector)), floats])).await;
    let found = session.embed(&host, &texts).await.unwrap();
    assert_eq!(found[0], found[1]);
    assert!(found[0] != vector.map(f64::from), "nothing was decrypted");
    let size = |x: f64| x.abs();
    let expected = sorted(vector.map(|x| f64::from(x).abs()));
    assert_eq!(sorted(found[0].iter().copied().map(size)), expected);

    let (line, body) = asked().await;
    assert_eq!(line, "POST /prefix/v1/embeddings HTTP/1.1");
    let mut fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["encoding_format", "input"]);
    assert_eq!(body["encoding_format"], "base64");
    for (text, sent) in texts.iter().zip(body["input"].as_array().unwrap()) {
        let sent: Vec<u32> = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(sent, session.encrypt(text).unwrap().ids());
        assert_ne!(sent, text.ids());
    }
    let as_host = session.embed_as_host(&host, &texts).await.unwrap();
    assert_eq!(as_host[0], vector);
}

#[tokio::test]
async fn embeddings_are_cut_where_the_model_says_so() {
    let dir = sentence_folder();
    set(
        dir.path(),
        "config_sentence_transformers.json",
        "truncate_dim",
        json!(3),
    );
    let session = session(&dir);
    let texts = texts(&session, &["the cat"]);
    let (host, _) = with(embeddings(&[json!(base64(&[0.5; 8]))])).await;
    assert_eq!(session.embed(&host, &texts).await.unwrap()[0].len(), 3);
    let error = session.embed_as_host(&host, &texts).await.unwrap_err();
    assert!(error.to_string().contains("truncate_dim"), "{error}");
}

#[tokio::test]
async fn a_broken_embedding_is_an_error() {
    let session = session(&sentence_folder());
    let texts = texts(&session, &["the cat", "a dog"]);
    let good = json!([1, 2, 3, 4, 5, 6, 7, 8]);
    let change = |pointer: &str, value: Value| {
        let mut answer = embeddings(&[good.clone(), good.clone()]);
        *answer.pointer_mut(pointer).unwrap() = value;
        answer.to_string()
    };
    let vector = "/data/1/embedding";
    for (body, expected) in [
        (
            embeddings(std::slice::from_ref(&good)).to_string(),
            "1 for 2 texts",
        ),
        (embeddings(&[]).to_string(), "0 for 2 texts"),
        (
            embeddings(&vec![good.clone(); 3]).to_string(),
            "3 for 2 texts",
        ),
        (change("/data/1/index", json!(0)), "index 0 at place 1"),
        (change("/data/0/index", json!(1)), "index 1 at place 0"),
        (
            change(vector, json!([1, 2, 3, 4, 5, 6, 7])),
            "7 in place of 8",
        ),
        (change(vector, json!(base64(&[1.0; 9]))), "9 in place of 8"),
        (change(vector, json!("AAAA")), "base64"),
        (change(vector, json!("!")), "base64"),
        (change(vector, json!(base64(&[f32::NAN; 8]))), "finite"),
        (change(vector, json!(base64(&[f32::INFINITY; 8]))), "finite"),
        (
            change(vector, json!([1e300, 1, 1, 1, 1, 1, 1, 1])),
            "finite",
        ),
        (
            change(vector, json!([null, 1, 1, 1, 1, 1, 1, 1])),
            "another form",
        ),
        (change(vector, json!({})), "another form"),
        (change("/data", json!(null)), "another form"),
        ("<html>".into(), "another form"),
        (String::new(), "another form"),
        ("[".repeat(70_000), "another form"),
        (" ".repeat(1 << 20), "more than"),
    ] {
        let (host, _) = with(&body).await;
        let message = session.embed(&host, &texts).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

fn classes(probs: &[Value]) -> Value {
    let data = probs.iter().enumerate().map(|(index, probs)| {
        let count = probs.as_array().map_or(0, Vec::len);
        json!({"index": index, "label": "LABEL_0", "probs": probs, "num_classes": count})
    });
    json!({"object": "list", "data": data.collect::<Vec<_>>()})
}

fn classifier(labels: usize) -> tempfile::TempDir {
    let dir = folder("BertForSequenceClassification");
    let names = (0..labels).map(|label| (label.to_string(), json!(format!("name {label}"))));
    let names: serde_json::Map<String, Value> = names.collect();
    set(dir.path(), "config.json", "id2label", json!(names));
    dir
}

#[tokio::test]
async fn labels_come_back_as_probabilities_in_the_owners_order() {
    let session = session(&classifier(5));
    let texts = texts(&session, &["the cat"]);
    let logits = [0.5f32, 2.0, -1.0, 4.0, 0.0];
    let (host, asked) = with(classes(&[json!(logits.map(f64::from))])).await;
    let found = session.classify(&host, &texts).await.unwrap().remove(0);
    assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    let expected = sorted(logits.map(|x| f64::from(x).exp() / total));
    for (found, expected) in sorted(found.iter().copied()).iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-12);
    }
    assert_ne!(sorted(found.iter().copied()), found);
    let plain = session.decrypt_labels(&logits).unwrap();
    let best = |values: &[f64]| (0..5).max_by(|a, b| values[*a].total_cmp(&values[*b]));
    assert_eq!(best(&plain), best(&found));
    let (line, body) = asked().await;
    assert_eq!(line, "POST /prefix/classify HTTP/1.1");
    assert_eq!(body["use_activation"], false);
}

#[tokio::test]
async fn several_labels_at_once_and_numbers_that_are_no_logits() {
    for (kind, expected) in [
        ("multi_label_classification", 1.0 / (1.0 + (-2.0f64).exp())),
        ("regression", 2.0),
    ] {
        let dir = classifier(2);
        set(dir.path(), "config.json", "problem_type", json!(kind));
        let session = session(&dir);
        let (host, _) = with(classes(&[json!([2.0, 2.0])])).await;
        let texts = texts(&session, &["the cat"]);
        let found = session.classify(&host, &texts).await.unwrap();
        assert_eq!(found, [[expected, expected]], "{kind}");
    }
}

fn ranks(results: &[(usize, Value)]) -> Value {
    let result =
        |(index, score): &(usize, Value)| json!({"index": index, "relevance_score": score});
    json!({"id": "r", "model": "m", "results": results.iter().map(result).collect::<Vec<_>>()})
}

#[tokio::test]
async fn scores_come_back_in_the_order_of_the_pairs() {
    let dir = classifier(1);
    let session = session(&dir);
    let pair = |document: &str| {
        let owner = session.owner();
        owner
            .encode_pair("what is a cat?", document, Long::Refuse)
            .unwrap()
    };
    let pairs = [pair("the cat sat"), pair(""), pair("the dog")];
    let best_first = [(2, json!(3.0)), (0, json!(0.0)), (1, json!(-1.0))];
    let (host, asked) = with(ranks(&best_first)).await;
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let found = session.rerank(&host, &pairs).await.unwrap();
    assert_eq!(found, [0.0, -1.0, 3.0].map(logistic));
    let (line, body) = asked().await;
    assert_eq!(line, "POST /prefix/rerank HTTP/1.1");
    assert_eq!(body["use_activation"], false);
    let types: Vec<Vec<u32>> = serde_json::from_value(body["token_type_ids"].clone()).unwrap();
    for (pair, types) in pairs.iter().zip(&types) {
        assert_eq!(pair.token_types(), types);
    }
    for (results, expected) in [
        (vec![(0, json!(1)), (1, json!(1))], "2 for 3"),
        (vec![(0, json!(1)), (1, json!(1)), (1, json!(1))], "twice"),
        (
            vec![(0, json!(1)), (1, json!(1)), (3, json!(1))],
            "another pair",
        ),
        (
            vec![(0, json!(1)), (1, json!(1)), (2, json!(1)), (2, json!(1))],
            "twice",
        ),
        (
            vec![(0, json!(1)), (1, json!(1)), (2, json!(1e300))],
            "finite",
        ),
        (
            vec![(0, json!(1)), (1, json!(1)), (2, json!("1"))],
            "another form",
        ),
    ] {
        let (host, _) = with(ranks(&results)).await;
        let message = session.rerank(&host, &pairs).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

fn pooled(rows: Value) -> Value {
    json!({"object": "list", "data": [{"index": 0, "object": "pooling", "data": rows}]})
}

#[tokio::test]
async fn tokens_are_labelled_without_the_special_ones() {
    let dir = folder("BertForTokenClassification");
    set(
        dir.path(),
        "config.json",
        "id2label",
        json!({"0": "O", "1": "ANIMAL"}),
    );
    let session = session(&dir);
    let cat = texts(&session, &["the cat"]);
    let (host, asked) = with(pooled(json!([[1, 2], [3, 0]]))).await;
    let found = session.label_tokens(&host, &cat).await.unwrap().remove(0);
    let pieces: Vec<&str> = found.iter().map(|token| token.piece.as_str()).collect();
    assert_eq!(pieces, ["the", "cat"]);
    assert_eq!(found[1].span, 4..7);
    assert!((found[0].scores.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    let (line, body) = asked().await;
    assert_eq!(line, "POST /prefix/pooling HTTP/1.1");
    assert_eq!(
        (&body["task"], &body["use_activation"]),
        (&json!("token_classify"), &json!(false))
    );
    assert_eq!(body["positions"], json!([[1, 2]]));

    for (rows, expected) in [
        (json!([[1, 2]]), "1 for 2 tokens"),
        (json!([]), "0 for 2 tokens"),
        (json!([[1, 2], [3]]), "1 in place of 2"),
        (json!([1, 2, 3, 4]), "one list"),
        (json!([[1, 2], [3, 1e300]]), "finite"),
    ] {
        let (host, _) = with(pooled(rows)).await;
        let message = session
            .label_tokens(&host, &cat)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let (host, _) = with(pooled(json!([]))).await;
    let nothing = texts(&session, &[""]);
    assert!(session.label_tokens(&host, &nothing).await.unwrap()[0].is_empty());
}

#[tokio::test]
async fn masks_are_filled_with_the_likeliest_tokens() {
    let session = session(&folder("BertForMaskedLM"));
    let prepared = |text: &str| texts(&session, &[text]).remove(0);
    let text = prepared("the [MASK] sat on [MASK]");
    // The host's logits say: the cipher id of "cat", then that of "dog".
    let cipher = |word: &str| session.encrypt(&prepared(word)).unwrap().ids()[1] as usize;
    let mut row = vec![0.0; VOCAB];
    (row[cipher("cat")], row[cipher("dog")]) = (9.0, 8.0);
    let (host, asked) = with(pooled(json!([row, vec![0.0; VOCAB]]))).await;
    let found = session.fill_mask(&host, &text, 2).await.unwrap();
    let words: Vec<String> = found[0]
        .iter()
        .map(|candidate| session.owner().piece(candidate.id).unwrap())
        .collect();
    assert_eq!(words, ["cat", "dog"]);
    let total = 9f64.exp() + 8f64.exp() + (VOCAB - 2) as f64;
    assert!((found[0][0].probability - 9f64.exp() / total).abs() < 1e-12);
    assert!((found[1][0].probability - 1.0 / VOCAB as f64).abs() < 1e-12);
    let (_, body) = asked().await;
    assert_eq!(
        (&body["task"], &body["positions"]),
        (&json!("token_logits"), &json!([[2, 5]]))
    );
    let error = session.fill_mask(&host, &prepared("the cat"), 2).await;
    assert!(matches!(error, Err(Error::NoMask { .. })));
}

#[tokio::test]
async fn a_model_is_not_asked_for_what_it_does_not_do() {
    let (url, requests) = host(answer("{}")).await;
    let host = Host::new(&url, None).unwrap();
    let embedder = session(&sentence_folder());
    let classifier = session(&classifier(3));
    let bare = session(&folder("BertModel"));
    let [of_embedder, of_classifier, of_bare] =
        [&embedder, &classifier, &bare].map(|session| texts(session, &["the cat"]));
    let error = embedder.classify(&host, &of_embedder).await.unwrap_err();
    assert!(matches!(error, Error::OtherTask { .. }), "{error}");
    let error = classifier.embed(&host, &of_classifier).await.unwrap_err();
    assert!(matches!(error, Error::OtherTask { .. }), "{error}");
    let error = classifier.rerank(&host, &of_classifier).await.unwrap_err();
    assert!(
        matches!(error, Error::NotAReranker { labels: 3 }),
        "{error}"
    );
    let error = bare.embed(&host, &of_bare).await.unwrap_err();
    assert!(matches!(error, Error::NoPooling { .. }), "{error}");
    let error = embedder.embed(&host, &[]).await.unwrap_err();
    assert!(matches!(error, Error::EmptyText), "{error}");
    assert!(requests.lock().await.is_empty());
}

#[test]
fn what_does_not_belong_together_opens_no_session() {
    let dir = sentence_folder();
    let open = |key: &MasterKey, manifest: &Manifest| {
        EncoderSession::open(EncoderOwner::open(dir.path()).unwrap(), key, manifest).err()
    };
    assert!(open(&key(), &manifest()).is_none());
    let error = open(&MasterKey::from_bytes([8; 32]), &manifest()).unwrap();
    let wrong_key = equicrypt_cipher::Error::WrongKey {
        expected: key().id(),
        found: MasterKey::from_bytes([8; 32]).id(),
    };
    assert_eq!(error.to_string(), wrong_key.to_string());
    for (other, what) in [
        (
            Manifest {
                architecture: "mpnet".into(),
                ..manifest()
            },
            "architecture",
        ),
        (
            Manifest {
                vocab_size: VOCAB - 1,
                ..manifest()
            },
            "vocab_size",
        ),
        (
            Manifest {
                plain_vocab_size: VOCAB + 1,
                ..manifest()
            },
            "plain_vocab_size",
        ),
        (
            Manifest {
                kept_id: Some(3),
                ..manifest()
            },
            "kept_id",
        ),
    ] {
        let message = open(&key(), &other).unwrap().to_string();
        assert!(message.contains(what), "{what}: {message}");
    }
}
