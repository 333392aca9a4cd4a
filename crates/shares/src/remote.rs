use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use equicrypt_engine::{Decoder, Encoder, Precision};

use crate::counters::Counters;
use crate::reserve;
use crate::session::{Asked, Session};
use crate::watch::{Seen, Watcher};
use crate::{Error, HostAddress, OwnerModel, RemoteLinears, Traffic};

/// Two hosts that compute the linear layers of one model.
pub struct Remote {
    model: Arc<OwnerModel>,
    hosts: [HostAddress; 2],
    options: RemoteOptions,
    counters: Arc<Counters>,
    current: Mutex<Option<Arc<Session>>>,
    watcher: OnceLock<Watcher>,
}

/// How hosts are asked.
#[derive(Debug, Clone)]
pub struct RemoteOptions {
    /// How long a host may take for an answer, or to be reached.
    pub timeout: Duration,
    /// Masks of each layer that host B is asked about before they are needed; what decoding is fast by. None for encoders.
    pub stock: usize,
    /// Layers that host B computes in advance, for as many vectors as the current one has.
    pub lookahead: usize,
    /// Masks of each layer that host B is asked about while nothing else is asked, for prompts to come: so many of their tokens
    /// wait for host A alone. Each takes the memory of what B answers, in sum [`Prepared::bytes_down`](crate::Prepared).
    pub reserve: usize,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            stock: 16,
            lookahead: 2,
            reserve: 0,
        }
    }
}

/// What was asked, and of whom.
pub(crate) struct OnTheWay {
    session: Arc<Session>,
    asked: Asked,
}

impl Remote {
    /// Hosts A and B for a model; nothing is sent yet.
    ///
    /// # Errors
    /// If both are the same.
    pub fn new(
        model: Arc<OwnerModel>,
        hosts: [HostAddress; 2],
        options: RemoteOptions,
    ) -> Result<Arc<Self>, Error> {
        let [a, b] = &hosts;
        if a.is_same(b) {
            return Err(Error::SameHost { address: a.clone() });
        }
        Ok(Arc::new(Self {
            model,
            hosts,
            options,
            counters: Arc::default(),
            current: Mutex::new(None),
            watcher: OnceLock::new(),
        }))
    }

    /// Opens a session, if none is open: finds out whether both hosts are there and have the model.
    ///
    /// # Errors
    /// If a host cannot be reached, or has another model or version.
    pub fn connect(&self) -> Result<(), Error> {
        self.session().map(|_| ())
    }

    /// The model as a decoder, whose linear layers the hosts compute.
    ///
    /// # Errors
    /// If it is no decoder, or its folder cannot be read.
    pub fn decoder(self: &Arc<Self>, precision: Precision) -> Result<Decoder, Error> {
        let mut linears = RemoteLinears::new(Arc::clone(self), precision);
        let folder = self.model.checkpoint();
        Ok(Decoder::load_with_linears(folder, precision, &mut linears)?)
    }

    /// The model as an encoder, whose linear layers the hosts compute.
    ///
    /// # Errors
    /// If it is no encoder, or its folder cannot be read.
    pub fn encoder(self: &Arc<Self>, precision: Precision) -> Result<Encoder, Error> {
        let mut linears = RemoteLinears::new(Arc::clone(self), precision);
        let folder = self.model.checkpoint();
        Ok(Encoder::load_with_linears(folder, precision, &mut linears)?)
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &OwnerModel {
        &self.model
    }

    /// Hosts A and B.
    #[must_use]
    pub fn hosts(&self) -> &[HostAddress; 2] {
        &self.hosts
    }

    /// Shows `watcher` from now on what passes; the first one that is given stays. It is called in the forward pass, which waits for it.
    pub fn watch(&self, watcher: impl Fn(&Seen<'_>) + Send + Sync + 'static) {
        // An error means that there is one.
        let _ = self.watcher.set(Arc::new(watcher));
    }

    /// What went to and fro since the start.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.counters.traffic()
    }

    /// Masks that every layer has in stock now, asked about or answered; 0 without a session.
    #[must_use]
    pub fn reserved(&self) -> usize {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let session = current.as_ref();
        session.map_or(0, |session| session.reserved(self.model.layers()))
    }

    /// Asks for W x + b for vectors x of layer number `index`. Whatever fails, now or later, ends the session.
    pub(crate) fn ask(&self, index: usize, x: &[f64]) -> Result<OnTheWay, Error> {
        let session = self.session()?;
        let asked = session.ask(self.model.layers(), index, x);
        let asked = self.or_end(&session, asked)?;
        if index == 0 {
            self.counters.tokens.add(asked.rows);
        }
        Ok(OnTheWay { session, asked })
    }

    /// Waits for it.
    pub(crate) fn wait(&self, OnTheWay { session, asked }: OnTheWay) -> Result<Vec<f64>, Error> {
        let rows = asked.rows;
        let answered = session.wait(self.model.layers(), asked, self.watcher.get());
        let y = self.or_end(&session, answered)?;
        self.counters.vectors.add(rows);
        Ok(y)
    }

    fn or_end<R>(&self, session: &Arc<Session>, result: Result<R, Error>) -> Result<R, Error> {
        if result.is_err() {
            session.end();
            self.forget(session);
        }
        result
    }

    fn session(&self) -> Result<Arc<Session>, Error> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = current.as_ref().filter(|session| !session.has_ended()) {
            return Ok(Arc::clone(session));
        }
        *current = None;
        let session = Session::open(&self.model, &self.hosts, &self.options, &self.counters)?;
        let session = Arc::new(session);
        reserve::keep(&session, &self.model, self.options.reserve);
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    fn forget(&self, ended: &Arc<Session>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, ended))
        {
            *current = None;
        }
    }
}
