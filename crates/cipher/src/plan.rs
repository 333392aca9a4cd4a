use equicrypt_checkpoint::{Checkpoint, Dtype};
use equicrypt_spec::{
    Architecture, Axis, FORMAT_VERSION, KeyId, Manifest, ModelConfig, Profile, Role, TensorSpec,
};

use crate::Error;
use crate::encrypt::Options;
use crate::fold::{gain_folded_into, is_foldable_gain};
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
}

/// One tensor of the encrypted checkpoint.
pub struct OutputTensor {
    /// Its row, layer and shape.
    pub spec: TensorSpec,
    /// The source tensor it is made from.
    pub source: String,
    /// The dtype it is stored in.
    pub dtype: Dtype,
    /// How it is made.
    pub(crate) work: Work,
}

/// How an output tensor is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// The secrets of its sides act on the source tensor, after the named gain was folded into its columns.
    Transform { folded_gain: Option<String> },
    /// A gain that was folded away: all ones.
    Ones,
}

impl Plan {
    /// Plans the encryption of `checkpoint` under the key with this id. Fails on whatever could go wrong later: an
    /// unsupported architecture, a tensor that is missing, unknown or of the wrong shape, a dtype that cannot be used.
    pub fn new(checkpoint: &Checkpoint, options: &Options, key_id: KeyId) -> Result<Self, Error> {
        let source = ModelConfig::from_json(checkpoint.config())?;
        let arch = source.architecture;
        arch.check(
            &source,
            checkpoint
                .tensors()
                .map(|t| (t.name.as_str(), t.shape.as_slice())),
        )?;

        let mut target = source.clone();
        (target.bos, target.eos, target.pad) = (None, Vec::new(), None);
        let folds = options.profile.folds_gains();
        target.tied_head &= !folds;

        let outputs = arch
            .tensors(&target)
            .into_iter()
            .map(|spec| {
                let source_role = if spec.row.role == Role::Head && source.tied_head {
                    Role::Embed
                } else {
                    spec.row.role
                };
                let name = arch.tensor_name(source_role, spec.layer, &source);
                let name = name.unwrap_or_else(|| spec.name.clone());
                let dtype = match options.dtype {
                    Some(dtype) => dtype,
                    None => dtype_of(checkpoint, &name)?,
                };
                let work = if folds && is_foldable_gain(&spec) {
                    Work::Ones
                } else {
                    let folded_gain =
                        folds.then(|| gain_folded_into(arch, spec.row.role, spec.layer));
                    Work::Transform {
                        folded_gain: folded_gain.flatten(),
                    }
                };
                Ok(OutputTensor {
                    spec,
                    source: name,
                    dtype,
                    work,
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;

        let dtype = outputs.first().map_or(Dtype::F32, |output| output.dtype);
        let fingerprint = checkpoint.fingerprint()?;
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            key_id,
            epoch: options.epoch,
            profile: options.profile,
            architecture: arch.model_type.to_owned(),
            source_fingerprint: fingerprint
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            vocab_size: target.vocab_size,
            plain_vocab_size: source.vocab_size,
            dtype: dtype.name().to_owned(),
        };
        Ok(Self {
            source,
            target,
            outputs,
            manifest,
            profile: options.profile,
        })
    }

    /// A permit for each axis: what the profile uses of its legal group. Scales are left out where f16 takes part,
    /// because f16's exponent has no room for them.
    #[must_use]
    pub fn permits(&self, checkpoint: &Checkpoint) -> Vec<Permit> {
        let arch: &Architecture = self.target.architecture;
        let is_f16 = |output: &OutputTensor| {
            output.dtype == Dtype::F16
                || dtype_of(checkpoint, &output.source).ok() == Some(Dtype::F16)
        };
        let scales = !self.outputs.iter().any(is_f16);
        arch.axes()
            .into_iter()
            .filter(|axis| *axis != Axis::Vocab)
            .map(|axis| Permit::legal(arch, axis, self.profile, scales))
            .collect()
    }

    /// Whether f64 takes part, and the rewrite must be computed in it.
    pub(crate) fn needs_f64(&self, checkpoint: &Checkpoint) -> bool {
        self.outputs.iter().any(|output| {
            output.dtype == Dtype::F64
                || dtype_of(checkpoint, &output.source).ok() == Some(Dtype::F64)
        })
    }

    /// Bytes of all output tensors.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let bytes = |o: &OutputTensor| o.spec.shape.iter().product::<usize>() * o.dtype.size();
        self.outputs.iter().map(|output| bytes(output) as u64).sum()
    }
}

fn dtype_of(checkpoint: &Checkpoint, name: &str) -> Result<Dtype, Error> {
    checkpoint
        .tensor(name)
        .map(|tensor| tensor.dtype)
        .ok_or_else(|| Error::Dtype(format!("tensor {name:?} is not in the checkpoint")))
}
