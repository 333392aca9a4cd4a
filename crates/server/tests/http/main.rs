//! The host as its clients see it.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod arbitrary;
mod common;
mod completions;
mod encode;
mod generate;
mod routes;
mod sealed;
mod sockets;
