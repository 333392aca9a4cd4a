//! BLIND: token ids in, token ids out, over HTTP; it cannot name a key.
//!
//! A [`Host`] is a model folder, encrypted or not, with an engine that runs it. [`app`] is its HTTP
//! interface, in the shapes of vLLM; [`serve`] runs that on a socket until it is told to stop. The
//! library prints and logs nothing: what it counts is at `/metrics`.

mod answers;
mod app;
mod body;
mod completions;
mod encode;
mod error;
mod generate;
mod host;
mod ids;
mod info;
mod key;
mod metrics;
mod refusal;
mod serve;
mod stream;

pub use app::app;
pub use error::Error;
pub use host::{AnyEngine, Host, HostOptions};
pub use key::ApiKey;
pub use serve::{ServeOptions, serve};
