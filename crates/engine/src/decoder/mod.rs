//! The forward pass of a decoder, driven by the tables of `equicrypt_spec`.

mod attention;
mod build;
mod cache;
mod chunk;
mod mlp;
mod model;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{ModelConfig, TensorSpec};

pub use cache::KvCache;
pub(crate) use cache::{PAGE, Pages};
pub use chunk::{Chunk, Logits, Want};

use crate::Error;
use crate::kernel::{Storage, awake};
use crate::layers::{Linears, Weights};
use crate::names::Names;
use cache::AnyPages;
use model::Model;

/// How a model's weights are kept, and in which precision it computes. Results do not depend on the batch in any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// In f32. Weights that bfloat16 can express are kept so: half the memory traffic, the same bits.
    F32,
    /// In f64, for the equivalence of two models up to 1e-9.
    F64,
    /// Linear layers' weights rounded to bfloat16; computing in f32.
    Bf16,
    /// Linear layers' weights in blocks of 32 with eight bits each and a common f16 (GGML's Q8_0), but for those that choose
    /// experts and rows that are no whole blocks; computing in f32 on exactly those numbers.
    Q8_0,
}

impl Precision {
    /// How linear layers are kept.
    pub(crate) fn storage(self) -> Storage {
        match self {
            Self::F32 | Self::F64 => Storage::Exact,
            Self::Bf16 => Storage::Half,
            Self::Q8_0 => Storage::Blocks,
        }
    }
}

/// A decoder with its weights. One is enough for any number of sequences and threads: what belongs
/// to a sequence is in its [`KvCache`].
pub struct Decoder {
    config: ModelConfig,
    model: AnyModel,
    /// Whether no linear layer is computed elsewhere.
    is_local: bool,
    /// What its ids are called, if not what they are.
    names: Option<Names>,
}

enum AnyModel {
    F32(Model<f32>),
    F64(Model<f64>),
}

impl Decoder {
    /// Reads a Hugging Face folder. The header is checked against the architecture's table both ways
    /// before any weight is read.
    ///
    /// # Errors
    /// If `config.json`, the header or the data are not those of a supported model.
    pub fn load(checkpoint: &Checkpoint, precision: Precision) -> Result<Self, Error> {
        let config = checkpoint.model_config()?;
        let header = checkpoint
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        let tensors = config.architecture.check(&config, header)?;
        Self::read(checkpoint, config, precision, tensors, None)
    }

    /// Makes a model in memory: `read` gives the values of each tensor of the table, row-major.
    ///
    /// # Errors
    /// If `read` fails, or gives too few or too many values.
    pub fn from_tensors(
        config: ModelConfig,
        precision: Precision,
        read: &mut dyn FnMut(&TensorSpec) -> Result<Vec<f64>, Error>,
    ) -> Result<Self, Error> {
        Self::build(config, precision, read, None)
    }

    /// The same with linear layers that are computed elsewhere: `read` is asked for the embedding
    /// and the gains only. See [`Linears`].
    ///
    /// # Errors
    /// If `read` or `linears` fail, or `read` gives too few or too many values.
    pub fn with_linears(
        config: ModelConfig,
        precision: Precision,
        read: &mut dyn FnMut(&TensorSpec) -> Result<Vec<f64>, Error>,
        linears: &mut dyn Linears,
    ) -> Result<Self, Error> {
        Self::build(config, precision, read, Some(linears))
    }

    /// Reads the embedding and the gains from a folder that needs to have nothing else, under the names of the table; linear
    /// layers are computed elsewhere. See [`Linears`].
    ///
    /// # Errors
    /// If `config.json` or the data are not those of a supported decoder, or `linears` fails.
    pub fn load_with_linears(
        checkpoint: &Checkpoint,
        precision: Precision,
        linears: &mut dyn Linears,
    ) -> Result<Self, Error> {
        let config = checkpoint.model_config()?;
        let tensors = Weights::<f64>::local(&config, Some(checkpoint));
        Self::read(checkpoint, config, precision, tensors, Some(linears))
    }

    /// The same decoder under other names: what is called c is its id `id_of[c]`, in tokens and in logits.
    ///
    /// # Errors
    /// If `id_of` does not name each id once.
    pub fn renamed(self, id_of: Vec<u32>) -> Result<Self, Error> {
        let names = Some(Names::new(id_of, self.config.vocab_size)?);
        Ok(Self { names, ..self })
    }

    /// What the model is.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty cache for one sequence.
    #[must_use]
    pub fn new_cache(&self) -> KvCache {
        let pages = match &self.model {
            AnyModel::F32(model) => AnyPages::F32(model.new_pages()),
            AnyModel::F64(model) => AnyPages::F64(model.new_pages()),
        };
        KvCache { pages }
    }

    /// Runs the new tokens of several sequences in one pass and appends them to their caches; gives
    /// the logits of each chunk, in order. The result for a sequence does not depend on what else is
    /// in the pass, nor on how its tokens are cut into chunks.
    ///
    /// # Errors
    /// If a chunk is empty, has an id outside the vocabulary, exceeds the context, or came with a
    /// foreign cache. Then all caches are as they were.
    pub fn forward(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, Error> {
        match self.is_local {
            true => awake(|| self.forward_here(chunks)),
            false => self.forward_here(chunks),
        }
    }

    fn forward_here(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, Error> {
        let Some(names) = &self.names else {
            return self.forward_ids(chunks);
        };
        let ids: Vec<_> = chunks.iter().map(|c| names.ids(c.tokens)).collect();
        let chunks = chunks.iter_mut().zip(&ids);
        let mut chunks: Vec<_> = chunks
            .map(|(chunk, tokens)| Chunk {
                tokens,
                cache: &mut *chunk.cache,
                want: chunk.want,
            })
            .collect();
        self.forward_ids(&mut chunks)
    }

    fn forward_ids(&self, chunks: &mut [Chunk<'_>]) -> Result<Vec<Logits>, Error> {
        let vocab = self.config.vocab_size;
        let names = self.names.as_ref();
        match &self.model {
            AnyModel::F32(model) => {
                let inputs = chunks.iter_mut().map(|chunk| match &mut chunk.cache.pages {
                    AnyPages::F32(pages) => Ok((chunk.tokens, pages, chunk.want)),
                    AnyPages::F64(_) => Err(Error::ForeignCache),
                });
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                model.forward(inputs, |values| match names {
                    None => Logits::from_f32(vocab, values),
                    Some(names) => Logits::from_f32(vocab, &names.rows(values)),
                })
            }
            AnyModel::F64(model) => {
                let inputs = chunks.iter_mut().map(|chunk| match &mut chunk.cache.pages {
                    AnyPages::F64(pages) => Ok((chunk.tokens, pages, chunk.want)),
                    AnyPages::F32(_) => Err(Error::ForeignCache),
                });
                let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
                model.forward(inputs, |values| match names {
                    None => Logits::from_f64(vocab, values),
                    Some(names) => Logits::from_f64(vocab, &names.rows(values)),
                })
            }
        }
    }

    fn read(
        checkpoint: &Checkpoint,
        config: ModelConfig,
        precision: Precision,
        tensors: Vec<TensorSpec>,
        linears: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
        let (storage, is_local) = (precision.storage(), linears.is_none());
        let model = match precision {
            Precision::F32 | Precision::Bf16 | Precision::Q8_0 => {
                let read = |name: &str| checkpoint.read_f32(name);
                let weights = Weights::read_checkpoint(checkpoint, tensors, storage, read)?;
                AnyModel::F32(Model::new(&config, weights, linears)?)
            }
            Precision::F64 => {
                let read = |name: &str| checkpoint.read_f64(name);
                let weights = Weights::read_checkpoint(checkpoint, tensors, storage, read)?;
                AnyModel::F64(Model::new(&config, weights, linears)?)
            }
        };
        Ok(Self {
            config,
            model,
            is_local,
            names: None,
        })
    }

    fn build(
        config: ModelConfig,
        precision: Precision,
        read: &mut dyn FnMut(&TensorSpec) -> Result<Vec<f64>, Error>,
        linear: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
        let local = linear.is_none();
        let tensors = match local {
            true => config.architecture.tensors(&config),
            false => Weights::<f64>::local(&config, None),
        };
        let storage = precision.storage();
        let model = match precision {
            Precision::F32 | Precision::Bf16 | Precision::Q8_0 => {
                let mut read = |tensor: &TensorSpec| {
                    Ok(read(tensor)?
                        .into_iter()
                        .map(|value| value as f32)
                        .collect())
                };
                let weights = Weights::read(tensors, storage, &mut read)?;
                AnyModel::F32(Model::new(&config, weights, linear)?)
            }
            Precision::F64 => {
                let weights = Weights::read(tensors, storage, read)?;
                AnyModel::F64(Model::new(&config, weights, linear)?)
            }
        };
        Ok(Self {
            config,
            model,
            is_local: local,
            names: None,
        })
    }
}
