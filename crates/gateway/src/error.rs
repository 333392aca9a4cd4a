use std::path::PathBuf;

use thiserror::Error;

/// What can go wrong between a conversation and the host. No message holds a prompt, an answer, a
/// token id or a key.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's description or the manifest is at fault.
    #[error(transparent)]
    Spec(#[from] equicrypt_spec::Error),
    /// A file of the model's folder is at fault.
    #[error(transparent)]
    Checkpoint(#[from] equicrypt_checkpoint::Error),
    /// The key or the vocabulary refuses.
    #[error(transparent)]
    Cipher(#[from] equicrypt_cipher::Error),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder is an encrypted model's.
    #[error(
        "{} is an encrypted folder, it has no tokenizer; give the folder of the original model",
        dir.display()
    )]
    EncryptedFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// `tokenizer.json` cannot be used.
    #[error(
        "{}: no tokenizer that can be used: {reason}; fetch the file again from the original \
         model",
        path.display()
    )]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        reason: String,
    },
    /// The tokenizer refuses a text or ids.
    #[error("the tokenizer cannot {action}; check that tokenizer.json belongs to this model")]
    Text {
        /// What was tried, with counts only.
        action: String,
    },
    /// A field of a JSON file is at fault.
    #[error("{}: field {field}: expected {expected}, found {found}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The folder has no chat template.
    #[error(
        "{}: no chat_template.jinja and no chat_template in tokenizer_config.json; use the \
         folder of a chat model",
        dir.display()
    )]
    NoTemplate {
        /// The folder.
        dir: PathBuf,
    },
    /// The chat template has a syntax error.
    #[error(
        "{}: chat template, line {line}: {reason}; fetch the file again from the original model",
        path.display()
    )]
    TemplateSyntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1; 0 if unknown.
        line: usize,
        /// The parser's reason.
        reason: String,
    },
    /// The chat template refuses these messages, or fails on them.
    #[error(
        "chat template, line {line}: {reason}; check the order and the roles of the {messages} \
         messages"
    )]
    Template {
        /// The line, from 1; 0 if unknown.
        line: usize,
        /// The template's own words, or the kind of failure.
        reason: String,
        /// How many messages there were.
        messages: usize,
    },
    /// There is nothing to send.
    #[error("the prompt has no tokens; write something")]
    EmptyPrompt,
    /// The prompt leaves no room for an answer.
    #[error(
        "the prompt has {tokens} tokens, the model's context leaves room for {limit}; shorten \
         the conversation"
    )]
    PromptTooLong {
        /// Of the prompt.
        tokens: usize,
        /// The context minus one.
        limit: usize,
    },
    /// The folder is a decoder's.
    #[error(
        "{}: a {model_type} model continues texts; ask, tokens and serve are for it, what was \
         asked for needs an encoder",
        dir.display()
    )]
    NotAnEncoder {
        /// The folder.
        dir: PathBuf,
        /// The architecture.
        model_type: &'static str,
    },
    /// The encoder is made for something else.
    #[error("{}: this model is made for {found}, not for {expected}", dir.display())]
    OtherTask {
        /// What was asked for.
        expected: &'static str,
        /// What the model does.
        found: &'static str,
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing says how one vector is made of a text's.
    #[error(
        "{}: no modules.json, which says how one vector is made of those of all tokens; use the \
         folder of a sentence-transformers model",
        dir.display()
    )]
    NoPooling {
        /// The folder.
        dir: PathBuf,
    },
    /// Only the first numbers of an embedding are used, and the host's are in another order.
    #[error(
        "{}: truncate_dim of config_sentence_transformers.json keeps {numbers} numbers of an \
         embedding, and a host's are in another order; decrypt them",
        dir.display()
    )]
    CutEmbedding {
        /// As many as are kept.
        numbers: usize,
        /// The folder.
        dir: PathBuf,
    },
    /// A classifier is asked for a single score.
    #[error("a reranker has one label, this model has {labels}; use classify")]
    NotAReranker {
        /// Of the model.
        labels: usize,
    },
    /// There is nothing to send.
    #[error("the text has no tokens; write something")]
    EmptyText,
    /// The text has more tokens than the model reads, and must not be cut.
    #[error("the text has {tokens} tokens, the model reads {limit}; shorten it, or let it be cut")]
    TextTooLong {
        /// Special tokens included.
        tokens: usize,
        /// Special tokens included.
        limit: usize,
    },
    /// The text has no masked token.
    #[error("the text has no {mask}; write it where a word is to be found")]
    NoMask {
        /// How the model spells it.
        mask: String,
    },
    /// A prompt cannot be used.
    #[error("{}: prompt {name:?}: {problem}", dir.display())]
    Prompt {
        /// Its name.
        name: String,
        /// What is wrong, and what there is.
        problem: String,
        /// The folder.
        dir: PathBuf,
    },
    /// Manifest and original model do not belong together.
    #[error(
        "manifest: {what}: expected {expected} (from {}), found {found}; give the manifest of \
         this model's encrypted folder",
        dir.display()
    )]
    OtherModel {
        /// What differs.
        what: &'static str,
        /// Of the original model.
        expected: String,
        /// Of the manifest.
        found: String,
        /// The original model's folder.
        dir: PathBuf,
    },
    /// A manifest is of another encryption than the one that the gateway was started for.
    #[error(
        "manifest: {field} differs from that of the first one; one gateway serves one model under one key, only epochs may \
         differ"
    )]
    OtherEncryption {
        /// The first field that differs.
        field: &'static str,
    },
    /// The host's address cannot be used.
    #[error("host address {url:?}: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong, and what to do.
        reason: &'static str,
    },
    /// The API key cannot be sent.
    #[error("API key: {0}")]
    ApiKey(&'static str),
    /// The operating system has no randomness.
    #[error("the operating system's random generator failed: {0}")]
    Randomness(getrandom::Error),
    /// An option of a request is outside its range. Nothing was sent.
    #[error("{option}: expected {expected}, found {found}")]
    Option {
        /// Its name.
        option: &'static str,
        /// The range.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A cipher id of the prompt or of the stop ids is outside the host's vocabulary. Nothing was
    /// sent.
    #[error(
        "{what}: an id is outside the host's vocabulary of {vocab_size}; check that manifest and \
         host belong together"
    )]
    ForeignIds {
        /// `prompt` or `stop ids`.
        what: &'static str,
        /// The host's vocabulary.
        vocab_size: usize,
    },
    /// The host cannot be reached, or the connection broke.
    #[error("host {url}: {reason}; check the address and that the host runs")]
    Connection {
        /// The host.
        url: String,
        /// The innermost reason.
        reason: String,
    },
    /// The host sends nothing.
    #[error("host {url}: nothing received for {seconds} s; check the host's load, then ask again")]
    Silence {
        /// The host.
        url: String,
        /// How long.
        seconds: u64,
    },
    /// The host answers with an error.
    #[error("host {url}: status {status}: {message}; {advice}")]
    Refused {
        /// The host.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The host's own words, made safe for a terminal.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// The host breaks the protocol.
    #[error(
        "host {url}: expected {expected}, found {found}; the answer is not used, check what runs \
         at this address"
    )]
    Protocol {
        /// The host.
        url: String,
        /// What the protocol says.
        expected: &'static str,
        /// What came, described without its content.
        found: String,
    },
    /// The stream ended before the answer did.
    #[error(
        "host {url}: the stream ended after {tokens} tokens without a finish_reason; the answer \
         is cut off, ask again"
    )]
    CutOff {
        /// The host.
        url: String,
        /// Received until then.
        tokens: usize,
    },
    /// The host gave up on the answer.
    #[error(
        "host {url}: the host ended the answer with finish_reason {reason:?} after {tokens} \
         tokens; ask again"
    )]
    GaveUp {
        /// The host.
        url: String,
        /// `abort` or `error`.
        reason: &'static str,
        /// Received until then.
        tokens: usize,
    },
    /// The host publishes no manifest.
    #[error(
        "host {url}: /v1/models has no \"equicrypt\" object; give --manifest FILE \
         (equicrypt.json of the encrypted folder)"
    )]
    NoManifest {
        /// The host.
        url: String,
    },
    /// The manifest that the host publishes is unsound.
    #[error("host {url}: the manifest that it publishes: {reason}; give --manifest FILE")]
    HostManifest {
        /// The host.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The host's engine cannot do what was asked. Nothing was sent.
    #[error("{option}: {engine} takes at most {most}, found {found}; ask for less")]
    Unable {
        /// The host's engine.
        engine: &'static str,
        /// What was asked for.
        option: &'static str,
        /// As much as it takes.
        most: usize,
        /// As much as was asked for.
        found: usize,
    },
    /// The gateway's own address cannot be used.
    #[error("cannot serve: {0}")]
    Listen(std::io::Error),
    /// No host can be used.
    #[error("no host can be used: {faults}; the gateway asks again every few seconds")]
    NoHost {
        /// What is wrong with each.
        faults: String,
    },
    /// A host serves something else than what was encrypted.
    #[error(
        "host {url}: the manifest that it publishes differs in {field}; nothing is sent to it, \
         check what it serves"
    )]
    OtherManifest {
        /// The host.
        url: String,
        /// The first field that differs.
        field: &'static str,
    },
    /// Nothing says which engine a host runs.
    #[error(
        "host {url}: cannot tell which engine this is ({found}); give --engine equicrypt, vllm, \
         sglang or llamacpp"
    )]
    UnknownEngine {
        /// The host.
        url: String,
        /// What it says of itself.
        found: String,
    },
    /// The host has another transport key than it must have.
    #[error(
        "host {url}: its transport key is {found}, and {expected} was pinned {pinned}: its operator made a new one, or \
         somebody between here and there reads along; nothing is sent to it. If the host itself prints {found}, {advice}"
    )]
    ChangedHostKey {
        /// The host.
        url: String,
        /// A fingerprint.
        expected: String,
        /// A fingerprint.
        found: String,
        /// When or how the expected one was pinned.
        pinned: &'static str,
        /// What to do if the new one is right.
        advice: String,
    },
    /// The host has no transport key, and must have one.
    #[error(
        "host {url}: {problem}, so requests cannot be sealed, and nothing is sent to it; check what runs there, or say \
         --unsealed if everybody on the way may see token ids"
    )]
    NoHostKey {
        /// The host.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The engine cannot open sealed requests.
    #[error(
        "host {url}: --seal-to is given, and only equicrypt's server opens sealed requests; leave it out for other engines, \
         and use TLS up to them"
    )]
    CannotOpen {
        /// The host.
        url: String,
    },
    /// A sealed answer is not as the host sealed it.
    #[error(
        "host {url}: {source}; the answer is not used, ask again, and find out who changes what is on the way"
    )]
    SealedAnswer {
        /// The host.
        url: String,
        /// What is wrong.
        source: equicrypt_sealed::Error,
    },
    /// A request cannot be sealed. Nothing was sent.
    #[error("host {url}: a request to it cannot be sealed: {source}")]
    Sealing {
        /// The host.
        url: String,
        /// Why.
        source: equicrypt_sealed::Error,
    },
    /// The file with the hosts' transport keys cannot be used.
    #[error(
        "host keys {}: {problem}; restore the file, give another one with --host-keys, or delete it if the next contact with \
         each host may be the first one",
        path.display()
    )]
    HostKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A line or an event of a stream is too long.
    #[error(
        "event stream: a line or event is longer than {limit} bytes; check what runs at the \
         host's address"
    )]
    EventTooLong {
        /// The longest allowed.
        limit: usize,
    },
    /// The JSON schema of a request cannot be followed exactly. Nothing was sent.
    #[error("JSON schema: {reason}; leave this out of the schema, or ask without one")]
    Schema {
        /// What of the schema it is.
        reason: String,
    },
    /// The tokenizer's tokens are no bytes, so no grammar can be followed.
    #[error(
        "JSON answers need a tokenizer whose tokens are bytes (ByteLevel, or ▁ with byte \
         fallback), this model's decoder is {decoder}; ask without response_format"
    )]
    TokenBytes {
        /// Its types.
        decoder: String,
    },
    /// A grammar cannot go on.
    #[error("the grammar of the answer {problem}; ask again, or with a simpler schema")]
    Grammar {
        /// Why, without anything of the answer.
        problem: &'static str,
    },
    /// A plain id has more than one cipher id.
    #[error(
        "the manifest has {cipher} cipher ids for {plain} plain ones: which of several stands for a \
         token depends on the text before it, and a tokenizer cannot choose; use ask or tokens, or \
         encrypt the model without homophones"
    )]
    Homophones {
        /// Cipher ids.
        cipher: usize,
        /// Plain ids.
        plain: usize,
    },
    /// A tokenizer cannot be given other ids.
    #[error("{}: {problem}; no tokenizer with cipher ids can be made of it", path.display())]
    NotRewritable {
        /// The file.
        path: PathBuf,
        /// What is not known, or would go wrong.
        problem: String,
    },
    /// A secret would be written where the host gets it.
    #[error(
        "{}: it would be inside an encrypted folder, which is given to the host, and it is a \
         secret; choose another path",
        path.display()
    )]
    SecretBesideWeights {
        /// The output.
        path: PathBuf,
    },
    /// So many tokens went out under an epoch that more would help an attack. Nothing was sent.
    #[error(
        "epoch {epoch}: {spent} of the {budget} tokens of its budget went out, and the prompt has {asked}; rekey the \
         model (equicrypt rekey) and serve the new folder, encrypt with more --homophones for a larger one, or start the gateway \
         with another --budget"
    )]
    Budget {
        /// The newest epoch that a host has.
        epoch: u32,
        /// Tokens that went out under it.
        spent: u64,
        /// Tokens of the prompt.
        asked: usize,
        /// Tokens that may go out.
        budget: u64,
    },
    /// The file with the counts of tokens cannot be used.
    #[error(
        "state file {}: it {problem}; no token is sent without counting it: restore the file, give another one with \
         --state, or delete it if the counts may start again from nothing",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether another host might do better.
    pub(crate) fn is_of_host(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Silence { .. }
            | Self::Protocol { .. }
            | Self::CutOff { .. }
            | Self::GaveUp { .. }
            | Self::EventTooLong { .. }
            | Self::ChangedHostKey { .. }
            | Self::NoHostKey { .. }
            | Self::SealedAnswer { .. }
            | Self::OtherManifest { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || matches!(status, 409 | 429),
            _ => false,
        }
    }

    /// Whether it was found before anything was sent.
    pub(crate) fn is_before_sending(&self) -> bool {
        matches!(
            self,
            Self::EmptyPrompt
                | Self::Option { .. }
                | Self::ForeignIds { .. }
                | Self::Unable { .. }
                | Self::Sealing { .. }
                | Self::Cipher(_)
        )
    }

    /// Whether the host is well, and has too much to do.
    pub(crate) fn is_of_load(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: 429 | 503,
                ..
            } | Self::GaveUp { .. }
        )
    }
}
