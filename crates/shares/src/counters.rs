use std::sync::atomic::{AtomicU64, Ordering};

/// What went between the owner and the hosts since the start; bytes are those of messages, without what sockets add.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// With host A.
    pub a: HostTraffic,
    /// With host B.
    pub b: HostTraffic,
    /// Tokens: vectors of the first layer.
    pub tokens: u64,
    /// Vectors of all layers.
    pub vectors: u64,
    /// Sessions that were opened.
    pub sessions: u64,
}

/// What went between the owner and one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostTraffic {
    /// Bytes to it.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) a: LinkCounters,
    pub(crate) b: LinkCounters,
    pub(crate) tokens: Counter,
    pub(crate) vectors: Counter,
    pub(crate) sessions: Counter,
}

#[derive(Default)]
pub(crate) struct LinkCounters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
}

#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: usize) {
        self.0.fetch_add(number as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn traffic(&self) -> Traffic {
        let host = |host: &LinkCounters| HostTraffic {
            sent: host.sent.get(),
            received: host.received.get(),
        };
        Traffic {
            a: host(&self.a),
            b: host(&self.b),
            tokens: self.tokens.get(),
            vectors: self.vectors.get(),
            sessions: self.sessions.get(),
        }
    }
}
