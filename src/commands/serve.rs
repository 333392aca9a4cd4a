use std::net::SocketAddr;

use anyhow::{Context, Result};
use equicrypt_engine::{EngineOptions, Precision};
use equicrypt_server::{ApiKey, AppOptions, Host, HostOptions, Sealing, ServeOptions, serve};
use tokio::net::TcpListener;

use crate::args::{Serve, StorageName};
use crate::commands::sealing::{request_log, transport_secret};
use crate::commands::stop;
use crate::terminal::Terminal;

pub(super) fn run(args: &Serve) -> Result<()> {
    let key = args
        .api_key_file
        .as_deref()
        .map(|file| ApiKey::from_file(file).with_context(|| format!("in {}", file.display())))
        .transpose()?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the server's threads")?
        .block_on(listen(args, key))
}

async fn listen(args: &Serve, key: Option<ApiKey>) -> Result<()> {
    // Before the model is loaded: a port in use should be known at once.
    let listener = TcpListener::bind(args.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; choose another address with --listen",
            args.listen
        )
    })?;
    let (secret, kept) = transport_secret(args.transport_key.as_ref())?;
    let sealing = Sealing::new(secret)?;
    let sealing = if args.sealed_only {
        sealing.only()
    } else {
        sealing
    };
    let opens = format!(
        "sealed requests: {}, {kept}",
        sealing.public().fingerprint()
    );
    let engine = EngineOptions {
        max_batch: args.max_batch.into(),
        max_queue: args.max_queue.into(),
        ..EngineOptions::default()
    };
    let host = Host::open(
        &args.folder,
        HostOptions {
            precision: precision(args.dtype),
            engine,
            ..HostOptions::default()
        },
    )?;
    let address: SocketAddr = listener.local_addr()?;
    let mut terminal = Terminal::new();
    terminal.line(&announcement(host.name(), address))?;
    // Whoever read the address may have left.
    let _ = terminal.line(&opens);
    let stop = stop::asked_to()?;
    Ok(serve(
        listener,
        host,
        ServeOptions {
            app: AppOptions {
                key,
                sealing: Some(sealing),
                log: request_log(args),
            },
            ..ServeOptions::default()
        },
        stop,
    )
    .await?)
}

/// How an engine is to keep weights.
pub(super) fn precision(dtype: StorageName) -> Precision {
    match dtype {
        StorageName::F32 => Precision::F32,
        StorageName::Bf16 => Precision::Bf16,
        StorageName::Q8_0 => Precision::Q8_0,
    }
}

/// The line that a server prints once it answers.
fn announcement(name: &str, address: SocketAddr) -> String {
    format!("serving {name} on http://{address}")
}

/// The URL in such a line.
pub(super) fn announced_url(line: &str) -> Option<String> {
    let (_, address) = line.trim_end().rsplit_once(" on http://")?;
    let address: SocketAddr = address.parse().ok()?;
    Some(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_reads_back() {
        let address: SocketAddr = "127.0.0.1:8700".parse().unwrap();
        let url = announced_url(&announcement("a model on http://x", address));
        assert_eq!(url.as_deref(), Some("http://127.0.0.1:8700"));
        assert_eq!(announced_url("serving nothing"), None);
    }
}
