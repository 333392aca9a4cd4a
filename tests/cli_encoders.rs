//! `embed`, `classify`, `rerank` and `fill-mask` against `serve`: what they print is what the plain model says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod cli_support;
mod support;

use std::path::Path;

use cli_support::encoder::{Served, one_label, roberta, three_labels, unchanged};
use cli_support::{KEY, Ran, args, equicrypt};
use equicrypt_cipher::{EncryptedVector, VectorCipher};
use equicrypt_gateway::{EncoderOwner, Long};
use equicrypt_spec::{LabelActivation, MANIFEST_FILE, Profile};
use serde_json::{Value, json};
use support::key;

fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.succeeds().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 2e-5, "{found} {expected}");
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

const TEXTS: [&str; 5] = [
    "the cat sat on the mat",
    "",
    "Where is the bright red bank?",
    "[SEP]",
    "the dog ran far away and the cat sat on the mat and the dog ran far away and the cat sat on the mat and the dog ran \
     far away and the cat sat on the mat and the dog ran far away and the cat sat on the mat.",
];

#[test]
fn embeddings_are_those_of_the_plain_model() {
    for (class, profile, change) in [
        ("BertModel", Profile::Permute, unchanged as fn(&mut Value)),
        ("BertModel", Profile::Rotate, unchanged),
        ("RobertaModel", Profile::Permute, roberta),
    ] {
        let served = Served::new(class, profile, change);
        let plain: Vec<Vec<f64>> = TEXTS
            .iter()
            .map(|text| served.plain(&served.prepared(text)).remove(0))
            .collect();
        let found = lines(&served.run("embed", &TEXTS));
        for (found, plain) in found.iter().zip(&plain) {
            assert_near(&numbers(&found["embedding"]), plain);
        }
        let cut: Vec<bool> = found.iter().map(|line| line["truncated"] == true).collect();
        assert_eq!(cut, [false, false, false, false, true]);
        let keys: Vec<_> = found[0].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["embedding"]);

        let by_line = served.run_reading(&TEXTS.join("\n"), "embed", &["--batch", "2"]);
        assert_eq!(lines(&by_line), found);
        let windows = served.run_reading(&TEXTS.join("\r\n"), "embed", &[]);
        assert_eq!(lines(&windows), found);

        for options in [&["--as-host"][..], &["--encrypted"]] {
            let ran = served.run("embed", &[&TEXTS[..], options].concat());
            let hidden: Vec<_> = lines(&ran)
                .iter()
                .map(|line| numbers(&line["embedding"]))
                .collect();
            assert!(
                hidden.iter().zip(&plain).all(|(a, b)| cosine(a, b) < 0.9),
                "{options:?}"
            );
            for i in 0..TEXTS.len() {
                let off = cosine(&hidden[0], &hidden[i]) - cosine(&plain[0], &plain[i]);
                assert!(off.abs() < 1e-5, "{options:?}: {off}");
            }
        }
    }
}

#[test]
fn perturbed_embeddings_carry_what_decrypts_them() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    let options = ["the cat", "--encrypted", "--perturb", "0.5"];
    let [a, b] = [(); 2].map(|()| lines(&served.run("embed", &options)).remove(0));
    assert_ne!(a, b);
    let cipher = VectorCipher::open(&key(KEY), &served.manifest(), 16, 0.5).unwrap();
    let plain = served.plain(&served.prepared("the cat")).remove(0);
    for line in [a, b] {
        let encrypted = EncryptedVector {
            values: numbers(&line["embedding"]),
            nonce: Some(line["nonce"].as_str().unwrap().parse().unwrap()),
        };
        assert_near(&cipher.decrypt(&encrypted).unwrap(), &plain);
    }
    for misused in [
        &["x", "--perturb", "1"][..],
        &["x", "--encrypted", "--as-host"],
    ] {
        served
            .run("embed", misused)
            .is_misused_saying(&["--encrypted"]);
    }
    let negative = ["x", "--encrypted", "--perturb=-1"];
    served.run("embed", &negative).fails_saying(&["beta", "-1"]);
}

#[test]
fn prompts_stand_in_front() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    let file = served.model().join("config_sentence_transformers.json");
    let prompts = json!({"prompts": {"query": "where is "}, "default_prompt_name": "query"});
    let prompted = served.run("embed", &["where is the cat"]);
    std::fs::write(file, prompts.to_string()).unwrap();
    assert_eq!(
        served.run("embed", &["the cat"]).succeeds(),
        prompted.succeeds()
    );
    let named = served.run("embed", &["the cat", "--prompt", "query"]);
    assert_eq!(named.succeeds(), prompted.succeeds());
    let unknown = served.run("embed", &["the cat", "--prompt", "whim"]);
    unknown.fails_saying(&["whim", "query"]);
}

#[test]
fn labels_are_those_of_the_plain_model() {
    let names = ["calm", "angry", "glad"];
    for profile in [Profile::Permute, Profile::Rotate] {
        let class = "BertForSequenceClassification";
        let served = Served::new(class, profile, three_labels);
        for (line, text) in lines(&served.run("classify", &TEXTS)).iter().zip(TEXTS) {
            let mut plain = served.plain(&served.prepared(text)).remove(0);
            LabelActivation::Softmax.apply(&mut plain);
            let found = names.map(|name| line["scores"][name].as_f64().unwrap());
            assert_near(&found, &plain);
            let best = (0..3)
                .max_by(|a, b| plain[*a].total_cmp(&plain[*b]))
                .unwrap();
            assert_eq!(line["label"], names[best]);
        }
    }
}

#[test]
fn labels_of_tokens_are_those_of_the_plain_model() {
    let served = Served::new("BertForTokenClassification", Profile::Permute, three_labels);
    let text = "the cat ran";
    let line = lines(&served.run("classify", &[text, ""])).remove(0);
    let tokens = line["tokens"].as_array().unwrap();
    let plain = served.plain(&served.prepared(text));
    let words = ["the", "cat", "ran"];
    assert_eq!(tokens.len(), words.len());
    for ((token, word), logits) in tokens.iter().zip(words).zip(&plain[1..]) {
        let mut plain = logits.clone();
        LabelActivation::Softmax.apply(&mut plain);
        let best = (0..3)
            .max_by(|a, b| plain[*a].total_cmp(&plain[*b]))
            .unwrap();
        assert_eq!(
            (&token["token"], &token["label"]),
            (&json!(word), &json!(["calm", "angry", "glad"][best]))
        );
        assert_near(&[token["score"].as_f64().unwrap()], &[plain[best]]);
        let [start, end] = ["start", "end"].map(|field| token[field].as_u64().unwrap() as usize);
        assert_eq!(&text[start..end], word);
    }
}

#[test]
fn documents_are_ranked_as_by_the_plain_model() {
    let served = Served::new("BertForSequenceClassification", Profile::Permute, one_label);
    let query = "where is the cat?";
    let documents = ["the cat sat on the mat", "", "the dog ran far away", "cat"];
    let plain = documents.map(|document| {
        let pair = served.owner().encode_pair(query, document, Long::Truncate);
        let mut score = served.plain(&pair.unwrap()).remove(0);
        LabelActivation::Logistic.apply(&mut score);
        score[0]
    });
    let mut order = [0, 1, 2, 3];
    order.sort_by(|a, b| plain[*b].total_cmp(&plain[*a]));
    let options = [&[query][..], &documents, &["--batch", "3"]].concat();
    let found = lines(&served.run("rerank", &options));
    for (line, expected) in found.iter().zip(order) {
        assert_eq!(line["index"], expected);
        assert_near(&[line["score"].as_f64().unwrap()], &[plain[expected]]);
    }
    let by_line = served.run_reading(&documents.join("\n"), "rerank", &[query, "--top", "2"]);
    assert_eq!(lines(&by_line), found[..2]);
}

#[test]
fn masks_are_filled_as_by_the_plain_model() {
    let served = Served::new("BertForMaskedLM", Profile::Permute, unchanged);
    let text = "the [MASK] sat on the [MASK]";
    let prepared = served.prepared(text);
    let found = lines(&served.run("fill-mask", &[text, "--top", "3"]));
    let plain = served.plain(&prepared);
    for (line, place) in found.iter().zip([2, 6]) {
        assert_eq!(prepared.ids()[place], 4);
        let mut plain = plain[place].clone();
        LabelActivation::Softmax.apply(&mut plain);
        let best = (0..plain.len())
            .max_by(|a, b| plain[*a].total_cmp(&plain[*b]))
            .unwrap();
        let candidates = line["candidates"].as_array().unwrap();
        assert_eq!(candidates.len(), 3);
        assert_eq!(
            candidates[0]["token"],
            json!(served.owner().piece(best as u32))
        );
        assert_near(&[candidates[0]["score"].as_f64().unwrap()], &[plain[best]]);
    }
    assert_eq!(found.len(), 2);
    served
        .run("fill-mask", &["the cat"])
        .fails_saying(&["[MASK]"]);
    served
        .run("embed", &["the cat"])
        .fails_saying(&["masked token"]);
}

#[test]
fn what_does_not_belong_together_prints_nothing() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    let (model, url) = (served.model(), served.server.url());
    let ask = |model: &Path, key: &str, url: &str, rest: &[&str]| {
        let key = served.path(key);
        let shared = args![
            "embed", "the cat", "--model", model, "--key", &key, "--host", url
        ];
        equicrypt(
            shared
                .into_iter()
                .chain(rest.iter().map(std::ffi::OsStr::new)),
        )
    };
    ask(&model, "key", &url, &[]).succeeds();
    ask(&model, "other-key", &url, &[]).fails_saying(&["wrong key"]);
    ask(&served.path("encrypted"), "key", &url, &[]).fails_saying(&["encrypted folder"]);
    let long = "cat ".repeat(50);
    ask(&model, "key", &url, &[&long, "--refuse-long"]).fails_saying(&[
        "text 2",
        "52 tokens",
        "40",
    ]);
    ask(&model, "key", &url, &["--prompt", "x"]).fails_saying(&["no prompts"]);

    // The host serves another model than its manifest's: a narrower one, one that classifies.
    let manifest = served.path("encrypted").join(MANIFEST_FILE);
    let manifest = manifest.to_str().unwrap();
    let narrow = |config: &mut Value| config["hidden_size"] = json!(8);
    let narrow = Served::new("BertModel", Profile::Permute, narrow);
    let given = ["--manifest", manifest];
    let found = ask(&model, "key", &narrow.server.url(), &given);
    found.fails_saying(&["8 in place of 16"]);
    let found = ask(&model, "key", &narrow.server.url(), &[]);
    found.fails_saying(&["source_fingerprint"]);
    let classifier = Served::new(
        "BertForSequenceClassification",
        Profile::Permute,
        three_labels,
    );
    let found = ask(&model, "key", &classifier.server.url(), &given);
    found.fails_saying(&["status 400", "sequence classification"]);

    let weights = model.join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    ask(&model, "key", &url, &[]).fails_saying(&["source_fingerprint"]);
}

#[test]
fn no_texts_are_said_to_be_none() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    served.run("embed", &[]).fails_saying(&["no texts"]);
    let nobody = equicrypt(args![
        "embed",
        "x",
        "--model",
        &served.model(),
        "--key",
        &served.path("key"),
        "--host",
        "http://127.0.0.1:1"
    ]);
    nobody.fails_saying(&["127.0.0.1:1", "refused"]);
}

#[test]
fn verify_passes_what_is_equal_and_fails_what_is_not() {
    for class in [
        "BertForSequenceClassification",
        "BertModel",
        "BertForMaskedLM",
    ] {
        let served = Served::new(class, Profile::Rotate, unchanged);
        let (model, key, texts) = (served.model(), served.path("key"), served.path("texts"));
        std::fs::write(&texts, "the cat sat\n\nWhere is the dog?\n").unwrap();
        let verify = |folder: &str, more: &[&Path]| {
            let encrypted = served.path(folder);
            let shared = args!["verify", &model, &encrypted, "--key", &key, "--json"];
            equicrypt(
                shared
                    .into_iter()
                    .chain(more.iter().map(|word| word.as_os_str())),
            )
        };
        let report: Value = serde_json::from_str(verify("encrypted", &[]).succeeds()).unwrap();
        assert_eq!(
            (&report["pass"], &report["fidelity"]["texts"]),
            (&json!(true), &json!(200))
        );
        let some = verify("encrypted", &[Path::new("--texts"), &texts]);
        let report: Value = serde_json::from_str(some.succeeds()).unwrap();
        assert_eq!(report["fidelity"]["texts"], 3);

        let moved = served.path("moved");
        support::tampered(&served.path("encrypted"), &moved, &mut |tensor, values| {
            if tensor.ends_with("layer.1.output.dense.weight") {
                values.rotate_left(1);
            }
        });
        copy_missing(&served.path("encrypted"), &moved);
        let failed = verify("moved", &[]);
        let report: Value = serde_json::from_str(&failed.out).unwrap();
        assert_eq!((failed.code, &report["pass"]), (Some(1), &json!(false)));
        failed.says(&["limits"]);
    }
}

#[test]
fn inspect_says_what_an_encoder_answers() {
    for (class, expected) in [
        (
            "BertModel",
            "sentence embeddings of 16 numbers, mean pooling",
        ),
        (
            "BertForSequenceClassification",
            "sequence classification, 2 labels",
        ),
    ] {
        let served = Served::new(class, Profile::Permute, unchanged);
        let found = equicrypt(args!["inspect", &served.path("encrypted"), "--json"]);
        let report: Value = serde_json::from_str(found.succeeds()).unwrap();
        assert_eq!(report["task"], expected);
        let found = equicrypt(args!["inspect", &served.path("encrypted")]);
        assert!(found.succeeds().contains(expected));
    }
}

/// Copies the files of `from` that `to` has not, with their folders.
fn copy_missing(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_missing(&entry.path(), &target);
        } else if !target.exists() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A stock engine must not put ids of its own around the cipher ids.
#[test]
fn the_tokenizer_of_an_encrypted_folder_adds_no_special_tokens() {
    let served = Served::new("BertModel", Profile::Permute, unchanged);
    let copy = served.path("copy");
    std::fs::create_dir_all(copy.join("1_Pooling")).unwrap();
    let encrypted = served.path("encrypted");
    for file in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "1_Pooling/config.json",
    ] {
        std::fs::copy(encrypted.join(file), copy.join(file)).unwrap();
    }
    let owner = EncoderOwner::open(&copy).unwrap();
    let text = owner.encode("t3 t95 t0", Long::Refuse).unwrap();
    assert_eq!(text.ids(), [3, 95, 0]);
    let pair = owner.encode_pair("t3", "t95", Long::Refuse).unwrap();
    assert_eq!(pair.ids(), [3, 95]);
}
