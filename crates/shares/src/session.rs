use std::sync::{Arc, Mutex, PoisonError};

use equicrypt_ring::wire::{Request, write_multiply};
use equicrypt_ring::{MaskSeed, Residues, SEED_BYTES, Scaled, expand};
use equicrypt_sealed::LinkWriter;
use rayon::prelude::*;
use zeroize::Zeroizing;

use crate::ahead::{Ahead, Mask};
use crate::counters::Counters;
use crate::link::{HostLink, Ticket};
use crate::model::{OwnerLayer, OwnerModel};
use crate::remote::RemoteOptions;
use crate::reserve::Rest;
use crate::watch::{Seen, Watcher};
use crate::{Error, HostAddress, HostName, HostProblem};

/// A connection to both hosts, with a seed of its own. Nothing of it outlives it.
pub(crate) struct Session {
    seed: MaskSeed,
    a: HostLink,
    b: HostLink,
    ahead: Mutex<Ahead>,
    lookahead: usize,
    rest: Arc<Rest>,
}

/// Vectors of a layer on their way.
pub(crate) struct Asked {
    index: usize,
    pub(crate) rows: usize,
    pieces: Vec<Piece>,
}

/// Some of them.
struct Piece {
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
            rest: Arc::new(Rest::new()),
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.a.has_ended() || self.b.has_ended()
    }

    pub(crate) fn end(&self) {
        self.a.close();
        self.b.close();
        self.rest.end();
    }

    /// Asks for W x + b for each vector x: B about all masks, then A piece by piece.
    pub(crate) fn ask(
        &self,
        layers: &[OwnerLayer],
        index: usize,
        x: &[f64],
    ) -> Result<Asked, Error> {
        self.rest.works();
        let layer = &layers[index];
        let rows = x.len() / layer.inputs;
        let mut masks = self.take_masks(layers, index, rows)?.into_iter();
        let mut pieces = Vec::new();
        for x in x.chunks(layer.piece() * layer.inputs) {
            let masks = masks.by_ref().take(x.len() / layer.inputs).collect();
            pieces.push(self.ask_piece(index, layer, x, masks)?);
        }
        Ok(Asked {
            index,
            rows,
            pieces,
        })
    }

    /// Waits for it.
    pub(crate) fn wait(
        &self,
        layers: &[OwnerLayer],
        asked: Asked,
        watcher: Option<&Watcher>,
    ) -> Result<Vec<f64>, Error> {
        let (index, layer) = (asked.index, &layers[asked.index]);
        let mut y = vec![0.0; asked.rows * layer.outputs];
        let parts = y.chunks_mut(layer.piece() * layer.outputs);
        for (piece, y) in asked.pieces.into_iter().zip(parts) {
            self.finish((index, layer), piece, y, watcher)?;
        }
        self.rest.works();
        Ok(y)
    }

    /// When it works.
    pub(crate) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// Asks B about some masks of the layers that have the fewest, and waits for the answers; false if all have so many.
    pub(crate) fn reserve(&self, layers: &[OwnerLayer], masks: usize) -> Result<bool, Error> {
        let mut asked = Vec::with_capacity(RESERVED_AT_ONCE);
        for _ in 0..RESERVED_AT_ONCE {
            let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
            asked.extend(ahead.reserve(&self.b, layers, masks)?);
        }
        for batch in &asked {
            batch.answers(&self.b)?;
        }
        Ok(!asked.is_empty())
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

    /// Masks that the layer with the fewest has.
    pub(crate) fn reserved(&self, layers: &[OwnerLayer]) -> usize {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.fewest(layers).map_or(0, |(_, masks)| masks)
    }

    /// Masks vectors and sends them to A.
    fn ask_piece(
        &self,
        index: usize,
        layer: &OwnerLayer,
        x: &[f64],
        masks: Vec<Mask>,
    ) -> Result<Piece, Error> {
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
        let question = |request, writer: &mut LinkWriter| {
            write_multiply(writer, request, index as u32, &queries)
        };
        let ticket = self.a.ask(question, rows, layer.outputs)?;
        Ok(Piece {
            masks,
            scales,
            queries,
            hidden,
            ticket,
        })
    }

    /// Waits for both answers, checks them, and adds them up.
    fn finish(
        &self,
        (index, layer): (usize, &OwnerLayer),
        piece: Piece,
        y: &mut [f64],
        watcher: Option<&Watcher>,
    ) -> Result<(), Error> {
        let wrong = || HostProblem::Wrong {
            layer: layer.name.clone(),
        };
        let fail = |source| layer.error(source);
        // While A computes.
        let mut answers = Residues::zeros(0, layer.outputs);
        for mask in &piece.masks {
            let batch = mask.batch.answers(&self.b)?;
            answers.push(batch.row(mask.row)).map_err(fail)?;
        }
        let expected = layer.check.expect(&piece.hidden).map_err(fail)?;
        if !layer.check.accepts(&expected, &answers).map_err(fail)? {
            return Err(self.b.fail(wrong()));
        }
        let expected = layer.check.expect(&piece.queries).map_err(fail)?;
        let from_a = self.a.wait(piece.ticket)?;
        if !layer.check.accepts(&expected, &from_a).map_err(fail)? {
            return Err(self.a.fail(wrong()));
        }
        if let Some(watcher) = watcher {
            let counters: Vec<u64> = piece.masks.iter().map(|mask| mask.counter).collect();
            watcher(&Seen {
                layer: index,
                name: &layer.name,
                to_b: &counters,
                to_a: &piece.queries,
                from_a: &from_a,
                from_b: &answers,
            });
        }
        answers.add(&from_a).map_err(fail)?;
        let restore = |((row, scaled), y): ((usize, &Scaled), &mut [f64])| {
            scaled.restore(answers.row(row), &layer.scales, y);
            if let Some(bias) = &layer.bias {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        };
        let rows = piece
            .scales
            .iter()
            .enumerate()
            .zip(y.chunks_exact_mut(layer.outputs));
        match piece.scales.len() {
            ..SEVERAL => rows.for_each(restore),
            _ => rows.collect::<Vec<_>>().into_par_iter().for_each(restore),
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.rest.end();
    }
}

/// Pieces for the reserve that are on their way together: a far host would be waited for at each of them.
const RESERVED_AT_ONCE: usize = 8;

/// From so many vectors on, work is shared out among the cores.
const SEVERAL: usize = 8;
