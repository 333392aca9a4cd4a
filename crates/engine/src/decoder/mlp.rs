use equicrypt_spec::{Experts, Scoring};

use super::model::Model;
use crate::Error;
use crate::kernel::{Real, activate, gate};
use crate::layers::{Asked, Linear, LinearId, Projection, ask};

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
        let [up, down] = self.sizes(ffn);
        let stacked = self.linear(&*ffn.gate_up, ids[0], x, up[0], up[1])?;
        let neurons = self.neurons(ffn, stacked);
        self.linear(&*ffn.down, ids[1], neurons, down[0], down[1])
    }

    /// What goes into and comes out of both linear layers.
    fn sizes(&self, ffn: &Ffn) -> [[usize; 2]; 2] {
        let (width, size) = (self.config.hidden_size, ffn.size);
        let wide = if ffn.is_gated { 2 * size } else { size };
        [[width, wide], [size, width]]
    }

    fn neurons(&self, ffn: &Ffn, mut stacked: Vec<T>) -> Vec<T> {
        if ffn.is_gated {
            return gate(&stacked, ffn.size, self.config.activation);
        }
        activate(&mut stacked, self.config.activation);
        stacked
    }

    fn sparse(&self, index: usize, sparse: &Sparse<T>, x: Vec<T>) -> Result<Vec<T>, Error> {
        let Some(experts) = &self.config.experts else {
            return Err(Error::missing_role(
                self.config.architecture.model_type,
                equicrypt_spec::Role::Router,
            ));
        };
        let mut out = vec![T::zero(); x.len()];
        if sparse.visits_all {
            self.visit_all(index, sparse, experts, &x, &mut out)?;
        } else {
            self.visit_chosen(index, sparse, experts, x, &mut out)?;
        }
        Ok(out)
    }

    /// Every token visits the experts that its router chooses.
    fn visit_chosen(
        &self,
        index: usize,
        sparse: &Sparse<T>,
        experts: &Experts,
        x: Vec<T>,
        out: &mut [T],
    ) -> Result<(), Error> {
        let (layer, width) = (Some(index), self.config.hidden_size);
        let id = Projection::Router.of(layer);
        let scores = self.linear(&*sparse.router, id, x.clone(), width, experts.count)?;
        let visits = visits(&scores, sparse, experts);
        for (expert, ffn) in sparse.experts.iter().enumerate() {
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
            let answers = self.ffn(ffn, ids_of_expert(layer, expert), rows)?;
            for ((token, share), answer) in visitors.iter().zip(answers.chunks_exact(width)) {
                add_scaled(&mut out[token * width..][..width], *share, answer);
            }
        }
        if let Some(shared) = &sparse.shared {
            let answers = self.ffn(&shared.ffn, ids_of_shared(layer), x.clone())?;
            let id = Projection::SharedShare.of(layer);
            let share = shared.share.as_deref();
            let shares = share.map(|share| self.linear(share, id, x, width, 1));
            self.add_shared(&answers, shares.transpose()?, out);
        }
        Ok(())
    }

    /// Every token visits every expert. What is computed elsewhere is asked in an order that says nothing of the tokens, and all of
    /// it before any answer is waited for: two round trips, however many experts there are.
    fn visit_all(
        &self,
        index: usize,
        sparse: &Sparse<T>,
        experts: &Experts,
        x: &[T],
        out: &mut [T],
    ) -> Result<(), Error> {
        let (layer, width) = (Some(index), self.config.hidden_size);
        let shared = sparse.shared.as_ref();
        let blocks: Vec<(&Ffn, [LinearId; 2])> = (sparse.experts.iter().enumerate())
            .map(|(expert, ffn)| (ffn, ids_of_expert(layer, expert)))
            .chain(shared.map(|shared| (&shared.ffn, ids_of_shared(layer))))
            .collect();

        let id = Projection::Router.of(layer);
        let router = ask(&*sparse.router, id, x.to_vec(), [width, experts.count])?;
        let id = Projection::SharedShare.of(layer);
        let share = shared.and_then(|shared| shared.share.as_deref());
        let share = share.map(|share| ask(share, id, x.to_vec(), [width, 1]));
        let share = share.transpose()?;
        let mut stacked = Vec::with_capacity(blocks.len());
        for (ffn, ids) in &blocks {
            let [up, _] = self.sizes(ffn);
            stacked.push(ask(&*ffn.gate_up, ids[0], x.to_vec(), up)?);
        }

        let visits = visits(&router.wait::<T>()?, sparse, experts);
        let shares = share.map(Asked::wait).transpose()?;
        let mut answers = Vec::with_capacity(blocks.len());
        for ((ffn, ids), stacked) in blocks.iter().zip(stacked) {
            let neurons = self.neurons(ffn, stacked.wait()?);
            let [_, down] = self.sizes(ffn);
            answers.push(ask(&*ffn.down, ids[1], neurons, down)?);
        }

        let mut answers = answers.into_iter();
        for expert in 0..sparse.experts.len() {
            let answer: Vec<T> = answers.next().map_or(Ok(Vec::new()), Asked::wait)?;
            let rows = out.chunks_exact_mut(width).zip(answer.chunks_exact(width));
            for ((row, answer), visits) in rows.zip(&visits) {
                if let Some(share) = share_of(visits, expert) {
                    add_scaled(row, share, answer);
                }
            }
        }
        if let Some(answers) = answers.next() {
            self.add_shared(&answers.wait::<T>()?, shares, out);
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

fn ids_of_expert(layer: Option<usize>, expert: usize) -> [LinearId; 2] {
    Projection::OF_EXPERT.map(|projection| projection.of_expert(layer, expert))
}

fn ids_of_shared(layer: Option<usize>) -> [LinearId; 2] {
    [Projection::SharedGateUp, Projection::SharedDown].map(|projection| projection.of(layer))
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
