//! `equicrypt bench` as a process: what it prints, and that it leaves nothing behind. How fast anything was is no test's business.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;

use cli_support::{Place, args, entries, equicrypt};
use serde_json::Value;

#[test]
fn encrypting_is_timed_beside_copying() {
    let place = Place::new();
    let scratch = place.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let (model, json) = (place.model(), place.path("bench.json"));
    let said = equicrypt(args![
        "bench",
        "encrypt",
        "--model",
        &model,
        "--rounds",
        "2",
        "--scratch",
        &scratch,
        "--json",
        &json
    ]);
    let said = said.succeeds();
    for word in [
        "cp",
        "permute",
        "rotate, bf16",
        "rotate, f32",
        "peak memory",
    ] {
        assert!(said.contains(word), "{said}");
    }
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let weights = fs::metadata(model.join("model.safetensors")).unwrap().len();
    assert!(report["bytes"].as_u64().unwrap() > weights);
    let runs = report["runs"].as_array().unwrap();
    let of = |name: &str| runs.iter().filter(|run| run["contestant"] == name).count();
    for name in ["copy, by a loop", "permute", "rotate, bf16", "rotate, f32"] {
        assert_eq!(of(name), 2, "{name}");
    }
    for run in runs {
        let [written, flushed] =
            ["written_seconds", "flushed_seconds"].map(|clock| run[clock].as_f64().unwrap());
        assert!(0.0 < written && written <= flushed, "{run}");
        let is_copy = !matches!(
            run["contestant"].as_str().unwrap().split(',').next(),
            Some("permute" | "rotate")
        );
        assert_eq!(run["peak_memory_bytes"].is_null(), is_copy, "{run}");
    }
    assert!(entries(&scratch).is_empty());
}

#[test]
fn only_what_was_asked_for_is_timed() {
    let place = Place::new();
    let report = equicrypt(args![
        "bench",
        "encrypt",
        "--model",
        &place.model(),
        "--rounds",
        "1",
        "--way",
        "permute",
        "--json",
        "-"
    ])
    .succeeds_with_json();
    let medians = report["medians"].as_object().unwrap();
    assert_eq!(medians.len(), 3, "{report}");
    assert!(
        medians["permute"]["flushed"]["gb_per_second"]
            .as_f64()
            .unwrap()
            > 0.0
    );
}

#[test]
fn a_model_that_is_none_is_refused() {
    let place = Place::new();
    let nowhere = place.path("nowhere/bench.json");
    for json in [&nowhere, &place.model()] {
        equicrypt(args!["bench", "encrypt", "--size", "1M", "--json", json])
            .fails_saying(&["--json", "a folder that there is"]);
    }
    equicrypt(args!["bench", "encrypt", "--model", &place.path("nothing")])
        .fails_saying(&["nothing", "does not exist"]);
    equicrypt(args!["bench", "encrypt", "--size", "1T"]).is_misused_saying(&["500M or 8G"]);
}

#[test]
fn an_engine_is_timed_on_the_plain_and_on_the_encrypted_model() {
    let place = Place::new();
    let (model, json) = (place.model(), place.path("bench.json"));
    let said = equicrypt(args![
        "bench",
        "engine",
        &model,
        "--rounds",
        "2",
        "--context",
        "8",
        "--context",
        "1000000",
        "--batch",
        "1",
        "--batch",
        "3",
        "--profile",
        "rotate",
        "--json",
        &json
    ]);
    let said = said.succeeds();
    let report: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    let cases = report["ids_per_second"].as_array().unwrap();
    assert_eq!(cases.len(), 4, "{report}");
    for case in cases {
        assert!(said.contains(case["case"].as_str().unwrap()), "{said}");
        let rounds = case["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2);
        let rates = rounds.iter().flat_map(|round| round.as_array().unwrap());
        assert!(
            rates
                .map(|rate| rate.as_f64().unwrap())
                .all(|rate| rate > 0.0)
        );
    }
    assert!(cases[1]["of_one_answer"].as_f64().unwrap() > 0.0);
    // No more than the model can hold.
    assert!(!cases[2]["case"].as_str().unwrap().contains("1000000"));
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let place = Place::new();
    let said = equicrypt(args!["bench", "engine", &place.path("no-model")]);
    said.fails_saying(&["no-model"]);
}
