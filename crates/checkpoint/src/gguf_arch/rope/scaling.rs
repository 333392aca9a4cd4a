use std::f64::consts::PI;

use serde_json::{Value, json};

use crate::Error;
use crate::gguf::MetadataValue;
use crate::gguf_arch::{Config, RopeRules};
use crate::import::metadata::{Metadata, USE_FOLDER};

/// How frequencies are stretched for contexts longer than those of training.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    None,
    Linear {
        factor: f64,
    },
    /// With the defaults of `transformers` and llama.cpp for everything else.
    Yarn {
        factor: f64,
        original: usize,
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        original: f64,
    },
    /// Every frequency divided by its own factor: `long` in a context longer than `original`,
    /// else `short`; queries and keys multiplied by `attention`, which follows from the two
    /// contexts unless it is `stated`.
    Long {
        short: Vec<f64>,
        long: Vec<f64>,
        original: usize,
        attention: f64,
        stated: bool,
    },
}

impl Scaling {
    pub(super) fn from_config(
        rules: &RopeRules,
        config: &Config<'_>,
        full: &Config<'_>,
        dims: usize,
        context: usize,
    ) -> Result<Scaling, Error> {
        let kind = match full.text("rope_type")? {
            Some(kind) => kind,
            None => full.text("type")?.unwrap_or("default"),
        };
        let required = |name: &str| {
            let number = full.number(name)?;
            number.ok_or_else(|| full.wrong(name, "a positive number"))
        };
        let known: &[&str] = match kind {
            // Whatever else is there has no effect.
            "default" => return Ok(Scaling::None),
            "linear" => &["factor"],
            "yarn" if rules.yarn => &["factor", ORIGINAL, "beta_fast", "beta_slow", "truncate"],
            "llama3" if rules.llama3 => {
                &["factor", "low_freq_factor", "high_freq_factor", ORIGINAL]
            }
            "longrope" | "su" if rules.long => {
                &["factor", "short_factor", "long_factor", ORIGINAL, ATTENTION]
            }
            other => {
                return Err(config.unsupported(format!(
                    "llama.cpp has no rotary embedding of type {other:?} for this architecture"
                )));
            }
        };
        let common = ["rope_type", "type", "rope_theta", "partial_rotary_factor"];
        let mut names = full.names().filter(|name| full.value(name).is_some());
        if let Some(name) = names.find(|name| !common.contains(name) && !known.contains(name)) {
            return Err(config.unsupported(format!(
                "{} of a rotary embedding of type {kind:?} has no metadata key",
                full.path(name)
            )));
        }
        match kind {
            "linear" => Ok(match required("factor")? {
                1.0 => Scaling::None,
                factor => Scaling::Linear { factor },
            }),
            "yarn" => {
                let given = |name: &str, default: f64| {
                    Ok::<_, Error>(full.number(name)?.is_none_or(|value| value == default))
                };
                let usual = given("beta_fast", 32.0)? && given("beta_slow", 1.0)?;
                if !usual || full.flag("truncate")? == Some(false) {
                    return Err(config.unsupported(
                        "its yarn scaling has other bounds than 32 and 1, which llama.cpp assumes"
                            .to_owned(),
                    ));
                }
                Ok(Scaling::Yarn {
                    factor: required("factor")?,
                    original: full.size(ORIGINAL)?.unwrap_or(context),
                })
            }
            "llama3" => Ok(Scaling::Llama3 {
                factor: required("factor")?,
                low: required("low_freq_factor")?,
                high: required("high_freq_factor")?,
                original: required(ORIGINAL)?,
            }),
            _ => {
                let factors = |name: &str| -> Result<Vec<f64>, Error> {
                    let factors = full.numbers(name)?.filter(|list| list.len() == dims / 2);
                    let expected = format!("a list of {} positive numbers", dims / 2);
                    factors.ok_or_else(|| full.wrong(name, &expected))
                };
                let original = match full.size(ORIGINAL)? {
                    Some(original) => original,
                    None => config
                        .size(ORIGINAL)?
                        .ok_or_else(|| config.wrong(ORIGINAL, "a positive integer"))?,
                };
                let stretch = context as f64 / original as f64;
                let stretch = full.number("factor")?.unwrap_or(stretch);
                let stated = full.number(ATTENTION)?;
                Ok(Scaling::Long {
                    short: factors("short_factor")?,
                    long: factors("long_factor")?,
                    original,
                    attention: stated.unwrap_or(long_attention(stretch, original)),
                    stated: stated.is_some(),
                })
            }
        }
    }

    pub(super) fn from_metadata(
        rules: &RopeRules,
        metadata: &Metadata<'_>,
        arch: &str,
        (theta, dims): (f64, usize),
        context: usize,
    ) -> Result<Scaling, Error> {
        let key = |name: &str| format!("{arch}.rope.scaling.{name}");
        let older = metadata.optional_number(&format!("{arch}.rope.scale_linear"))?;
        let required = || {
            let factor = metadata.optional_number(&key("factor"))?.or(older);
            factor
                .ok_or_else(|| metadata.broken(format!("metadata {:?} is missing", key("factor"))))
        };
        let original = metadata.optional_size(&key("original_context_length"))?;
        if let Some(freqs) = metadata.vector(FREQS)? {
            return recognise_llama3(theta, dims, &freqs)
                .filter(|_| rules.llama3)
                .ok_or_else(|| {
                    metadata.unsupported(
                        format!(
                            "{FREQS} scales its rotary frequencies one by one (llama3), and the \
                         parameters that config.json states are not in the file"
                        ),
                        USE_FOLDER,
                    )
                });
        }
        if let (Some(short), Some(long)) = (
            metadata.vector(FACTORS_SHORT)?,
            metadata.vector(FACTORS_LONG)?,
        ) {
            if !rules.long || short.len() != dims / 2 || long.len() != dims / 2 {
                return Err(metadata.broken(format!(
                    "{FACTORS_SHORT} and {FACTORS_LONG} have {} and {} values for {dims} coordinates",
                    short.len(),
                    long.len()
                )));
            }
            let attention = metadata
                .optional_number(&key("attn_factor"))?
                .unwrap_or(1.0);
            let original = original.unwrap_or(context);
            let usual = long_attention(context as f64 / original as f64, original);
            let stated = (attention - usual).abs() > 1e-6 * usual;
            let widen = |values: Vec<f32>| values.into_iter().map(shortest).collect();
            return Ok(Scaling::Long {
                short: widen(short),
                long: widen(long),
                original,
                attention: if stated { attention } else { usual },
                stated,
            });
        }
        let scaling = match metadata.optional_text(&key("type"))? {
            Some("none") => Scaling::None,
            Some("linear") => Scaling::Linear {
                factor: required()?,
            },
            Some("yarn") if rules.yarn => Scaling::Yarn {
                factor: required()?,
                original: original.unwrap_or(context),
            },
            None if metadata.has(&key("factor")) => {
                return Err(metadata.broken(format!("{} is set, but not its type", key("factor"))));
            }
            None => older.map_or(Scaling::None, |factor| Scaling::Linear { factor }),
            Some(other) => {
                return Err(metadata.unsupported(
                    format!("{} is {other:?}, which is not imported", key("type")),
                    USE_FOLDER,
                ));
            }
        };
        match scaling {
            Scaling::Linear { factor: 1.0 } => Ok(Scaling::None),
            scaling => Ok(scaling),
        }
    }

    /// The metadata keys, without the architecture's name.
    pub(super) fn metadata(&self) -> Vec<(&'static str, MetadataValue)> {
        let number = |value: f64| MetadataValue::F32(value as f32);
        let size = |value: usize| MetadataValue::Unsigned(value as u64);
        let text = |value: &str| MetadataValue::String(value.to_owned());
        let mut keys = Vec::new();
        match self {
            Scaling::None | Scaling::Llama3 { .. } => {}
            Scaling::Linear { factor } => {
                keys.push(("rope.scaling.type", text("linear")));
                keys.push(("rope.scaling.factor", number(*factor)));
            }
            Scaling::Yarn { factor, original } => {
                keys.push(("rope.scaling.type", text("yarn")));
                keys.push(("rope.scaling.factor", number(*factor)));
                keys.push(("rope.scaling.original_context_length", size(*original)));
            }
            Scaling::Long {
                original,
                attention,
                ..
            } => {
                keys.push(("rope.scaling.original_context_length", size(*original)));
                keys.push(("rope.scaling.attn_factor", number(*attention)));
            }
        }
        keys
    }

    /// The tensors that GGUF has for it: name and values.
    pub(super) fn tensors(&self, theta: f64, dims: usize) -> Vec<(&'static str, Vec<f32>)> {
        let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
        match self {
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let params = [*factor, *low, *high, *original];
                let factors = llama3_factors(theta, dims, params);
                vec![(FREQS, single(&factors))]
            }
            Scaling::Long { short, long, .. } => {
                vec![(FACTORS_LONG, single(long)), (FACTORS_SHORT, single(short))]
            }
            _ => Vec::new(),
        }
    }

    /// `rope_scaling` of `config.json`.
    pub(super) fn json(&self) -> Value {
        match self {
            Scaling::None => Value::Null,
            Scaling::Linear { factor } => {
                json!({"rope_type": "linear", "type": "linear", "factor": factor})
            }
            Scaling::Yarn { factor, original } => json!({
                "rope_type": "yarn",
                "type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original,
            }),
            Scaling::Llama3 {
                factor,
                low,
                high,
                original,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low,
                "high_freq_factor": high,
                "original_max_position_embeddings": *original as u64,
            }),
            // The form that the model class of phi3 has always taken: three fields, and the
            // original context beside them. Older versions of it refuse a fourth.
            Scaling::Long {
                short,
                long,
                attention,
                stated,
                ..
            } => {
                let three = json!({"type": "longrope", "short_factor": short, "long_factor": long});
                match (three, stated) {
                    (Value::Object(mut fields), true) => {
                        fields.insert(ATTENTION.to_owned(), json!(attention));
                        Value::Object(fields)
                    }
                    (three, _) => three,
                }
            }
        }
    }
}

/// By what each frequency is divided: 1 for short waves, `factor` for long ones, and the inverse
/// of the blend of their inverses between (Llama 3.1's `config.json`).
fn llama3_factors(theta: f64, dims: usize, [factor, low, high, original]: [f64; 4]) -> Vec<f64> {
    let of_pair = |pair: usize| {
        let frequency = theta.powf(-2.0 * pair as f64 / dims as f64);
        let turns = original * frequency / (2.0 * PI);
        let unstretched = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / (unstretched + (1.0 - unstretched) / factor)
    };
    (0..dims / 2).map(of_pair).collect()
}

/// The parameters of every published Llama 3, if they give these factors: a file does not state
/// them, but it can be seen that they are the right ones.
fn recognise_llama3(theta: f64, dims: usize, freqs: &[f32]) -> Option<Scaling> {
    let (low, high, original) = (1.0, 4.0, 8192.0);
    let factor = shortest(*freqs.last()?);
    let expected = llama3_factors(theta, dims, [factor, low, high, original]);
    let near = |(a, b): (&f64, &f32)| (a - f64::from(*b)).abs() <= 1e-5 * a;
    let equal = expected.len() == freqs.len() && expected.iter().zip(freqs).all(near);
    equal.then_some(Scaling::Llama3 {
        factor,
        low,
        high,
        original,
    })
}

/// `sqrt(1 + ln(stretch) / ln(original))`, as transformers computes it.
fn long_attention(stretch: f64, original: usize) -> f64 {
    if stretch <= 1.0 || original <= 1 {
        return 1.0;
    }
    (1.0 + stretch.ln() / (original as f64).ln()).sqrt()
}

/// The number with the fewest digits that is this f32.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

const FREQS: &str = "rope_freqs.weight";
const FACTORS_LONG: &str = "rope_factors_long.weight";
const FACTORS_SHORT: &str = "rope_factors_short.weight";
pub(super) const ORIGINAL: &str = "original_max_position_embeddings";
const ATTENTION: &str = "attention_factor";
