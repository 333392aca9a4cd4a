//! A wider residual stream: x' = Q [x, 0] with a secret isometry Q.
//!
//! With d coordinates made d' the mean square of x' is d / d' times that of x. So RMSNorm with epsilon' = epsilon d / d'
//! gives sqrt(d' / d) times what it gave, and what reads it is multiplied by sqrt(d / d'): exact, whatever x is.

use equicrypt_spec::{Axis, Expansion, Mix, ModelConfig};

use crate::Error;
use crate::encrypt::Options;

/// Adds `options.expand` coordinates to the residual stream of a model that is to be encrypted. Refuses where the profile or
/// the architecture does not allow it, or a stock engine would not load the result.
pub(crate) fn widen(target: &mut ModelConfig, options: &Options) -> Result<(), Error> {
    if options.expand == 0 {
        return Ok(());
    }
    let arch = target.architecture;
    let refuse = |reason: String| Err(Error::Expand { reason });
    let group = arch.group(Axis::Hidden, target, options.profile);
    if group.mix != Mix::Orthogonal {
        return refuse(format!(
            "the {} profile only permutes the hidden coordinates of a {} model, and added ones would be zero for all to \
             see; use --profile rotate with an architecture whose norms stand before each block",
            options.profile.name(),
            arch.model_type,
        ));
    }
    if options.expand > target.hidden_size {
        return refuse(format!(
            "expected at most {}, as many coordinates as there are, found {}",
            target.hidden_size, options.expand
        ));
    }
    let wider = target.hidden_size + options.expand;
    match arch.expansion() {
        Expansion::Free => {}
        Expansion::MultipleOfHeads if wider.is_multiple_of(target.heads) => {}
        Expansion::MultipleOfHeads => {
            let heads = target.heads;
            return refuse(format!(
                "transformers loads a {} model only if its hidden size is a multiple of its {heads} heads; {} + {} is not, \
                 use --expand {}",
                arch.model_type,
                target.hidden_size,
                options.expand,
                wider.next_multiple_of(heads) - target.hidden_size,
            ));
        }
        Expansion::No(reason) => return refuse(reason.to_owned()),
    }
    let narrow = target.hidden_size as f64;
    target.hidden_size = wider;
    target.norm_epsilon *= narrow / wider as f64;
    Ok(())
}

/// d / d'.
pub(crate) fn ratio(source: &ModelConfig, target: &ModelConfig) -> f64 {
    source.hidden_size as f64 / target.hidden_size as f64
}
