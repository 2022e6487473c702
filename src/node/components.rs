//! The running components, by name.

use crate::exit::sentence;
use anyhow::{Context, anyhow};
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long the components get to end. Pods go on without them, so nothing is lost after it.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// Tasks that run until they are told to stop.
#[derive(Default)]
pub(super) struct Components {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
    shutdown: CancellationToken,
}

impl Components {
    /// Starts a component; the token it is given is cancelled when it has to end.
    pub(super) fn spawn<F>(&mut self, name: &'static str, component: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let running = component(self.shutdown.clone());
        let task = self.tasks.spawn(async move { running.await.context(name) });
        self.names.insert(task.id(), name);
    }

    /// Cancelled when all have to end.
    pub(super) fn stopping(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until a component ends by itself, which none should.
    pub(super) async fn ended_early(&mut self) -> anyhow::Error {
        match self.next().await {
            Some((name, Ok(Ok(())))) => anyhow!("component {name} ended by itself"),
            Some((_, Ok(Err(error)))) => error,
            Some((name, Err(error))) => anyhow!(error).context(format!("component {name} panicked")),
            None => anyhow!("no component runs"),
        }
    }

    /// Ends them all; a component that does not end in time is named and cut.
    pub(super) async fn stop(mut self) {
        self.shutdown.cancel();
        let all = async {
            while let Some((_, ended)) = self.next().await {
                if let Ok(Err(error)) = ended {
                    tracing::warn!(error = sentence(&error), "component ended");
                }
            }
        };
        if tokio::time::timeout(SHUTDOWN_MAX, all).await.is_err() {
            let names: Vec<_> = self.names.values().copied().collect();
            tracing::warn!("{} did not end within {} s", names.join(", "), SHUTDOWN_MAX.as_secs());
            self.tasks.abort_all();
        }
    }

    async fn next(&mut self) -> Option<(&'static str, Result<anyhow::Result<()>, JoinError>)> {
        let (id, ended) = match self.tasks.join_next_with_id().await? {
            Ok((id, ended)) => (id, Ok(ended)),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.names.remove(&id).unwrap_or("without a name"), ended))
    }
}
