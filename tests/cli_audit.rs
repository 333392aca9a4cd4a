//! `equicrypt audit` as a process: the table, the figures, the report, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use cli_support::{Place, Ran, args, edit_json, entries, equicrypt};
use equicrypt_audit::ATTACKS;
use serde_json::Value;

#[test]
fn every_attack_on_a_decoder_is_a_line_of_the_table() {
    let place = Place::new();
    let ran = audit(&place, &[]);
    let table = ran.succeeds();
    for name in of_decoders() {
        assert!(
            table.lines().any(|line| line.starts_with(name)),
            "{name} in {table}"
        );
    }
    for column in [
        "adversary",
        "types",
        "tokens",
        "chance",
        "control",
        "per key",
    ] {
        assert!(table.contains(column), "{column} in {table}");
    }
    assert!(!table.contains("embedding-output"), "{table}");
}

#[test]
fn the_figures_come_as_json() {
    let place = Place::new();
    let figures = audit(&place, &["--json", "-", "--keys", "2"]).succeeds_with_json();
    let audited = &figures["audited"][0];
    assert_eq!(audited["model"], "model");
    assert_eq!(audited["profile"], "permute");
    assert!(audited["fidelity"].is_object(), "{audited}");
    let verdicts = audited["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), of_decoders().len());
    for verdict in verdicts {
        for share in [
            "recovered_types",
            "recovered_occurrences",
            "chance",
            "control",
        ] {
            let value = verdict[share].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{share} in {verdict}");
        }
        assert_eq!(verdict["keys"], 2);
        assert!(verdict["seconds"].as_f64().unwrap() >= 0.0);
        assert!(verdict["adversary"].is_string());
    }
    // A permuted model has all of its values in sight.
    let sorted = verdicts
        .iter()
        .find(|v| v["attack"] == "sorted-row")
        .unwrap();
    assert_eq!(sorted["recovered_types"], 1.0);
    let sentences = figures["verdicts"][0].as_array().unwrap();
    assert!(!sentences.is_empty());
}

#[test]
fn one_attack_alone_is_quick_and_alone() {
    let place = Place::new();
    let asked = [
        "--json",
        "-",
        "--attack",
        "row-norm",
        "--attack",
        "spectral",
        "--no-fidelity",
    ];
    let figures = audit(&place, &asked).succeeds_with_json();
    let audited = &figures["audited"][0];
    assert_eq!(audited["fidelity"], Value::Null);
    assert_eq!(names(audited), ["row-norm", "spectral"]);
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else() {
    let place = Place::new();
    let page = place.path("made/report.html");
    let json = place.path("made/figures.json");
    let (page_arg, json_arg) = (page.to_str().unwrap(), json.to_str().unwrap());
    audit(
        &place,
        &["--report", page_arg, "--json", json_arg, "--keys", "1"],
    )
    .succeeds();
    assert_eq!(
        entries(&place.path("made")),
        ["figures.json", "report.html"]
    );
    let html = fs::read_to_string(page).unwrap();
    for part in ["<!doctype html>", "<svg", "neuron-anchor", "known-pairs"] {
        assert!(html.to_lowercase().contains(part), "no {part}");
    }
    for outside in ["<script", "src=", "@import", "url(", "<link"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let figures: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    assert_eq!(figures["audited"].as_array().unwrap().len(), 1);
}

#[test]
fn a_share_that_is_too_much_is_a_failure_after_all_is_printed() {
    let place = Place::new();
    let asked = ["--attack", "row-norm", "--no-fidelity", "--keys", "1"];
    let above = audit(&place, &[&asked[..], &["--fail-above", "0.5"]].concat());
    assert_eq!(above.code, Some(1));
    assert!(above.out.contains("row-norm"), "{above:?}");
    above.says(&["row-norm", "100.00 %", "--fail-above"]);
    audit(&place, &[&asked[..], &["--fail-above", "1"]].concat()).succeeds();
}

#[test]
fn all_schemes_stand_side_by_side() {
    let place = Place::new();
    let model = place.model();
    let report = place.path("made/matrix.html");
    let docs = place.path("made/docs");
    let figures = equicrypt(args![
        "audit", "--matrix", &model, "--keys", "1", "--json", "-", "--report", &report, "--docs",
        &docs
    ])
    .succeeds_with_json();
    let audited = figures["audited"].as_array().unwrap();
    let schemes: Vec<_> = audited
        .iter()
        .map(|one| one["scheme"].as_str().unwrap())
        .collect();
    for scheme in [
        "permute",
        "permute, noise 0.25",
        "rotate",
        "rotate, noise 1",
    ] {
        assert!(schemes.contains(&scheme), "{scheme} in {schemes:?}");
    }
    assert_eq!(
        schemes
            .iter()
            .filter(|name| name.starts_with("AloePri"))
            .count(),
        4
    );
    for one in audited {
        assert_eq!(
            one["verdicts"].as_array().unwrap().len(),
            of_decoders().len()
        );
        assert!(one["fidelity"]["mean_kl"].is_f64(), "{one}");
    }
    // Noise costs fidelity: that is what the frontier shows.
    let kl = |scheme: &str| {
        let one = audited.iter().find(|one| one["scheme"] == scheme).unwrap();
        one["fidelity"]["mean_kl"].as_f64().unwrap()
    };
    assert!(kl("rotate") < 1e-6 && kl("rotate, noise 1") > 1e-3);
    let html = fs::read_to_string(report).unwrap();
    assert!(html.contains("AloePri") && html.contains("<svg"));
    let files = entries(&docs);
    assert_eq!(
        files,
        [
            "curves.md",
            "frontier.svg",
            "injected-document.svg",
            "known-pairs.svg",
            "matrix.md"
        ]
    );
    let table = fs::read_to_string(docs.join("matrix.md")).unwrap();
    assert!(table.contains("`neuron-anchor`"), "{table}");
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let place = Place::new();
    let (model, encrypted, key) = (place.model(), place.encrypted(), place.key());
    let report = place.path("made/report.html");
    let refused = |model: &Path, key: &Path, words: &[&str]| {
        equicrypt(args![
            "audit", model, &encrypted, "--key", key, "--report", &report
        ])
        .fails_saying(words);
        place.holds_nothing_made();
    };
    refused(&model, &place.other_key(), &["wrong key"]);
    let other = place.path("other");
    cli_support::chat_model::write(&other, 2);
    refused(&other, &key, &["not the original", "source_fingerprint"]);
    refused(&place.path("absent"), &key, &["absent"]);
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    refused(&model, &key, &["tokenizer"]);
}

#[test]
fn a_damaged_manifest_is_refused() {
    let place = Place::new();
    let (model, encrypted, key) = (place.model(), place.encrypted(), place.key());
    edit_json(&encrypted.join("equicrypt.json"), |manifest| {
        manifest["noise"] = "much".into()
    });
    equicrypt(args!["audit", &model, &encrypted, "--key", &key]).fails_saying(&["equicrypt.json"]);
}

#[test]
fn wrong_arguments_are_explained() {
    let place = Place::new();
    let (model, encrypted, key) = (place.model(), place.encrypted(), place.key());
    equicrypt(args!["audit", &model]).is_misused_saying(&["ENCRYPTED"]);
    equicrypt(args!["audit", &model, &encrypted]).is_misused_saying(&["--key"]);
    equicrypt(args!["audit", "--matrix", &model, "--key", &key]).is_misused_saying(&["--key"]);
    let unknown = equicrypt(args![
        "audit", &model, &encrypted, "--key", &key, "--attack", "magic"
    ]);
    unknown.is_misused_saying(&["magic", "neuron-anchor"]);
    let share = equicrypt(args![
        "audit",
        &model,
        &encrypted,
        "--key",
        &key,
        "--fail-above",
        "2"
    ]);
    share.is_misused_saying(&["0 to 1"]);
}

#[test]
fn a_text_without_tokens_is_refused() {
    let place = Place::new();
    let text = place.path("text");
    fs::write(&text, "\n \n").unwrap();
    audit(&place, &["--text", text.to_str().unwrap()]).fails_saying(&["--text"]);
    fs::write(&text, "abcabc abc\n").unwrap();
    let asked = [
        "--text",
        text.to_str().unwrap(),
        "--attack",
        "row-norm",
        "--json",
        "-",
    ];
    let figures = audit(&place, &asked).succeeds_with_json();
    assert_eq!(figures["audited"][0]["text_tokens"], 10);
}

/// What is run on a decoder's checkpoints.
fn of_decoders() -> Vec<&'static str> {
    let on_checkpoints = |attack: &&equicrypt_audit::Attack| {
        attack.name != "embedding-output" && attack.on_logs().is_none()
    };
    let attacks = ATTACKS.iter().filter(on_checkpoints);
    attacks.map(|attack| attack.name).collect()
}

/// `audit` of the model, encrypted under the key, with these arguments too.
fn audit(place: &Place, more: &[&str]) -> Ran {
    let (model, encrypted, key) = (place.model(), encrypted(place), place.key());
    let mut all: Vec<&OsStr> = args!["audit", &model, &encrypted, "--key", &key].to_vec();
    all.extend(more.iter().map(OsStr::new));
    equicrypt(all)
}

fn names(audited: &Value) -> Vec<&str> {
    let verdicts = audited["verdicts"].as_array().unwrap();
    verdicts
        .iter()
        .map(|verdict| verdict["attack"].as_str().unwrap())
        .collect()
}

/// The encrypted folder, made if it is not there yet.
fn encrypted(place: &Place) -> std::path::PathBuf {
    let made = place.path("encrypted");
    if made.exists() {
        made
    } else {
        place.encrypted()
    }
}
