//! LoRA adapters: W + B A becomes M_out (W + B A) M_in^-1, tensor by tensor.
//!
//! ```text
//! A' = S A diag(g) M_in^-1     [rank, in], with the folded gain g as in the encrypted base
//! B' = M_out B S^-1            [out, rank]
//! ```
//!
//! PEFT keeps A and B this way round for every layout of W. S is a secret of its own for each pair. LoRA: Hu et al., arXiv 2106.09685; the files are those of PEFT.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use equicrypt_checkpoint::safetensors::{SafetensorsFile, SafetensorsWriter};
use equicrypt_checkpoint::{Checkpoint, Dtype, StagedDir, TensorInfo, read_json, write_json};
use equicrypt_spec::{Group, Kind, MANIFEST_FILE, Manifest, ModelConfig, Profile, RopeLayout};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::encrypt::{Options, Summary};
use crate::homophones::Homophones;
use crate::pass::factors;
use crate::plan::{Plan, Work};
use crate::real::Real;
use crate::rewrite::{Action, Scratch};
use crate::sample::draw;
use crate::schedule::Schedule;
use crate::{Error, MasterKey, Secrets, Vocabulary};

/// Rewrites the PEFT LoRA folder `adapter`, made for the plain model `source`, into the new folder `out`, for the encrypted
/// base with this configuration and manifest. The key must be the base's.
///
/// Fails if the base was not made from `source`, and on everything that is not plain LoRA on linear layers.
pub fn encrypt_adapter(
    source: &Checkpoint,
    base: (&ModelConfig, &Manifest),
    adapter: &Path,
    out: &Path,
    key: &MasterKey,
) -> Result<Summary, Error> {
    let (base, manifest) = base;
    // Also the check that this is the key of the base.
    let vocabulary = Vocabulary::open(key, manifest)?;
    let config_path = adapter.join(CONFIG);
    let config = config(&config_path, &read_json(&config_path)?)?;
    let options = Options {
        profile: manifest.profile,
        dtype: Dtype::from_name(&manifest.dtype),
        epoch: manifest.weights_epoch(),
        expand: base.hidden_size.saturating_sub(expected_width(source)?),
        scales: true,
        rotate_output: false,
        noise: manifest.noise,
    };
    let homophones = Homophones::of(key, manifest)?;
    let mut plan = Plan::with_homophones(source, &options, &homophones, key.id())?;
    (plan.manifest.homophone_table).clone_from(&manifest.homophone_table);
    if plan.manifest.rekeyed(manifest.epoch) != *manifest {
        return Err(Error::OtherBase);
    }
    let schedule = Schedule::new(key, &manifest.fingerprint()?, manifest.weights_epoch());
    let secrets = Secrets::derive(&schedule, &plan.target, &plan.permits(), &vocabulary);
    let file = SafetensorsFile::open(&adapter.join(WEIGHTS))?;
    let rewriter = Rewriter {
        source,
        plan: &plan,
        secrets: &secrets,
        schedule: &schedule,
        file: &file,
        label: format!("adapter/{}", digest(&file)?),
    };
    let tensors = rewriter.rewrite()?;

    let staged = StagedDir::new(out)?;
    let headers: Vec<_> = tensors
        .iter()
        .map(|(info, shape, _)| {
            let mut header = info.header();
            header.shape.clone_from(shape);
            header
        })
        .collect();
    let path = staged.path().join(WEIGHTS);
    let writer = SafetensorsWriter::create(&path, &headers, &[("format", "pt")])?;
    let mut bytes = 0;
    for (index, (_, _, values)) in tensors.iter().enumerate() {
        writer.write_at(index, 0, values)?;
        bytes += values.len() as u64;
    }
    let start = Instant::now();
    writer.finish()?;
    write_json(&staged.path().join(CONFIG), &config)?;
    let path = staged.path().join(MANIFEST_FILE);
    std::fs::write(&path, manifest.to_text()).map_err(|source| {
        Error::Checkpoint(equicrypt_checkpoint::Error::Io {
            action: "write",
            path,
            source,
        })
    })?;
    staged.commit()?;
    Ok(Summary {
        manifest: manifest.clone(),
        tensors: tensors.len(),
        bytes,
        flushing: start.elapsed(),
    })
}

/// The width of the plain residual stream.
fn expected_width(source: &Checkpoint) -> Result<usize, Error> {
    Ok(source.model_config()?.hidden_size)
}

/// The fields of `adapter_config.json` that an encrypted adapter needs; refuses what changes the formula.
fn config(path: &Path, config: &Value) -> Result<Value, Error> {
    let refuse = |problem: String| Error::Adapter {
        file: path.to_owned(),
        problem,
    };
    let map = config
        .as_object()
        .ok_or_else(|| refuse("expected a JSON object".into()))?;
    let kind = map.get("peft_type").and_then(Value::as_str);
    if kind != Some("LORA") {
        return Err(refuse(format!(
            "peft_type: expected \"LORA\", found {}",
            map.get("peft_type").unwrap_or(&Value::Null)
        )));
    }
    for (field, plain) in PLAIN {
        let found = map.get(*field).unwrap_or(&Value::Null);
        let empty = found.is_null()
            || found == &Value::Bool(false)
            || found.as_array().is_some_and(Vec::is_empty)
            || found.as_object().is_some_and(Map::is_empty);
        let is_plain = plain.is_some() && found.as_str() == *plain;
        if !empty && !is_plain {
            return Err(refuse(format!(
                "{field} is set, and only plain LoRA on linear layers can be encrypted; train without it"
            )));
        }
    }
    let mut kept: Map<String, Value> = map
        .iter()
        .filter(|(field, _)| KEPT.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect();
    kept.insert("base_model_name_or_path".into(), Value::Null);
    kept.insert("bias".into(), "none".into());
    Ok(Value::Object(kept))
}

/// SHA-256 of the adapter's weights: no two adapters share their secrets.
fn digest(file: &SafetensorsFile) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    for (index, tensor) in file.tensors().iter().enumerate() {
        hasher.update(tensor.name.as_bytes());
        hasher.update(raw(file, index, tensor)?);
    }
    let digest = hasher.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn raw(file: &SafetensorsFile, index: usize, tensor: &TensorInfo) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; tensor.elements() as usize * tensor.dtype.size()];
    file.read_at(index, 0, &mut bytes)?;
    Ok(bytes)
}

/// A rewritten tensor: what it was, its new shape, and its bytes.
type Rewritten = (TensorInfo, Vec<usize>, Vec<u8>);

struct Rewriter<'a> {
    source: &'a Checkpoint,
    plan: &'a Plan,
    secrets: &'a Secrets,
    schedule: &'a Schedule,
    file: &'a SafetensorsFile,
    /// Stands before every label of this adapter in the key schedule.
    label: String,
}

impl Rewriter<'_> {
    fn rewrite(&self) -> Result<Vec<Rewritten>, Error> {
        let mut pairs: BTreeMap<&str, [Option<usize>; 2]> = BTreeMap::new();
        for (index, tensor) in self.file.tensors().iter().enumerate() {
            let name = tensor.name.as_str();
            let place = SUFFIXES
                .iter()
                .enumerate()
                .find_map(|(place, suffix)| Some((place, name.strip_suffix(suffix)?)));
            let Some((place, module)) = place else {
                return Err(self.refuse(format!(
                    "tensor {name:?} is neither lora_A.weight nor lora_B.weight of a linear layer"
                )));
            };
            pairs.entry(module).or_default()[place] = Some(index);
        }
        let mut rewritten = Vec::new();
        for (module, pair) in pairs {
            let [Some(a), Some(b)] = pair else {
                return Err(self.refuse(format!("module {module:?} has one of its two matrices")));
            };
            rewritten.extend(self.pair(module, a, b)?);
        }
        Ok(rewritten)
    }

    fn pair(&self, module: &str, a: usize, b: usize) -> Result<[Rewritten; 2], Error> {
        let tensors = self.file.tensors();
        let (a_info, b_info) = (&tensors[a], &tensors[b]);
        let name = module.strip_prefix(PREFIX).unwrap_or(module);
        let weight = format!("{name}.weight");
        let outputs = &self.plan.outputs;
        let output = outputs.iter().find(|output| output.spec.name == weight);
        let Some((output, Kind::Linear { out, input, .. })) =
            output.map(|output| (output, output.spec.row.kind))
        else {
            return Err(self.refuse(format!(
                "module {module:?} is no linear layer of the encrypted {} model",
                self.plan.target.architecture.model_type
            )));
        };
        let spec = &output.spec;
        if spec.expert.is_some() {
            return Err(self.refuse(format!(
                "module {module:?} is one expert of many, and adapters of experts are not supported"
            )));
        }
        let (source, target) = (&self.plan.source, &self.plan.target);
        let rank = a_info.shape.first().copied().unwrap_or(0);
        let expected = [vec![rank, input.size(source)], vec![out.size(source), rank]];
        for (tensor, expected) in [a_info, b_info].into_iter().zip(expected) {
            if tensor.shape != expected || rank == 0 {
                return Err(equicrypt_spec::Error::Shape {
                    name: tensor.name.clone(),
                    expected,
                    found: tensor.shape.clone(),
                }
                .into());
            }
        }
        // Norms of queries and keys make some linear layers smaller when the residual stream is wider.
        let (gain, scale) = match &output.work {
            Work::Transform { gain, scale } => (gain.as_ref(), *scale),
            _ => (None, 1.0),
        };
        let gain = match gain {
            Some(gain) => factors::<f64>(self.source, gain, None)?,
            None => vec![1.0; input.size(source)],
        };
        let side = |side| {
            self.secrets
                .side(side, spec.layer, None)
                .ok_or_else(|| Error::NoPermutation {
                    tensor: spec.name.clone(),
                })
        };
        let mut stream = self.schedule.stream(&format!("{}/{name}", self.label));
        let group = match self.plan.manifest.profile {
            Profile::Permute => Group::SIGNED_PERMUTATION,
            Profile::Rotate => Group::ORTHOGONAL,
            Profile::Vocabulary => Group::TRIVIAL,
        };
        let turn = draw(&mut stream, group, rank, RopeLayout::Halves);

        let wide = input.size(target);
        let mut rows = Vec::with_capacity(rank * wide);
        for row in self.values(a)?.chunks_exact(gain.len()) {
            rows.extend(row.iter().zip(&gain).map(|(a, g)| a * g * scale));
            rows.resize(rows.len() + wide - gain.len(), 0.0);
        }
        Action::new(&side(input)?.dual()).apply_to_rows(&mut rows, &mut Scratch::default());
        Action::new(&turn).apply(&mut rows, wide);

        let tall = out.size(target);
        let mut columns = self.values(b)?;
        columns.resize(tall * rank, 0.0);
        Action::new(&turn.dual()).apply_to_rows(&mut columns, &mut Scratch::default());
        Action::new(&*side(out)?).apply(&mut columns, rank);
        Ok([
            encoded(a_info, vec![rank, wide], &rows),
            encoded(b_info, vec![tall, rank], &columns),
        ])
    }

    fn values(&self, index: usize) -> Result<Vec<f64>, Error> {
        let tensor = &self.file.tensors()[index];
        let mut values = vec![0.0; tensor.elements() as usize];
        f64::decode(tensor.dtype, &raw(self.file, index, tensor)?, &mut values);
        Ok(values)
    }

    fn refuse(&self, problem: String) -> Error {
        Error::Adapter {
            file: self.file.path().to_owned(),
            problem,
        }
    }
}

fn encoded(tensor: &TensorInfo, shape: Vec<usize>, values: &[f64]) -> Rewritten {
    let mut bytes = vec![0; values.len() * tensor.dtype.size()];
    f64::encode(tensor.dtype, values, &mut bytes);
    (tensor.clone(), shape, bytes)
}

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What PEFT puts before the names of the base's modules.
const PREFIX: &str = "base_model.model.";

const SUFFIXES: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

/// Fields that make it more than LoRA on linear layers, and the word that says that they do not.
const PLAIN: &[(&str, Option<&str>)] = &[
    ("bias", Some("none")),
    ("lora_bias", None),
    ("use_dora", None),
    ("modules_to_save", None),
    ("target_parameters", None),
    ("trainable_token_indices", None),
    ("layer_replication", None),
    ("megatron_config", None),
    ("alora_invocation_tokens", None),
];

/// Numbers and names of modules, which the base's table names as well.
const KEPT: &[&str] = &[
    "peft_type",
    "task_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "fan_in_fan_out",
    "inference_mode",
];
