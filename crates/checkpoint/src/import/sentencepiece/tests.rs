use serde_json::{Value, json};

use crate::gguf::testing::GgufBuilder;
use crate::import::testing::*;
use crate::read_json;

const SPM_TOKENS: [&str; 12] = [
    "<unk>", "<s>", "</s>", "<0x0A>", "▁", "a", "b", "aa", "▁a", "aab", "  ", "▁x",
];
const SPM_KINDS: [i32; 12] = [2, 3, 3, 6, 1, 1, 1, 1, 1, 1, 4, 4];
const SCORES: [f32; 12] = [
    0.0, 0.0, 0.0, 0.0, -10.0, -11.0, -12.0, 0.0, -1.0, -2.0, -1000.0, -1000.0,
];

fn model(scores: &[f32]) -> GgufBuilder {
    let sizes = Sizes { vocab: 12, ..TINY };
    let mut bytes = [
        &6u32.to_le_bytes()[..],
        &(scores.len() as u64).to_le_bytes(),
    ]
    .concat();
    bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
    let builder = shape_metadata(sizes)
        .string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &SPM_TOKENS)
        .i32s("tokenizer.ggml.token_type", &SPM_KINDS)
        .raw("tokenizer.ggml.scores", 9, &bytes);
    with_tensors(builder, sizes, true, false)
}

fn tokenizer(builder: &GgufBuilder) -> Value {
    let (import, _checkpoint) = imported(builder);
    read_json(&import.out.join("tokenizer.json")).unwrap()
}

#[test]
fn ranks_become_merges() {
    let tokenizer = tokenizer(&model(&SCORES));
    // By score; of one piece the longer left part first. Nothing is made of added tokens.
    let merges = json!(["a a", "▁ a", "aa b"]);
    let model = &tokenizer["model"];
    assert_eq!(model["merges"], merges);
    for (field, expected) in [
        ("type", json!("BPE")),
        ("unk_token", json!("<unk>")),
        ("byte_fallback", json!(true)),
        ("fuse_unk", json!(true)),
        ("ignore_merges", json!(false)),
    ] {
        assert_eq!(model[field], expected, "{field}");
    }
    for (id, token) in SPM_TOKENS.iter().enumerate() {
        assert_eq!(model["vocab"][token], id);
    }
}

#[test]
fn every_cut_of_a_piece_is_a_merge() {
    let mut scores = SCORES;
    // "aa" above "aab", which is above "▁a" now.
    scores[8] = -3.0;
    let with = tokenizer(&model(&scores));
    assert_eq!(with["model"]["merges"], json!(["a a", "aa b", "▁ a"]));
}

#[test]
fn spaces_are_marked_and_one_is_put_in_front_unless_the_file_says_otherwise() {
    let with = tokenizer(&model(&SCORES));
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let prepend = json!({"type": "Prepend", "prepend": "▁"});
    let both = json!({"type": "Sequence", "normalizers": [prepend, replace]});
    assert_eq!(with["normalizer"], both);
    assert_eq!(with["pre_tokenizer"], Value::Null);
    let decoders = |tokenizer: &Value| tokenizer["decoder"]["decoders"].as_array().unwrap().len();
    assert_eq!(decoders(&with), 4);
    assert_eq!(
        with["post_processor"]["single"][0]["SpecialToken"]["id"],
        "<s>"
    );

    let without = model(&SCORES)
        .bool("tokenizer.ggml.add_space_prefix", false)
        .bool("tokenizer.ggml.add_bos_token", false);
    let without = tokenizer(&without);
    assert_eq!(without["normalizer"], replace);
    assert_eq!(decoders(&without), 3);
    assert_eq!(without["post_processor"], Value::Null);
}

#[test]
fn added_tokens_are_found_where_their_spaces_are() {
    let tokenizer = tokenizer(&model(&SCORES));
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let shown: Vec<_> = added
        .iter()
        .map(|token| (&token["content"], &token["normalized"], &token["special"]))
        .collect();
    let expected = [
        (json!("<unk>"), false, true),
        (json!("<s>"), false, true),
        (json!("</s>"), false, true),
        (json!("  "), false, false),
        (json!("▁x"), true, false),
    ];
    assert_eq!(shown.len(), expected.len());
    for (shown, (content, normalized, special)) in shown.iter().zip(&expected) {
        assert_eq!(*shown, (content, &json!(normalized), &json!(special)));
    }
}

#[test]
fn the_ids_that_llama_cpp_takes_for_granted_are_stated() {
    let (import, checkpoint) = imported(&model(&SCORES));
    assert_eq!(checkpoint.config()["bos_token_id"], 1);
    assert_eq!(checkpoint.config()["eos_token_id"], 2);
    let special = read_json(&import.out.join("special_tokens_map.json")).unwrap();
    assert_eq!(
        special,
        json!({"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
    );
    let other = model(&SCORES).u32("tokenizer.ggml.eos_token_id", 5);
    let (_import, checkpoint) = imported(&other);
    assert_eq!(checkpoint.config()["eos_token_id"], 5);
}

#[test]
fn what_does_not_say_how_to_join_is_refused() {
    let mut fractions = SCORES;
    fractions[9] = -2.5;
    assert_refused(
        &model(&fractions),
        "SentencePiece tokenizer are fractions, not ranks",
    );
    let mut equal = SCORES;
    equal[7..10].fill(-1000.0);
    assert_refused(&model(&equal), "mostly equal");
    assert_refused(&model(&SCORES[1..]), "11 entries for 12 tokens");
    let rewriting = model(&SCORES).bool("tokenizer.ggml.remove_extra_whitespaces", true);
    assert_refused(&rewriting, "rewrites texts");
}
