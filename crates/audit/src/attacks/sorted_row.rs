use crate::Error;
use crate::evidence::Attacker;
use crate::matrix::Matrix;
use crate::nearest;
use crate::weights::Weights;

/// sort |E'_c| = sort |E_i| for c = pi(i): a signed permutation of the hidden axis keeps which absolute values a row has. Each
/// row is taken for the one whose sorted absolute values are nearest.
///
/// Source: vocabulary matching, Thomas et al. 2025, arXiv 2505.18332.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let embedding = public.embedding()?;
    let columns = embedding.columns();
    let known = sorted(embedding, columns);
    Ok(Box::new(move |seen| {
        let rows = seen.weights.embedding()?.gather(seen.asked);
        Ok(nearest::by_distance(sorted(&rows, columns), &known))
    }))
}

/// The sorted absolute values of each row, resampled to `columns` of them.
fn sorted(rows: &Matrix, columns: usize) -> Matrix {
    Matrix::from_rows(rows.rows(), columns, |row, out| {
        let mut values: Vec<f32> = rows.row(row).iter().map(|value| value.abs()).collect();
        values.sort_unstable_by(f32::total_cmp);
        super::resample(&values, out);
    })
}
