use faer::Mat;

use crate::Error;
use crate::algebra::{eigen, gram, map, third_moments};
use crate::evidence::Attacker;
use crate::matrix::Matrix;
use crate::nearest;
use crate::weights::Weights;

/// E'^T E' = M^T (E^T E) M for an isometry M of the hidden axis: the same eigenvalues, and eigenvectors V' = M^T V up to signs,
/// which the third moments of E V and E' V' tell. E V and E' V' have the same rows, but for their order.
///
/// Sources: Liu, Giannella and Kargupta, PKDD 2006, on the principal components of rotated data.
pub(super) fn study(public: &Weights) -> Result<Attacker<'_>, Error> {
    let embedding = public.embedding()?;
    let known = eigenvectors(embedding, embedding.columns()).map(|v| map(embedding, v.as_ref()));
    Ok(Box::new(move |seen| {
        let embedding = seen.weights.embedding()?;
        let vectors = known
            .as_ref()
            .and_then(|known| eigenvectors(embedding, known.columns()));
        let (Some(known), Some(vectors)) = (&known, vectors) else {
            return Ok(super::none(seen));
        };
        let rows = map(&embedding.gather(seen.asked), vectors.as_ref());
        Ok(nearest::by_distance(rows, known))
    }))
}

/// The eigenvectors of the `count` largest eigenvalues, so signed that the third moment along each is positive.
fn eigenvectors(embedding: &Matrix, count: usize) -> Option<Mat<f64>> {
    let (_, vectors) = eigen(&gram(embedding))?;
    let vectors = vectors.subcols(0, count.min(vectors.ncols())).to_owned();
    let moments = third_moments(&map(embedding, vectors.as_ref()));
    Some(Mat::from_fn(vectors.nrows(), vectors.ncols(), |i, j| {
        vectors[(i, j)] * moments[j].signum()
    }))
}
