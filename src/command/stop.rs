//! When to stop: Ctrl-C, or the SIGTERM of a service manager.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A future that resolves at the first SIGINT or SIGTERM.
///
/// # Errors
/// The signal handlers cannot be installed.
pub(crate) fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// A token that is cancelled at the first SIGINT or SIGTERM.
///
/// # Errors
/// The signal handlers cannot be installed.
pub(crate) fn token() -> anyhow::Result<CancellationToken> {
    let (token, stop) = (CancellationToken::new(), signalled()?);
    let cancelled = token.clone();
    tokio::spawn(async move {
        stop.await;
        cancelled.cancel();
    });
    Ok(token)
}
