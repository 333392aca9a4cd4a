//! Texts for an audit, under the model's own tokenizer.

use std::path::Path;

use anyhow::{Context, Result, bail};
use equicrypt_audit::{AuditTexts, DOCUMENT, HELD_OUT, encoder_texts};
use equicrypt_checkpoint::read_json;
use equicrypt_gateway::{EncoderOwner, Long, Owner};
use serde_json::Value;

/// The lines of `file`, or the built-in texts.
pub(super) fn read(model: &Path, is_encoder: bool, file: Option<&Path>) -> Result<AuditTexts> {
    let given = match file {
        None => None,
        Some(file) => Some(
            std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?,
        ),
    };
    let ids = ids(model, is_encoder)?;
    let texts = |lines: &mut dyn Iterator<Item = &str>| -> Result<Vec<Vec<u32>>> {
        let lines = lines.filter(|line| !line.trim().is_empty());
        lines.map(&ids).collect()
    };
    let held_out = texts(&mut given.as_deref().unwrap_or(HELD_OUT).lines())?;
    if held_out.concat().is_empty() {
        bail!("the text has no tokens; give --text a file with text in it");
    }
    Ok(AuditTexts {
        held_out,
        more: texts(&mut encoder_texts().iter().map(String::as_str))?,
        document: texts(&mut DOCUMENT.lines())?.concat(),
        special: special(model)?,
    })
}

/// What makes ids of a text.
pub(super) type Ids = Box<dyn Fn(&str) -> Result<Vec<u32>>>;

/// By the model's tokenizer.
pub(super) fn ids(model: &Path, is_encoder: bool) -> Result<Ids> {
    let needed = "audit needs the original's tokenizer, to make tokens of text";
    Ok(if is_encoder {
        let owner = EncoderOwner::open(model).context(needed)?;
        Box::new(move |text| Ok(owner.encode(text, Long::Truncate)?.ids().to_vec()))
    } else {
        let owner = Owner::open(model).context(needed)?;
        Box::new(move |text| Ok(owner.text().encode(text)?))
    })
}

/// The ids that the tokenizer calls special.
fn special(model: &Path) -> Result<Vec<u32>> {
    let tokenizer = read_json(&model.join("tokenizer.json"))?;
    let added = tokenizer["added_tokens"].as_array();
    let special = added
        .into_iter()
        .flatten()
        .filter(|token| token["special"] == Value::Bool(true));
    let ids = special.filter_map(|token| u32::try_from(token["id"].as_u64()?).ok());
    Ok(ids.collect())
}
