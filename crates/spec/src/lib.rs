//! PUBLIC room: what a model is, and what a host may know of it.
//!
//! A model is a table ([`Architecture`]): rows that name tensors and the axes of their sides, and the operations that act
//! on those axes. From the operations alone follows the group of secret maps that each axis allows ([`Group`]). Everything
//! else in the workspace (header check, transform plan, forward pass, manifest, tests) reads this one table.
//!
//! Nothing in this crate can hold a key.

mod arch;
mod axis;
mod config;
mod error;
mod group;
mod manifest;
mod op;
mod rope;
mod row;
mod sentence;
mod task;
mod when;
pub mod wire;

pub use arch::{ARCHITECTURES, Architecture, TensorKey, TensorSpec};
pub use axis::{Axis, AxisId, Factor, Family, Side, View};
pub use config::{
    ConfigTable, Expansion, Experts, LabelActivation, Latent, LayerKind, ModelConfig, Scoring,
};
pub use error::Error;
pub use group::{Group, Mix, PermutationPart, Profile, ScalePart, SignPart};
pub use manifest::{EPOCH_HEADER, FORMAT_VERSION, KeyId, MANIFEST_FILE, Manifest};
pub use op::{Activation, NormPlace, Op, RopeLayout};
pub use rope::{Rope, RopeScaling};
pub use row::{Kind, Layout, Role, Row};
pub use sentence::{
    DENSE_FOLDER, MODULES_FILE, Pooling, SENTENCE_DENSE_PREFIX, SentenceDense, SentenceHead,
    TRANSFORMER_FILES,
};
pub use task::Task;
pub use when::When;
