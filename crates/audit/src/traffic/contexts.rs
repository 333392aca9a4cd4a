//! What stands beside each id.

use rayon::prelude::*;

use super::corpus::Corpus;

/// Labels of ids: neighbours of one label are counted together.
pub(super) struct Labels {
    /// Of each id, below [`Labels::END`].
    pub(super) of: Vec<u32>,
}

/// ln (P(label | id) / P(label)) of some ids, at one distance; labels count from 0, the last one for the ends of messages.
///
/// Most labels never stand beside an id, and then it does not matter which: only what others say more is kept of each label.
pub(super) struct Evidence {
    /// Of each id, for a label that never stands beside it.
    never: Vec<f32>,
    /// Of each label the places of the ids it stands beside, and by how much the value is above the id's `never`.
    above: Vec<Vec<(u32, f32)>>,
}

impl Evidence {
    /// Of what stands `distance` behind (or, negative, before) each of `ids` in `text`, in `labels` kinds; P(label | id) is
    /// smoothed by `strength` occurrences of P(label).
    pub(super) fn new(
        text: &Corpus,
        ids: &[u32],
        labels: &Labels,
        kinds: usize,
        distance: isize,
        strength: f64,
    ) -> Self {
        let mut beside: Vec<Vec<u32>> = vec![Vec::new(); kinds + 1];
        let mut all = vec![0.0f64; ids.len()];
        each_neighbour(text, ids, labels, kinds, distance, |place, label| {
            beside[label as usize].push(place);
            all[place as usize] += 1.0;
        });
        let total: f64 = all.iter().sum::<f64>().max(1.0);
        let never = |n: &f64| (strength / (n + strength)).ln();
        let above = beside.into_par_iter().map(|places| {
            let share = (places.len() as f64 + 0.1) / total;
            let mut counts = counted(places);
            for (place, value) in &mut counts {
                let n = all[*place as usize];
                let smoothed = (f64::from(*value) + strength * share) / (n + strength);
                *value = ((smoothed / share).ln() - never(&n)) as f32;
            }
            counts
        });
        Self {
            above: above.collect(),
            never: all.iter().map(|n| never(n) as f32).collect(),
        }
    }
}

/// Neighbours of some ids in a log: of each the labels that occur, and how often.
pub(super) struct Neighbours {
    of: Vec<Vec<(u32, f32)>>,
}

impl Neighbours {
    pub(super) fn count(
        text: &Corpus,
        ids: &[u32],
        labels: &Labels,
        kinds: usize,
        distance: isize,
    ) -> Self {
        let mut seen: Vec<Vec<u32>> = vec![Vec::new(); ids.len()];
        each_neighbour(text, ids, labels, kinds, distance, |place, label| {
            seen[place as usize].push(label);
        });
        Self {
            of: seen.into_par_iter().map(counted).collect(),
        }
    }

    /// `scores` += `weight` x counts x evidence for one of the ids, a score for each id of the evidence.
    pub(super) fn add_likelihood(
        &self,
        place: usize,
        evidence: &Evidence,
        weight: f32,
        scores: &mut [f32],
    ) {
        let labels = &self.of[place];
        let all: f32 = labels.iter().map(|(_, count)| count).sum();
        for (score, never) in scores.iter_mut().zip(&evidence.never) {
            *score += weight * all * never;
        }
        for (label, count) in labels {
            for (place, above) in &evidence.above[*label as usize] {
                scores[*place as usize] += weight * count * above;
            }
        }
    }
}

/// Each value once, and how often it is there.
fn counted(mut values: Vec<u32>) -> Vec<(u32, f32)> {
    values.sort_unstable();
    let same = values.chunk_by(|a, b| a == b);
    same.map(|run| (run[0], run.len() as f32)).collect()
}

/// Calls `visit` with the place in `ids` and the label of the neighbour for each occurrence.
fn each_neighbour(
    text: &Corpus,
    ids: &[u32],
    labels: &Labels,
    kinds: usize,
    distance: isize,
    mut visit: impl FnMut(u32, u32),
) {
    let mut place_of = vec![u32::MAX; labels.of.len()];
    for (place, id) in (0u32..).zip(ids) {
        place_of[*id as usize] = place;
    }
    for message in text.messages() {
        for (place, id) in message.iter().enumerate() {
            let Some(of_id) = place_of
                .get(*id as usize)
                .filter(|of_id| **of_id != u32::MAX)
            else {
                continue;
            };
            let beside = place
                .checked_add_signed(distance)
                .and_then(|place| message.get(place))
                .and_then(|beside| labels.of.get(*beside as usize));
            visit(*of_id, beside.map_or(kinds as u32, |label| *label));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_what_an_occurrence_says() {
        let text = Corpus::of([&[0, 1, 0, 1, 0, 2][..]]);
        let labels = Labels { of: vec![0, 1, 1] };
        let evidence = Evidence::new(&text, &[0, 1], &labels, 2, 1, 2.0);
        // Behind 0 stand two ones and a two, label 1; behind 1 stand two zeros.
        let shares = [2.1 / 5.0, 3.1 / 5.0, 0.1 / 5.0];
        let expected = |count: f64, n: f64, label: usize| {
            ((count + 2.0 * shares[label]) / (n + 2.0) / shares[label]).ln() as f32
        };
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} {b}");
        let at = |label: usize, place: u32| {
            let known = evidence.above[label].iter().find(|one| one.0 == place);
            evidence.never[place as usize] + known.map_or(0.0, |one| one.1)
        };
        close(at(0, 0), expected(0.0, 3.0, 0));
        close(at(1, 0), expected(3.0, 3.0, 1));
        close(at(0, 1), expected(2.0, 2.0, 0));
        close(at(2, 1), expected(0.0, 2.0, 2));
        let seen = Neighbours::count(&text, &[1, 2], &labels, 2, 1);
        assert_eq!(seen.of, [vec![(0, 2.0)], vec![(2, 1.0)]]);
        let mut scores = vec![1.0; 2];
        seen.add_likelihood(0, &evidence, 0.5, &mut scores);
        close(scores[1], 1.0 + at(0, 1));
        let mut scores = vec![1.0; 2];
        seen.add_likelihood(1, &evidence, 0.5, &mut scores);
        close(scores[0], 1.0 + 0.5 * at(2, 0));
    }
}
