//! The mode for hosts that own the public weights: the owner's folder, and the hosts' service.

use std::sync::Arc;

use anyhow::{Context, Result};
use equicrypt_checkpoint::Checkpoint;
use equicrypt_linear_host::{HostEvent, HostOptions, LinearHost, LinearModel};
use equicrypt_sealed::Address;
use equicrypt_shares::{HeadPlace, HostAddress, PrepareOptions, prepare};

use super::folder::name;
use super::sealing::transport_secret;
use super::stop;
use crate::args::{HeadPlaceName, Shares, SharesPrepare, SharesServe};
use crate::progress;
use crate::terminal::Terminal;

pub(super) fn run(shares: &Shares) -> Result<()> {
    match shares {
        Shares::Prepare(args) => prepare_folder(args),
        Shares::Serve(args) => serve(args),
    }
}

fn prepare_folder(args: &SharesPrepare) -> Result<()> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let options = PrepareOptions {
        head: match args.head {
            HeadPlaceName::Local => HeadPlace::Local,
            HeadPlaceName::Remote => HeadPlace::Remote,
        },
    };
    let busy = progress::spinner("turning weights into integers".into());
    let prepared = prepare(&checkpoint, &args.output, &options);
    busy.finish_and_clear();
    let prepared = prepared?;
    let mut terminal = Terminal::new();
    terminal.line(&format!(
        "prepared {} in {}: {} linear layers of {:.1} million weights are computed by two hosts",
        name(&args.model),
        args.output.display(),
        prepared.layers,
        prepared.weights as f64 / 1e6
    ))?;
    terminal.line(&format!(
        "a token sends {:.0} kB to host A, and brings {:.0} kB from each host; hosts must have model {}",
        prepared.bytes_up as f64 / 1e3,
        prepared.bytes_down as f64 / 1e3,
        prepared.digest
    ))
}

fn serve(args: &SharesServe) -> Result<()> {
    let (secret, kept) = transport_secret(args.transport_key.as_ref())?;
    let checkpoint = Checkpoint::open(&args.model)?;
    let busy = progress::spinner("turning weights into integers".into());
    let model = LinearModel::load(&checkpoint);
    busy.finish_and_clear();
    let model = Arc::new(model?);
    let fingerprint = secret.public()?.fingerprint();
    let options = HostOptions {
        most_connections: args.most_owners.into(),
        ..HostOptions::default()
    };
    let host = LinearHost::listen(Arc::clone(&model), secret, &args.listen, options)?;
    let mut terminal = Terminal::new();
    let address = match host.address() {
        Address::Unix(path) => format!("unix:{}", path.display()),
        address => format!("{address}#{fingerprint}"),
    };
    terminal.line(&announcement(&name(&args.model), &address))?;
    // Whoever read the address may have left.
    let _ = terminal.line(&format!(
        "model {}: {} linear layers; the key is {kept}",
        model.digest(),
        model.layers()
    ));
    let handle = host.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for signals")?;
    std::thread::scope(|scope| -> Result<()> {
        let running = scope.spawn(|| host.run(tell));
        let stopped = runtime.block_on(async {
            stop::asked_to()?.await;
            anyhow::Ok(())
        });
        handle.shut_down();
        let ended = running.join();
        stopped?;
        ended.map_err(|_| anyhow::anyhow!("the service broke off; this is a bug"))
    })?;
    let counts = handle.counts();
    let _ = terminal.line(&format!(
        "answered {} questions about {} vectors in {:.1} s of computing",
        counts.answers,
        counts.vectors,
        counts.busy.as_secs_f64()
    ));
    Ok(())
}

/// Why an owner went, if it was not the end of a good conversation.
fn tell(event: HostEvent) {
    if let HostEvent::Ended(Some(error)) = event {
        eprintln!("equicrypt: an owner went: {error}");
    }
}

/// The line that a host prints once it answers.
fn announcement(name: &str, address: &str) -> String {
    format!("computing linear layers of {name} at {address}")
}

/// The address in such a line.
pub(super) fn announced_address(line: &str) -> Option<String> {
    let (_, address) = line.trim_end().rsplit_once(" at ")?;
    let address: HostAddress = address.parse().ok()?;
    let pin = address.pin.as_ref().map(|pin| format!("#{pin}"));
    Some(format!("{address}{}", pin.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_reads_back() {
        let address = "tcp://127.0.0.1:8701#0123-4567-89ab-cdef-0123-4567-89ab-cdef";
        let found = announced_address(&announcement("a model at tcp://x", address));
        assert_eq!(found.as_deref(), Some(address));
        assert_eq!(announced_address("computing nothing"), None);
    }
}
