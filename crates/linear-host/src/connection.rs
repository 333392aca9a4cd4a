use std::time::{Duration, Instant};

use equicrypt_ring::wire::{Answer, FrameError, MOST_PAYLOAD, Request};
use equicrypt_ring::{MaskSeed, Residues, expand};
use equicrypt_sealed::Link;

use crate::model::Layer;
use crate::{Error, LinearModel};

/// One owner who is connected.
pub(crate) struct Connection<'a> {
    model: &'a LinearModel,
    link: Link,
    masks: Option<Masks>,
}

/// What was done for an owner.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) vectors: u64,
    pub(crate) busy: Duration,
}

struct Masks {
    seed: MaskSeed,
    /// The least counter that was not used.
    next: u64,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(model: &'a LinearModel, link: Link) -> Self {
        Self {
            model,
            link,
            masks: None,
        }
    }

    /// Answers until the owner ends the connection. What is wrong with a question is said before it ends.
    pub(crate) fn serve(
        mut self,
        hello: Duration,
        write: Duration,
        done: &dyn Fn(&Work),
    ) -> Result<(), Error> {
        let served = self
            .greet(hello, write)
            .and_then(|()| self.answer_all(done));
        match served {
            Err(error @ Error::Frame(FrameError::Stream(_) | FrameError::CutOff)) => Err(error),
            Err(error) => Err(self.refuse(error)),
            Ok(()) => {
                let _ = self.link.writer.finish();
                Ok(())
            }
        }
    }

    /// Says why it does not go on. Who does not hear it has gone.
    pub(crate) fn refuse(&mut self, error: Error) -> Error {
        let _ = Answer::Refusal(error.to_string()).write(&mut self.link.writer);
        let _ = self.link.writer.finish();
        error
    }

    fn greet(&mut self, timeout: Duration, write: Duration) -> Result<(), Error> {
        let control = &self.link.control;
        (control.set_timeout(Some(timeout))).map_err(FrameError::Stream)?;
        let Some((Request::Hello(owner), _)) = Request::read(&mut self.link.reader)? else {
            return Err(Error::Hello);
        };
        (control.set_timeout(None))
            .and_then(|()| control.set_write_timeout(Some(write)))
            .map_err(FrameError::Stream)?;
        let here = self.model.digest();
        if owner != here {
            return Err(Error::OtherModel { here, owner });
        }
        Answer::Welcome(here).write(&mut self.link.writer)?;
        Ok(())
    }

    fn answer_all(&mut self, done: &dyn Fn(&Work)) -> Result<(), Error> {
        while let Some((question, _)) = Request::read(&mut self.link.reader)? {
            let start = Instant::now();
            let (request, answers) = match question {
                Request::Hello(_) => return Err(Error::Hello),
                Request::Seed(seed) => {
                    self.masks = Some(Masks { seed, next: 0 });
                    continue;
                }
                Request::Multiply {
                    request,
                    layer,
                    queries,
                } => (request, self.multiply(layer, &queries)?),
                Request::MultiplyMask {
                    request,
                    layer,
                    rows,
                    first,
                } => (request, self.multiply_mask(layer, rows, first)?),
            };
            let vectors = answers.rows() as u64;
            let answer = Answer::Product { request, answers };
            let busy = start.elapsed();
            // Before the answer: who has it finds it counted.
            done(&Work { vectors, busy });
            answer.write(&mut self.link.writer)?;
        }
        Ok(())
    }

    fn multiply(&self, layer: u32, queries: &Residues) -> Result<Residues, Error> {
        let layer = self.model.layer(layer)?;
        let (expected, found) = (layer.weights.inputs(), queries.width());
        if found != expected {
            return Err(Error::Width {
                layer: layer.id.to_string(),
                expected,
                found,
            });
        }
        check_rows(layer, queries.rows())?;
        product(layer, queries)
    }

    fn multiply_mask(&mut self, layer: u32, rows: u32, first: u64) -> Result<Residues, Error> {
        let layer = self.model.layer(layer)?;
        check_rows(layer, rows as usize)?;
        let masks = self.masks.as_mut().ok_or(Error::NoSeed)?;
        let next = masks.next;
        let after = first.checked_add(u64::from(rows)).filter(|_| first >= next);
        masks.next = after.ok_or(Error::Counter { next, found: first })?;
        let mut queries = Residues::zeros(rows as usize, layer.weights.inputs());
        expand(&masks.seed, first..masks.next, &mut queries);
        product(layer, &queries)
    }
}

/// Whether question and answer have room in a message.
fn check_rows(layer: &Layer, found: usize) -> Result<(), Error> {
    let widest = layer.weights.inputs().max(layer.weights.outputs());
    let most = (MOST_PAYLOAD - HEADERS) / (8 * widest);
    match (1..=most).contains(&found) {
        true => Ok(()),
        false => Err(Error::Rows {
            layer: layer.id.to_string(),
            most,
            found,
        }),
    }
}

fn product(layer: &Layer, queries: &Residues) -> Result<Residues, Error> {
    let product = layer.weights.times(queries);
    product.map_err(|source| Error::Layer {
        layer: layer.id.to_string(),
        source,
    })
}

/// More than stands before residues in a message.
const HEADERS: usize = 64;
