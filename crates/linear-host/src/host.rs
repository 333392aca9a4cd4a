use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use equicrypt_sealed::{Address, Incoming, LinkControl, Listener, TransportSecret};

use crate::connection::{Connection, Work};
use crate::{Error, LinearModel};

/// A service that computes linear layers, before and while it runs.
pub struct LinearHost {
    listener: Listener,
    shared: Arc<Shared>,
}

/// Ends a host, or looks at it, from another thread.
#[derive(Clone)]
pub struct HostHandle {
    shared: Arc<Shared>,
}

/// How a host treats owners.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Owners who may be connected at the same time.
    pub most_connections: usize,
    /// How long an owner may take to say what model it wants.
    pub hello_timeout: Duration,
    /// How long an owner may take to read what it asked for.
    pub write_timeout: Duration,
}

/// What a host has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Owners who are connected.
    pub connections: u64,
    /// Questions that were answered.
    pub answers: u64,
    /// Vectors in them.
    pub vectors: u64,
    /// How long their products took.
    pub busy: Duration,
}

/// What a host may say of itself while it runs: counts and reasons, nothing of what is asked.
#[derive(Debug)]
pub enum HostEvent {
    /// Somebody came.
    Opened,
    /// Somebody went; with the reason, if it was not the end of a good conversation.
    Ended(Option<Error>),
}

struct Shared {
    model: Arc<LinearModel>,
    secret: TransportSecret,
    options: HostOptions,
    address: Address,
    open: Mutex<HashMap<u64, LinkControl>>,
    ended: AtomicBool,
    answers: AtomicU64,
    vectors: AtomicU64,
    busy: AtomicU64,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            most_connections: 64,
            hello_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl LinearHost {
    /// Takes an address. Over TCP owners recognise the host by `secret`.
    ///
    /// # Errors
    /// If the address cannot be listened to.
    pub fn listen(
        model: Arc<LinearModel>,
        secret: TransportSecret,
        address: &Address,
        options: HostOptions,
    ) -> Result<Self, Error> {
        let listener = Listener::bind(address).map_err(|source| Error::Listen {
            address: address.clone(),
            source,
        })?;
        let shared = Arc::new(Shared {
            model,
            secret,
            options,
            address: listener.address().clone(),
            open: Mutex::new(HashMap::new()),
            ended: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            vectors: AtomicU64::new(0),
            busy: AtomicU64::new(0),
        });
        Ok(Self { listener, shared })
    }

    /// Where it listens, with the port that the system chose if it was asked for any.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.shared.address
    }

    /// What ends it.
    #[must_use]
    pub fn handle(&self) -> HostHandle {
        let shared = Arc::clone(&self.shared);
        HostHandle { shared }
    }

    /// Answers owners, each in a thread of its own, until it is shut down; then all of them are gone.
    pub fn run(self, observe: impl Fn(HostEvent) + Sync) {
        let (shared, observe) = (&*self.shared, &observe);
        thread::scope(|scope| {
            for number in 0u64.. {
                let incoming = match self.listener.accept() {
                    Ok(incoming) => incoming,
                    // An owner who went before it was taken, or too many files for a moment.
                    Err(_) if !shared.has_ended() => {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    Err(_) => break,
                };
                let Ok(control) = incoming.control() else {
                    continue;
                };
                let is_full = {
                    let mut open = shared.open();
                    open.insert(number, control);
                    open.len() > shared.options.most_connections
                };
                if shared.has_ended() {
                    break;
                }
                let serve = move || {
                    observe(HostEvent::Opened);
                    let served = shared.serve(incoming, is_full);
                    shared.open().remove(&number);
                    observe(HostEvent::Ended(served.err()));
                };
                let name = "equicrypt-linear".to_owned();
                let started = thread::Builder::new().name(name).spawn_scoped(scope, serve);
                if started.is_err() {
                    shared.open().remove(&number);
                }
            }
            // The scope waits for those who are connected.
            shared.close_all();
        });
    }
}

impl HostHandle {
    /// Ends the host and all connections.
    pub fn shut_down(&self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.close_all();
        Listener::wake(&self.shared.address);
    }

    /// What it has done.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let shared = &self.shared;
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Counts {
            connections: shared.open().len() as u64,
            answers: get(&shared.answers),
            vectors: get(&shared.vectors),
            busy: Duration::from_nanos(get(&shared.busy)),
        }
    }
}

impl Shared {
    fn serve(&self, incoming: Incoming, is_full: bool) -> Result<(), Error> {
        let options = &self.options;
        let link = incoming.open(&self.secret, options.hello_timeout)?;
        let done = |work: &Work| {
            self.answers.fetch_add(1, Ordering::Relaxed);
            self.vectors.fetch_add(work.vectors, Ordering::Relaxed);
            let nanos = u64::try_from(work.busy.as_nanos()).unwrap_or(u64::MAX);
            self.busy.fetch_add(nanos, Ordering::Relaxed);
        };
        let mut connection = Connection::new(&self.model, link);
        if is_full {
            let most = options.most_connections;
            return Err(connection.refuse(Error::Full { most }));
        }
        connection.serve(options.hello_timeout, options.write_timeout, &done)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, LinkControl>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_all(&self) {
        self.open().values().for_each(LinkControl::close);
    }
}

/// Between two attempts to take somebody.
const PAUSE: Duration = Duration::from_millis(20);
