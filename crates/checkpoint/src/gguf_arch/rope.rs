mod scaling;

use serde_json::{Map, Value, json};

use super::Config;
use crate::Error;
use crate::gguf::MetadataValue;
use crate::import::metadata::{Metadata, USE_FOLDER};
use scaling::{ORIGINAL, Scaling};

/// What an architecture's rotary embedding may be.
#[derive(Clone, Copy)]
pub(crate) struct RopeRules {
    /// `rope_theta` where `config.json` says nothing.
    pub(super) theta: f64,
    /// The field's names at the top level; the first is what an import writes.
    pub(super) names: &'static [&'static str],
    /// The base of layers with a sliding window where `config.json` says nothing, if they have
    /// one of their own.
    pub(super) local: Option<f64>,
    /// The names and the default of the part of a head that turns, if that can be less than all.
    pub(super) partial: Option<(&'static [&'static str], f64)>,
    /// Whether llama.cpp reads `rope_freqs.weight` for it.
    pub(super) llama3: bool,
    /// Whether llama.cpp reads `rope_factors_short.weight` and `rope_factors_long.weight` for it.
    pub(super) long: bool,
    pub(super) yarn: bool,
}

impl RopeRules {
    pub(super) const PLAIN: RopeRules = RopeRules {
        theta: 1e4,
        names: &["rope_theta"],
        local: None,
        partial: None,
        llama3: false,
        long: false,
        yarn: true,
    };
}

/// Rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    theta: f64,
    local_theta: Option<f64>,
    /// How many coordinates of a head turn.
    dims: usize,
    head_dim: usize,
    scaling: Scaling,
}

impl Rope {
    pub(super) fn from_config(
        rules: &RopeRules,
        config: &Config<'_>,
        head_dim: usize,
        context: usize,
    ) -> Result<Rope, Error> {
        // Since version 5 of transformers one object holds everything, or one for each kind of
        // layer; before, it held the scaling and the bases stood at the top level.
        let outer = match config.object("rope_parameters")? {
            Some(object) => Some(object),
            None => config.object("rope_scaling")?,
        };
        let (full, local) = match outer {
            None => (None, None),
            Some(outer) => match outer.object("full_attention")? {
                Some(full) => (Some(full), outer.object("sliding_attention")?),
                None => (Some(outer), None),
            },
        };
        let nested = |name: &str| match &full {
            Some(full) => full.number(name),
            None => Ok(None),
        };
        let first = |names: &[&str]| -> Result<Option<f64>, Error> {
            for name in names {
                if let Some(value) = config.number(name)? {
                    return Ok(Some(value));
                }
            }
            Ok(None)
        };
        let theta = match nested("rope_theta")? {
            Some(theta) => theta,
            None => first(rules.names)?.unwrap_or(rules.theta),
        };
        let local_theta = match (rules.local, local) {
            (None, _) => None,
            (Some(default), None) => {
                Some(config.number("rope_local_base_freq")?.unwrap_or(default))
            }
            (Some(default), Some(local)) => {
                if !matches!(local.text("rope_type")?, None | Some("default")) {
                    return Err(config.unsupported(
                        "layers with a sliding window have a scaled rotary embedding".to_owned(),
                    ));
                }
                Some(local.number("rope_theta")?.unwrap_or(default))
            }
        };
        let part = match rules.partial {
            None => 1.0,
            Some((names, default)) => match nested("partial_rotary_factor")? {
                Some(part) => part,
                None => first(names)?.unwrap_or(default),
            },
        };
        let dims = (head_dim as f64 * part) as usize;
        if dims == 0 || dims > head_dim || !dims.is_multiple_of(2) {
            return Err(config.problem(format!(
                "{dims} of {head_dim} coordinates of a head turn, which is not a number of pairs"
            )));
        }
        let scaling = match &full {
            None => Scaling::None,
            Some(full) => Scaling::from_config(rules, config, full, dims, context)?,
        };
        Ok(Rope {
            theta,
            local_theta,
            dims,
            head_dim,
            scaling,
        })
    }

    pub(super) fn from_metadata(
        rules: &RopeRules,
        metadata: &Metadata<'_>,
        arch: &str,
        head_dim: usize,
        context: usize,
    ) -> Result<Rope, Error> {
        let key = |name: &str| format!("{arch}.{name}");
        let theta = metadata
            .optional_number(&key("rope.freq_base"))?
            .unwrap_or(1e4);
        let local_theta = match rules.local {
            // llama.cpp's default.
            Some(_) => Some(
                metadata
                    .optional_number(&key("rope.freq_base_swa"))?
                    .unwrap_or(1e4),
            ),
            None => None,
        };
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return Err(metadata.broken(format!("heads of {head_dim} values have no rotary pairs")));
        }
        let dims_key = key("rope.dimension_count");
        let dims = metadata.optional_size(&dims_key)?.unwrap_or(head_dim);
        if rules.partial.is_none() && dims != head_dim {
            return Err(metadata.unsupported(
                format!("{dims_key} is {dims}, but heads have {head_dim} values"),
                USE_FOLDER,
            ));
        }
        if dims == 0 || dims > head_dim || !dims.is_multiple_of(2) {
            return Err(metadata.broken(format!(
                "{dims_key} is {dims}, not a number of pairs in {head_dim}"
            )));
        }
        let scaling = Scaling::from_metadata(rules, metadata, arch, (theta, dims), context)?;
        Ok(Rope {
            theta,
            local_theta,
            dims,
            head_dim,
            scaling,
        })
    }

    /// The metadata keys, without the architecture's name.
    pub(super) fn metadata(&self) -> Vec<(&'static str, MetadataValue)> {
        let number = |value: f64| MetadataValue::F32(value as f32);
        let size = |value: usize| MetadataValue::Unsigned(value as u64);
        let mut keys = vec![
            ("rope.dimension_count", size(self.dims)),
            ("rope.freq_base", number(self.theta)),
        ];
        if let Some(theta) = self.local_theta {
            keys.push(("rope.freq_base_swa", number(theta)));
        }
        keys.extend(self.scaling.metadata());
        keys
    }

    /// The tensors that GGUF has for it: name and values.
    pub(crate) fn tensors(&self) -> Vec<(&'static str, Vec<f32>)> {
        self.scaling.tensors(self.theta, self.dims)
    }

    pub(super) fn write_config(&self, rules: &RopeRules, config: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Value| config.insert(name.to_owned(), value);
        if let Some(name) = rules.names.first() {
            put(name, json!(self.theta));
        }
        if let Some(theta) = self.local_theta {
            put("rope_local_base_freq", json!(theta));
        }
        if let Some((names, _)) = rules.partial
            && let Some(name) = names.first()
        {
            put(name, json!(self.dims as f64 / self.head_dim as f64));
        }
        if let Scaling::Long { original, .. } = &self.scaling {
            put(ORIGINAL, json!(original));
        }
        put("rope_scaling", self.scaling.json());
    }
}
