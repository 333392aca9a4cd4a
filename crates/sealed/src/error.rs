use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why something cannot be sealed or opened. No message holds anything that was sealed, or a secret.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A public key's text is none.
    #[error(
        "transport key: expected equicrypt-transport-1: and 64 hexadecimal digits, found {found}; copy it again from what the \
         host prints"
    )]
    PublicText {
        /// What is wrong with it.
        found: &'static str,
    },
    /// A fingerprint's text is none.
    #[error(
        "fingerprint: expected 32 hexadecimal digits, with or without dashes, found {found}; copy it again from what the host \
         prints"
    )]
    FingerprintText {
        /// What is wrong with it.
        found: &'static str,
    },
    /// A window's text is none.
    #[error("window: expected 32 hexadecimal digits")]
    WindowText,
    /// A public key that no secret has.
    #[error(
        "transport key: no one can have the secret to it; copy it again from what the host prints"
    )]
    UnusableKey,
    /// A secret's file cannot be read or written.
    #[error("transport key file {path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A secret's file can be read by others.
    #[error(
        "transport key file {path}: its mode is {mode:o}, so others may have read it; move it away and let a new one be made, \
         or say chmod 600 if nobody did",
        path = .path.display()
    )]
    FileMode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A secret's file has something else in it.
    #[error(
        "transport key file {path}: expected a line with equicrypt-transport-secret-1: and 64 hexadecimal digits; restore the \
         file, or move it away and let a new one be made",
        path = .path.display()
    )]
    FileText {
        /// The file.
        path: PathBuf,
    },
    /// The operating system has no randomness.
    #[error("the operating system's random generator failed: {0}")]
    Randomness(getrandom::Error),
    /// More than 4 GiB.
    #[error("{bytes} bytes are too long to be sealed at once; send less")]
    TooLong {
        /// As many as there are.
        bytes: usize,
    },
    /// The bytes are no sealed request of this version.
    #[error("expected a sealed request of version 1, found {found}")]
    NotSealed {
        /// What came.
        found: &'static str,
    },
    /// The request was not sealed to this key, for this route, or was changed on the way.
    #[error("the sealed request was made for another key or route, or changed on the way")]
    Unopenable,
    /// The answer ends without its last frame.
    #[error("the answer was cut off after frame {frames}, its last frame is missing")]
    Truncated {
        /// Whole frames that came.
        frames: u64,
    },
    /// A frame came again.
    #[error("frame {found} of the answer came again, in place of frame {expected}")]
    Repeated {
        /// The frame that should have come.
        expected: u64,
        /// The one that did.
        found: u64,
    },
    /// A frame came too early.
    #[error(
        "frame {found} of the answer came in place of frame {expected}: frames were dropped, or put into another order"
    )]
    Skipped {
        /// The frame that should have come.
        expected: u64,
        /// The one that did.
        found: u64,
    },
    /// Something follows the last frame.
    #[error("something was added behind the last frame of the answer")]
    Appended,
    /// A frame was changed, or is not of this answer.
    #[error("frame {frame} of the answer was changed on the way, or is of another answer")]
    Forged {
        /// From 0.
        frame: u64,
    },
    /// A frame says that it has a length that none has.
    #[error("frame {frame} of the answer has an impossible length, {found}")]
    FrameLength {
        /// From 0.
        frame: u64,
        /// Bytes.
        found: u32,
    },
    /// A frame is genuine, and makes no sense.
    #[error(
        "frame {frame} of the answer: expected {expected}; host and asker have different versions"
    )]
    FrameContent {
        /// From 0.
        frame: u64,
        /// What should be in it.
        expected: &'static str,
    },
    /// An address's text is none.
    #[error("address {found:?}: expected unix:/path/of/a/socket or tcp://host:port")]
    Address {
        /// The text.
        found: String,
    },
    /// A connection cannot be opened.
    #[error("the connection cannot be opened: {0}")]
    Handshake(io::Error),
    /// Over TCP a host must be recognised.
    #[error(
        "{address}: expected the host's fingerprint with it; the host prints it when it starts"
    )]
    NoPin {
        /// The host.
        address: String,
    },
    /// The other side is no host of this version.
    #[error(
        "expected the greeting of equicrypt link 1; check the address, and use the same version on both sides"
    )]
    NoLink,
    /// The host has another key than the pinned one.
    #[error(
        "the host's fingerprint is {found}, expected {expected}: it is another host, or has another key; ask who runs it before \
         you pin the new one"
    )]
    OtherKey {
        /// The pinned one.
        expected: crate::Fingerprint,
        /// The host's.
        found: crate::Fingerprint,
    },
}
