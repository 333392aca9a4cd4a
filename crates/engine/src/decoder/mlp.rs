use std::panic::resume_unwind;
use std::thread;

use equicrypt_spec::{Experts, Scoring};

use super::model::Model;
use crate::Error;
use crate::kernel::{Real, activate, gate};
use crate::layers::{Linear, LinearId, Projection};

/// The neurons of a layer.
pub(super) enum Mlp<T> {
    /// One block for all tokens.
    Dense(Ffn),
    /// A mixture of experts.
    Sparse(Box<Sparse<T>>),
}

/// W_down (act(W_gate x) * W_up x), or W_down act(W_up x).
pub(super) struct Ffn {
    pub(super) gate_up: Box<dyn Linear>,
    pub(super) down: Box<dyn Linear>,
    pub(super) is_gated: bool,
    /// Neurons.
    pub(super) size: usize,
}

/// Experts, and the router that chooses among them.
pub(super) struct Sparse<T> {
    /// Whether every token visits every expert, so that who computes them does not see which ones count.
    pub(super) visits_all: bool,
    pub(super) router: Box<dyn Linear>,
    /// Added to the scores while experts are chosen.
    pub(super) router_bias: Option<Vec<T>>,
    pub(super) experts: Vec<Ffn>,
    pub(super) shared: Option<Shared>,
}

/// The expert that every token visits.
pub(super) struct Shared {
    pub(super) ffn: Ffn,
    /// The share of it that a token takes, before the logistic function; all of it without.
    pub(super) share: Option<Box<dyn Linear>>,
}

/// An expert that a token visits, and its share in the sum.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Visit<T> {
    expert: usize,
    share: T,
}

/// What of a mixture can be asked on its own.
#[derive(Debug, Clone, Copy)]
enum Part {
    Router,
    Expert(usize),
    Shared,
    SharedShare,
}

impl<T: Real> Model<T> {
    pub(super) fn mlp(&self, index: usize, mlp: &Mlp<T>, x: Vec<T>) -> Result<Vec<T>, Error> {
        let layer = Some(index);
        match mlp {
            Mlp::Dense(ffn) => {
                let ids = [Projection::GateUp.of(layer), Projection::Down.of(layer)];
                self.ffn(ffn, ids, x)
            }
            Mlp::Sparse(sparse) => self.sparse(index, sparse, x),
        }
    }

    fn ffn(&self, ffn: &Ffn, ids: [LinearId; 2], x: Vec<T>) -> Result<Vec<T>, Error> {
        let (width, size) = (self.config.hidden_size, ffn.size);
        let wide = if ffn.is_gated { 2 * size } else { size };
        let mut stacked = self.linear(&*ffn.gate_up, ids[0], x, width, wide)?;
        let neurons = if ffn.is_gated {
            gate(&stacked, size, self.config.activation)
        } else {
            activate(&mut stacked, self.config.activation);
            stacked
        };
        self.linear(&*ffn.down, ids[1], neurons, size, width)
    }

    fn sparse(&self, index: usize, sparse: &Sparse<T>, x: Vec<T>) -> Result<Vec<T>, Error> {
        let Some(experts) = &self.config.experts else {
            return Err(Error::missing_role(
                self.config.architecture.model_type,
                equicrypt_spec::Role::Router,
            ));
        };
        let part = |part| self.part(index, sparse, part, &x);
        let mut out = vec![T::zero(); x.len()];
        if sparse.visits_all {
            self.visit_all(sparse, experts, &part, &mut out)?;
        } else {
            let visits = visits(&part(Part::Router)?, sparse, experts);
            self.visit_chosen(index, sparse, &visits, &x, &mut out)?;
            if let Some(shared) = &sparse.shared {
                let answers = part(Part::Shared)?;
                let shares = shared.share.as_ref().map(|_| part(Part::SharedShare));
                self.add_shared(&answers, shares.transpose()?, &mut out);
            }
        }
        Ok(out)
    }

    /// What one part says of all tokens.
    fn part(&self, index: usize, sparse: &Sparse<T>, part: Part, x: &[T]) -> Result<Vec<T>, Error> {
        let (layer, width) = (Some(index), self.config.hidden_size);
        match (part, &sparse.shared) {
            (Part::Router, _) => {
                let (id, count) = (Projection::Router.of(layer), sparse.experts.len());
                self.linear(&*sparse.router, id, x.to_vec(), width, count)
            }
            (Part::Expert(expert), _) => {
                let ids = Projection::OF_EXPERT.map(|p| p.of_expert(layer, expert));
                self.ffn(&sparse.experts[expert], ids, x.to_vec())
            }
            (Part::Shared, Some(shared)) => {
                let ids = [Projection::SharedGateUp, Projection::SharedDown].map(|p| p.of(layer));
                self.ffn(&shared.ffn, ids, x.to_vec())
            }
            (
                Part::SharedShare,
                Some(Shared {
                    share: Some(share), ..
                }),
            ) => {
                let id = Projection::SharedShare.of(layer);
                self.linear(&**share, id, x.to_vec(), width, 1)
            }
            (Part::Shared | Part::SharedShare, _) => Ok(Vec::new()),
        }
    }

    /// Every token visits the experts that its router chooses.
    fn visit_chosen(
        &self,
        index: usize,
        sparse: &Sparse<T>,
        visits: &[Vec<Visit<T>>],
        x: &[T],
        out: &mut [T],
    ) -> Result<(), Error> {
        let width = self.config.hidden_size;
        for expert in 0..sparse.experts.len() {
            let visitors: Vec<_> = (visits.iter().enumerate())
                .filter_map(|(token, visits)| Some((token, share_of(visits, expert)?)))
                .collect();
            if visitors.is_empty() {
                continue;
            }
            let mut rows = Vec::with_capacity(visitors.len() * width);
            for (token, _) in &visitors {
                rows.extend_from_slice(&x[token * width..][..width]);
            }
            let answers = self.part(index, sparse, Part::Expert(expert), &rows)?;
            for ((token, share), answer) in visitors.iter().zip(answers.chunks_exact(width)) {
                add_scaled(&mut out[token * width..][..width], *share, answer);
            }
        }
        Ok(())
    }

    /// Every token visits every expert. All parts are asked at once and waited for together.
    fn visit_all(
        &self,
        sparse: &Sparse<T>,
        experts: &Experts,
        part: &(dyn Fn(Part) -> Result<Vec<T>, Error> + Sync),
        out: &mut [T],
    ) -> Result<(), Error> {
        let width = self.config.hidden_size;
        let shared = sparse.shared.iter().flat_map(|shared| {
            let share = shared.share.as_ref().map(|_| Part::SharedShare);
            [Some(Part::Shared), share].into_iter().flatten()
        });
        let parts: Vec<Part> = [Part::Router]
            .into_iter()
            .chain((0..sparse.experts.len()).map(Part::Expert))
            .chain(shared)
            .collect();
        let answers = at_once(&parts, |wanted| part(*wanted));
        let mut answers = answers.into_iter();
        let mut next = || answers.next().transpose();
        let visits = visits(&next()?.unwrap_or_default(), sparse, experts);
        for expert in 0..sparse.experts.len() {
            let answer = next()?.unwrap_or_default();
            let rows = out.chunks_exact_mut(width).zip(answer.chunks_exact(width));
            for ((row, answer), visits) in rows.zip(&visits) {
                if let Some(share) = share_of(visits, expert) {
                    add_scaled(row, share, answer);
                }
            }
        }
        if let Some(answers) = next()? {
            self.add_shared(&answers, next()?, out);
        }
        Ok(())
    }

    /// Adds what the shared expert says, times the share that a token takes of it.
    fn add_shared(&self, answers: &[T], shares: Option<Vec<T>>, out: &mut [T]) {
        let width = self.config.hidden_size;
        let rows = out.chunks_exact_mut(width).zip(answers.chunks_exact(width));
        for (token, (row, answer)) in rows.enumerate() {
            let share = shares.as_ref().and_then(|shares| shares.get(token));
            add_scaled(
                row,
                share.map_or(T::one(), |share| logistic(*share)),
                answer,
            );
        }
    }
}

/// What the answers to all parts are, in their order. A thread for each: they wait for somebody else, not for this machine.
fn at_once<P: Sync, R: Send>(parts: &[P], ask: impl Fn(&P) -> R + Sync) -> Vec<R> {
    let mut answers = Vec::with_capacity(parts.len());
    for parts in parts.chunks(MOST_AT_ONCE) {
        thread::scope(|scope| {
            let ask = &ask;
            let asked: Vec<_> = (parts.iter())
                .map(|part| scope.spawn(move || ask(part)))
                .collect();
            for asked in asked {
                answers.push(asked.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
        });
    }
    answers
}

/// Which experts each token visits, by what the router says.
fn visits<T: Real>(scores: &[T], sparse: &Sparse<T>, experts: &Experts) -> Vec<Vec<Visit<T>>> {
    scores
        .chunks_exact(experts.count)
        .map(|row| route(row, sparse.router_bias.as_deref(), experts))
        .collect()
}

fn share_of<T: Real>(visits: &[Visit<T>], expert: usize) -> Option<T> {
    let visit = visits.iter().find(|visit| visit.expert == expert);
    visit.map(|visit| visit.share)
}

/// The experts for a token whose router says `numbers`.
fn route<T: Real>(numbers: &[T], bias: Option<&[T]>, experts: &Experts) -> Vec<Visit<T>> {
    let scores: Vec<T> = match experts.scoring {
        Scoring::Softmax => {
            let max = numbers.iter().fold(numbers[0], |max, x| max.larger(*x));
            let powers: Vec<T> = numbers.iter().map(|x| (*x - max).exp()).collect();
            let sum = total(&powers);
            powers.into_iter().map(|power| power / sum).collect()
        }
        Scoring::Sigmoid => numbers.iter().map(|x| logistic(*x)).collect(),
    };
    let mut choice = scores.clone();
    if let Some(bias) = bias {
        for (choice, bias) in choice.iter_mut().zip(bias) {
            *choice += *bias;
        }
    }
    let size = experts.count / experts.groups;
    let worth: Vec<T> = choice
        .chunks_exact(size)
        .map(|group| {
            let counted = match experts.scoring {
                Scoring::Softmax => 1,
                Scoring::Sigmoid => 2,
            };
            total(&best(group, counted).map(|i| group[i]).collect::<Vec<_>>())
        })
        .collect();
    let groups: Vec<usize> = best(&worth, experts.groups_per_token).collect();
    let open: Vec<usize> = groups
        .into_iter()
        .flat_map(|group| group * size..(group + 1) * size)
        .collect();
    let open_choice: Vec<T> = open.iter().map(|expert| choice[*expert]).collect();
    let chosen: Vec<usize> = best(&open_choice, experts.per_token)
        .map(|place| open[place])
        .collect();
    let mut factor = T::from_f64(experts.scale);
    if experts.normalise {
        let sum = total(
            &chosen
                .iter()
                .map(|expert| scores[*expert])
                .collect::<Vec<_>>(),
        );
        factor = factor / sum;
    }
    chosen
        .into_iter()
        .map(|expert| Visit {
            expert,
            share: scores[expert] * factor,
        })
        .collect()
}

/// The places of the `count` largest values, largest first, the first of equal ones before the others.
fn best<T: Real>(values: &[T], count: usize) -> impl Iterator<Item = usize> + use<T> {
    let mut places: Vec<usize> = (0..values.len()).collect();
    places.sort_by(|a, b| {
        let order = values[*b].partial_cmp(&values[*a]);
        order.unwrap_or(std::cmp::Ordering::Equal)
    });
    places.truncate(count);
    places.into_iter()
}

fn total<T: Real>(values: &[T]) -> T {
    let mut sum = T::zero();
    for value in values {
        sum += *value;
    }
    sum
}

fn logistic<T: Real>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

fn add_scaled<T: Real>(out: &mut [T], share: T, x: &[T]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = x.mul_add(share, *out);
    }
}

/// Threads that wait at the same time.
const MOST_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn experts(scoring: Scoring) -> Experts {
        Experts {
            count: 6,
            per_token: 2,
            ffn_size: 1,
            shared_ffn_size: 0,
            scoring,
            normalise: true,
            scale: 2.0,
            groups: 3,
            groups_per_token: 1,
        }
    }

    #[test]
    fn groups_are_judged_by_their_best_or_their_best_two() {
        let numbers = [3.0, -9.0, 2.5, 2.0, 0.0, 1.0];
        let chosen = |scoring| -> Vec<usize> {
            let visits = route::<f64>(&numbers, None, &experts(scoring));
            let sum: f64 = visits.iter().map(|visit| visit.share).sum();
            assert!((sum - 2.0).abs() < 1e-12);
            visits.iter().map(|visit| visit.expert).collect()
        };
        assert_eq!(chosen(Scoring::Softmax), [0, 1]);
        assert_eq!(chosen(Scoring::Sigmoid), [2, 3]);
    }

    #[test]
    fn a_bias_chooses_but_does_not_count() {
        let mut experts = experts(Scoring::Sigmoid);
        (experts.groups, experts.normalise) = (1, false);
        let bias = [0.0, 0.0, 0.0, 0.0, 5.0, 5.0];
        let visits = route::<f64>(&[3.0, 2.0, 1.0, 0.0, 0.0, 0.0], Some(&bias), &experts);
        let visit = |expert| Visit { expert, share: 1.0 };
        assert_eq!(visits, [visit(4), visit(5)]);
    }
}
