use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tokenizers::models::ModelWrapper;

use super::ids::Ids;
use super::source::Source;
use crate::Error;

/// Replaces the ids of a model's vocabulary, and adds the tokens `moved` with their plain ids.
pub(super) fn rewrite(
    model: &mut Value,
    moved: &[(String, u32)],
    source: &Source,
    ids: &Ids,
) -> Result<(), Error> {
    // Old files do not name the kind, and the library guesses it.
    let kind = match source.tokenizer.get_model() {
        ModelWrapper::BPE(_) => "BPE",
        ModelWrapper::WordPiece(_) => "WordPiece",
        ModelWrapper::WordLevel(_) => "WordLevel",
        ModelWrapper::Unigram(_) => "Unigram",
    };
    model["type"] = json!(kind);
    match &model["vocab"] {
        Value::Object(vocab) => {
            model["vocab"] = rewritten_map(vocab, moved, source, ids)?;
        }
        Value::Array(pieces) => {
            model["vocab"] = rewritten_list(pieces, moved, source, ids)?;
            let unknown = &mut model["unk_id"];
            if !unknown.is_null() && !ids.replace(unknown) {
                return Err(source.refused("model: unk_id is outside the vocabulary"));
            }
        }
        _ => return Err(source.refused("model: its vocabulary is neither a map nor a list")),
    }
    Ok(())
}

/// Token to id, in the order of the cipher ids: the order of the plain ones would tell them.
fn rewritten_map(
    vocab: &Map<String, Value>,
    moved: &[(String, u32)],
    source: &Source,
    ids: &Ids,
) -> Result<Value, Error> {
    let listed = vocab
        .iter()
        .map(|(token, id)| (token.clone(), ids.of_json(id)));
    let moved = moved.iter().map(|(token, id)| (token.clone(), ids.of(*id)));
    let mut entries = Vec::with_capacity(vocab.len());
    for (token, cipher) in listed.chain(moved) {
        let cipher = cipher.ok_or_else(|| outside(source))?;
        entries.push((cipher, token));
    }
    entries.sort();
    let entries = entries.into_iter();
    let entries: Map<String, Value> = entries.map(|(id, token)| (token, json!(id))).collect();
    Ok(entries.into())
}

/// Pieces and scores; the place in the list is the id. Ids without a piece get the empty one, which
/// is no part of any text, and whose text is empty. Its score is the smallest that there is already,
/// because the score of unknown characters is counted from that.
fn rewritten_list(
    pieces: &[Value],
    moved: &[(String, u32)],
    source: &Source,
    ids: &Ids,
) -> Result<Value, Error> {
    let unsound = || source.refused("model: expected a list of pieces and their scores");
    let mut read = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let text = piece.get(0).and_then(Value::as_str).ok_or_else(unsound)?;
        let score = piece.get(1).and_then(Value::as_f64).ok_or_else(unsound)?;
        let score = score_to_write(score)
            .ok_or_else(|| source.refused("model: a score that no text stands for"))?;
        read.push((text, score));
    }
    let mut seen = HashSet::new();
    if !read
        .iter()
        .all(|(text, _)| text.is_empty() || seen.insert(*text))
    {
        return Err(source.refused(
            "model: a piece stands in it twice, and which of the two is used depends on the order",
        ));
    }
    let least = read.iter().map(|(_, score)| *score).reduce(f64::min);
    let least = least.ok_or_else(unsound)?;
    let mut list = vec![json!(["", least]); ids.count()];
    let listed = (0u32..).zip(read);
    let moved = moved.iter().map(|(text, id)| (*id, (text.as_str(), least)));
    for (plain, (text, score)) in listed.chain(moved) {
        let place = ids.of(plain).and_then(|id| list.get_mut(id as usize));
        *place.ok_or_else(|| outside(source))? = json!([text, score]);
    }
    Ok(list.into())
}

/// The number whose shortest text is read back as `score`. The JSON reader may be off by a unit in
/// the last place, and scores of equally good ways to cut a word must stay equal.
fn score_to_write(score: f64) -> Option<f64> {
    let (below, above) = (score.next_down(), score.next_up());
    let near = [score, below, above, below.next_down(), above.next_up()];
    near.into_iter().find(|candidate| {
        let text = json!(candidate).to_string();
        serde_json::from_str::<f64>(&text).is_ok_and(|read| read.to_bits() == score.to_bits())
    })
}

fn outside(source: &Source) -> Error {
    source.refused("model: an id is outside the model's vocabulary")
}
