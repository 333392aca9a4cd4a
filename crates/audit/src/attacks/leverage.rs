use faer::Mat;

use crate::Error;
use crate::algebra::{gram, leverages};
use crate::evidence::Attacker;
use crate::matrix::Matrix;
use crate::nearest::{self, Standard};
use crate::weights::Weights;

/// e (A^T A)^-1 e^T for each row e of E, with A = E and with A = W for the gates W of some layers: whatever invertible map acts
/// on the hidden axis cancels, and the order of A's rows does not matter. All numbers together are compared.
///
/// Source: Lin et al., EMNLP 2024 (statistical leverage as an invariant of permuted transformers).
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let layers = public.some_layers(LAYERS);
    let numbers = all(public, public.embedding()?, &layers)?;
    let standard = Standard::of(&numbers);
    let known = standard.bring(numbers);
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        let numbers = all(seen.weights, &rows, &layers)?;
        Ok(nearest::by_distance(standard.bring(numbers), &known))
    }))
}

fn all(weights: &Weights, rows: &Matrix, layers: &[usize]) -> Result<Matrix, Error> {
    let mut columns = vec![column(rows, &gram(weights.embedding()?))];
    for layer in layers {
        if let Some(gates) = weights.gates(*layer)? {
            columns.push(column(rows, &gram(&gates)));
        }
    }
    Ok(Matrix::beside(&columns))
}

/// Zeros where fewer vectors than coordinates leave nothing to invert.
fn column(rows: &Matrix, gram: &Mat<f64>) -> Matrix {
    let values = leverages(rows, gram).unwrap_or_else(|| vec![0.0; rows.rows()]);
    Matrix::new(
        1,
        values
            .into_iter()
            .map(|value| value.ln_1p() as f32)
            .collect(),
    )
}

const LAYERS: usize = 4;
