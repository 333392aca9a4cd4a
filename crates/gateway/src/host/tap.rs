use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

/// Shows whoever listens exactly what a host gets to see and what it answers. While nobody listens
/// it costs nothing. A listener that is too slow loses the oldest.
#[derive(Clone)]
pub struct Tap {
    sender: broadcast::Sender<Arc<Traffic>>,
    exchanges: Arc<AtomicU64>,
}

/// Bytes between owner and host.
#[derive(Debug)]
pub struct Traffic {
    /// Which request they belong to.
    pub exchange: u64,
    /// The route, with the bytes of a request's body; none with those of an answer's.
    pub route: Option<&'static str>,
    /// As they were sent, or what is shown of them.
    pub bytes: Vec<u8>,
    /// How many were sent.
    pub length: usize,
}

/// A request that is being watched.
pub(crate) struct Exchange {
    tap: Tap,
    number: u64,
}

impl Tap {
    /// A tap that keeps as many pieces for slow listeners.
    #[must_use]
    pub fn new(kept: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(kept.max(1)),
            exchanges: Arc::default(),
        }
    }

    /// Everything from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Arc<Traffic>> {
        self.sender.subscribe()
    }

    /// Shows what passed in another way than by HTTP: what of it, and how many bytes it was, there and back.
    pub fn show(&self, route: &'static str, sent: (&str, usize), received: (&str, usize)) {
        if !self.is_watched() {
            return;
        }
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.send(number, Some(route), sent.0.as_bytes(), sent.1);
        self.send(number, None, received.0.as_bytes(), received.1);
    }

    /// Whether somebody looks.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    pub(super) fn sent(&self, route: &'static str, body: &[u8]) -> Option<Exchange> {
        if !self.is_watched() {
            return None;
        }
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.send(number, Some(route), body, body.len());
        Some(Exchange {
            tap: self.clone(),
            number,
        })
    }

    fn send(&self, exchange: u64, route: Option<&'static str>, bytes: &[u8], length: usize) {
        // An error means that nobody listens any longer.
        let _ = self.sender.send(Arc::new(Traffic {
            exchange,
            route,
            bytes: bytes.to_vec(),
            length,
        }));
    }
}

impl Exchange {
    pub(crate) fn received(&self, bytes: &[u8]) {
        self.tap.send(self.number, None, bytes, bytes.len());
    }
}
