//! Who is asked, in which order: read from flags or from a file, and read again when the file changes.

use super::Authority;
use super::webhook::Remote;
use skiff_authz::config::{self, Link};
use skiff_authz::{Attributes, Decision, MASTERS, Opinions, Reason, node_name};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Who decides what may be done, as kube-apiserver's flags say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// `--authorization-mode`: names with commas.
    Modes(String),
    /// `--authorization-config`: a file.
    File(PathBuf),
}

/// Why there is no such chain.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A mode is unknown.
    #[error("--authorization-mode {list}: {problem}")]
    Modes {
        /// What was asked for.
        list: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file cannot be read, or is no YAML.
    #[error("--authorization-config {path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A webhook's match conditions cannot be compiled.
    #[error("authorization webhook {name:?}: {problem}")]
    Conditions {
        /// Which.
        name: String,
        /// Which condition, and what is wrong with it.
        problem: String,
    },
    /// There is no client for a webhook.
    #[error("authorization webhook {name:?}")]
    Webhook {
        /// Which.
        name: String,
        /// Why.
        source: skiff_client::ConnectError,
    },
}

/// One authorizer, ready to be asked.
#[derive(Debug)]
pub(super) enum Asked {
    Fixed(bool),
    Node,
    Roles,
    Remote(Box<Remote>),
}

impl Authorization {
    /// All who are asked.
    async fn read(&self) -> Result<Vec<Asked>, ChainError> {
        let links = match self {
            Self::Modes(list) => {
                config::modes(list).map_err(|problem| ChainError::Modes { list: list.clone(), problem })?
            }
            Self::File(path) => links(path)?,
        };
        let mut chain = Vec::new();
        for link in links {
            chain.push(match link {
                Link::AlwaysAllow => Asked::Fixed(true),
                Link::AlwaysDeny => Asked::Fixed(false),
                Link::Node => Asked::Node,
                Link::Rbac => Asked::Roles,
                Link::Webhook(settings) => Asked::Remote(Box::new(Remote::new(*settings).await?)),
            });
        }
        Ok(chain)
    }
}

fn links(path: &Path) -> Result<Vec<Link>, ChainError> {
    let wrong = |problem: String| ChainError::File { path: path.to_owned(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let value = serde_norway::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    config::read(&value).map_err(|errors| wrong(errors.join("; ")))
}

impl Authority {
    /// Asks one after another; members of `system:masters` are asked nothing.
    pub(super) async fn in_turn(&self, chain: &[Asked], asked: &Attributes<'_>) -> Decision {
        if asked.user.is_in(MASTERS) {
            return Decision::allow(Reason::None);
        }
        let mut opinions = Opinions::default();
        for one in chain {
            let decision = match one {
                Asked::Fixed(true) => Decision::allow(Reason::None),
                Asked::Fixed(false) => Decision::no_opinion(Reason::text("Everything is forbidden.")),
                Asked::Node if node_name(&asked.user).is_none() => continue,
                Asked::Node => self.nodes().decide(asked),
                Asked::Roles => self.roles().decide(asked),
                // Boxed: it is rare, and as large as a client of HTTP.
                Asked::Remote(remote) => Box::pin(remote.decide(asked)).await,
            };
            if let Some(decision) = opinions.hear(decision) {
                return decision;
            }
        }
        opinions.none()
    }

    /// Puts another chain in the place of the present one.
    fn set_chain(&self, chain: Vec<Asked>) {
        *self.chain.write().unwrap_or_else(PoisonError::into_inner) = Some(chain.into());
    }
}

/// Lets `from` say who is asked. A file is read again when it changes, until the server stops; one that cannot be read leaves the chain
/// as it is.
pub(crate) async fn follow_chain(
    authority: &Arc<Authority>,
    from: &Authorization,
    until: CancellationToken,
) -> Result<(), ChainError> {
    authority.set_chain(from.read().await?);
    let Authorization::File(path) = from.clone() else { return Ok(()) };
    let (authority, from) = (authority.clone(), from.clone());
    tokio::spawn(until.run_until_cancelled_owned(async move {
        let mut known = std::fs::read(&path).ok();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let found = std::fs::read(&path).ok();
            if found == known {
                continue;
            }
            known = found;
            match from.read().await {
                Ok(chain) => authority.set_chain(chain),
                Err(error) => tracing::warn!(
                    problem = skiff_client::sentence(&error),
                    "the authorization configuration cannot be used; the one before it stands"
                ),
            }
        }
    }));
    Ok(())
}
