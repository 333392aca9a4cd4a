use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use equicrypt_checkpoint::{model_config, read_json};
use equicrypt_cipher::MasterKey;
use equicrypt_gateway::{
    ApiKey, Dialect, EncoderOwner, EncoderSession, Error, GatewayOptions, Host, Model, Owner, Pool,
    Session, TOOL_FORMATS, Tap, TextModel, ToolFormat, serve_gateway,
};
use equicrypt_spec::Manifest;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Gateway;
use crate::commands::tokens::read_manifest;
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
    let tool_format = args.tool_format.as_deref().map(tool_format).transpose()?;
    let api_key = api_key(args.api_key_file.as_deref())?;
    // The owner's side is checked before any host hears of it.
    let encoder = model_config(&args.model)?.task.is_of_encoder();
    let owner = match encoder {
        true => Side::Encoder(Box::new(EncoderOwner::open(&args.model)?)),
        false => Side::Text(Box::new(Owner::open(&args.model)?)),
    };
    let key = key::open(&args.key)?;
    let tap = Tap::new(KEPT_FOR_SLOW_PAGES);
    let openers = args.upstream.iter().map(|url| opener(args, url, &tap));
    let openers: Vec<_> = openers.collect::<Result<_>>()?;
    let manifest = match &args.manifest {
        Some(path) => read_manifest(path)?,
        None => published(&openers).await?,
    };
    let model = owner.open(&key, &manifest, args, tool_format)?;
    drop(key);
    let engine = args.engine.and_then(|engine| Dialect::named(engine.row()));
    let pool = Pool::open(openers, engine, manifest).await?;
    let address: SocketAddr = listener.local_addr()?;
    let name = args.name.clone().unwrap_or_else(|| folder_name(args));
    Terminal::new().line(&format!("serving {name} on http://{address}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    let options = GatewayOptions {
        name,
        api_key,
        health: Duration::from_secs(2),
        grace: Duration::from_secs(30),
    };
    Ok(serve_gateway(listener, model, pool, tap, options, stop).await?)
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
        key: &MasterKey,
        manifest: &Manifest,
        args: &Gateway,
        tool_format: Option<&'static ToolFormat>,
    ) -> Result<Model> {
        Ok(match self {
            Self::Text(owner) => {
                let session = Session::open(*owner, key, manifest)?;
                let leaves_out = session.has_homophones() && recommends_penalty(&args.model);
                let model = TextModel::new(session, !args.hide_stops, tool_format)?;
                if leaves_out {
                    eprintln!(
                        "equicrypt: generation_config.json recommends a repetition_penalty; it is left out, because no host can do it \
                         exactly for a model with homophones"
                    );
                }
                Model::Text(Arc::new(model))
            }
            Self::Encoder(owner) => {
                Model::Encoder(Box::new(EncoderSession::open(*owner, key, manifest)?))
            }
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

type Opener = Box<dyn Fn() -> Result<Host, Error> + Send + Sync>;

/// How a host is reached, now and whenever it comes back.
fn opener(args: &Gateway, url: &str, tap: &Tap) -> Result<Opener> {
    let api_key = api_key(args.upstream_api_key_file.as_deref())?;
    let silence = Duration::from_secs(args.upstream_timeout);
    let (url, tap) = (url.to_owned(), tap.clone());
    let open = move || {
        let host = Host::new(&url, api_key.as_ref())?;
        Ok(host.silent_for(silence).tapped(tap.clone()))
    };
    // An address that cannot be used is an error now.
    open()?;
    Ok(Box::new(open))
}

/// The manifest of the first host that publishes one.
async fn published(openers: &[Opener]) -> Result<Manifest> {
    let mut first = None;
    for open in openers {
        match open()?.manifest().await {
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

fn folder_name(args: &Gateway) -> String {
    let full = args
        .model
        .canonicalize()
        .unwrap_or_else(|_| args.model.clone());
    let name = full
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "model".into())
}

const KEPT_FOR_SLOW_PAGES: usize = 1024;
