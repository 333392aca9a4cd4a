//! An engine of the owner's own, in this process, whose linear layers two hosts compute.
//!
//! It is reached as a host is, so that everything that is checked of hosts is checked here too: over a socket that only this
//! user can open, under a vocabulary whose key is thrown away with the process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use equicrypt_cipher::{MasterKey, Vocabulary};
use equicrypt_engine::{EncoderEngine, EncoderOptions, Engine, EngineOptions, Precision};
use equicrypt_gateway::{Host, Ledger, Tap, Upstream};
use equicrypt_server::{AnyEngine, ServeOptions, serve_on};
use equicrypt_shares::{HostAddress, OwnerModel, Remote, RemoteOptions};
use equicrypt_spec::{FORMAT_VERSION, Manifest, Profile};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::commands::shares_view::View;

/// The engine while it runs.
pub(super) struct OwnerEngine {
    pub(super) manifest: Manifest,
    remote: Arc<Remote>,
    place: TempDir,
    silence: Duration,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), equicrypt_server::Error>>,
}

impl OwnerEngine {
    /// For an owner's folder: finds both hosts, and starts the engine, under the key that is returned. `silence` is how long a host may take
    /// for an answer, `reserve` the masks to be had while nothing is asked.
    pub(super) async fn start(
        folder: &Path,
        hosts: &[HostAddress],
        silence: Duration,
        reserve: usize,
        tap: Option<Tap>,
    ) -> Result<(Self, MasterKey)> {
        let [a, b] = hosts else {
            bail!("--shares: expected two hosts, A,B, found {}", hosts.len());
        };
        let model = Arc::new(OwnerModel::open(folder)?);
        let defaults = RemoteOptions::default();
        let options = RemoteOptions {
            timeout: silence,
            reserve,
            // Texts of an encoder have nothing in common but the model; a stock is for answers, which come token by token.
            stock: match is_of_encoder(&model) {
                true => 0,
                false => defaults.stock,
            },
            ..defaults
        };
        let remote = Remote::new(Arc::clone(&model), [a.clone(), b.clone()], options)?;
        if let Some(tap) = tap {
            show(&remote, tap);
        }
        let key = MasterKey::generate()?;
        let manifest = manifest(&model, &key)?;
        let vocabulary = Vocabulary::open(&key, &manifest)?;
        let names: Vec<u32> = (0..manifest.vocab_size as u32).collect();
        let names = vocabulary.decrypt(&names)?;
        let found = Arc::clone(&remote);
        let engine = tokio::task::spawn_blocking(move || engine(&found, names));
        let engine = engine.await.context("the engine could not be made")??;
        let host = equicrypt_server::Host::new(engine, "shares".into(), Some(manifest.clone()));
        let place = tempfile::tempdir().context("cannot make a folder for a socket")?;
        let socket = socket(&place);
        let listener = UnixListener::bind(&socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            // An error means that the gateway has ended.
            let _ = stopped.await;
        };
        let serving = serve_on(listener, host, ServeOptions::default(), stopped);
        let engine = Self {
            manifest,
            remote,
            silence,
            place,
            stop,
            running: tokio::spawn(serving),
        };
        Ok((engine, key))
    }

    /// How it is reached.
    pub(super) fn host(&self) -> Result<Host> {
        Ok(Host::at_socket(&socket(&self.place))?.silent_for(self.silence))
    }

    /// The same for a gateway.
    pub(super) fn upstream(&self) -> Upstream {
        let (socket, silence) = (socket(&self.place), self.silence);
        let open = move || Ok(Host::at_socket(&socket)?.silent_for(silence));
        Upstream {
            open: Box::new(open),
            manifest: None,
        }
    }

    /// Nothing that hosts see is used up.
    pub(super) fn ledger(&self) -> Result<Ledger> {
        let path = self.place.path().join("counts.json");
        Ok(Ledger::open(path, &self.manifest, None)?)
    }

    /// Hosts A and B.
    pub(super) fn hosts(&self) -> [String; 2] {
        let [a, b] = self.remote.hosts();
        [a.to_string(), b.to_string()]
    }

    /// What is said of the hosts at the start.
    pub(super) fn lines(&self) -> [String; 2] {
        let [a, b] = self.remote.hosts();
        [
            format!("host A, {a}, is sent vectors under masks; host B, {b}, the seed of the masks"),
            "if the two collude, they read everything; alone, each sees how many tokens, and when"
                .into(),
        ]
    }

    /// Ends it, and says what went to and fro.
    pub(super) async fn end(self) -> Result<String> {
        let _ = self.stop.send(());
        self.running.await.context("the engine broke off")??;
        let traffic = self.remote.traffic();
        let mega = |bytes: u64| bytes as f64 / 1e6;
        Ok(format!(
            "{} tokens in {} sessions; to A {:.1} MB, from A {:.1} MB, to B {:.1} MB, from B {:.1} MB",
            traffic.tokens,
            traffic.sessions,
            mega(traffic.a.sent),
            mega(traffic.a.received),
            mega(traffic.b.sent),
            mega(traffic.b.received)
        ))
    }
}

/// The model under `names`, with its linear layers at both hosts; finds out first whether they are there.
fn engine(remote: &Arc<Remote>, names: Vec<u32>) -> Result<AnyEngine> {
    remote.connect()?;
    Ok(match is_of_encoder(remote.model()) {
        true => {
            let encoder = remote.encoder(Precision::F32)?.renamed(names)?;
            EncoderEngine::start(encoder, EncoderOptions::default())?.into()
        }
        false => {
            let decoder = remote.decoder(Precision::F32)?.renamed(names)?;
            Engine::start(decoder, EngineOptions::default())?.into()
        }
    })
}

fn is_of_encoder(model: &OwnerModel) -> bool {
    model.config().task.is_of_encoder()
}

/// The page shows what passes in the first layer; the others look the same, and are a hundred times as many.
fn show(remote: &Remote, tap: Tap) {
    remote.watch(move |seen| {
        if seen.layer > 0 || !tap.is_watched() {
            return;
        }
        for (route, view) in [("host A", View::of_a(seen)), ("host B", View::of_b(seen))] {
            let (sent, received) = (&view.sent, &view.received);
            tap.show(route, (&sent.0, sent.1), (&received.0, received.1));
        }
    });
}

fn socket(place: &TempDir) -> PathBuf {
    place.path().join("engine.sock")
}

fn manifest(model: &OwnerModel, key: &MasterKey) -> Result<Manifest> {
    let config = model.config();
    let fingerprint = model.checkpoint().fingerprint()?;
    Ok(Manifest {
        format_version: FORMAT_VERSION,
        key_id: key.id(),
        epoch: 0,
        weights_epoch: None,
        profile: Profile::Vocabulary,
        architecture: config.architecture.model_type.to_owned(),
        source_fingerprint: fingerprint
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        vocab_size: config.vocab_size,
        plain_vocab_size: config.vocab_size,
        dtype: "F32".into(),
        kept_id: config.uncounted_id(),
        rotates_output: false,
        noise: 0.0,
        homophone_table: None,
    })
}
