use crate::Error;
use crate::kernel::{Packed, Real};
use crate::layers::{Linear, LinearId, apply};

/// y = W x + b in an encoder.
pub(super) enum Affine<T> {
    /// Computed here.
    Here(Packed<T>),
    /// Computed elsewhere, for as many vectors as possible at once.
    Elsewhere {
        id: LinearId,
        linear: Box<dyn Linear>,
        /// Its input's and its output's.
        sizes: [usize; 2],
    },
}

impl<T: Real> Affine<T> {
    /// Numbers in y.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Here(packed) => packed.outputs(),
            Self::Elsewhere { sizes, .. } => sizes[1],
        }
    }

    /// y = W x + b, or y += W x + b; on this thread alone if it is computed here.
    pub(super) fn apply(&self, x: &[T], y: &mut [T], adds: bool) -> Result<(), Error> {
        match self {
            Self::Here(packed) => packed.apply(x, y, adds),
            Self::Elsewhere { id, linear, sizes } => {
                let answers = apply(&**linear, *id, x.to_vec(), *sizes)?;
                for (y, answer) in y.iter_mut().zip(answers) {
                    *y = if adds { *y + answer } else { answer };
                }
            }
        }
        Ok(())
    }

    /// y = W x + b on all cores.
    pub(super) fn apply_to_all(&self, x: &[T]) -> Result<Vec<T>, Error> {
        match self {
            Self::Here(packed) => packed.apply_to_all(x),
            Self::Elsewhere { id, linear, sizes } => apply(&**linear, *id, x.to_vec(), *sizes),
        }
    }
}
