//! What ends a command that serves.

use std::io::{Read, stdin};
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Ready when the process is asked to end: by Ctrl-C, by SIGTERM, or, if [`WITH_STDIN`] is set, by the end of its standard input.
/// Needs a runtime from the start.
pub(super) fn asked_to() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let ended = std::env::var_os(WITH_STDIN)
        .map(|_| end_of_stdin())
        .transpose()?;
    let ended = async {
        match ended {
            // An error would mean the same.
            Some(ended) => drop(ended.await),
            None => std::future::pending().await,
        }
    };
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
            () = ended => {}
        }
    })
}

fn end_of_stdin() -> Result<oneshot::Receiver<()>> {
    let (send, receive) = oneshot::channel();
    let wait = move || {
        let mut buffer = [0; 64];
        while stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
        // Nobody waits if it has ended already.
        let _ = send.send(());
    };
    let thread = thread::Builder::new().name("equicrypt-stdin".into());
    thread.spawn(wait).context("cannot start a thread")?;
    Ok(receive)
}

/// Set for a process that another one has started for itself: it ends with that, however that ends.
pub(super) const WITH_STDIN: &str = "EQUICRYPT_WITH_STDIN";
