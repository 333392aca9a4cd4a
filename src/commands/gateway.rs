use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use equicrypt_checkpoint::{model_config, read_json};
use equicrypt_cipher::MasterKey;
use equicrypt_gateway::{
    ApiKey, Dialect, EncoderOwner, Epochs, Error, GatewayOptions, Host, HostState, Ledger, Model,
    Owner, Pool, Seal, TOOL_FORMATS, Tap, TextModel, ToolFormat, Upstream, serve_gateway,
};
use equicrypt_spec::Manifest;
use tokio::net::TcpListener;

use crate::args::{EngineName, Gateway, SealArgs};
use crate::commands::owner_engine::OwnerEngine;
use crate::commands::sealing::{seals, state_folder};
use crate::commands::tokens::read_manifest;
use crate::commands::{folder, stop};
use crate::key;
use crate::terminal::Terminal;

pub(super) fn run(args: &Gateway) -> Result<()> {
    // One thread relays more than a hundred thousand tokens a second, and hands none to another.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the gateway's threads")?
        .block_on(listen(args))
}

async fn listen(args: &Gateway) -> Result<()> {
    // Before anything is read: a port in use should be known at once.
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        let address = args.listen;
        format!("cannot listen on {address}; choose another address with --listen")
    })?;
    if !may_open(args) && !args.sealing.seal_to.is_empty() {
        bail!(
            "--seal-to: only equicrypt's server opens sealed requests; leave it out with another --engine"
        );
    }
    let tool_format = args.tool_format.as_deref().map(tool_format).transpose()?;
    let api_key = api_key(args.api_key_file.as_deref())?;
    // The owner's side is checked before any host hears of it.
    let encoder = model_config(&args.model)?.task.is_of_encoder();
    let owner = match encoder {
        true => Side::Encoder(Box::new(EncoderOwner::open(&args.model)?)),
        false => Side::Text(Box::new(Owner::open(&args.model)?)),
    };
    let tap = Tap::new(KEPT_FOR_SLOW_PAGES);
    let mut inner = None;
    let (key, upstreams, manifest, ledger) = match &args.key {
        None => {
            let silence = Duration::from_secs(args.upstream_timeout);
            let (hosts, tap) = (&args.shares, Some(tap.clone()));
            let start = OwnerEngine::start(&args.model, hosts, silence, args.reserve as usize, tap);
            let (engine, key) = start.await?;
            let (upstream, ledger) = (engine.upstream(), engine.ledger()?);
            let manifest = engine.manifest.clone();
            inner = Some(engine);
            (key, vec![upstream], manifest, ledger)
        }
        Some(key) => {
            let key = key::open(key)?;
            let upstreams = upstreams(args, &tap)?;
            let manifest = match upstreams.first().and_then(|first| first.manifest.clone()) {
                Some(manifest) => manifest,
                None => published(&upstreams).await?,
            };
            let ledger = ledger(args, &manifest)?;
            (key, upstreams, manifest, ledger)
        }
    };
    let ledger = Arc::new(ledger);
    let model = owner.open(key, &manifest, args, tool_format)?;
    let engine = args.engine.and_then(|engine| Dialect::named(engine.row()));
    let pool = Pool::open(upstreams, engine, manifest, Arc::clone(&ledger)).await?;
    let address: SocketAddr = listener.local_addr()?;
    let name = args
        .name
        .clone()
        .unwrap_or_else(|| folder::name(&args.model));
    let mut terminal = Terminal::new();
    terminal.line(&format!("serving {name} on http://{address}"))?;
    for line in inner.iter().flat_map(OwnerEngine::lines) {
        let _ = terminal.line(&line);
    }
    for line in pool
        .states()
        .iter()
        .filter(|_| inner.is_none())
        .filter_map(|state| sealed_line(state, &args.sealing))
    {
        // Whoever read the address may have left.
        let _ = terminal.line(&line);
    }
    let stop = stop::asked_to()?;
    let options = GatewayOptions {
        name,
        api_key,
        health: Duration::from_secs(2),
        grace: Duration::from_secs(30),
        shares: inner.as_ref().map(OwnerEngine::hosts),
    };
    serve_gateway(listener, model, pool, tap, options, stop).await?;
    ledger.close()?;
    if let Some(inner) = inner {
        let _ = terminal.line(&inner.end().await?);
    }
    Ok(())
}

/// Whether hosts may be able to open sealed requests.
fn may_open(args: &Gateway) -> bool {
    matches!(args.engine, None | Some(EngineName::Equicrypt))
}

/// Whether who is between here and a host that is in use reads token ids.
fn sealed_line(state: &HostState, args: &SealArgs) -> Option<String> {
    let (url, engine) = (&state.url, state.engine?);
    Some(match &state.sealed_to {
        _ if state.fault.is_some() => return None,
        Some(fingerprint) => {
            format!("sealed to {url}: {fingerprint}, which the host must print too")
        }
        None if args.unsealed => format!("not sealed to {url}: --unsealed"),
        None => format!("not sealed to {url}: {engine} opens no sealed requests"),
    })
}

/// The original model's side.
enum Side {
    Text(Box<Owner>),
    Encoder(Box<EncoderOwner>),
}

impl Side {
    /// Fails unless key, manifest and original belong together.
    fn open(
        self,
        key: MasterKey,
        manifest: &Manifest,
        args: &Gateway,
        tool_format: Option<&'static ToolFormat>,
    ) -> Result<Model> {
        Ok(match self {
            Self::Text(owner) => {
                let epochs = Epochs::new(*owner, key, manifest)?;
                let leaves_out = epochs.has_homophones() && recommends_penalty(&args.model);
                let model = TextModel::new(epochs, !args.hide_stops, tool_format)?;
                if leaves_out {
                    eprintln!(
                        "equicrypt: generation_config.json recommends a repetition_penalty; it is left out, because no host can do it \
                         exactly for a model with homophones"
                    );
                }
                Model::Text(Arc::new(model))
            }
            Self::Encoder(owner) => Model::Encoder(Box::new(Epochs::new(*owner, key, manifest)?)),
        })
    }
}

/// Whether the model's makers recommend a penalty on ids of the prompt.
fn recommends_penalty(model: &std::path::Path) -> bool {
    let config = read_json(&model.join("generation_config.json"));
    let penalty = config
        .ok()
        .and_then(|config| config.get("repetition_penalty")?.as_f64());
    penalty.is_some_and(|penalty| penalty != 1.0)
}

/// Each `--upstream` with what it must be serving. Fails if manifests are of different models or keys.
fn upstreams(args: &Gateway, tap: &Tap) -> Result<Vec<Upstream>> {
    let manifests = args.manifest.iter().map(|path| read_manifest(path));
    let manifests: Vec<_> = manifests.collect::<Result<_>>()?;
    let (hosts, given) = (args.upstream.len(), manifests.len());
    if given > 1 && given != hosts {
        bail!("--manifest: expected one, or one for each of the {hosts} --upstream, found {given}");
    }
    for (manifest, path) in manifests.iter().zip(&args.manifest) {
        let difference = manifests
            .first()
            .and_then(|first| first.first_difference_but_epochs(manifest));
        if let Some(field) = difference {
            bail!(
                "{}: {field} differs from that of the first --manifest; one gateway serves one model under one key, only \
                 epochs may differ",
                path.display()
            );
        }
    }
    let seals = match may_open(args) {
        true => seals(&args.sealing, hosts)?,
        false => vec![Seal::Off; hosts],
    };
    let upstream = |((place, url), seal): ((usize, &String), Seal)| {
        let manifest = manifests.get(place).or(manifests.first());
        Ok(Upstream {
            open: opener(args, url, seal, tap)?,
            manifest: manifest.cloned(),
        })
    };
    (args.upstream.iter().enumerate().zip(seals))
        .map(upstream)
        .collect()
}

/// What counts the tokens, in the file of this key and model.
fn ledger(args: &Gateway, manifest: &Manifest) -> Result<Ledger> {
    let path = match &args.state {
        Some(path) => path.clone(),
        None => {
            let model: String = manifest.source_fingerprint.chars().take(16).collect();
            let name = format!("{}-{model}.json", manifest.key_id);
            state_folder()
                .context("the counts need a file; give --state FILE")?
                .join(name)
        }
    };
    let ledger = Ledger::open(path, manifest, args.budget.tokens(manifest.homophones()))?;
    Ok(ledger.warning(|warning| eprintln!("equicrypt: {warning}")))
}

type Opener = Box<dyn Fn() -> Result<Host, Error> + Send + Sync>;

/// How a host is reached, now and whenever it comes back.
fn opener(args: &Gateway, url: &str, seal: Seal, tap: &Tap) -> Result<Opener> {
    let api_key = api_key(args.upstream_api_key_file.as_deref())?;
    let silence = Duration::from_secs(args.upstream_timeout);
    let (url, tap) = (url.to_owned(), tap.clone());
    let open = move || {
        let host = Host::new(&url, api_key.as_ref())?;
        Ok((host.silent_for(silence).sealing(seal.clone())).tapped(tap.clone()))
    };
    // An address that cannot be used is an error now.
    open()?;
    Ok(Box::new(open))
}

/// The manifest of the first host that publishes one.
async fn published(upstreams: &[Upstream]) -> Result<Manifest> {
    let mut first = None;
    for upstream in upstreams {
        match (upstream.open)()?.manifest().await {
            Ok(manifest) => return Ok(manifest),
            Err(error) => first = first.or(Some(error)),
        }
    }
    match first {
        Some(error) => Err(error.into()),
        None => bail!("no --upstream is given"),
    }
}

fn api_key(file: Option<&std::path::Path>) -> Result<Option<ApiKey>> {
    let line = file.map(key::first_line).transpose()?;
    Ok(line.map(ApiKey::new).transpose()?)
}

fn tool_format(name: &str) -> Result<&'static ToolFormat> {
    ToolFormat::named(name).ok_or_else(|| {
        let known: Vec<_> = TOOL_FORMATS.iter().map(|format| format.name).collect();
        anyhow!(
            "--tool-format: expected one of {}, found {name:?}",
            known.join(", ")
        )
    })
}

const KEPT_FOR_SLOW_PAGES: usize = 1024;
