//! A public language model as the judge of a reading.

use equicrypt_engine::{Chunk, Decoder, Want};

use crate::Error;

/// A language model that anybody can run.
pub trait Language {
    /// For each text: the logits of what follows, after each of its tokens but the last, given to `visit` with the number of
    /// the text and the place of the token that follows.
    ///
    /// # Errors
    /// If the model cannot read a text.
    fn read(
        &self,
        texts: &[Vec<u32>],
        visit: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error>;
}

impl Language for Decoder {
    fn read(
        &self,
        texts: &[Vec<u32>],
        visit: &mut dyn FnMut(usize, usize, &[f32]),
    ) -> Result<(), Error> {
        for (block, texts) in texts.chunks(TOGETHER).enumerate() {
            let mut caches: Vec<_> = texts.iter().map(|_| self.new_cache()).collect();
            let mut chunks: Vec<Chunk<'_>> = (texts.iter().zip(&mut caches))
                .map(|(tokens, cache)| Chunk {
                    tokens,
                    cache,
                    want: Want::All,
                })
                .collect();
            let logits = self.forward(&mut chunks)?;
            for (number, (text, logits)) in texts.iter().zip(&logits).enumerate() {
                for place in 1..text.len() {
                    visit(block * TOGETHER + number, place, logits.row(place - 1));
                }
            }
        }
        Ok(())
    }
}

/// Texts in one pass.
const TOGETHER: usize = 8;
