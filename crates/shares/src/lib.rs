//! OWNER: linear layers computed by two hosts of which neither sees anything but uniform numbers, and checked.
//!
//! Both hosts have the public checkpoint. For a layer y = W x the owner turns x into integers, takes a mask r from a stream that
//! host B can expand too, and sends x - r to host A. A answers W (x - r), B answers W r, and their sum is W x. What A sees is
//! uniform whatever x is; B sees a counter. Who has the answers of both, or the questions of both, has x: the two must not
//! collude. Everything that is not linear stays with the owner: the engine runs here, with [`RemoteLinears`].
//!
//! Each answer is checked with secret vectors that [`prepare`] has drawn (see [`prepare`] for the odds), and a host that
//! answers anything else than W q is named, in an [`Error`]. Any failure ends the session. The next request opens a new one, with
//! new masks: no mask is ever used twice.

mod ahead;
mod check;
mod counters;
mod error;
mod files;
mod host;
mod linears;
mod link;
mod model;
mod prepare;
mod remote;
mod reserve;
mod session;
mod watch;

pub use counters::{HostTraffic, Traffic};
pub use error::{Error, HostError, HostProblem};
pub use host::{HostAddress, HostName};
pub use linears::RemoteLinears;
pub use model::OwnerModel;
pub use prepare::{HeadPlace, PrepareOptions, Prepared, prepare};
pub use remote::{Remote, RemoteOptions};
pub use watch::Seen;
