//! What ends a command that serves.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Ready when the process is asked to end: by Ctrl-C, or by SIGTERM. Needs a runtime from the start.
pub(super) fn asked_to() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}
