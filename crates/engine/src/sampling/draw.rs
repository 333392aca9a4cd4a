use equicrypt_spec::wire::SamplingParams;

use super::{Candidate, rng::Rng};

/// Draws id i with probability w_i / sum(w), w_i = exp((l_i - max l) / T), among the ids that the
/// filters keep, applied in this order: w_i >= `min_p`; the `top_k` likeliest; the fewest likeliest
/// whose weights reach `top_p` of the sum. None if there is nothing to draw.
pub(super) fn draw(
    mut left: Vec<Candidate>,
    params: &SamplingParams,
    rng: &mut Rng,
) -> Option<u32> {
    let top = left
        .iter()
        .map(|candidate| candidate.logit)
        .fold(f64::NEG_INFINITY, f64::max);
    let weight = move |candidate: &Candidate| ((candidate.logit - top) / params.temperature).exp();
    left.retain(|candidate| {
        candidate.logit > f64::NEG_INFINITY
            && (params.min_p == 0.0 || weight(candidate) >= params.min_p)
    });
    let kept = match usize::try_from(params.top_k) {
        Ok(k) if k > 0 => k.min(left.len()),
        _ => left.len(),
    };
    let mut ranked = Ranked::new(left);
    let all = if kept == ranked.items.len() {
        ranked.items.iter().map(weight).sum()
    } else {
        (0..kept)
            .filter_map(|rank| ranked.at(rank))
            .map(|candidate| weight(&candidate))
            .sum()
    };
    let mass = if params.top_p < 1.0 {
        ranked.mass_until(kept, weight, |mass| mass >= params.top_p * all)
    } else {
        all
    };
    let target = rng.unit() * mass;
    let mut passed = 0.0;
    let mut last = None;
    for rank in 0..kept {
        let Some(candidate) = ranked.at(rank) else {
            break;
        };
        let weight = weight(&candidate);
        // The first and last conditions are for a target that rounding put past what the walk
        // adds up to.
        if weight == 0.0 {
            break;
        }
        passed += weight;
        last = Some(candidate.id);
        if passed > target || passed >= mass {
            break;
        }
    }
    last
}

/// Candidates from the likeliest down, sorted only as far as anybody looks: most draws end
/// among the first few.
struct Ranked {
    items: Vec<Candidate>,
    sorted: usize,
}

impl Ranked {
    fn new(items: Vec<Candidate>) -> Self {
        Self { items, sorted: 0 }
    }

    fn at(&mut self, rank: usize) -> Option<Candidate> {
        while rank >= self.sorted && self.sorted < self.items.len() {
            let rest = self.items.get_mut(self.sorted..)?;
            let block = rest.len().min(FIRST_BLOCK.max(7 * self.sorted));
            if block < rest.len() {
                rest.select_nth_unstable_by(block, Candidate::order);
            }
            rest.get_mut(..block)?.sort_unstable_by(Candidate::order);
            self.sorted += block;
        }
        self.items.get(rank).copied()
    }

    fn mass_until(
        &mut self,
        kept: usize,
        weight: impl Fn(&Candidate) -> f64,
        enough: impl Fn(f64) -> bool,
    ) -> f64 {
        let mut mass = 0.0;
        for rank in 0..kept {
            let Some(candidate) = self.at(rank) else {
                break;
            };
            mass += weight(&candidate);
            if enough(mass) {
                break;
            }
        }
        mass
    }
}

const FIRST_BLOCK: usize = 64;
