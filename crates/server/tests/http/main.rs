//! The host as its clients see it.

mod arbitrary;
mod common;
mod completions;
mod generate;
mod routes;
mod sockets;
