use serde_json::{Value, json};

use crate::import::testing::*;
use crate::read_json;

#[test]
fn the_tokenizer_states_what_the_metadata_says() {
    let builder = tiny()
        .string("tokenizer.ggml.pre", "smollm")
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1)
        .u32("tokenizer.ggml.padding_token_id", 1)
        .string("tokenizer.chat_template", "{{ x }}");
    let (import, _checkpoint) = imported(&builder);
    let tokenizer = read_json(&import.out.join("tokenizer.json")).unwrap();
    let added = |id: usize, content: &str, special: bool| {
        json!({
            "id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let expected = [
        added(0, "<s>", true),
        added(1, "</s>", true),
        added(2, "<tool>", false),
    ];
    assert_eq!(tokenizer["added_tokens"], json!(expected));
    for (id, token) in TOKENS.iter().enumerate() {
        assert_eq!(tokenizer["model"]["vocab"][token], id);
    }
    assert_eq!(tokenizer["model"]["merges"], json!(["a b"]));
    assert_eq!(tokenizer["model"]["ignore_merges"], false);
    assert_eq!(
        tokenizer["pre_tokenizer"]["pretokenizers"][0]["type"],
        "Digits"
    );
    assert_eq!(
        tokenizer["pre_tokenizer"]["pretokenizers"][1]["use_regex"],
        true
    );
    assert_eq!(tokenizer["post_processor"], Value::Null);
    assert_eq!(tokenizer["normalizer"], Value::Null);

    let config = read_json(&import.out.join("tokenizer_config.json")).unwrap();
    assert_eq!(config["bos_token"], "<s>");
    assert_eq!(config["pad_token"], "</s>");
    assert_eq!(config["unk_token"], Value::Null);
    assert_eq!(config["chat_template"], "{{ x }}");
    assert_eq!(config["model_max_length"], 64);
    assert_eq!(config["added_tokens_decoder"]["2"]["content"], "<tool>");
    let special = read_json(&import.out.join("special_tokens_map.json")).unwrap();
    assert_eq!(
        special,
        json!({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})
    );
}

#[test]
fn each_splitting_rule_is_stated_as_its_models_state_it() {
    let tokenizer = |pre: Option<&str>| {
        let mut builder = tiny().u32("tokenizer.ggml.bos_token_id", 0);
        if let Some(pre) = pre {
            builder = builder.string("tokenizer.ggml.pre", pre);
        }
        let (import, _checkpoint) = imported(&builder);
        read_json(&import.out.join("tokenizer.json")).unwrap()
    };
    for pre in [None, Some("default"), Some("gpt-2")] {
        let pre = &tokenizer(pre)["pre_tokenizer"];
        assert_eq!(
            (&pre["type"], &pre["use_regex"]),
            (&json!("ByteLevel"), &json!(true))
        );
    }
    let llama3 = tokenizer(Some("llama-bpe"));
    let rules = &llama3["pre_tokenizer"]["pretokenizers"];
    assert!(
        rules[0]["pattern"]["Regex"]
            .as_str()
            .unwrap()
            .contains(r"\p{N}{1,3}")
    );
    assert_eq!(rules[1]["use_regex"], false);
    assert_eq!(llama3["model"]["ignore_merges"], true);
    assert_eq!(
        llama3["post_processor"]["single"][0]["SpecialToken"]["id"],
        "<s>"
    );
    assert_eq!(
        llama3["post_processor"]["pair"].as_array().unwrap().len(),
        4
    );
    assert_eq!(
        llama3["post_processor"]["special_tokens"]["<s>"]["ids"],
        json!([0])
    );
    let dbrx = tokenizer(Some("dbrx"));
    assert_eq!(dbrx["pre_tokenizer"], llama3["pre_tokenizer"]);
    assert_eq!(dbrx["model"]["ignore_merges"], false);
    assert_eq!(dbrx["post_processor"], Value::Null);
    let olmo = tokenizer(Some("olmo"));
    assert_eq!(olmo["normalizer"]["type"], "NFC");
    assert_eq!(olmo["pre_tokenizer"]["type"], "ByteLevel");
    let qwen2 = tokenizer(Some("qwen2"));
    assert_eq!(qwen2["normalizer"]["type"], "NFC");
    assert_eq!(qwen2["post_processor"], Value::Null);
}

#[test]
fn unsound_vocabularies_are_refused() {
    let with = |model: &str, tokens: &[&str], kinds: &[i32], merges: &[&str]| {
        let builder = shape_metadata(TINY)
            .string("tokenizer.ggml.model", model)
            .strings("tokenizer.ggml.tokens", tokens)
            .i32s("tokenizer.ggml.token_type", kinds)
            .strings("tokenizer.ggml.merges", merges);
        with_tensors(builder, TINY, true, false)
    };
    assert_refused(
        &with("llama", &TOKENS, &KINDS, &[]),
        "tokenizer.ggml.scores\" is missing",
    );
    assert_refused(&with("bert", &TOKENS, &KINDS, &[]), "\"bert\"");
    assert_refused(
        &with("gpt2", &TOKENS, &KINDS[1..], &[]),
        "6 entries for 7 tokens",
    );
    assert_refused(&with("gpt2", &TOKENS, &[9; 7], &[]), "unknown value 9");
    let mut twice = TOKENS;
    twice[4] = "a";
    assert_refused(
        &with("gpt2", &twice, &KINDS, &[]),
        "tokens 3 and 4 are both \"a\"",
    );
    for merge in ["a", "a Ġ", "", "a b b", " ab"] {
        assert_refused(&with("gpt2", &TOKENS, &KINDS, &["a b", merge]), "entry 1");
    }
    assert_refused(
        &tiny().u32("tokenizer.ggml.bos_token_id", 7),
        "bos_token_id is 7",
    );
    assert_refused(
        &tiny().bool("tokenizer.ggml.add_eos_token", true),
        "eos tokens are to be",
    );
}
