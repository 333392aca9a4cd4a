//! Keys and token ids on the command line: `keygen`, `tokens`, and what every command does with a key that is no good.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod cli_support;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cli_support::{
    ENCRYPTED_FOLDER, KEY, OTHER_KEY, Place, Ran, args, edit_json, entries, equicrypt,
    equicrypt_reading,
};
use equicrypt_spec::MANIFEST_FILE;
use serde_json::json;
use support::key;

#[test]
fn keygen_makes_a_private_file_and_shows_no_secret() {
    let place = Place::new();
    let file = place.path("made/new.key");
    let ran = equicrypt(args!["keygen", "-o", &file]);
    let said = ran.succeeds();
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );
    let text = fs::read_to_string(&file).unwrap();
    let secret = text.lines().last().unwrap();
    assert!(secret.starts_with("EQUICRYPT-SECRET-KEY-1"));
    assert!(
        !said.contains("SECRET") && !said.contains(&secret[30..50]),
        "{said}"
    );
    let id = said
        .lines()
        .next()
        .unwrap()
        .strip_prefix("key id ")
        .unwrap();
    assert!(
        text.starts_with('#') && text.contains(id),
        "the file names its id"
    );
    assert!(said.contains("made/new.key"), "{said}");

    let before = fs::read(&file).unwrap();
    equicrypt(args!["keygen", "-o", &file]).fails_saying(&["made/new.key", "exists"]);
    assert_eq!(fs::read(&file).unwrap(), before);
    let nowhere = place.path("made/no/new.key");
    equicrypt(args!["keygen", "-o", &nowhere]).fails_saying(&["made/no/new.key"]);
    assert_eq!(entries(&place.path("made")), ["new.key"]);
}

#[test]
fn a_protected_key_opens_with_its_passphrase_only() {
    let place = Place::new();
    let (file, right, wrong) = (
        place.path("p.key"),
        place.path("right"),
        place.path("wrong"),
    );
    fs::write(&right, "correct horse\nbattery staple\n").unwrap();
    fs::write(&wrong, "battery staple\n").unwrap();
    let ran = equicrypt(args!["keygen", "-o", &file, "--passphrase-file", &right]);
    let said = ran.succeeds();
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"),
        "{text}"
    );
    assert!(
        !text.contains("EQUICRYPT") && !said.contains("horse"),
        "{said}"
    );
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    let (model, out) = (place.model(), place.out());
    let args = args!["encrypt", &model, "-o", &out, "--key", &file];
    let with = |passphrase: &Path| {
        let more = args!["--passphrase-file", passphrase];
        equicrypt(args.into_iter().chain(more))
    };
    with(&wrong).fails_saying(&["p.key", "passphrase"]);
    place.holds_nothing_made();
    equicrypt(args).fails_saying(&["p.key", "protected by a passphrase", "--passphrase-file"]);
    place.holds_nothing_made();
    with(&place.path("none")).fails_saying(&["none", "No such file"]);
    place.holds_nothing_made();
    with(&right).succeeds();
    assert_eq!(entries(&out), ENCRYPTED_FOLDER);
}

#[test]
fn keygen_wants_a_passphrase_if_any() {
    let place = Place::new();
    let (file, empty) = (place.path("made/new.key"), place.path("empty"));
    for text in ["", "\n", "\r\nsecond line\n"] {
        fs::write(&empty, text).unwrap();
        let ran = equicrypt(args!["keygen", "-o", &file, "--passphrase-file", &empty]);
        ran.fails_saying(&["empty"]);
        place.holds_nothing_made();
    }
    let ran = equicrypt(args!["keygen", "-o", &file, "--passphrase"]);
    ran.fails_saying(&["terminal", "--passphrase-file"]);
    place.holds_nothing_made();
}

#[test]
fn key_files_that_are_no_good_are_named_and_never_quoted() {
    let place = Place::new();
    let file = place.key();
    let text = fs::read_to_string(&file).unwrap();
    let secret = text.lines().last().unwrap();
    let damaged = secret.replace(
        &secret[40..42],
        if &secret[40..42] == "QQ" { "PP" } else { "QQ" },
    );
    for content in [
        &*damaged,
        &secret[..60],
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
        "not a key at all",
        "",
        &format!("{secret}\n{secret}\n"),
        "-----BEGIN AGE ENCRYPTED FILE-----\nnonsense\n-----END AGE ENCRYPTED FILE-----\n",
    ] {
        fs::write(&file, content).unwrap();
        let ran = place.encrypt();
        ran.fails_saying(&["owner.key"]);
        assert!(!ran.err.contains(&secret[25..35]), "quoted");
        place.holds_nothing_made();
    }
    fs::write(&file, [0xff, 0xfe, 0, 1]).unwrap();
    place.encrypt().fails_saying(&["owner.key", "no text"]);

    fs::write(&file, &text).unwrap();
    for mode in [0o644, 0o640, 0o604] {
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let mode = format!("{mode:04o}");
        let ran = place.encrypt();
        ran.fails_saying(&["owner.key", &mode, "others can read", "chmod 600"]);
        place.holds_nothing_made();
    }
    fs::remove_file(&file).unwrap();
    place.encrypt().fails_saying(&["owner.key", "No such file"]);
    fs::create_dir(&file).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o700)).unwrap();
    place.encrypt().fails_saying(&["owner.key"]);
    place.holds_nothing_made();
}

/// `tokens encrypt` and `tokens decrypt` with what they need.
struct Tokens {
    place: Place,
    manifest: PathBuf,
}

impl Tokens {
    fn new() -> Self {
        let place = Place::new();
        let manifest = place.encrypted().join(MANIFEST_FILE);
        Self { place, manifest }
    }

    fn run(&self, direction: &str, input: &str) -> Ran {
        self.run_under(&self.place.key(), direction, input)
    }

    fn run_under(&self, key: &Path, direction: &str, input: &str) -> Ran {
        let args = args![
            "tokens",
            direction,
            "--key",
            key,
            "--manifest",
            &self.manifest
        ];
        equicrypt_reading(input, args)
    }
}

#[test]
fn ids_go_there_and_back() {
    let tokens = Tokens::new();
    let plain: Vec<u32> = (0..61).collect();
    let ran = tokens.run("encrypt", &format!(" {plain:?}\n"));
    let mut cipher: Vec<u32> = serde_json::from_str(ran.succeeds()).unwrap();
    let back = tokens.run("decrypt", &ran.out);
    assert_eq!(
        serde_json::from_str::<Vec<u32>>(back.succeeds()).unwrap(),
        plain
    );
    assert_ne!(cipher, plain);
    cipher.sort_unstable();
    assert_eq!(cipher, plain, "a bijection");
    assert_eq!(tokens.run("encrypt", "[]").succeeds(), "[]\n");
    let three = tokens.run("encrypt", "[5,5,5]");
    let three: Vec<u32> = serde_json::from_str(three.succeeds()).unwrap();
    assert!(three[0] == three[1] && three[1] == three[2]);
}

#[test]
fn input_that_is_no_list_of_ids_is_refused_without_quoting_it() {
    let tokens = Tokens::new();
    for direction in ["encrypt", "decrypt"] {
        for (input, secret) in [("[3, 48151]", "48151"), ("[3, 61]", "61]")] {
            let ran = tokens.run(direction, input);
            ran.fails_saying(&["token 1 of 2", "vocabulary of 61"]);
            assert!(!ran.err.contains(secret), "{ran:?}");
        }
        for input in [
            "",
            "seventeen",
            "[17, 48151",
            "[17, -48151]",
            "[17, 48151.5]",
            "[17, \"48151\"]",
            "{\"ids\": [48151]}",
            "48151",
            "[99999999999999948151]",
            "[17] 48151",
        ] {
            let ran = tokens.run(direction, input);
            ran.fails_saying(&["standard input", "line", "JSON list of token ids"]);
            assert!(!ran.err.contains("48151"), "{ran:?}");
        }
    }
}

#[test]
fn another_key_decrypts_nothing() {
    let tokens = Tokens::new();
    let other = tokens.place.other_key();
    let ids = [KEY, OTHER_KEY].map(|byte| key(byte).id().to_string());
    for direction in ["encrypt", "decrypt"] {
        let ran = tokens.run_under(&other, direction, "[1, 2]");
        ran.fails_saying(&["wrong key", &ids[0], &ids[1]]);
    }
}

#[test]
fn manifests_that_are_no_good_are_named() {
    let tokens = Tokens::new();
    let sound = fs::read_to_string(&tokens.manifest).unwrap();
    for (field, value, words) in [
        (
            "format_version",
            json!(2),
            ["format_version: expected 1", "found 2"],
        ),
        ("vocab_size", json!(60), ["vocab_size", "found 60"]),
        ("vocab_size", json!(1u64 << 40), ["vocab_size", "at most"]),
        (
            "source_fingerprint",
            json!("beef"),
            ["source_fingerprint", "64"],
        ),
        ("key_id", json!("beef"), ["key_id", "16"]),
        ("profile", json!("scramble"), ["equicrypt.json", "scramble"]),
        ("epoch", json!(null), ["equicrypt.json", "u32"]),
    ] {
        fs::write(&tokens.manifest, &sound).unwrap();
        edit_json(&tokens.manifest, |manifest| manifest[field] = value);
        let ran = tokens.run("decrypt", "[1]");
        ran.fails_saying(&[&["encrypted/equicrypt.json"][..], &words].concat());
    }
    for damaged in ["", "{}", "[]", &sound[..sound.len() / 2]] {
        fs::write(&tokens.manifest, damaged).unwrap();
        tokens
            .run("decrypt", "[1]")
            .fails_saying(&["encrypted/equicrypt.json"]);
    }
    fs::remove_file(&tokens.manifest).unwrap();
    let ran = tokens.run("decrypt", "[1]");
    ran.fails_saying(&["cannot read", "encrypted/equicrypt.json", "No such file"]);
}
