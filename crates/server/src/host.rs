use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use equicrypt_checkpoint::{Checkpoint, read_json};
use equicrypt_engine::{
    Counts, Decoder, Encoder, EncoderEngine, EncoderOptions, Engine, EngineOptions, Precision,
};
use equicrypt_spec::{MANIFEST_FILE, Manifest, ModelConfig};
use serde_json::Value;

use crate::Error;

/// A model that is being served.
#[derive(Debug, Clone)]
pub struct Host {
    engine: AnyEngine,
    name: String,
    manifest: Option<Manifest>,
    started: u64,
}

/// The engine of a decoder or of an encoder.
#[derive(Debug, Clone)]
pub enum AnyEngine {
    /// It continues texts.
    Decoder(Engine),
    /// It reads texts.
    Encoder(EncoderEngine),
}

/// How to load a model.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The name that clients ask for; the folder's name if absent.
    pub name: Option<String>,
    /// In which precision to compute.
    pub precision: Precision,
    /// How much a decoder takes on.
    pub engine: EngineOptions,
    /// How much an encoder takes on.
    pub encoder: EncoderOptions,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            name: None,
            precision: Precision::F32,
            engine: EngineOptions::default(),
            encoder: EncoderOptions::default(),
        }
    }
}

impl Host {
    /// Loads a Hugging Face folder, encrypted (with `equicrypt.json`) or plain, and starts an
    /// engine. As in vLLM the end ids of `generation_config.json` count besides those of
    /// `config.json`.
    pub fn open(dir: &Path, options: HostOptions) -> Result<Self, Error> {
        let checkpoint = Checkpoint::open(dir)?;
        let manifest = manifest(&dir.join(MANIFEST_FILE))?;
        let generation_config = dir.join("generation_config.json");
        let name = options.name.unwrap_or_else(|| folder_name(dir));
        let config = checkpoint.model_config()?;
        if let Some(manifest) = &manifest {
            check(manifest, &config)?;
        }
        if config.task.is_of_encoder() {
            let encoder = Encoder::load(&checkpoint, options.precision)?;
            let engine = EncoderEngine::start(encoder, options.encoder)?;
            return Ok(Self::new(engine, name, manifest));
        }
        let mut engine = options.engine;
        if generation_config.exists() {
            engine
                .end_ids
                .extend(end_ids(&read_json(&generation_config)?)?);
        }
        let decoder = Decoder::load(&checkpoint, options.precision)?;
        Ok(Self::new(Engine::start(decoder, engine)?, name, manifest))
    }

    /// A host around an engine that runs already.
    #[must_use]
    pub fn new(engine: impl Into<AnyEngine>, name: String, manifest: Option<Manifest>) -> Self {
        Self {
            engine: engine.into(),
            name,
            manifest,
            started: now(),
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &AnyEngine {
        &self.engine
    }

    /// The name that clients ask for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the folder says of its encryption; none for a plain one.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// When it was loaded, in seconds since 1970.
    #[must_use]
    pub fn started(&self) -> u64 {
        self.started
    }
}

impl AnyEngine {
    /// The model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::Decoder(engine) => engine.config(),
            Self::Encoder(engine) => engine.config(),
        }
    }

    /// The longest text, or the longest prompt and answer together, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        match self {
            Self::Decoder(engine) => engine.context(),
            Self::Encoder(engine) => engine.config().exact_context(),
        }
    }

    /// What the engine has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        match self {
            Self::Decoder(engine) => engine.counts(),
            Self::Encoder(engine) => engine.counts(),
        }
    }

    /// Whether requests are accepted.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self {
            Self::Decoder(engine) => engine.is_open(),
            Self::Encoder(engine) => engine.is_open(),
        }
    }

    /// Refuses new requests; those accepted are finished.
    pub fn close(&self) {
        match self {
            Self::Decoder(engine) => engine.close(),
            Self::Encoder(engine) => engine.close(),
        }
    }

    /// Refuses new requests and ends those accepted.
    pub fn abort(&self) {
        match self {
            Self::Decoder(engine) => engine.abort(),
            Self::Encoder(engine) => engine.abort(),
        }
    }

    /// Closes the engine and waits until its thread has ended.
    pub fn join(&self) {
        match self {
            Self::Decoder(engine) => engine.join(),
            Self::Encoder(engine) => engine.join(),
        }
    }
}

impl From<Engine> for AnyEngine {
    fn from(engine: Engine) -> Self {
        Self::Decoder(engine)
    }
}

impl From<EncoderEngine> for AnyEngine {
    fn from(engine: EncoderEngine) -> Self {
        Self::Encoder(engine)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn manifest(file: &Path) -> Result<Option<Manifest>, Error> {
    if !file.exists() {
        return Ok(None);
    }
    let text = std::fs::read(file).map_err(|source| Error::Read {
        path: file.to_owned(),
        source,
    })?;
    Ok(Some(Manifest::parse(&text)?))
}

fn check(manifest: &Manifest, config: &ModelConfig) -> Result<(), Error> {
    if manifest.vocab_size != config.vocab_size {
        return Err(Error::ForeignManifest {
            field: "vocab_size",
            expected: config.vocab_size.to_string(),
            found: manifest.vocab_size.to_string(),
        });
    }
    if manifest.architecture != config.architecture.model_type {
        return Err(Error::ForeignManifest {
            field: "architecture",
            expected: config.architecture.model_type.to_owned(),
            found: manifest.architecture.clone(),
        });
    }
    Ok(())
}

fn end_ids(generation_config: &Value) -> Result<Vec<u32>, Error> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = match &generation_config["eos_token_id"] {
        Value::Null => Some(Vec::new()),
        Value::Array(ids) => ids.iter().map(id).collect(),
        single => id(single).map(|id| vec![id]),
    };
    ids.ok_or_else(|| Error::EndIds {
        expected: "a token id, a list of them, or null".into(),
        found: generation_config["eos_token_id"].to_string(),
    })
}

/// The last part of the folder's path, whichever way the path is spelt.
fn folder_name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    full.file_name().map_or_else(
        || "model".into(),
        |name| name.to_string_lossy().into_owned(),
    )
}
