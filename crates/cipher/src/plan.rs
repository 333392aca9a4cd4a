use std::collections::HashMap;

use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_spec::{
    Axis, FORMAT_VERSION, KeyId, Kind, Manifest, ModelConfig, Profile, Role, Row, SentenceDense,
    SentenceHead, TensorKey, TensorSpec, When,
};

use crate::Error;
use crate::encrypt::Options;
use crate::expand;
use crate::homophones::Homophones;
use crate::secrets::Permit;

/// Everything that an encryption will write, known and checked before the first byte: made from headers and
/// configuration alone.
pub struct Plan {
    /// The source's configuration.
    pub source: ModelConfig,
    /// The encrypted model's configuration.
    pub target: ModelConfig,
    /// The output tensors in the order in which they are stored.
    pub outputs: Vec<OutputTensor>,
    /// The public manifest.
    pub manifest: Manifest,
    profile: Profile,
    scales: bool,
    rotate_output: bool,
    noise: f64,
    sources: Sources,
}

/// One tensor of the encrypted checkpoint.
pub struct OutputTensor {
    /// Its row, layer, expert and shape.
    pub spec: TensorSpec,
    /// The dtype it is stored in.
    pub dtype: Dtype,
    /// What the source tensor it is made from is for.
    pub(crate) source: Role,
    /// How it is made.
    pub(crate) work: Work,
}

/// How an output tensor is made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Work {
    /// The secrets of its sides act on the source tensor times `scale`, after a gain was folded into its input side.
    Transform { gain: Option<Gain>, scale: f64 },
    /// The secret acts on the source tensor divided by the gain of the same norm.
    DivideByGain(Gain),
    /// A gain that was folded away: this value throughout.
    Constant(f64),
    /// The secrets of its sides act on the identity: a layer that the source does not have.
    Identity,
}

/// A norm's gain: the tensor plus an offset.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Gain {
    pub(crate) tensor: String,
    pub(crate) offset: f64,
}

/// The source's tensors by what they are for.
struct Sources(HashMap<TensorKey, (String, Dtype)>);

impl Plan {
    /// Plans the encryption of `checkpoint` under the key with this id. Fails on whatever could go wrong later: an
    /// unsupported architecture, a tensor that is missing, unknown or of the wrong shape, a dtype that cannot be used, a
    /// width that the architecture or a stock engine cannot have.
    pub fn new(checkpoint: &Checkpoint, options: &Options, key_id: KeyId) -> Result<Self, Error> {
        let size = checkpoint.model_config()?.vocab_size;
        Self::with_homophones(checkpoint, options, &Homophones::none(size), key_id)
    }

    /// The same with more than one cipher id for some plain ids. The manifest's table of them is sealed later, because a plan
    /// knows no key.
    pub fn with_homophones(
        checkpoint: &Checkpoint,
        options: &Options,
        homophones: &Homophones,
        key_id: KeyId,
    ) -> Result<Self, Error> {
        if !(0.0..=MOST_NOISE).contains(&options.noise) {
            return Err(Error::Noise {
                found: options.noise,
                most: MOST_NOISE,
            });
        }
        let source = checkpoint.model_config()?;
        let arch = source.architecture;
        let sources = Sources::new(checkpoint, &source)?;
        homophones.fit(&source)?;
        let mut target = target(&source, options)?;
        target.vocab_size = homophones.cipher_ids();
        let planner = Planner {
            source: &source,
            target: &target,
            profile: options.profile,
            sources: &sources,
        };
        let outputs = arch
            .tensors(&target)
            .into_iter()
            .filter(|spec| !spec.row.optional || sources.0.contains_key(&spec.key()))
            .map(|spec| planner.output(spec, options.dtype))
            .collect::<Result<Vec<_>, Error>>()?;

        let dtype = outputs.first().map_or(Dtype::F32, |output| output.dtype);
        let fingerprint = checkpoint.fingerprint()?;
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            key_id,
            epoch: options.epoch,
            weights_epoch: None,
            profile: options.profile,
            architecture: arch.model_type.to_owned(),
            source_fingerprint: fingerprint
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            vocab_size: target.vocab_size,
            plain_vocab_size: source.vocab_size,
            dtype: dtype.name().to_owned(),
            kept_id: source.uncounted_id(),
            rotates_output: options.rotate_output,
            noise: options.noise,
            homophone_table: None,
        };
        Ok(Self {
            source,
            target,
            outputs,
            manifest,
            profile: options.profile,
            scales: options.scales,
            rotate_output: options.rotate_output,
            noise: options.noise,
            sources,
        })
    }

    /// A permit for each axis: what the profile uses of its legal group. Scales are left out if the options say so, and
    /// where f16 takes part, because f16's exponent has no room for them.
    #[must_use]
    pub fn permits(&self) -> Vec<Permit> {
        let scales = self.scales && !self.takes_part(Dtype::F16);
        let axes = self.target.architecture.axes(&self.target);
        axes.into_iter()
            .filter(|axis| *axis != Axis::Vocab)
            .map(|axis| {
                let profile = match axis {
                    Axis::Sentence if self.rotate_output => Profile::Rotate,
                    _ => self.profile,
                };
                Permit::legal(&self.target, axis, profile, scales)
            })
            .collect()
    }

    /// Whether a tensor of the source or of the output has this dtype.
    pub(crate) fn takes_part(&self, dtype: Dtype) -> bool {
        self.outputs.iter().any(|output| output.dtype == dtype)
            || self.sources.0.values().any(|(_, found)| *found == dtype)
    }

    /// The name of the source tensor that `output` is made from, if its expert is made from `expert`.
    pub(crate) fn source_of(&self, output: &OutputTensor, expert: Option<usize>) -> &str {
        self.sources.name(TensorKey {
            role: output.source,
            layer: output.spec.layer,
            expert,
        })
    }

    /// The standard deviation of the noise on `output`, in that of the source tensor; 0 where there is none.
    pub(crate) fn noise_on(&self, output: &OutputTensor) -> f64 {
        match output.spec.row.role {
            Role::Embed | Role::Head => self.noise,
            _ => 0.0,
        }
    }

    /// Bytes of all output tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = |o: &OutputTensor| o.spec.shape.iter().product::<usize>() * o.dtype.size();
        self.outputs.iter().map(|output| bytes(output) as u64).sum()
    }
}

impl OutputTensor {
    /// How many numbers it has.
    #[must_use]
    pub fn values(&self) -> usize {
        self.spec.shape.iter().product()
    }
}

/// Far more leaves nothing of any model.
const MOST_NOISE: f64 = 100.0;

/// The encrypted model's configuration.
fn target(source: &ModelConfig, options: &Options) -> Result<ModelConfig, Error> {
    let mut target = source.clone();
    (target.bos, target.eos, target.pad) = (None, Vec::new(), source.uncounted_id());
    let arch = source.architecture;
    let folds = arch.gain_folded_into(Role::Head, source, options.profile);
    target.tied_head &= folds.is_none() && options.noise == 0.0;
    expand::widen(&mut target, options)?;
    if options.rotate_output {
        return with_rotated_output(&target);
    }
    Ok(target)
}

/// The same model with room for a rotation behind the pooling.
pub(crate) fn with_rotated_output(target: &ModelConfig) -> Result<ModelConfig, Error> {
    let refuse = |reason: &'static str| Err(Error::RotateOutput { reason });
    let Some(head) = &target.sentence else {
        return refuse("the model gives no sentence embeddings: its folder has no modules.json");
    };
    match &head.dense {
        Some(dense) if dense.tanh => {
            refuse("tanh stands behind its last linear layer, which no rotation passes")
        }
        Some(_) => Ok(target.clone()),
        None => {
            let width = target.hidden_size;
            let head = SentenceHead {
                width,
                dense: Some(SentenceDense {
                    input: width,
                    bias: false,
                    tanh: false,
                }),
                ..head.clone()
            };
            Ok(target.clone().with_sentence(head)?)
        }
    }
}

impl Sources {
    fn new(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<Self, Error> {
        let header = checkpoint
            .tensors()
            .map(|t| (t.name.as_str(), t.shape.as_slice()));
        let tensors = config.architecture.check(config, header)?;
        let entry = |spec: TensorSpec| {
            let dtype = checkpoint.tensor(&spec.name).map(|tensor| tensor.dtype);
            dtype.map(|dtype| (spec.key(), (spec.name, dtype)))
        };
        Ok(Self(tensors.into_iter().filter_map(entry).collect()))
    }

    /// The dtype of the embedding of tokens.
    fn dtype(&self) -> Dtype {
        let key = TensorKey {
            role: Role::Embed,
            layer: None,
            expert: None,
        };
        self.0.get(&key).map_or(Dtype::F32, |(_, dtype)| *dtype)
    }

    fn name(&self, key: TensorKey) -> &str {
        self.0.get(&key).map_or("", |(name, _)| name)
    }
}

/// Decides how each output tensor is made.
struct Planner<'a> {
    source: &'a ModelConfig,
    target: &'a ModelConfig,
    profile: Profile,
    sources: &'a Sources,
}

impl Planner<'_> {
    fn output(&self, spec: TensorSpec, dtype: Option<Dtype>) -> Result<OutputTensor, Error> {
        let row = spec.row;
        let source = if row.role == Role::Head && self.source.tied_head {
            Role::Embed
        } else {
            row.role
        };
        let key = TensorKey {
            role: source,
            ..spec.key()
        };
        let is_added = row.role == Role::SentenceDense && !self.source.has(When::SENTENCE_DENSE);
        if is_added {
            let values = self.sources.dtype();
            return Ok(OutputTensor {
                dtype: dtype.unwrap_or(values),
                source,
                work: Work::Identity,
                spec,
            });
        }
        let (_, found) =
            (self.sources.0.get(&key)).ok_or_else(|| equicrypt_spec::Error::MissingTensor {
                name: spec.name.clone(),
                model_type: self.source.architecture.model_type,
                shape: spec.shape.clone(),
            })?;
        Ok(OutputTensor {
            dtype: dtype.unwrap_or(*found),
            source,
            work: self.work(row, spec.layer),
            spec,
        })
    }

    fn work(&self, row: &Row, layer: Option<usize>) -> Work {
        let (arch, config) = (self.source.architecture, self.source);
        let gain = |row: &Row| {
            let key = TensorKey {
                role: row.role,
                layer: if row.is_per_layer() { layer } else { None },
                expert: None,
            };
            Gain {
                tensor: self.sources.name(key).to_owned(),
                offset: config.gain_offset,
            }
        };
        if arch.folds_gain(row, config, self.profile) {
            return Work::Constant(1.0 - config.gain_offset);
        }
        if let Kind::NormBias { gain: role, .. } = row.kind
            && let Some(norm) = arch.row(role, config, layer)
            && arch.folds_gain(norm, config, self.profile)
        {
            return Work::DivideByGain(gain(norm));
        }
        let folded = arch.gain_folded_into(row.role, config, self.profile);
        // A wider residual stream makes every norm on it larger by the square root of the ratio. Norms of queries and
        // keys have the same epsilon, which was divided by the ratio, and so their inputs are divided as well.
        let reads_wider = folded.is_some_and(|norm| {
            (norm.kind.sides().iter())
                .any(|side| side.factors().iter().any(|f| f.axis == Axis::Hidden))
        });
        let is_normalised = config.has(When::QK_NORM)
            && matches!(
                row.role,
                Role::Query | Role::QueryBias | Role::Key | Role::KeyBias
            );
        let narrower = expand::ratio(self.source, self.target).sqrt();
        let scale = [reads_wider, is_normalised]
            .into_iter()
            .filter(|scaled| *scaled)
            .map(|_| narrower)
            .product();
        Work::Transform {
            gain: folded.map(gain),
            scale,
        }
    }
}
