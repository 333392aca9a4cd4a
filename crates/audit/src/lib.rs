//! ADVERSARY room: how near an encrypted model is to the original, and what attacks recover from it. The owner's vocabulary
//! is used for scoring only.

mod algebra;
mod aloepri;
mod assignment;
mod attacks;
mod audit;
mod encoder_fidelity;
mod error;
mod evidence;
mod fidelity;
mod judge;
mod matrix;
mod nearest;
mod prompts;
pub mod report;
mod texts;
pub mod traffic;
mod verdict;
mod weights;

pub use aloepri::{AloePri, AloePriSecret};
pub use attacks::{ATTACKS, Attack};
pub use audit::{Audit, AuditTexts, EncryptedCopy, Studied};
pub use encoder_fidelity::{EncoderFidelity, EncoderLimits, compare_encoders, encoder_texts};
pub use error::Error;
pub use fidelity::{Fidelity, Limits, Renaming, compare};
pub use judge::Truth;
pub use prompts::PROMPTS;
pub use texts::{DOCUMENT, HELD_OUT};
pub use verdict::{Adversary, Audited, MeasuredFidelity, Point, Verdict};
pub use weights::Weights;
