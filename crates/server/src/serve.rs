use std::future::Future;
use std::time::Duration;

use axum::serve::{Listener, ListenerExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::{AppOptions, Error, Host, app_with};

/// How to serve.
pub struct ServeOptions {
    /// Who is let in, and how.
    pub app: AppOptions,
    /// How long running answers may take after the shutdown began, before they are aborted.
    pub grace: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            app: AppOptions::default(),
            grace: Duration::from_secs(60),
        }
    }
}

/// Serves until `shutdown` is ready. From then on nothing new is accepted; answers that run are
/// finished, or aborted when the grace is over. Returns when the engine's thread has ended.
pub async fn serve(
    listener: TcpListener,
    host: Host,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error> {
    // Ids are small and come one by one: each goes out at once.
    let listener = listener.tap_io(|socket| {
        // A socket that cannot do it is slower, not wrong.
        let _ = socket.set_nodelay(true);
    });
    serve_on(listener, host, options, shutdown).await
}

/// The same on any other kind of socket, such as one that only this machine can reach.
pub async fn serve_on<L>(
    listener: L,
    host: Host,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Error>
where
    L: Listener<Addr: std::fmt::Debug>,
{
    let engine = host.engine().clone();
    let (stopping, stopped) = oneshot::channel();
    let closing = engine.clone();
    let graceful = async move {
        shutdown.await;
        closing.close();
        // An error means that nobody waits for the deadline any longer.
        let _ = stopping.send(());
    };
    let serving =
        axum::serve(listener, app_with(host, options.app)).with_graceful_shutdown(graceful);
    let deadline = async {
        if stopped.await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(options.grace).await;
        engine.abort();
        tokio::time::sleep(LAST_WORDS).await;
    };
    let result = tokio::select! {
        result = serving => result.map_err(Error::Listen),
        () = deadline => Ok(()),
    };
    engine.abort();
    // An error means that the runtime is shutting down; the thread ends by itself.
    let _ = tokio::task::spawn_blocking(move || engine.join()).await;
    result
}

/// How long a client has to read the end of an aborted answer.
const LAST_WORDS: Duration = Duration::from_secs(2);
