//! The owner's side of an encoder: texts to cipher ids, and a host's numbers back to embeddings,
//! labels, scores and words.
//!
//! The order of reading: [`EncoderOwner`] (what the original model's folder says), its tokenizer,
//! [`EncoderSession`] (after every check: what is sent, and what the answers mean).

mod answers;
mod labels;
mod owner;
mod sentence;
mod session;
mod tokenizer;

pub use answers::{Candidate, LabelledToken};
pub use owner::{EncoderOwner, Long, Prepared};
pub use session::{CipherText, EncoderSession};
pub(crate) use tokenizer::follow_bert_settings;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
