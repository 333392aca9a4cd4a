use equicrypt_spec::{Pooling, Task};

use super::affine::Affine;
use super::model::Model;
use super::text::{Part, Rows};
use crate::Error;
use crate::kernel::{Real, activate};
use crate::layers::Norm;

/// What stands behind the last layer.
pub(super) struct Head<T> {
    /// Reads hidden states, or what pools them.
    pub(super) dense: Option<Affine<T>>,
    pub(super) norm: Option<Norm<T>>,
    /// Labels, or logits of tokens.
    pub(super) last: Option<Affine<T>>,
    /// Behind the pooling of a sentence embedding.
    pub(super) sentence_dense: Option<Affine<T>>,
}

impl<T: Real> Model<T> {
    /// Refuses what the model does not have.
    pub(super) fn offers(&self, part: Part) -> Result<(), Error> {
        let has = match part {
            Part::TokenVectors => true,
            Part::Pooled => self.config.task == Task::Features && self.head.dense.is_some(),
            Part::Answer => self.config.task != Task::Features || self.config.sentence.is_some(),
        };
        match (has, part) {
            (true, _) => Ok(()),
            (false, Part::Pooled) => Err(Error::NoPart {
                part: "pooled vectors",
                advice: "ask for token vectors",
            }),
            (false, _) => Err(Error::NoPart {
                part: "sentence embeddings",
                advice: "its folder has no modules.json; ask for token vectors",
            }),
        }
    }

    /// From the last hidden states of all texts.
    pub(super) fn read_out(
        &self,
        hidden: Vec<T>,
        lengths: &[usize],
        part: Part,
    ) -> Result<Vec<Rows<T>>, Error> {
        let config = &self.config;
        let width = config.hidden_size;
        match (part, config.task) {
            (Part::TokenVectors, _) => Ok(split(hidden, lengths, width)),
            (Part::Pooled, _) => {
                let first = pool(&hidden, lengths, width, Pooling::First);
                Ok(each(self.transformed(first)?, width))
            }
            (Part::Answer, Task::SequenceLabels) => {
                // ModernBERT pools before its head's first layer too (transformers, `ModernBertForSequenceClassification`).
                let pooling = match config.labels_from_mean {
                    true => Pooling::Mean,
                    false => Pooling::First,
                };
                let pooled = pool(&hidden, lengths, width, pooling);
                Ok(each(self.last(self.transformed(pooled)?)?, config.labels))
            }
            (Part::Answer, Task::TokenLabels) => {
                let labels = self.last(self.transformed(hidden)?)?;
                Ok(split(labels, lengths, config.labels))
            }
            (Part::Answer, Task::MaskedToken) => {
                let logits = self.last(self.transformed(hidden)?)?;
                Ok(split(logits, lengths, config.vocab_size))
            }
            (Part::Answer, Task::Features | Task::NextToken) => self.sentence(&hidden, lengths),
        }
    }

    /// norm(act(W x + b)), as much of it as the head has.
    fn transformed(&self, mut x: Vec<T>) -> Result<Vec<T>, Error> {
        if let Some(dense) = &self.head.dense {
            x = dense.apply_to_all(&x)?;
            activate(&mut x, self.config.head_activation);
        }
        Ok(match &self.head.norm {
            Some(norm) => norm.apply(&x, self.config.norm_epsilon),
            None => x,
        })
    }

    /// Labels, or logits of tokens.
    fn last(&self, x: Vec<T>) -> Result<Vec<T>, Error> {
        match &self.head.last {
            Some(last) => last.apply_to_all(&x),
            None => Err(Error::NoPart {
                part: "answers",
                advice: "ask for token vectors",
            }),
        }
    }

    fn sentence(&self, hidden: &[T], lengths: &[usize]) -> Result<Vec<Rows<T>>, Error> {
        let width = self.config.hidden_size;
        let Some(head) = &self.config.sentence else {
            return Ok(Vec::new());
        };
        let mut x = pool(hidden, lengths, width, head.pooling);
        let mut out = width;
        if let (Some(layer), Some(dense)) = (&self.head.sentence_dense, &head.dense) {
            out = head.width;
            x = layer.apply_to_all(&x)?;
            if let Some(activation) = dense.activation() {
                activate(&mut x, activation);
            }
        }
        if head.normalize {
            x.chunks_exact_mut(out).for_each(normalize);
        }
        Ok(each(x, out))
    }
}

/// One vector of each text's.
fn pool<T: Real>(hidden: &[T], lengths: &[usize], width: usize, pooling: Pooling) -> Vec<T> {
    let mut rest = hidden;
    let mut pooled = Vec::with_capacity(lengths.len() * width);
    for length in lengths {
        let (own, later) = rest.split_at(length * width);
        rest = later;
        let start = pooled.len();
        let average = |pooled: &mut Vec<T>, weight: &dyn Fn(usize) -> f64, total: f64| {
            pooled.resize(start + width, T::zero());
            for (index, row) in own.chunks_exact(width).enumerate() {
                let weight = T::from_f64(weight(index));
                for (sum, x) in pooled[start..].iter_mut().zip(row) {
                    *sum = weight.mul_add(*x, *sum);
                }
            }
            let total = T::from_f64(total);
            pooled[start..].iter_mut().for_each(|x| *x = *x / total);
        };
        let n = *length as f64;
        match pooling {
            Pooling::First => pooled.extend_from_slice(&own[..width]),
            Pooling::Last => pooled.extend_from_slice(&own[own.len() - width..]),
            Pooling::Max => {
                pooled.extend_from_slice(&own[..width]);
                for row in own.chunks_exact(width) {
                    for (max, x) in pooled[start..].iter_mut().zip(row) {
                        *max = max.larger(*x);
                    }
                }
            }
            Pooling::Mean => average(&mut pooled, &|_| 1.0, n),
            Pooling::MeanSqrt => average(&mut pooled, &|_| 1.0, n.sqrt()),
            Pooling::WeightedMean => {
                average(
                    &mut pooled,
                    &|index| index as f64 + 1.0,
                    n * (n + 1.0) / 2.0,
                );
            }
        }
    }
    pooled
}

/// x / max(|x|, 1e-12), as torch has it.
fn normalize<T: Real>(x: &mut [T]) {
    let mut squares = T::zero();
    for x in x.iter() {
        squares = x.mul_add(*x, squares);
    }
    let length = squares.sqrt().larger(T::from_f64(SHORTEST));
    x.iter_mut().for_each(|x| *x = *x / length);
}

/// A row for each text.
fn each<T: Real>(values: Vec<T>, width: usize) -> Vec<Rows<T>> {
    let row = |row: &[T]| Rows {
        width,
        values: row.to_vec(),
    };
    values.chunks_exact(width.max(1)).map(row).collect()
}

/// As many rows for each text as it has tokens.
fn split<T: Real>(values: Vec<T>, lengths: &[usize], width: usize) -> Vec<Rows<T>> {
    let mut rest = values.as_slice();
    let rows = lengths.iter().map(|length| {
        let (own, later) = rest.split_at(length * width);
        rest = later;
        Rows {
            width,
            values: own.to_vec(),
        }
    });
    rows.collect()
}

const SHORTEST: f64 = 1e-12;
