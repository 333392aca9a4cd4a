use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use equicrypt_cipher::CipherIds;
use equicrypt_spec::Manifest;
use futures_util::future::join_all;

use crate::{CipherText, Dialect, Error, Expected, Host, Options, Step, Stream};

/// The hosts of one encrypted model. Each request goes to the one with the fewest answers running;
/// one that fails is left out until it answers its health check again.
pub struct Pool {
    members: Vec<Member>,
    engine: Option<&'static Dialect>,
    manifest: Manifest,
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostState {
    /// Its address.
    pub url: String,
    /// The engine, once it was reached.
    pub engine: Option<&'static str>,
    /// Why it is left out; none if it is in use.
    pub fault: Option<String>,
    /// Answers that it is giving.
    pub running: usize,
}

/// An answer that is still coming, and its place among those of its host.
pub struct Leased {
    first: Option<Step>,
    stream: Stream,
    _lease: Lease,
}

struct Member {
    open: Box<dyn Fn() -> Result<Host, Error> + Send + Sync>,
    url: String,
    state: RwLock<State>,
    running: Arc<AtomicUsize>,
}

enum State {
    Up(Arc<Host>),
    Down {
        engine: Option<&'static str>,
        fault: String,
    },
}

/// Counts one answer of a host, until it is dropped.
struct Lease(Arc<AtomicUsize>);

impl Pool {
    /// Hosts by how they are opened, which happens again whenever one of them comes back. `manifest`
    /// is what they must be serving, if they say what they serve. Connects to all of them; if none
    /// can be used, the first one's error is returned.
    pub async fn open(
        hosts: Vec<Box<dyn Fn() -> Result<Host, Error> + Send + Sync>>,
        engine: Option<&'static Dialect>,
        manifest: Manifest,
    ) -> Result<Self, Error> {
        let members = hosts.into_iter().map(|open| {
            Ok(Member {
                url: open()?.url(),
                open,
                state: RwLock::new(State::Down {
                    engine: None,
                    fault: "not asked yet".into(),
                }),
                running: Arc::default(),
            })
        });
        let pool = Self {
            members: members.collect::<Result<_, Error>>()?,
            engine,
            manifest,
        };
        let opened = join_all(pool.members.iter().map(|member| pool.check(member))).await;
        let mut errors = opened.into_iter().filter_map(Result::err);
        match (pool.members.iter().any(Member::is_up), errors.next()) {
            (false, Some(error)) => Err(error),
            (false, None) => Err(Error::NoHost {
                faults: String::new(),
            }),
            (true, _) => Ok(pool),
        }
    }

    /// Asks for an answer, and waits for its first step. As long as nothing came, another host is
    /// asked if one fails.
    pub async fn generate(
        &self,
        prompt: &CipherIds,
        options: &Options<'_>,
    ) -> Result<Leased, Error> {
        self.with_any(|host, lease| async move {
            let mut stream = host.generate(prompt, options).await?;
            let first = stream.next().await.transpose()?;
            Ok(Leased {
                first,
                stream,
                _lease: lease,
            })
        })
        .await
    }

    /// As [`Host::embeddings`], of any host.
    pub async fn embeddings(
        &self,
        texts: &[CipherText],
        expected: Expected,
    ) -> Result<Vec<Vec<f32>>, Error> {
        self.with_any(|host, lease| async move {
            let _lease = lease;
            host.embeddings(texts, expected).await
        })
        .await
    }

    /// Checks the hosts from time to time, for ever: takes out those that do not answer, and takes
    /// back those that do.
    pub async fn watch(&self, every: Duration) {
        let rounds = self.members.iter().map(async |member| {
            loop {
                tokio::time::sleep(every).await;
                // The error is kept in the host's state.
                let _ = self.check(member).await;
            }
        });
        join_all(rounds).await;
        pending().await
    }

    /// All hosts, in the order in which they were given.
    #[must_use]
    pub fn states(&self) -> Vec<HostState> {
        self.members.iter().map(Member::describe).collect()
    }

    /// Most log-probabilities at one place that every host in use gives.
    pub(crate) fn most_logprobs(&self) -> usize {
        let hosts = self.members.iter().filter_map(Member::host);
        let most = hosts.map(|host| host.dialect().most_logprobs);
        most.min().unwrap_or(0)
    }

    /// What is served.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    async fn with_any<T, Asking: Future<Output = Result<T, Error>>>(
        &self,
        ask: impl Fn(Arc<Host>, Lease) -> Asking,
    ) -> Result<T, Error> {
        let mut failed = vec![false; self.members.len()];
        let mut last = None;
        while let Some((place, host)) = self.least_loaded(&failed) {
            let member = &self.members[place];
            match ask(host, Lease::new(&member.running)).await {
                Err(error) if error.is_of_host() => {
                    if !error.is_of_load() {
                        member.fails(&error);
                    }
                    failed[place] = true;
                    last = Some(error);
                }
                result => return result,
            }
        }
        Err(last.unwrap_or_else(|| Error::NoHost {
            faults: self.faults(),
        }))
    }

    fn least_loaded(&self, failed: &[bool]) -> Option<(usize, Arc<Host>)> {
        let untried = self.members.iter().zip(failed).enumerate();
        let untried = untried.filter(|(_, (_, failed))| !**failed);
        let usable = untried.filter_map(|(place, (member, _))| {
            let load = member.running.load(Ordering::Relaxed);
            Some((load, place, member.host()?))
        });
        let least = usable.min_by_key(|(load, place, _)| (*load, *place));
        least.map(|(_, place, host)| (place, host))
    }

    async fn check(&self, member: &Member) -> Result<(), Error> {
        let checked = match member.host() {
            Some(host) => host.still(&self.manifest).await.map(|()| host),
            None => self.reach(member).await.map(Arc::new),
        };
        match checked {
            Ok(host) => {
                member.set(State::Up(host));
                Ok(())
            }
            Err(error) => {
                member.fails(&error);
                Err(error)
            }
        }
    }

    async fn reach(&self, member: &Member) -> Result<Host, Error> {
        let host = (member.open)()?.sniffed(self.engine).await?;
        host.still(&self.manifest).await?;
        Ok(host)
    }

    fn faults(&self) -> String {
        let states = self.states().into_iter();
        let faults = states.filter_map(|state| state.fault);
        faults.collect::<Vec<_>>().join("; ")
    }
}

impl Leased {
    /// The engine that gives it.
    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.stream.dialect()
    }

    /// The next step; `None` after the last one, or after an error.
    pub async fn next(&mut self) -> Option<Result<Step, Error>> {
        match self.first.take() {
            Some(step) => Some(Ok(step)),
            None => self.stream.next().await,
        }
    }
}

impl Member {
    fn host(&self) -> Option<Arc<Host>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Up(host) => Some(Arc::clone(host)),
            State::Down { .. } => None,
        }
    }

    fn is_up(&self) -> bool {
        self.host().is_some()
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn fails(&self, error: &Error) {
        let engine = self.describe().engine;
        let fault = error.to_string();
        self.set(State::Down { engine, fault });
    }

    fn describe(&self) -> HostState {
        let (engine, fault) = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Up(host) => (Some(host.dialect().name), None),
            State::Down { engine, fault } => (*engine, Some(fault.clone())),
        };
        HostState {
            url: self.url.clone(),
            engine,
            fault,
            running: self.running.load(Ordering::Relaxed),
        }
    }
}

impl Lease {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
