use serde_json::{Value, json};
use tokenizers::normalizer::NormalizedString;
use tokenizers::{EncodeInput, Encoding, Normalizer, Tokenizer};

use super::ids::Ids;
use super::rewrite::Rewritten;
use super::source::{Added, Source};
use crate::Error;

/// Fails unless the rewritten tokenizer is the original one, id for id: every token, every id, and
/// the ids of some texts. Nothing is written that this has not passed.
pub(super) fn check(source: &Source, rewritten: &Rewritten, ids: &Ids) -> Result<(), Error> {
    let cipher = source.load(&rewritten.json)?;
    let differs = |what: &str| Err(source.refused(format!("{what} of the result would differ")));
    let plain = &source.tokenizer;
    let vocabulary = plain.get_vocab(true);
    let mut all = vocabulary.iter();
    if !all.all(|(token, id)| cipher.token_to_id(token) == ids.of(*id)) {
        return differs("a token's id");
    }
    let mut all = (0u32..).take(ids.count());
    if !all.all(|id| spelt(plain, Some(id)) == spelt(&cipher, ids.of(id))) {
        return differs("an id's token");
    }
    let added = source.added()?;
    let contents = added.iter().map(|added| added.token.content.as_str());
    for text in TEXTS.iter().copied().chain(contents) {
        // With dropout no two results are equal, not even of one tokenizer.
        if drops_out(&source.json) {
            break;
        }
        if !encodes_alike(plain, &cipher, ids, text) {
            return differs("the ids of a text");
        }
    }
    demand_unreachable(source, rewritten, ids)
}

/// An id without a token is an empty piece in some models.
fn spelt(tokenizer: &Tokenizer, id: Option<u32>) -> Option<String> {
    let token = tokenizer.id_to_token(id?);
    token.filter(|token| !token.is_empty())
}

fn encodes_alike(plain: &Tokenizer, cipher: &Tokenizer, ids: &Ids, text: &str) -> bool {
    let inputs: [EncodeInput<'_>; 2] = [text.into(), (text, "b").into()];
    let encoded = |input: &EncodeInput<'_>, special: bool| {
        let ours = plain.encode_char_offsets(input.clone(), special);
        let theirs = cipher.encode_char_offsets(input.clone(), special);
        (ours, theirs)
    };
    inputs.iter().all(|input| {
        [true, false].into_iter().all(|special| {
            match encoded(input, special) {
                (Ok(ours), Ok(theirs)) => {
                    same(&ours, &theirs, ids) && decode(plain, &ours) == decode(cipher, &theirs)
                }
                // A model without a token for what is unknown.
                (ours, theirs) => ours.is_err() && theirs.is_err(),
            }
        })
    })
}

fn same(plain: &Encoding, cipher: &Encoding, ids: &Ids) -> bool {
    let expected: Option<Vec<u32>> = plain.get_ids().iter().map(|id| ids.of(*id)).collect();
    expected.as_deref() == Some(cipher.get_ids())
        && plain.get_tokens() == cipher.get_tokens()
        && plain.get_type_ids() == cipher.get_type_ids()
        && plain.get_offsets() == cipher.get_offsets()
        && plain.get_special_tokens_mask() == cipher.get_special_tokens_mask()
        && plain.get_attention_mask() == cipher.get_attention_mask()
}

fn decode(tokenizer: &Tokenizer, encoding: &Encoding) -> Option<[String; 2]> {
    let decode = |skip_special| tokenizer.decode(encoding.get_ids(), skip_special).ok();
    Some([decode(true)?, decode(false)?])
}

/// Fails if the model itself, which has the moved tokens now and had not, could make one of a text
/// in which it was not found. What the library finds and cuts out, the model never sees.
fn demand_unreachable(source: &Source, rewritten: &Rewritten, ids: &Ids) -> Result<(), Error> {
    if rewritten.moved.is_empty() {
        return Ok(());
    }
    let mut json = rewritten.json.clone();
    json["added_tokens"] = json!([]);
    for name in ["post_processor", "padding", "truncation"] {
        json[name] = Value::Null;
    }
    let model = source.load(&json)?;
    let prefix = continuing_prefix(&source.json);
    for moved in &rewritten.moved {
        let content = &moved.token.content;
        let inner = content.strip_prefix(prefix).unwrap_or(content);
        let is_spelt = inner == content && !content.contains(['\u{2581}', '\u{120}']);
        if is_spelt && !moved.token.special && is_always_found(moved, source) {
            continue;
        }
        let texts = [
            content.clone(),
            format!(" {content}"),
            format!("{content}a"),
            format!("a{content}a"),
            format!("a{inner}"),
            inner.to_owned(),
        ];
        let makes_it = |text: String| {
            let made = model.encode_fast(text, false);
            made.is_ok_and(|made| {
                made.get_ids()
                    .iter()
                    .any(|id| Some(*id) == ids.of(moved.plain))
            })
        };
        if texts.into_iter().any(makes_it) {
            return Err(source.refused(
                "added_tokens: the model would make one of them of texts in which it is not meant",
            ));
        }
    }
    Ok(())
}

/// Whether no text with this token in it reaches the model.
fn is_always_found(added: &Added, source: &Source) -> bool {
    let token = &added.token;
    let stays = || {
        let mut text = NormalizedString::from(token.content.as_str());
        let normalizer = source.tokenizer.get_normalizer();
        let normalized = normalizer.is_none_or(|step| step.normalize(&mut text).is_ok());
        normalized && text.get() == token.content
    };
    let has_normalizer = source.tokenizer.get_normalizer().is_some();
    !token.single_word && (!has_normalizer || (token.normalized && stays()))
}

fn continuing_prefix(json: &Value) -> &str {
    let prefix = json.pointer("/model/continuing_subword_prefix");
    prefix.and_then(Value::as_str).unwrap_or_default()
}

fn drops_out(json: &Value) -> bool {
    let dropout = json.pointer("/model/dropout").and_then(Value::as_f64);
    dropout.is_some_and(|dropout| dropout > 0.0)
}

const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "Hello, world!",
    "  two  spaces\tand\na line\r\n\r\n",
    "The quick brown fox jumps over 1234567890 lazy dogs.",
    "fn main() { println!(\"{}\", x != 0xff && y <= 3.14e-2); }",
    "Größe, naïve, Ærøskøbing, İstanbul, ﬁ, ＡＢＣ",
    "日本語のテキスト и русский текст, مرحبا بالعالم",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{1f600}\u{0301} e\u{0301} \u{fffd} \u{0} \u{7f}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "<s></s> [CLS] [SEP] [MASK] <pad> <unk> <|endoftext|> <|im_start|>user\n<|im_end|>",
];
