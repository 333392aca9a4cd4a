use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::encoder::fixture::folder as encoder_folder;
use crate::fixture::folder as decoder_folder;

/// Pieces that the small tokenizers know, and anything else.
fn texts() -> impl Strategy<Value = String> {
    let known = [
        "a", "b", "ab", "abc", " ", "<s>", "</s>", "<tool>", "[NEW]", "[SEP]", "<x>", "é", "A",
    ];
    let known = prop::sample::select(known.to_vec()).prop_map(String::from);
    let piece = prop_oneof![4 => known, 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// A file that is read as the same tokenizer, with other ids.
fn assert_same(source: &Tokenizer, made: &Made, text: &str, second: &str) {
    let cipher = made.tokenizer();
    for special in [true, false] {
        for pair in [false, true] {
            let encode = |tokenizer: &Tokenizer| match pair {
                true => tokenizer.encode((text, second), special).unwrap(),
                false => tokenizer.encode(text, special).unwrap(),
            };
            let (ours, theirs) = (encode(source), encode(&cipher));
            let expected: Vec<u32> = ours.get_ids().iter().map(|id| made.id(*id)).collect();
            assert_eq!(theirs.get_ids(), expected, "{text:?}");
            assert_eq!(theirs.get_tokens(), ours.get_tokens());
            assert_eq!(theirs.get_type_ids(), ours.get_type_ids());
            assert_eq!(
                theirs.get_special_tokens_mask(),
                ours.get_special_tokens_mask()
            );
            for skip in [true, false] {
                let plain = source.decode(ours.get_ids(), skip).unwrap();
                assert_eq!(cipher.decode(theirs.get_ids(), skip).unwrap(), plain);
            }
        }
    }
}

fn check_kind(json: &Value, text: &str, second: &str, byte: u8) {
    let source = folder(json, &json!({}));
    let made = Made::of(source.path(), &vocabulary(byte));
    let plain = Tokenizer::from_file(source.path().join("tokenizer.json")).unwrap();
    assert_same(&plain, &made, text, second);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn byte_pairs(text in texts(), second in texts(), byte: u8) {
        check_kind(&bpe(), &text, &second, byte);
    }

    #[test]
    fn word_pieces(text in texts(), second in texts(), byte: u8) {
        check_kind(&wordpiece(), &text, &second, byte);
    }

    #[test]
    fn words(text in texts(), second in texts(), byte: u8) {
        check_kind(&word_level(), &text, &second, byte);
    }

    #[test]
    fn scored_pieces(text in texts(), second in texts(), byte: u8) {
        check_kind(&unigram(), &text, &second, byte);
    }
}

#[test]
fn tokenizers_of_a_chat_model_and_of_an_encoder() {
    let sources = [(decoder_folder(), 264), (encoder_folder("BertModel"), 96)];
    for (source, rows) in sources {
        let key = MasterKey::from_bytes([7; 32]);
        let schedule = Schedule::new(&key, &[1; 32], 0);
        let made = Made::of(source.path(), &Vocabulary::derive(&schedule, rows, None));
        let plain = Tokenizer::from_file(source.path().join("tokenizer.json")).unwrap();
        let text = "<|im_start|>user\nHow are You?<|im_end|> [CLS] 日本";
        assert_same(&plain, &made, text, "ja");
    }
}

#[test]
fn ids_that_a_file_states_wrongly_are_those_of_the_library() {
    let source = folder(&bpe(), &json!({}));
    let plain = Tokenizer::from_file(source.path().join("tokenizer.json")).unwrap();
    assert_eq!(plain.token_to_id("<tool>"), Some(12), "the file says 77");
    let made = Made::of(source.path(), &vocabulary(7));
    assert_eq!(made.tokenizer().token_to_id("<tool>"), Some(made.id(12)));
    let json = made.json("tokenizer.json");
    assert_eq!(json["model"]["vocab"]["<tool>"], json!(made.id(12)));
    let listed = json["added_tokens"].as_array().unwrap();
    let ids: Vec<u64> = listed
        .iter()
        .map(|token| token["id"].as_u64().unwrap())
        .collect();
    assert!(ids.is_sorted() && ids.len() == 4, "{ids:?}");
    assert!(ids.contains(&u64::from(made.id(12))));
}

#[test]
fn every_place_of_an_id_is_found() {
    let source = folder(&bpe(), &json!({}));
    let made = Made::of(source.path(), &vocabulary(7));
    let json = made.json("tokenizer.json");
    assert_eq!(json["padding"]["pad_id"], json!(made.id(2)));
    let special = &json["post_processor"]["processors"][1]["special_tokens"];
    assert_eq!(special["<s>"]["ids"], json!([made.id(1), made.id(7)]));
    assert_eq!(json["truncation"]["max_length"], 60);
    assert_eq!(json["model"]["merges"], bpe()["model"]["merges"]);
    let order: Vec<u64> = json["model"]["vocab"]
        .as_object()
        .unwrap()
        .values()
        .map(|id| id.as_u64().unwrap())
        .collect();
    assert!(
        order.is_sorted(),
        "the order of plain ids would show in the file"
    );

    let made = Made::of(folder(&wordpiece(), &json!({})).path(), &vocabulary(7));
    let json = made.json("tokenizer.json");
    assert_eq!(json["post_processor"]["sep"], json!(["[SEP]", made.id(3)]));
    assert_eq!(json["post_processor"]["cls"], json!(["[CLS]", made.id(2)]));
}

/// The place in the list is the id, and rows without a piece have an empty one, which no text
/// contains.
#[test]
fn a_list_of_pieces_has_a_place_for_every_row() {
    let source = folder(&unigram(), &json!({}));
    let made = Made::of(source.path(), &vocabulary(7));
    let model = made.json("tokenizer.json")["model"].clone();
    assert_eq!(model["unk_id"], json!(made.id(2)));
    let list = model["vocab"].as_array().unwrap();
    assert_eq!(list.len(), ROWS);
    let original = golden(source.path().join("tokenizer.json"));
    let original = original["model"]["vocab"].as_array().unwrap();
    for (piece, plain) in original.iter().zip(0u32..) {
        assert_eq!(&list[made.id(plain) as usize], piece);
    }
    let empty: Vec<&Value> = list.iter().filter(|piece| piece[0] == "").collect();
    assert_eq!(empty.len(), ROWS - original.len());
    let scores = |pieces: &[Value]| {
        let scores = pieces.iter().map(|piece| piece[1].as_f64().unwrap());
        scores.fold(f64::INFINITY, f64::min)
    };
    assert_eq!(
        scores(list),
        scores(original),
        "unknown characters cost as before"
    );
    let tokenizer = made.tokenizer();
    let unused = made.id(ROWS as u32 - 1);
    assert_eq!(tokenizer.decode(&[unused, unused], false).unwrap(), "");
}

/// Each of these ways to cut `aaaa...` has the same pieces, and rounding decides between them.
#[test]
fn scores_are_written_so_that_they_are_read_as_before() {
    let mut json = unigram();
    for (number, score) in [
        -8.123_456_789_012_346,
        -11.834_875_106_811_523,
        -0.1 - 0.2,
        -1e-7 / 3.0,
    ]
    .into_iter()
    .enumerate()
    {
        json["model"]["vocab"][4 + number] = json!([(["a", "b", "ab", "ba"][number]), score]);
    }
    let source = folder(&json, &json!({}));
    let written = golden(source.path().join("tokenizer.json"));
    let made = Made::of(source.path(), &vocabulary(7));
    let list = made.json("tokenizer.json")["model"]["vocab"].clone();
    for (piece, plain) in written["model"]["vocab"]
        .as_array()
        .unwrap()
        .iter()
        .zip(0u32..)
    {
        let (ours, theirs) = (piece[1].as_f64(), list[made.id(plain) as usize][1].as_f64());
        assert_eq!(ours.map(f64::to_bits), theirs.map(f64::to_bits));
    }
}

#[test]
fn a_kept_id_is_kept() {
    let key = MasterKey::from_bytes([7; 32]);
    let schedule = Schedule::new(&key, &[1; 32], 0);
    let source = folder(&unigram(), &json!({}));
    let made = Made::of(source.path(), &Vocabulary::derive(&schedule, ROWS, Some(1)));
    assert_eq!(made.tokenizer().token_to_id("</s>"), Some(1));
    assert_ne!(made.tokenizer().token_to_id("a"), Some(4));
}
