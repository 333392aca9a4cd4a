use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use equicrypt_ring::Residues;
use equicrypt_ring::wire::Request;
use equicrypt_sealed::LinkWriter;

use crate::Error;
use crate::link::{HostLink, Ticket};
use crate::model::OwnerLayer;

/// The masks of a session and what host B says of them, which it is asked for before it is needed.
pub(crate) struct Ahead {
    /// The least counter that no mask has.
    next: u64,
    /// For each layer masks that no vector has.
    pools: Vec<VecDeque<Mask>>,
    /// How many a layer should have in stock.
    stock: usize,
}

/// One mask of one layer: taken by one vector, ever.
pub(crate) struct Mask {
    pub(crate) counter: u64,
    pub(crate) batch: Arc<Batch>,
    /// Its place in the batch.
    pub(crate) row: usize,
}

/// Several masks that B was asked about at once.
pub(crate) struct Batch(Mutex<BatchState>);

enum BatchState {
    Asked(Ticket),
    Answered(Arc<Residues>),
    Failed,
}

impl Ahead {
    pub(crate) fn new(layers: usize, stock: usize) -> Self {
        Self {
            next: 0,
            pools: (0..layers).map(|_| VecDeque::new()).collect(),
            stock,
        }
    }

    /// Takes masks for so many vectors of a layer. B is asked about those that are not in stock, piece by piece, and about new
    /// ones for the stock if half of it is gone: it reads its weights once for many.
    pub(crate) fn take(
        &mut self,
        b: &HostLink,
        index: usize,
        layer: &OwnerLayer,
        rows: usize,
    ) -> Result<Vec<Mask>, Error> {
        self.provide(b, index, layer, rows)?;
        let masks = match self.pools.get_mut(index) {
            Some(pool) => pool.drain(..rows.min(pool.len())).collect(),
            None => Vec::new(),
        };
        let left = self.left(index);
        if 2 * left < self.stock {
            self.ask(b, index, layer, self.stock - left)?;
        }
        Ok(masks)
    }

    /// Has so many masks of a layer in stock, or asked about.
    pub(crate) fn provide(
        &mut self,
        b: &HostLink,
        index: usize,
        layer: &OwnerLayer,
        rows: usize,
    ) -> Result<(), Error> {
        self.ask(b, index, layer, rows.saturating_sub(self.left(index)))
    }

    /// Asks B about some masks of the layer that has the fewest, of those that every token passes; none if all have so many.
    pub(crate) fn reserve(
        &mut self,
        b: &HostLink,
        layers: &[OwnerLayer],
        masks: usize,
    ) -> Result<Option<Arc<Batch>>, Error> {
        let fewest = self.fewest(layers).filter(|(_, left)| *left < masks);
        let Some((index, left)) = fewest else {
            return Ok(None);
        };
        let layer = &layers[index];
        self.ask(b, index, layer, (masks - left).min(layer.piece()))?;
        let last = self.pools.get(index).and_then(VecDeque::back);
        Ok(last.map(|mask| Arc::clone(&mask.batch)))
    }

    /// The layer with the fewest masks, of those that every token passes, and how many.
    pub(crate) fn fewest(&self, layers: &[OwnerLayer]) -> Option<(usize, usize)> {
        let passed = |(_, layer): &(usize, &OwnerLayer)| layer.is_of_all_tokens;
        let layers = layers.iter().enumerate().filter(passed);
        let counted = layers.map(|(index, _)| (index, self.left(index)));
        counted.min_by_key(|(_, left)| *left)
    }

    fn left(&self, index: usize) -> usize {
        self.pools.get(index).map_or(0, VecDeque::len)
    }

    fn ask(
        &mut self,
        b: &HostLink,
        index: usize,
        layer: &OwnerLayer,
        mut rows: usize,
    ) -> Result<(), Error> {
        while rows > 0 {
            let now = rows.min(layer.piece());
            let first = self.next;
            self.next = first.checked_add(now as u64).ok_or(Error::Exhausted)?;
            let question = |request, writer: &mut LinkWriter| {
                let question = Request::MultiplyMask {
                    request,
                    layer: index as u32,
                    rows: now as u32,
                    first,
                };
                question.write(writer)
            };
            let ticket = b.ask(question, now, layer.outputs)?;
            let batch = Arc::new(Batch(Mutex::new(BatchState::Asked(ticket))));
            let masks = (0..now).map(|row| Mask {
                counter: first + row as u64,
                batch: Arc::clone(&batch),
                row,
            });
            if let Some(pool) = self.pools.get_mut(index) {
                pool.extend(masks);
            }
            rows -= now;
        }
        Ok(())
    }
}

impl Batch {
    /// What B says of its masks.
    pub(crate) fn answers(&self, b: &HostLink) -> Result<Arc<Residues>, Error> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, BatchState::Failed) {
            BatchState::Asked(ticket) => {
                let answers = Arc::new(b.wait(ticket)?);
                *state = BatchState::Answered(Arc::clone(&answers));
                Ok(answers)
            }
            BatchState::Answered(answers) => {
                *state = BatchState::Answered(Arc::clone(&answers));
                Ok(answers)
            }
            BatchState::Failed => Err(Error::Ended),
        }
    }
}

impl OwnerLayer {
    /// Vectors in one message: as many as a part of it is worth waiting for.
    pub(crate) fn piece(&self) -> usize {
        (PIECE_BYTES / (8 * self.inputs.max(self.outputs))).clamp(1, MOST_ROWS)
    }
}

const PIECE_BYTES: usize = 1 << 20;
const MOST_ROWS: usize = 96;
