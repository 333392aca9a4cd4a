use serde_json::{Map, Value, json};

use super::fields::Fields;
use crate::{Error, Rope, RopeScaling};

/// What a file says of RoPE: `rope_theta` with `rope_scaling`, or `rope_parameters`, which holds both since transformers 5,
/// for each kind of layer where they differ.
pub(super) struct RopeFields<'a> {
    outer: Fields<'a>,
    field: &'static str,
    nested: Option<&'a Map<String, Value>>,
    max_positions: usize,
}

impl<'a> RopeFields<'a> {
    pub(super) fn new(config: &'a Map<String, Value>, max_positions: usize) -> Result<Self, Error> {
        let outer = Fields(config);
        let field = if outer.value("rope_parameters").is_some() {
            "rope_parameters"
        } else {
            "rope_scaling"
        };
        Ok(Self {
            nested: outer.object(field)?,
            outer,
            field,
            max_positions,
        })
    }

    /// The RoPE of most layers, or of those that see everything.
    pub(super) fn global(&self, theta: &str, default_theta: f64) -> Result<Rope, Error> {
        let own = self.of_layers("full_attention")?;
        let theta = match own.number("rope_theta")? {
            Some(theta) => theta,
            None => self.outer.number(theta)?.unwrap_or(default_theta),
        };
        let scaling = self.scaling(&own)?;
        Ok(Rope { theta, scaling })
    }

    /// The RoPE of layers that look back over a window, if it has a base frequency of its own.
    pub(super) fn local(&self, theta: &str) -> Result<Option<Rope>, Error> {
        let own = self.of_layers("sliding_attention")?;
        let theta = match own.number("rope_theta")? {
            Some(theta) if self.is_by_layers() => Some(theta),
            _ => self.outer.number(theta)?,
        };
        let scaling = if self.is_by_layers() {
            self.scaling(&own)?
        } else {
            RopeScaling::None
        };
        Ok(theta.map(|theta| Rope { theta, scaling }))
    }

    /// The share of a head that is turned.
    pub(super) fn share(&self, field: &str, default: f64) -> Result<f64, Error> {
        let own = self.of_layers("full_attention")?;
        let share = match own.number("partial_rotary_factor")? {
            Some(share) => share,
            None => self.outer.number(field)?.unwrap_or(default),
        };
        if share <= 1.0 {
            Ok(share)
        } else {
            Err(self.outer.wrong(field, "a share of at most 1".into()))
        }
    }

    fn is_by_layers(&self) -> bool {
        let kinds = ["full_attention", "sliding_attention"];
        kinds
            .iter()
            .any(|kind| self.nested.is_some_and(|nested| nested.contains_key(*kind)))
    }

    fn of_layers(&self, kind: &str) -> Result<Fields<'a>, Error> {
        static EMPTY: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let nested = match self.nested {
            Some(nested) if self.is_by_layers() => Fields(nested).object(kind)?,
            nested => nested,
        };
        Ok(Fields(nested.unwrap_or(&EMPTY)))
    }

    fn scaling(&self, own: &Fields<'_>) -> Result<RopeScaling, Error> {
        let required = |name: &str| own.number(name)?.ok_or_else(|| own.absent(name));
        let kind = own.text("rope_type")?.or(own.text("type")?);
        let original_positions = || -> Result<f64, Error> {
            let name = "original_max_position_embeddings";
            Ok(match self.outer.number(name)? {
                Some(positions) => positions,
                None => own.number(name)?.unwrap_or(self.max_positions as f64),
            })
        };
        match kind.unwrap_or("default") {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear {
                factor: required("factor")?,
            }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: required("factor")?,
                low: required("low_freq_factor")?,
                high: required("high_freq_factor")?,
                original_positions: required("original_max_position_embeddings")?,
            }),
            "yarn" => Ok(RopeScaling::Yarn {
                factor: required("factor")?,
                fast: own.number("beta_fast")?.unwrap_or(32.0),
                slow: own.number("beta_slow")?.unwrap_or(1.0),
                original_positions: original_positions()?,
                truncate: own.flag("truncate")?.unwrap_or(true),
                attention_factor: own.number("attention_factor")?,
                mscale: own.number("mscale")?.zip(own.number("mscale_all_dim")?),
            }),
            "longrope" | "su" => {
                let original_positions = original_positions()?;
                let list = |name: &str| own.numbers(name)?.ok_or_else(|| own.absent(name));
                Ok(RopeScaling::Long {
                    short: list("short_factor")?,
                    long: list("long_factor")?,
                    original_positions,
                    factor: match own.number("factor")? {
                        Some(factor) => factor,
                        None => self.max_positions as f64 / original_positions,
                    },
                    attention_factor: own.number("attention_factor")?,
                })
            }
            other => Err(Error::Config {
                field: format!("{}.rope_type", self.field),
                expected: "\"default\", \"linear\", \"llama3\", \"yarn\" or \"longrope\"".into(),
                found: format!("{other:?}"),
            }),
        }
    }
}

/// `rope_scaling`, in the spelling that transformers 4 and 5 and other engines read.
pub(super) fn scaling_json(scaling: &RopeScaling) -> Value {
    let mut json = match scaling {
        RopeScaling::None => return Value::Null,
        RopeScaling::Linear { factor } => json!({ "rope_type": "linear", "factor": factor }),
        RopeScaling::Llama3 {
            factor,
            low,
            high,
            original_positions,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": *original_positions as u64,
        }),
        RopeScaling::Yarn {
            factor,
            fast,
            slow,
            original_positions,
            truncate,
            attention_factor,
            mscale,
        } => json!({
            "rope_type": "yarn",
            "factor": factor,
            "beta_fast": fast,
            "beta_slow": slow,
            "original_max_position_embeddings": *original_positions as u64,
            "truncate": truncate,
            "attention_factor": attention_factor,
            "mscale": mscale.map(|(queries, _)| queries),
            "mscale_all_dim": mscale.map(|(_, all)| all),
        }),
        RopeScaling::Long {
            short,
            long,
            attention_factor,
            ..
        } => json!({
            "rope_type": "longrope",
            "short_factor": short,
            "long_factor": long,
            "attention_factor": attention_factor,
        }),
    };
    if let Some(object) = json.as_object_mut() {
        object.retain(|_, value| !value.is_null());
        // Engines of before 2024 read "type".
        if let Some(kind) = object.get("rope_type").cloned() {
            object.insert("type".into(), kind);
        }
    }
    json
}
