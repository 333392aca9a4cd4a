//! PUBLIC: requests that only the host's process opens, and answers that only the asker opens.
//!
//! For everything between the owner's gateway and the host's engine: proxies, load balancers, queues, request logs. HPKE in
//! base mode (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305 seals a request to the host's [`TransportPublic`]; the
//! answer is sealed with a key that both derive from it, as in section 4.4 of RFC 9458, in frames of which none can be
//! dropped, repeated, moved, added or cut off unnoticed. It does not hide anything from the host itself, it does not hide when
//! and about how much is said, and who steals the host's secret later reads what was recorded before.
//!
//! For long connections there is a [`Link`] in both directions, with the same keys and pins and no secret that outlives it.
//!
//! The asker calls [`seal`] and reads the answer with a [`ResponseOpener`]; the host reads a [`SealedRequest`], whose
//! [`Window`] its [`Windows`] must know, opens it once, and answers with a [`ResponseSealer`]. The exact bytes are in
//! docs/formats.md.

mod error;
mod frame;
mod key;
mod key_file;
mod link;
mod opener;
mod padding;
mod request;
mod response;
mod window;

pub use error::Error;
pub use key::{Fingerprint, TransportPublic, TransportSecret};
pub use link::{Address, Incoming, Link, LinkControl, LinkReader, LinkWriter, Listener, connect};
pub use opener::ResponseOpener;
pub use request::{SealedRequest, seal};
pub use response::{Head, ResponseSealer, StreamSealer};
pub use window::{Unfit, Window, Windows};

/// The content type of sealed requests and answers.
pub const CONTENT_TYPE: &str = "application/x-equicrypt-sealed";

/// What [`seal`] is made of, as hosts say it.
pub const SUITE: &str = "HPKE-Base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305";

/// Bytes by which a sealed request is longer than its body, at most.
pub const MOST_OVERHEAD: usize = 256;
