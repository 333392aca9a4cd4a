//! The linear assignment problem.

/// The permutation p that maximises sum_i gain[i, p(i)] of a square matrix in row-major order, by shortest augmenting paths
/// with potentials: O(n^3) at worst.
///
/// Source: Jonker and Volgenant, Computing 38 (1987); the form with one search a row.
pub(crate) fn assignment(gain: &[f32], size: usize) -> Vec<u32> {
    assert_eq!(gain.len(), size * size);
    let cost = |row: usize, column: usize| -f64::from(gain[row * size + column]);
    let mut of_row = vec![0.0; size];
    let mut of_column: Vec<f64> = (0..size)
        .map(|column| {
            let costs = (0..size).map(|row| cost(row, column));
            costs.fold(f64::INFINITY, f64::min)
        })
        .collect();
    let mut row_of: Vec<Option<usize>> = vec![None; size];
    let mut distance = vec![0.0; size];
    let mut from = vec![0; size];
    for start in 0..size {
        let mut open: Vec<usize> = (0..size).collect();
        let mut closed: Vec<usize> = Vec::new();
        distance.fill(f64::INFINITY);
        let (mut row, mut least) = (start, 0.0);
        let end = loop {
            let mut next = (f64::INFINITY, 0);
            for (place, column) in open.iter().copied().enumerate() {
                let reduced = cost(row, column) - of_row[row] - of_column[column];
                if least + reduced < distance[column] {
                    distance[column] = least + reduced;
                    from[column] = row;
                }
                if distance[column] < next.0 {
                    next = (distance[column], place);
                }
            }
            least = next.0;
            let column = open.swap_remove(next.1);
            closed.push(column);
            match row_of[column] {
                Some(taken) => row = taken,
                None => break column,
            }
        };
        of_row[start] += least;
        for column in closed {
            let step = least - distance[column];
            of_column[column] -= step;
            if let Some(row) = row_of[column] {
                of_row[row] += step;
            }
        }
        let mut column = end;
        loop {
            let row = from[column];
            let before = row_of.iter().position(|taken| *taken == Some(row));
            row_of[column] = Some(row);
            match before {
                Some(before) if row != start => column = before,
                _ => break,
            }
        }
    }
    let mut assigned = vec![0; size];
    for (column, row) in row_of.iter().enumerate() {
        if let Some(row) = row {
            assigned[*row] = column as u32;
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(gain: &[f32], size: usize, of: &[u32]) -> f64 {
        let pairs = of.iter().enumerate();
        pairs
            .map(|(row, column)| f64::from(gain[row * size + *column as usize]))
            .sum()
    }

    fn permutations(size: usize) -> Vec<Vec<u32>> {
        if size == 0 {
            return vec![vec![]];
        }
        let shorter = permutations(size - 1);
        let places = (0..size).flat_map(|place| shorter.iter().map(move |p| (place, p)));
        places
            .map(|(place, p)| {
                let mut longer = p.clone();
                longer.insert(place, size as u32 - 1);
                longer
            })
            .collect()
    }

    proptest! {
        #[test]
        fn no_permutation_gains_more(
            (size, gain) in (1usize..7).prop_flat_map(|size| {
                (Just(size), prop::collection::vec(-5i8..5, size * size))
            }),
        ) {
            let gain: Vec<f32> = gain.into_iter().map(f32::from).collect();
            let found = assignment(&gain, size);
            let mut sorted = found.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..size as u32).collect::<Vec<_>>());
            let best = permutations(size).iter().map(|p| total(&gain, size, p)).fold(f64::MIN, f64::max);
            prop_assert!((total(&gain, size, &found) - best).abs() < 1e-9);
        }
    }
}
