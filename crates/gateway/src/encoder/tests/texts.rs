//! Texts to plain ids, against what transformers and sentence-transformers make of them.

use std::path::Path;

use serde_json::{Value, json};

use crate::encoder::fixture::{WORDPIECE, folder, sentence_folder, set};
use crate::fixture::{golden, write};
use crate::{EncoderOwner, Error, Long};

fn numbers(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn texts_and_pairs_become_what_transformers_makes_of_them() {
    let cases = golden(format!("{WORDPIECE}/cases.json"));
    let mut compared = 0;
    for variant in cases["variants"].as_array().unwrap() {
        for length in [4, 5, 7, 8, 12, 512] {
            let dir = folder("BertModel");
            write(
                dir.path(),
                "tokenizer_config.json",
                &variant["tokenizer_config"],
            );
            set(
                dir.path(),
                "config.json",
                "max_position_embeddings",
                json!(512),
            );
            set(
                dir.path(),
                "tokenizer_config.json",
                "model_max_length",
                json!(length),
            );
            let owner = EncoderOwner::open(dir.path()).unwrap();
            let cases = variant["cases"].as_array().unwrap();
            for case in cases.iter().filter(|case| case["length"] == length) {
                let first = case["first"].as_str().unwrap();
                let found = match case["second"].as_str() {
                    None => owner.encode(first, Long::Truncate),
                    Some(second) => owner.encode_pair(first, second, Long::Truncate),
                };
                let found = found.unwrap();
                assert_eq!(found.ids(), numbers(&case["ids"]), "{case}");
                let types = numbers(&case["types"]);
                match types.iter().all(|kind| *kind == 0) {
                    true => assert!(found.token_types().is_empty(), "{case}"),
                    false => assert_eq!(found.token_types(), types, "{case}"),
                }
                assert_eq!(found.special.len(), found.ids().len());
                assert_eq!(found.spans.len(), found.ids().len());
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 384);
}

#[test]
fn a_long_text_is_cut_or_refused() {
    let dir = sentence_folder();
    let owner = EncoderOwner::open(dir.path()).unwrap();
    assert_eq!(owner.max_tokens(), 16);
    let text = |words: usize| "cat ".repeat(words);
    for long in [Long::Truncate, Long::Refuse] {
        let fits = owner.encode(&text(14), long).unwrap();
        assert!(fits.ids().len() == 16 && !fits.truncated());
    }
    let cut = owner.encode(&text(15), Long::Truncate).unwrap();
    assert!(cut.ids().len() == 16 && cut.truncated());
    assert_eq!(cut.ids()[15], 3, "[SEP] was cut off");
    let error = owner.encode(&text(15), Long::Refuse).err().unwrap();
    let Error::TextTooLong { tokens, limit } = error else {
        panic!("{error}");
    };
    assert_eq!((tokens, limit), (17, 16));
    let pair = owner.encode_pair(&text(9), &text(9), Long::Refuse);
    assert!(matches!(pair, Err(Error::TextTooLong { tokens: 21, .. })));
    // In pieces joined each with each, this would not fit into memory.
    let long = text(200_000);
    let cut = owner.encode_pair(&long, &long, Long::Truncate).unwrap();
    assert!(cut.ids().len() == 16 && cut.truncated());
}

#[test]
fn a_model_that_is_not_told_of_pairs_gets_no_types() {
    for (file, field, value) in [
        ("config.json", "type_vocab_size", json!(1)),
        (
            "tokenizer_config.json",
            "model_input_names",
            json!(["input_ids", "attention_mask"]),
        ),
    ] {
        let dir = folder("BertModel");
        set(dir.path(), file, field, value);
        let owner = EncoderOwner::open(dir.path()).unwrap();
        let pair = owner
            .encode_pair("the cat", "the dog", Long::Refuse)
            .unwrap();
        assert_eq!(pair.ids(), [2, 5, 7, 3, 5, 8, 3]);
        assert!(pair.token_types().is_empty());
    }
}

#[test]
fn spans_and_pieces_point_into_the_text() {
    let dir = folder("BertForTokenClassification");
    let owner = EncoderOwner::open(dir.path()).unwrap();
    let found = owner.encode("é unbearable cat", Long::Refuse).unwrap();
    let pieces: Vec<_> = found
        .ids()
        .iter()
        .map(|id| owner.piece(*id).unwrap())
        .collect();
    let from = pieces.iter().position(|piece| piece == "un").unwrap();
    assert_eq!(found.spans[from], 2..4, "{pieces:?}");
    let cat = pieces.iter().position(|piece| piece == "cat").unwrap();
    assert_eq!(found.spans[cat], 13..16);
    let special: Vec<usize> = (0..found.special.len())
        .filter(|i| found.special[*i])
        .collect();
    assert_eq!(special, [0, found.ids().len() - 1]);
    assert_eq!(owner.piece(95), None);
    assert_eq!(owner.decode(found.ids()).unwrap(), "e unbearable cat");
}

#[test]
fn lower_case_is_made_where_sentence_transformers_asks_for_it() {
    let cat = |class: &str, normalizer: Value, lowercases: bool| {
        let dir = sentence_folder();
        set(
            dir.path(),
            "tokenizer_config.json",
            "tokenizer_class",
            json!(class),
        );
        set(dir.path(), "tokenizer.json", "normalizer", normalizer);
        set(
            dir.path(),
            "sentence_bert_config.json",
            "do_lower_case",
            json!(lowercases),
        );
        let owner = EncoderOwner::open(dir.path()).unwrap();
        owner.encode("CAT", Long::Refuse).unwrap().ids() == [2, 7, 3]
    };
    let any = "PreTrainedTokenizerFast";
    let cased = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": null, "lowercase": false});
    let sequence = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}]});
    for normalizer in [json!(null), cased.clone(), sequence] {
        assert!(!cat(any, normalizer.clone(), false), "{normalizer}");
        assert!(cat(any, normalizer.clone(), true), "{normalizer}");
    }
    // For BERT's own class tokenizer_config.json counts, which says do_lower_case.
    assert!(cat("BertTokenizerFast", cased, false));
}

/// Needs all-MiniLM-L6-v2's folder, which is not in the repository: its path in EQUICRYPT_MINILM.
#[test]
fn minilm_ids_are_those_of_sentence_transformers() {
    let Some(dir) = std::env::var_os("EQUICRYPT_MINILM") else {
        eprintln!("skipped: EQUICRYPT_MINILM does not name all-MiniLM-L6-v2's folder");
        return;
    };
    let owner = EncoderOwner::open(Path::new(&dir)).unwrap();
    let golden = golden("../../tests/golden/minilm_tokens.json");
    assert_eq!(golden["max_seq_length"], owner.max_tokens());
    let mut cut = 0;
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let found = owner.encode(text, Long::Truncate).unwrap();
        assert_eq!(found.ids(), numbers(&case["ids"]), "{text:?}");
        assert!(found.token_types().is_empty());
        cut += usize::from(found.truncated());
    }
    assert!(cut > 0, "no text was long enough to be cut");
}
