use serde_json::{Value, json};

use super::ids::Ids;
use super::source::{Added, Source};
use super::{model, processor};
use crate::Error;

/// `tokenizer.json` with cipher ids.
pub(super) struct Rewritten {
    pub(super) json: Value,
    /// Added tokens that are in the model's vocabulary now, and were not.
    pub(super) moved: Vec<Added>,
}

/// Replaces every id of the file: in the model's vocabulary, of added tokens, in the
/// post-processor, of padding. Nothing else of a `tokenizer.json` holds ids.
///
/// The library ignores the ids that the file states for added tokens: it takes the one of the
/// model's vocabulary, or else counts on from that vocabulary's size (tokenizers 0.23,
/// `AddedVocabulary::add_tokens`). So that each gets its cipher id, all of them are put into the
/// model's vocabulary.
pub(super) fn rewrite(source: &Source, ids: &Ids) -> Result<Rewritten, Error> {
    let mut json = source.json.clone();
    let added = source.added()?;
    let mut moved: Vec<(String, u32)> = added
        .iter()
        .filter(|added| !added.of_model)
        .map(|added| (added.token.content.clone(), added.plain))
        .collect();
    // A file may list a token twice; the later entry counts, with the same id.
    moved.sort();
    moved.dedup();
    model::rewrite(&mut json["model"], &moved, source, ids)?;
    json["added_tokens"] = rewritten_added(&added, source, ids)?;
    if let Some(processor) = json.get_mut("post_processor") {
        processor::rewrite(processor, source, ids)?;
    }
    if let Some(pad) = json.pointer_mut("/padding/pad_id") {
        let sound = ids.replace(pad);
        if !sound {
            return Err(source.refused("padding: pad_id is outside the model's vocabulary"));
        }
    }
    let moved = added.into_iter().filter(|added| !added.of_model).collect();
    Ok(Rewritten { json, moved })
}

fn rewritten_added(added: &[Added], source: &Source, ids: &Ids) -> Result<Value, Error> {
    let mut entries = Vec::with_capacity(added.len());
    for added in added {
        let cipher = ids
            .of(added.plain)
            .ok_or_else(|| source.refused("added_tokens: an id is outside the vocabulary"))?;
        let mut entry = added.json.clone();
        entry["id"] = json!(cipher);
        entries.push((cipher, entry));
    }
    entries.sort_by_key(|(cipher, _)| *cipher);
    Ok(entries.into_iter().map(|(_, entry)| entry).collect())
}
