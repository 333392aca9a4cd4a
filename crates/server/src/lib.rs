//! BLIND: token ids in, token ids out, over HTTP; it cannot name a key.
//!
//! A [`Host`] is a model folder, encrypted or not, with an engine that runs it. [`app`] is its HTTP
//! interface, in the shapes of vLLM; [`serve`] runs that on a socket until it is told to stop. The
//! library prints nothing: what it counts is at `/metrics`, and a [`Log`] is told counts and times of each request. [`Sealing`]
//! opens requests that nobody on the way can read.

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
mod log;
mod metrics;
mod refusal;
mod sealing;
mod serve;
mod stream;

pub use app::{AppOptions, app, app_with};
pub use error::Error;
pub use host::{AnyEngine, Host, HostOptions};
pub use key::ApiKey;
pub use log::{Log, RequestLine};
pub use sealing::Sealing;
pub use serve::{ServeOptions, serve, serve_on};
