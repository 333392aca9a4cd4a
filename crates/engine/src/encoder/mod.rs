//! The forward pass of an encoder, driven by the tables of `equicrypt_spec`.
//!
//! Texts of one call are run together without padding: linear layers see the tokens of all of them, attention and pooling
//! each text alone.

mod affine;
mod batch;
mod build;
mod distance;
mod engine;
mod head;
mod model;
mod text;

use equicrypt_checkpoint::Checkpoint;
use equicrypt_spec::{ModelConfig, Task, TensorSpec};

pub use engine::{EncodeRequest, EncoderEngine, EncoderOptions, Encoding};
pub use text::{Part, Text, Vectors};

use crate::kernel::{Storage, awake};
use crate::layers::{Linears, Weights};
use crate::names::Names;
use crate::{Error, Precision};
use model::Model;

/// An encoder with its weights. One is enough for any number of threads.
pub struct Encoder {
    config: ModelConfig,
    model: AnyModel,
    /// What its ids are called, if not what they are.
    names: Option<Names>,
}

enum AnyModel {
    F32(Model<f32>),
    F64(Model<f64>),
}

impl Encoder {
    /// Reads a Hugging Face folder, with the modules of sentence-transformers if it has any. The header is checked against
    /// the architecture's table both ways before any weight is read.
    ///
    /// # Errors
    /// If `config.json`, `modules.json`, the header or the data are not those of a supported encoder; if `precision` is one of
    /// those that only decoders have.
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
        let tensors = config.architecture.tensors(&config);
        let storage = Storage::Exact;
        let model = match precision {
            Precision::F32 => {
                let mut single = |tensor: &TensorSpec| {
                    let values = read(tensor)?;
                    Ok(values.into_iter().map(|value| value as f32).collect())
                };
                let weights = Weights::read(tensors, storage, &mut single)?;
                AnyModel::F32(Model::new(&config, weights, None)?)
            }
            Precision::F64 => {
                let weights = Weights::read(tensors, storage, read)?;
                AnyModel::F64(Model::new(&config, weights, None)?)
            }
            Precision::Bf16 | Precision::Q8_0 => return Err(Error::EncoderPrecision),
        };
        Ok(Self {
            config,
            model,
            names: None,
        })
    }

    /// Reads the embeddings and the norms from a folder that needs to have nothing else, under the names of the table; linear
    /// layers are computed elsewhere. See [`Linears`].
    ///
    /// # Errors
    /// If the files are not those of a supported encoder, or `linears` fails; if `precision` is one of those that only decoders
    /// have.
    pub fn load_with_linears(
        checkpoint: &Checkpoint,
        precision: Precision,
        linears: &mut dyn Linears,
    ) -> Result<Self, Error> {
        let config = checkpoint.model_config()?;
        let tensors = Weights::<f64>::local(&config, Some(checkpoint));
        Self::read(checkpoint, config, precision, tensors, Some(linears))
    }

    /// The same encoder under other names: what is called c is its id `id_of[c]`, in texts and in logits of ids.
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

    /// Runs the texts; one answer for each, in order. The answer to a text does not depend on the others, bit for bit.
    ///
    /// # Errors
    /// If a text is empty, too long, or has an id or a type that the model has not; if the model does not have `part`.
    pub fn forward(&self, texts: &[Text<'_>], part: Part) -> Result<Vec<Vectors>, Error> {
        self.check(texts, part)?;
        let is_local = match &self.model {
            AnyModel::F32(model) => model.is_local,
            AnyModel::F64(model) => model.is_local,
        };
        match is_local {
            true => awake(|| self.forward_names(texts, part)),
            false => self.forward_names(texts, part),
        }
    }

    fn read(
        checkpoint: &Checkpoint,
        config: ModelConfig,
        precision: Precision,
        tensors: Vec<TensorSpec>,
        linears: Option<&mut dyn Linears>,
    ) -> Result<Self, Error> {
        let storage = Storage::Exact;
        let model = match precision {
            Precision::F32 => {
                let read = |name: &str| checkpoint.read_f32(name);
                let weights = Weights::read_checkpoint(checkpoint, tensors, storage, read)?;
                AnyModel::F32(Model::new(&config, weights, linears)?)
            }
            Precision::F64 => {
                let read = |name: &str| checkpoint.read_f64(name);
                let weights = Weights::read_checkpoint(checkpoint, tensors, storage, read)?;
                AnyModel::F64(Model::new(&config, weights, linears)?)
            }
            Precision::Bf16 | Precision::Q8_0 => return Err(Error::EncoderPrecision),
        };
        Ok(Self {
            config,
            model,
            names: None,
        })
    }

    fn forward_names(&self, texts: &[Text<'_>], part: Part) -> Result<Vec<Vectors>, Error> {
        let Some(names) = &self.names else {
            return self.forward_ids(texts, part);
        };
        let ids: Vec<_> = texts.iter().map(|text| names.ids(text.tokens)).collect();
        let texts = texts.iter().zip(&ids);
        let texts: Vec<_> = texts
            .map(|(text, tokens)| Text { tokens, ..*text })
            .collect();
        let answers = self.forward_ids(&texts, part)?;
        Ok(match (part, self.config.task) {
            (Part::Answer, Task::MaskedToken) => {
                answers.iter().map(|rows| rows.by_name(names)).collect()
            }
            _ => answers,
        })
    }

    fn forward_ids(&self, texts: &[Text<'_>], part: Part) -> Result<Vec<Vectors>, Error> {
        match &self.model {
            AnyModel::F32(model) => {
                let answers = model.forward(texts, part)?;
                Ok(answers.into_iter().map(Vectors::from_f32).collect())
            }
            AnyModel::F64(model) => {
                let answers = model.forward(texts, part)?;
                Ok(answers.into_iter().map(Vectors::from_f64).collect())
            }
        }
    }

    /// What [`forward`](Self::forward) would refuse.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self, texts: &[Text<'_>], part: Part) -> Result<(), Error> {
        text::check(&self.config, texts)?;
        match &self.model {
            AnyModel::F32(model) => model.offers(part),
            AnyModel::F64(model) => model.offers(part),
        }
    }
}
