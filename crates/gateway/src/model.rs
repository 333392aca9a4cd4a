use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use equicrypt_spec::Manifest;

use crate::history::History;
use crate::parse::{ReasoningFormat, ToolFormat};
use crate::settings::Settings;
use crate::{Epochs, Error, GrammarVocabulary, Owner, Session};

/// A model that continues texts, as the gateway needs it: one key's sessions, what its makers
/// recommend, how it writes tool calls and reasoning, and the conversations of late.
pub struct TextModel {
    epochs: Epochs<Session>,
    defaults: Settings,
    history: History,
    tells_stops: bool,
    tool_format: &'static ToolFormat,
    reasoning_format: Option<&'static ReasoningFormat>,
    grammar_vocabulary: OnceLock<Option<GrammarVocabulary>>,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    cached_tokens: AtomicU64,
}

impl TextModel {
    /// `tells_stops`: whether hosts are told which ids end an answer. `tool_format`: how the model
    /// writes tool calls; by its chat template if not given.
    pub fn new(
        epochs: Epochs<Session>,
        tells_stops: bool,
        tool_format: Option<&'static ToolFormat>,
    ) -> Result<Self, Error> {
        let owner = epochs.owner();
        let template = owner.template().map_or("", |template| template.source());
        let of_template = || ToolFormat::of_template(template).or(ToolFormat::named("hermes"));
        let no_format = Error::Option {
            option: "tool format",
            expected: "one of the table",
            found: "none".into(),
        };
        let mut defaults = Settings::of_folder(owner.dir())?;
        if epochs.has_homophones() {
            // No host can do it exactly then, and requests that do not ask for it should not be refused.
            defaults.repetition_penalty = 1.0;
        }
        Ok(Self {
            tool_format: tool_format.or_else(of_template).ok_or(no_format)?,
            reasoning_format: ReasoningFormat::of_template(template),
            grammar_vocabulary: OnceLock::new(),
            prompt_tokens: AtomicU64::default(),
            completion_tokens: AtomicU64::default(),
            cached_tokens: AtomicU64::default(),
            defaults,
            epochs,
            history: History::new(MOST_HISTORY),
            tells_stops,
        })
    }

    /// The session of the epoch that a host's manifest names.
    pub fn session(&self, manifest: &Manifest) -> Result<Arc<Session>, Error> {
        self.epochs.at(manifest)
    }

    /// The original model's side.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        self.epochs.owner()
    }

    pub(crate) fn defaults(&self) -> &Settings {
        &self.defaults
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn tells_stops(&self) -> bool {
        self.tells_stops
    }

    /// The vocabulary for grammars; made when it is first needed, which takes a moment.
    pub(crate) fn grammar_vocabulary(&self) -> Result<&GrammarVocabulary, Error> {
        let mut made = Ok(());
        let vocabulary = self.grammar_vocabulary.get_or_init(|| {
            let owner = self.owner();
            let size = owner.config().vocab_size;
            let vocabulary = GrammarVocabulary::new(owner.text(), owner.stop_ids(), size);
            vocabulary.map_err(|error| made = Err(error)).ok()
        });
        made?;
        vocabulary.as_ref().ok_or(Error::Grammar {
            problem: "cannot be followed with this model's tokenizer",
        })
    }

    pub(crate) fn tool_format(&self) -> &'static ToolFormat {
        self.tool_format
    }

    pub(crate) fn reasoning_format(&self) -> Option<&'static ReasoningFormat> {
        self.reasoning_format
    }

    /// Whether the chat template itself shows tools to the model.
    pub(crate) fn template_has_tools(&self) -> bool {
        let template = self.owner().template();
        template.is_some_and(|template| template.source().contains("tools"))
    }

    /// Whether a prompt ends inside the model's thoughts.
    pub(crate) fn opens_reasoning(&self, prompt: &str) -> bool {
        let format = self.reasoning_format;
        format.is_some_and(|format| format.opened_by(prompt))
    }

    /// The special tokens that belong to an answer's text, by their ids.
    pub(crate) fn answer_marks(&self, may_call: bool) -> BTreeMap<u32, String> {
        let text = self.owner().text();
        let of_tools = self.tool_format.marks().iter().filter(|_| may_call);
        let of_reasoning = self
            .reasoning_format
            .into_iter()
            .flat_map(ReasoningFormat::marks);
        let known = of_tools
            .chain(of_reasoning)
            .filter_map(|mark| Some((text.id_of(mark)?, (*mark).to_owned())));
        known.collect()
    }

    /// Tokens of prompts, tokens of answers, and tokens of prompts that hosts had in their caches.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        let [prompt, completion, cached] = [
            &self.prompt_tokens,
            &self.completion_tokens,
            &self.cached_tokens,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        (prompt, completion, cached)
    }

    pub(crate) fn count_prompt(&self, tokens: usize) {
        self.prompt_tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_completion(&self, tokens: usize) {
        self.completion_tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_cached(&self, tokens: usize) {
        self.cached_tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }
}

/// Of texts and ids of recent conversations.
const MOST_HISTORY: usize = 32 << 20;
