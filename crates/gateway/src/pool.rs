use std::cmp::Reverse;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use equicrypt_cipher::CipherIds;
use equicrypt_spec::Manifest;
use futures_util::future::join_all;

use crate::{
    CipherText, Dialect, EncoderSession, Error, Expected, Host, Ledger, Options, Sampling, Session,
    Step, Stream,
};

/// The hosts of one encrypted model, which may have it in several epochs. Each request goes to the newest epoch whose
/// budget has room for it, and of its hosts to the one with the fewest answers running; one that fails is left out until it
/// answers its health check again.
pub struct Pool {
    members: Vec<Member>,
    engine: Option<&'static Dialect>,
    manifest: Arc<Manifest>,
    ledger: Arc<Ledger>,
}

/// A host that a pool is to use.
pub struct Upstream {
    /// How it is opened, which happens again whenever it comes back.
    pub open: Box<dyn Fn() -> Result<Host, Error> + Send + Sync>,
    /// What it must be serving. If none is given, it is what the host publishes, in any epoch.
    pub manifest: Option<Manifest>,
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
    /// The epoch that it serves, while it is in use.
    pub epoch: Option<u32>,
    /// The fingerprint of the key that requests are sealed to, while it is in use; none if they are not.
    pub sealed_to: Option<String>,
}

/// An answer that is still coming, and its place among those of its host.
pub(crate) struct Leased {
    first: Option<Step>,
    stream: Stream,
    asked: Asked,
    _lease: Lease,
}

/// What is asked of a host, encrypted for its epoch.
pub(crate) struct Asked {
    pub(crate) session: Arc<Session>,
    pub(crate) prompt: CipherIds,
    pub(crate) sampling: Sampling,
    pub(crate) tells_stops: bool,
    pub(crate) max_tokens: usize,
}

struct Member {
    open: Box<dyn Fn() -> Result<Host, Error> + Send + Sync>,
    url: String,
    manifest: Option<Arc<Manifest>>,
    state: RwLock<State>,
    running: Arc<AtomicUsize>,
}

enum State {
    Up(Up),
    Down {
        engine: Option<&'static str>,
        fault: String,
    },
}

/// A host that can be used, and what it serves.
#[derive(Clone)]
struct Up {
    host: Arc<Host>,
    manifest: Arc<Manifest>,
}

/// Counts one answer of a host, until it is dropped.
struct Lease(Arc<AtomicUsize>);

impl Pool {
    /// `manifest` is of the model that all hosts must be serving, in any epoch; those that do not say what they serve are
    /// taken to serve this one. `ledger` counts what they get. Connects to all of them; if none can be used, the first one's
    /// error is returned.
    pub async fn open(
        hosts: Vec<Upstream>,
        engine: Option<&'static Dialect>,
        manifest: Manifest,
        ledger: Arc<Ledger>,
    ) -> Result<Self, Error> {
        let members = hosts.into_iter().map(|upstream| {
            Ok(Member {
                url: (upstream.open)()?.url(),
                open: upstream.open,
                manifest: upstream.manifest.map(Arc::new),
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
            manifest: Arc::new(manifest),
            ledger,
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

    /// Asks for an answer to a prompt of so many tokens, and waits for its first step. As long as nothing came, another host
    /// is asked if one fails; `encrypt` is called for each one's manifest.
    pub(crate) async fn generate(
        &self,
        tokens: usize,
        encrypt: impl Fn(&Manifest) -> Result<Asked, Error>,
    ) -> Result<Leased, Error> {
        let encrypt = &encrypt;
        self.with_any(tokens, |up, lease| async move {
            let asked = encrypt(&up.manifest)?;
            let options = Options {
                vocab_size: asked.session.vocab_size(),
                stop_ids: asked.session.stop_ids(),
                tells_stops: asked.tells_stops,
                max_tokens: asked.max_tokens,
                sampling: &asked.sampling,
            };
            let mut stream = up.host.generate(&asked.prompt, &options).await?;
            let first = stream.next().await.transpose()?;
            Ok(Leased {
                first,
                stream,
                asked,
                _lease: lease,
            })
        })
        .await
    }

    /// As [`Host::embeddings`], of any host, for texts of so many tokens, with the session that they were encrypted under.
    pub(crate) async fn embeddings(
        &self,
        tokens: usize,
        encrypt: impl Fn(&Manifest) -> Result<(Arc<EncoderSession>, Vec<CipherText>), Error>,
    ) -> Result<(Arc<EncoderSession>, Vec<Vec<f32>>), Error> {
        let encrypt = &encrypt;
        self.with_any(tokens, |up, lease| async move {
            let _lease = lease;
            let (session, texts) = encrypt(&up.manifest)?;
            let expected = Expected {
                vocab_size: session.vocab_size(),
                width: session.embedding_width()?,
            };
            let vectors = up.host.embeddings(&texts, expected).await?;
            Ok((session, vectors))
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
        let up = self.members.iter().filter_map(Member::up);
        let most = up.map(|up| up.host.dialect().most_logprobs);
        most.min().unwrap_or(0)
    }

    /// The newest epoch that a host has; while none can be used, what was served first.
    #[must_use]
    pub fn manifest(&self) -> Arc<Manifest> {
        let up = self.members.iter().filter_map(Member::up);
        let newest = up.max_by_key(|up| up.manifest.epoch);
        newest.map_or_else(|| Arc::clone(&self.manifest), |up| up.manifest)
    }

    /// What counts the tokens.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn with_any<T, Asking: Future<Output = Result<T, Error>>>(
        &self,
        tokens: usize,
        ask: impl Fn(Up, Lease) -> Asking,
    ) -> Result<T, Error> {
        let mut failed = vec![false; self.members.len()];
        let mut changed = failed.clone();
        let mut last = None;
        while let Some((place, up)) = self.best(&failed, tokens) {
            let member = &self.members[place];
            let epoch = up.manifest.epoch;
            self.ledger.send(epoch, tokens).await?;
            let asked = ask(up, Lease::new(&member.running)).await;
            if matches!(&asked, Err(Error::OtherManifest { .. })) && !changed[place] {
                // It has changed over since it was last looked at; what it serves now may be all right.
                changed[place] = true;
                if self.check(member).await.is_ok() {
                    last = asked.err();
                    continue;
                }
            }
            match asked {
                Err(error) if error.is_of_host() => {
                    if !error.is_of_load() {
                        member.fails(&error);
                    }
                    failed[place] = true;
                    last = Some(error);
                }
                result => {
                    if result.as_ref().is_err_and(Error::is_before_sending) {
                        self.ledger.unsent(epoch, tokens);
                    }
                    return result;
                }
            }
        }
        Err(last.unwrap_or_else(|| self.refusal(tokens)))
    }

    /// Of the hosts that have not failed, one with the newest epoch that has room for so many tokens.
    fn best(&self, failed: &[bool], tokens: usize) -> Option<(usize, Up)> {
        let untried = self.members.iter().zip(failed).enumerate();
        let untried = untried.filter(|(_, (_, failed))| !**failed);
        let usable = untried.filter_map(|(place, (member, _))| {
            let up = member.up()?;
            let load = member.running.load(Ordering::Relaxed);
            let has_room = self.ledger.has_room(up.manifest.epoch, tokens);
            has_room.then_some((Reverse(up.manifest.epoch), load, place, up))
        });
        let best = usable.min_by_key(|(epoch, load, place, _)| (*epoch, *load, *place));
        best.map(|(.., place, up)| (place, up))
    }

    /// Why no host can be asked.
    fn refusal(&self, tokens: usize) -> Error {
        match self.members.iter().any(Member::is_up) {
            true => self.ledger.refusal(self.manifest().epoch, tokens),
            false => Error::NoHost {
                faults: self.faults(),
            },
        }
    }

    async fn check(&self, member: &Member) -> Result<(), Error> {
        let checked = match member.up() {
            Some(up) => self.identified(member, up.host).await,
            None => self.reach(member).await,
        };
        match checked {
            Ok(up) => {
                member.set(State::Up(up));
                Ok(())
            }
            Err(error) => {
                member.fails(&error);
                Err(error)
            }
        }
    }

    async fn reach(&self, member: &Member) -> Result<Up, Error> {
        let host = (member.open)()?.sniffed(self.engine).await?;
        self.identified(member, Arc::new(host)).await
    }

    /// Fails if the host serves another model than the one it should, or another epoch than the one it must.
    async fn identified(&self, member: &Member, host: Arc<Host>) -> Result<Up, Error> {
        let published = host.published().await?;
        let expected = member.manifest.as_ref();
        let difference = match (&published, expected) {
            (Some(published), Some(expected)) => published.first_difference(expected),
            (Some(published), None) => published.first_difference_but_epochs(&self.manifest),
            (None, _) => None,
        };
        match difference {
            None => {
                let manifest = expected.cloned().or(published.map(Arc::new));
                let manifest = manifest.unwrap_or_else(|| Arc::clone(&self.manifest));
                let host = (*host).clone().serving(&manifest);
                Ok(Up {
                    host: Arc::new(host),
                    manifest,
                })
            }
            Some(field) => Err(Error::OtherManifest {
                url: host.url(),
                field,
            }),
        }
    }

    fn faults(&self) -> String {
        let states = self.states().into_iter();
        let faults = states.filter_map(|state| state.fault);
        faults.collect::<Vec<_>>().join("; ")
    }
}

impl Leased {
    /// What it was asked.
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The engine that gives it.
    pub(crate) fn dialect(&self) -> &'static Dialect {
        self.stream.dialect()
    }

    /// Whether it has an end that the host sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.stream.is_sealed()
    }

    /// The next step; `None` after the last one, or after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Step, Error>> {
        match self.first.take() {
            Some(step) => Some(Ok(step)),
            None => self.stream.next().await,
        }
    }
}

impl Member {
    fn up(&self) -> Option<Up> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Up(up) => Some(up.clone()),
            State::Down { .. } => None,
        }
    }

    fn is_up(&self) -> bool {
        self.up().is_some()
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
            State::Up(up) => (Some(up.host.dialect().name), None),
            State::Down { engine, fault } => (*engine, Some(fault.clone())),
        };
        HostState {
            url: self.url.clone(),
            engine,
            fault,
            running: self.running.load(Ordering::Relaxed),
            epoch: self.up().map(|up| up.manifest.epoch),
            sealed_to: (self.up()).and_then(|up| Some(up.host.sealed_to()?.to_string())),
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
