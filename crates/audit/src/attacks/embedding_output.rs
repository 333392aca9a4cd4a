use faer::Mat;

use crate::algebra::{eigen, gram, map, procrustes, third_moments};
use crate::evidence::Guesses;
use crate::matrix::Matrix;
use crate::nearest;

/// c_t = M x_t with an isometry M for the sentence embedding x_t of text t: all distances are kept. From `known` texts M follows
/// by orthogonal Procrustes; from none, by matching the principal axes of both clouds, with signs by third moments. Each
/// encrypted embedding is then taken for the text whose public embedding is nearest.
///
/// The first `known` rows of both belong together. For each row of `encrypted` the row of `public` that it is taken for.
///
/// Sources: Schönemann 1966; Liu, Giannella and Kargupta, PKDD 2006.
pub(super) fn attack(public: &Matrix, encrypted: &Matrix, known: usize) -> Guesses {
    let told: Vec<u32> = (0..known as u32).collect();
    let maps = match known {
        0 => axes(public).zip(axes(encrypted)),
        _ => procrustes(&public.gather(&told), &encrypted.gather(&told)).map(|[a, b]| (a, b)),
    };
    let Some((ours, theirs)) = maps else {
        return super::no_guesses(encrypted.rows());
    };
    let ours = map(public, ours.as_ref());
    nearest::by_cosine(map(encrypted, theirs.as_ref()), &ours)
}

fn axes(rows: &Matrix) -> Option<Mat<f64>> {
    let (_, vectors) = eigen(&gram(rows))?;
    let moments = third_moments(&map(rows, vectors.as_ref()));
    let signed = |i, j| vectors[(i, j)] * moments[j].signum();
    Some(Mat::from_fn(vectors.nrows(), vectors.ncols(), signed))
}
