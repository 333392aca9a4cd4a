use std::path::{Path, PathBuf};

use equicrypt_checkpoint::read_json;
use equicrypt_spec::{MANIFEST_FILE, ModelConfig};
use serde_json::Value;

use crate::{ChatTemplate, Conversation, Error, Message, Text};

/// What the original model's folder says, as far as the owner needs it to talk: tokenizer, chat
/// template, the ids that end an answer, the longest context. The weights are not read.
pub struct Owner {
    dir: PathBuf,
    text: Text,
    template: Option<ChatTemplate>,
    config: ModelConfig,
    stop_ids: Vec<u32>,
}

impl Owner {
    /// Opens the folder of the original model. The stop ids are those of `generation_config.json`
    /// and of `config.json` together. A model without a chat template opens, and refuses
    /// [`Owner::prompt`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        if dir.join(MANIFEST_FILE).exists() {
            return Err(Error::EncryptedFolder {
                dir: dir.to_owned(),
            });
        }
        let config_path = dir.join("config.json");
        let config = ModelConfig::from_json(&read_json(&config_path)?)?;
        let text = Text::open(dir)?;
        if text.vocab_size() > config.vocab_size {
            return Err(Error::Field {
                path: config_path,
                field: "vocab_size".into(),
                expected: "at least the number of ids of tokenizer.json",
                found: format!("{} for {} ids", config.vocab_size, text.vocab_size()),
            });
        }
        let mut stop_ids = config.eos.clone();
        let generation_path = dir.join("generation_config.json");
        if generation_path.exists() {
            let generation = read_json(&generation_path)?;
            stop_ids.extend(eos_of(&generation, &generation_path)?);
        }
        stop_ids.sort_unstable();
        stop_ids.dedup();
        if let Some(outside) = stop_ids
            .iter()
            .find(|id| **id as usize >= config.vocab_size)
        {
            return Err(Error::Field {
                path: config_path,
                field: "eos_token_id".into(),
                expected: "ids below vocab_size, here and in generation_config.json",
                found: outside.to_string(),
            });
        }
        Ok(Self {
            dir: dir.to_owned(),
            text,
            template: ChatTemplate::find(dir)?,
            config,
            stop_ids,
        })
    }

    /// The conversation as plain ids, ending where the answer begins. Fails if it is empty, or
    /// leaves no room for an answer of one token.
    pub fn prompt(&self, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let template = self.template.as_ref().ok_or_else(|| Error::NoTemplate {
            dir: self.dir.clone(),
        })?;
        self.prompt_of_text(&template.render(messages, true)?)
    }

    /// The conversation as text, ending where the answer begins.
    pub fn prompt_text(&self, conversation: &Conversation) -> Result<String, Error> {
        let template = self.template.as_ref().ok_or_else(|| Error::NoTemplate {
            dir: self.dir.clone(),
        })?;
        template.render_conversation(conversation, true)
    }

    /// Fails unless a prompt of so many tokens leaves room for an answer; gives that room.
    pub fn room(&self, tokens: usize) -> Result<usize, Error> {
        let limit = self.max_positions().saturating_sub(1);
        match tokens {
            0 => Err(Error::EmptyPrompt),
            tokens if tokens > limit => Err(Error::PromptTooLong { tokens, limit }),
            _ => Ok(self.max_positions() - tokens),
        }
    }

    /// The text as it stands as plain ids, with the checks of [`Owner::prompt`]: for models that
    /// continue texts.
    pub fn prompt_of_text(&self, text: &str) -> Result<Vec<u32>, Error> {
        let ids = self.text.encode(text)?;
        self.room(ids.len())?;
        Ok(ids)
    }

    /// The tokenizer.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    /// The chat template, if the model has one.
    #[must_use]
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The plain ids that end an answer, ascending.
    #[must_use]
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The longest context: tokens of prompt and answer together.
    #[must_use]
    pub fn max_positions(&self) -> usize {
        self.config.max_positions
    }

    /// `config.json`.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// `eos_token_id` of `generation_config.json`: one id, a list, or none.
fn eos_of(generation: &Value, path: &Path) -> Result<Vec<u32>, Error> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match generation.get("eos_token_id") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(list)) => list.iter().map(id).collect(),
        Some(single) => id(single).map(|id| vec![id]),
    };
    ids.ok_or_else(|| Error::Field {
        path: path.to_owned(),
        field: "eos_token_id".into(),
        expected: "a token id or a list of them",
        found: "something else".into(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::{END, START, VOCAB, folder, golden, write};

    fn user(content: &str) -> [Message; 1] {
        [Message {
            role: "user".into(),
            content: content.into(),
        }]
    }

    #[test]
    fn a_conversation_becomes_plain_ids_with_room_for_an_answer() {
        let dir = folder();
        let owner = Owner::open(dir.path()).unwrap();
        let ids = owner.prompt(&user("hi")).unwrap();
        assert_eq!(
            (ids[0], ids[1], ids[5]),
            (START, u32::from(b'u'), u32::from(b'\n'))
        );
        assert_eq!(owner.stop_ids(), [END, 258]);
        let room = owner.max_positions() - 1 - (ids.len() - 2);
        assert!(owner.prompt(&user(&"a".repeat(room))).is_ok());
        let error = owner.prompt(&user(&"a".repeat(room + 1))).unwrap_err();
        assert!(
            matches!(
                error,
                Error::PromptTooLong {
                    tokens: 64,
                    limit: 63
                }
            ),
            "{error}"
        );
        assert!(matches!(owner.prompt_of_text(""), Err(Error::EmptyPrompt)));
    }

    #[test]
    fn a_model_without_template_continues_texts_only() {
        let dir = folder();
        write(dir.path(), "tokenizer_config.json", &json!({}));
        let owner = Owner::open(dir.path()).unwrap();
        assert!(matches!(
            owner.prompt(&user("hi")),
            Err(Error::NoTemplate { .. })
        ));
        assert_eq!(owner.prompt_of_text("hi").unwrap(), [104, 105]);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (file, field, value, named) in [
            (
                "generation_config.json",
                "eos_token_id",
                json!("2"),
                "eos_token_id",
            ),
            (
                "generation_config.json",
                "eos_token_id",
                json!([VOCAB]),
                "eos_token_id",
            ),
            (
                "generation_config.json",
                "eos_token_id",
                json!(-1),
                "eos_token_id",
            ),
            ("config.json", "vocab_size", json!(258), "vocab_size"),
            ("config.json", "model_type", json!("unheard"), "unheard"),
        ] {
            let dir = folder();
            let mut content = golden(dir.path().join(file));
            content[field] = value;
            write(dir.path(), file, &content);
            let message = Owner::open(dir.path()).err().unwrap().to_string();
            assert!(message.contains(named), "{message}");
        }
    }

    #[test]
    fn an_encrypted_folder_is_refused() {
        let dir = folder();
        write(dir.path(), MANIFEST_FILE, &json!({}));
        let error = Owner::open(dir.path()).err().unwrap();
        assert!(matches!(error, Error::EncryptedFolder { .. }), "{error}");
    }

    /// Needs SmolLM2's folder, which is not in the repository: its path in EQUICRYPT_SMOLLM2.
    #[test]
    fn smollm2_prompts_are_those_of_transformers() {
        let Some(dir) = std::env::var_os("EQUICRYPT_SMOLLM2") else {
            eprintln!("skipped: EQUICRYPT_SMOLLM2 does not name SmolLM2's folder");
            return;
        };
        let owner = Owner::open(Path::new(&dir)).unwrap();
        assert_eq!(
            (owner.stop_ids(), owner.max_positions()),
            ([2].as_slice(), 8192)
        );
        let golden = golden("../../tests/golden/smollm2_chat.json");
        for case in golden["cases"].as_array().unwrap() {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(owner.prompt(&messages).unwrap(), ids);
        }
    }
}
