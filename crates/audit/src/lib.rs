//! ADVERSARY room: how near an encrypted model is to the original, and what attacks recover from it. The owner's vocabulary
//! is used for scoring only.

mod encoder_fidelity;
mod error;
mod fidelity;
mod prompts;
mod verdict;

pub use encoder_fidelity::{EncoderFidelity, EncoderLimits, compare_encoders, encoder_texts};
pub use error::Error;
pub use fidelity::{Fidelity, Limits, compare};
pub use prompts::PROMPTS;
pub use verdict::{Adversary, Audited, MeasuredFidelity, Point, Verdict};
