//! The attacks, one a file, and the table of them.

mod embedding_output;
mod functional;
mod gate_mean;
mod injected_document;
mod known_pairs;
mod leverage;
mod neuron_anchor;
mod row_norm;
mod sorted_row;
mod spectral;
mod value_norm;
mod weight_match;
mod weight_product;

use equicrypt_spec::ModelConfig;

use crate::evidence::{Attacker, Evidence, Guesses, NO_GUESS, Reader};
use crate::matrix::Matrix;
use crate::traffic::{self, LogAttack};
use crate::weights::Weights;
use crate::{Adversary, Error};

pub(crate) use value_norm::first_values;

/// An attack. What it is told is in the type of its function: the truth is in none.
pub struct Attack {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Who can run it.
    pub adversary: Adversary,
    /// What it does, in one line.
    pub about: &'static str,
    pub(crate) method: Method,
}

/// What an attack is told, and what it names.
#[derive(Clone, Copy)]
pub(crate) enum Method {
    /// Both checkpoints; names tokens.
    Weights(Study),
    /// The same with a few thousand plain ids to choose from, because running the models takes time.
    Choice(for<'a> fn(&'a Weights, &'a [u32]) -> Result<Attacker<'a>, Error>),
    /// The same with known pairs of ids, more and more.
    Pairs(Study),
    /// A document of the adversary's own choice inside a prompt, longer and longer.
    Document(Study),
    /// The first layer's values in a KV cache; names tokens.
    Values(for<'a> fn(&'a Weights) -> Result<Reader<'a>, Error>),
    /// Sentence embeddings of known texts, and with more and more of them known one by one; names texts.
    Embeddings(fn(&Matrix, &Matrix, usize) -> Guesses),
    /// Cipher ids alone, more and more; names tokens.
    Log(LogAttack),
    /// The same, with a language model as the judge.
    Oracle(LogAttack),
}

type Study = for<'a> fn(&'a Weights) -> Result<Attacker<'a>, Error>;

/// Every attack, in the order in which they are reported.
pub static ATTACKS: &[Attack] = &[
    Attack {
        name: "row-norm",
        adversary: Adversary::BaseModelHost,
        about: "the norms of embedding rows survive rotations",
        method: Method::Weights(row_norm::study),
    },
    Attack {
        name: "sorted-row",
        adversary: Adversary::BaseModelHost,
        about: "the sorted values of embedding rows survive permutations",
        method: Method::Weights(sorted_row::study),
    },
    Attack {
        name: "weight-product",
        adversary: Adversary::BaseModelHost,
        about: "products of embedding and gates cancel the hidden axis' secret",
        method: Method::Weights(weight_product::study),
    },
    Attack {
        name: "gate-mean",
        adversary: Adversary::BaseModelHost,
        about: "each layer's mean gate is one number a token",
        method: Method::Weights(gate_mean::study),
    },
    Attack {
        name: "leverage",
        adversary: Adversary::BaseModelHost,
        about: "statistical leverage survives every invertible map",
        method: Method::Weights(leverage::study),
    },
    Attack {
        name: "spectral",
        adversary: Adversary::BaseModelHost,
        about: "principal axes of the embedding, with signs by third moments",
        method: Method::Weights(spectral::study),
    },
    Attack {
        name: "neuron-anchor",
        adversary: Adversary::BaseModelHost,
        about: "one MLP gives the hidden axis' secret, exactly",
        method: Method::Weights(neuron_anchor::study),
    },
    Attack {
        name: "weight-match",
        adversary: Adversary::BaseModelHost,
        about: "neurons and hidden coordinates aligned by assignment",
        method: Method::Weights(weight_match::study),
    },
    Attack {
        name: "functional",
        adversary: Adversary::BaseModelHost,
        about: "both models answer constant prompts alike",
        method: Method::Choice(functional::study),
    },
    Attack {
        name: "known-pairs",
        adversary: Adversary::KnownPlaintextHost,
        about: "known tokens give the map of the embedding",
        method: Method::Pairs(known_pairs::study),
    },
    Attack {
        name: "injected-document",
        adversary: Adversary::KnownPlaintextReader,
        about: "a document of the adversary's own in an encrypted prompt",
        method: Method::Document(injected_document::study),
    },
    Attack {
        name: "value-norm",
        adversary: Adversary::CacheReader,
        about: "the norms of the first layer's values in a KV cache",
        method: Method::Values(value_norm::study),
    },
    Attack {
        name: "embedding-output",
        adversary: Adversary::CacheReader,
        about: "sentence embeddings keep all distances",
        method: Method::Embeddings(embedding_output::attack),
    },
    Attack {
        name: "frequency",
        adversary: Adversary::LogReader,
        about: "frequent ids are frequent tokens",
        method: Method::Log(traffic::frequency),
    },
    Attack {
        name: "cooccurrence",
        adversary: Adversary::LogReader,
        about: "ids are known by their neighbours",
        method: Method::Log(traffic::cooccurrence),
    },
    Attack {
        name: "template",
        adversary: Adversary::LogReader,
        about: "the chat template stands before every prompt",
        method: Method::Log(traffic::template),
    },
    Attack {
        name: "contest",
        adversary: Adversary::LogReader,
        about: "only the ids that are sure enough",
        method: Method::Log(traffic::contest),
    },
    Attack {
        name: "oracle",
        adversary: Adversary::LogReader,
        about: "a language model prefers the right ids",
        method: Method::Oracle(traffic::oracle),
    },
    Attack {
        name: "random-search",
        adversary: Adversary::LogReader,
        about: "the likeliest of random vocabularies",
        method: Method::Oracle(traffic::random_search),
    },
    Attack {
        name: "hill-climb",
        adversary: Adversary::LogReader,
        about: "random exchanges that a language model likes",
        method: Method::Oracle(traffic::hill_climb),
    },
];

impl Attack {
    /// The attack of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        ATTACKS.iter().find(|attack| attack.name == name)
    }

    /// Whether it makes sense on such a model.
    #[must_use]
    pub fn applies(&self, config: &ModelConfig) -> bool {
        let is_encoder = config.task.is_of_encoder();
        match self.method {
            Method::Values(_) => !is_encoder && config.latent.is_none(),
            Method::Embeddings(_) => is_encoder && config.sentence.is_some(),
            // Logs are text's, not a checkpoint's.
            Method::Log(_) | Method::Oracle(_) => false,
            _ => true,
        }
    }

    /// Of an attack on logs of cipher ids: what it is.
    #[must_use]
    pub fn on_logs(&self) -> Option<LogAttack> {
        match self.method {
            Method::Log(attack) | Method::Oracle(attack) => Some(attack),
            _ => None,
        }
    }

    /// Whether it asks a language model.
    #[must_use]
    pub fn wants_language(&self) -> bool {
        matches!(self.method, Method::Oracle(_))
    }
}

/// An attack that found nothing to work with.
fn none(seen: &Evidence<'_>) -> Guesses {
    no_guesses(seen.asked.len())
}

fn no_guesses(count: usize) -> Guesses {
    vec![NO_GUESS; count]
}

/// As many of the sorted values as `out` has places, evenly spread, with linear interpolation between neighbours.
fn resample(sorted: &[f32], out: &mut [f32]) {
    let Some(last) = sorted.len().checked_sub(1) else {
        return;
    };
    let step = last as f64 / out.len().saturating_sub(1).max(1) as f64;
    for (place, out) in out.iter_mut().enumerate() {
        let at = place as f64 * step;
        let below = (at as usize).min(last);
        let above = (below + 1).min(last);
        let share = (at - below as f64) as f32;
        *out = sorted[below] + (sorted[above] - sorted[below]) * share;
    }
}
