use std::sync::{Arc, Mutex, PoisonError};

use equicrypt_ring::wire::Request;
use equicrypt_ring::{MaskSeed, PRIMES, Residues, SEED_BYTES, Scaled, expand};
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::ahead::{Ahead, Mask};
use crate::counters::Counters;
use crate::link::{HostLink, Ticket};
use crate::model::{OwnerLayer, OwnerModel};
use crate::remote::RemoteOptions;
use crate::{Error, HostAddress, HostName, HostProblem};

/// A connection to both hosts, with a seed of its own. Nothing of it outlives it.
pub(crate) struct Session {
    seed: MaskSeed,
    a: HostLink,
    b: HostLink,
    ahead: Mutex<Ahead>,
    lookahead: usize,
}

/// Some vectors on their way.
struct Piece<'a> {
    x: &'a [f64],
    masks: Vec<Mask>,
    scales: Vec<Scaled>,
    /// x - r
    queries: Residues,
    /// r
    hidden: Residues,
    ticket: Ticket,
}

impl Session {
    /// Draws a seed, connects to both hosts, and tells it to B.
    pub(crate) fn open(
        model: &OwnerModel,
        hosts: &[HostAddress; 2],
        options: &RemoteOptions,
        counters: &Arc<Counters>,
    ) -> Result<Self, Error> {
        let connect = |name, address| {
            HostLink::open(name, address, model.digest(), options.timeout, counters)
        };
        let [a, b] = hosts;
        let (a, b) = (connect(HostName::A, a)?, connect(HostName::B, b)?);
        let mut bytes = Zeroizing::new([0; SEED_BYTES]);
        getrandom::fill(&mut *bytes).map_err(Error::Randomness)?;
        b.tell(&Request::Seed(MaskSeed::from_bytes(*bytes)))?;
        counters.sessions.add(1);
        Ok(Self {
            seed: MaskSeed::from_bytes(*bytes),
            a,
            b,
            ahead: Mutex::new(Ahead::new(model.layers().len(), options.stock)),
            lookahead: options.lookahead,
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.a.has_ended() || self.b.has_ended()
    }

    pub(crate) fn end(&self) {
        self.a.close();
        self.b.close();
    }

    /// W x + b for each vector x. B is asked about all masks, then A piece by piece; answers are awaited when all is asked.
    pub(crate) fn multiply(
        &self,
        layers: &[OwnerLayer],
        index: usize,
        x: &[f64],
    ) -> Result<Vec<f64>, Error> {
        let layer = &layers[index];
        let rows = x.len() / layer.inputs;
        let mut masks = self.take_masks(layers, index, rows)?.into_iter();
        let mut pieces = Vec::new();
        for x in x.chunks(layer.piece() * layer.inputs) {
            let masks = masks.by_ref().take(x.len() / layer.inputs).collect();
            pieces.push(self.ask(index, layer, x, masks)?);
        }
        let mut y = vec![0.0; rows * layer.outputs];
        let parts = y.chunks_mut(layer.piece() * layer.outputs);
        for (piece, y) in pieces.into_iter().zip(parts) {
            self.finish(layer, piece, y)?;
        }
        Ok(y)
    }

    /// Masks for vectors of a layer; the layers that come next will want as many.
    fn take_masks(
        &self,
        layers: &[OwnerLayer],
        index: usize,
        rows: usize,
    ) -> Result<Vec<Mask>, Error> {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let masks = ahead.take(&self.b, index, &layers[index], rows)?;
        for (next, layer) in layers
            .iter()
            .enumerate()
            .skip(index + 1)
            .take(self.lookahead)
        {
            // Of what comes after the last decoder layer, few vectors are wanted.
            if layer.is_of_all_tokens {
                ahead.provide(&self.b, next, layer, rows)?;
            }
        }
        Ok(masks)
    }

    /// Masks vectors and sends them to A.
    fn ask<'a>(
        &self,
        index: usize,
        layer: &OwnerLayer,
        x: &'a [f64],
        masks: Vec<Mask>,
    ) -> Result<Piece<'a>, Error> {
        let rows = masks.len();
        let mut hidden = Residues::zeros(rows, layer.inputs);
        expand(
            &self.seed,
            masks.iter().map(|mask| mask.counter),
            &mut hidden,
        );
        let mut queries = Residues::zeros(rows, layer.inputs);
        let mut scales = Vec::with_capacity(rows);
        for (row, x) in x.chunks_exact(layer.inputs).enumerate() {
            let scaled = Scaled::quantise(x, queries.row_mut(row));
            scales.push(scaled.map_err(|source| layer.error(source))?);
        }
        queries
            .subtract(&hidden)
            .map_err(|source| layer.error(source))?;
        let question = |request| Request::Multiply {
            request,
            layer: index as u32,
            queries: queries.clone(),
        };
        let ticket = self.a.ask(question, rows, layer.outputs)?;
        Ok(Piece {
            x,
            masks,
            scales,
            queries,
            hidden,
            ticket,
        })
    }

    /// Waits for both answers, checks them, and adds them up.
    fn finish(&self, layer: &OwnerLayer, piece: Piece<'_>, y: &mut [f64]) -> Result<(), Error> {
        let wrong = || HostProblem::Wrong {
            layer: layer.name.clone(),
        };
        let rows = piece.masks.len();
        debug_assert_eq!(piece.x.len(), rows * layer.inputs);
        // While A computes.
        let mut from_b = Vec::with_capacity(rows);
        for mask in &piece.masks {
            from_b.push(mask.batch.answers(&self.b)?);
        }
        let check_b = |row: usize| {
            let expected = layer.check.expect(piece.hidden.row(row));
            let answer = from_b[row].row(piece.masks[row].row);
            layer.check.accepts(expected, answer)
        };
        if !all_rows(rows, check_b) {
            return Err(self.b.fail(wrong()));
        }
        let expect = |row: usize| layer.check.expect(piece.queries.row(row));
        let expected: Vec<_> = match rows {
            ..SEVERAL => (0..rows).map(expect).collect(),
            _ => (0..rows).into_par_iter().map(expect).collect(),
        };
        let from_a = self.a.wait(piece.ticket)?;
        let check_a = |row: usize| layer.check.accepts(expected[row], from_a.row(row));
        if !all_rows(rows, check_a) {
            return Err(self.a.fail(wrong()));
        }
        let restore = |(row, y): (usize, &mut [f64])| {
            let (a, b) = (from_a.row(row), from_b[row].row(piece.masks[row].row));
            let scaled = piece.scales[row];
            for (output, y) in y.iter_mut().enumerate() {
                let sum = [0, 1].map(|i| PRIMES[i].add(a[i][output], b[i][output]));
                *y = scaled.restore(sum, layer.scales[output]);
                if let Some(bias) = &layer.bias {
                    *y += bias[output];
                }
            }
        };
        let rows_of_y = y.chunks_exact_mut(layer.outputs).enumerate();
        match rows {
            ..SEVERAL => rows_of_y.for_each(restore),
            _ => rows_of_y
                .collect::<Vec<_>>()
                .into_par_iter()
                .for_each(restore),
        }
        Ok(())
    }
}

fn all_rows(rows: usize, holds: impl Fn(usize) -> bool + Sync + Send) -> bool {
    match rows {
        ..SEVERAL => (0..rows).all(holds),
        _ => (0..rows).into_par_iter().all(holds),
    }
}

/// From so many vectors on, work is shared out among the cores.
const SEVERAL: usize = 8;
