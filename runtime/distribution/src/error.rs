//! What can go wrong when a registry is asked.

/// What a failure means to whoever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There is no such repository, manifest or blob.
    NotFound,
    /// Nobody answered: no address, no connection, no trust, or silence.
    Unreachable,
    /// The registry wants somebody else, or nobody.
    Denied,
    /// The registry wants to be asked later.
    Limited,
    /// The registry failed.
    Failed,
    /// What was answered is not what the protocol says, or more than it may be.
    Protocol,
    /// What this machine is told about registries cannot be read.
    Configuration,
}

/// Why a registry's answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RegistryError {
    /// What it means.
    pub kind: Kind,
    /// Operation, operand and reason.
    pub text: String,
    /// Whether there was no connection that anything could be asked on.
    pub(crate) undialled: bool,
}

impl RegistryError {
    /// An error of this meaning and text.
    #[must_use]
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), undialled: false }
    }

    /// Nobody took the connection.
    pub(crate) fn of_dial(text: String) -> Self {
        Self { undialled: true, ..Self::new(Kind::Unreachable, text) }
    }

    /// Whether another try soon, or another host, may do better.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::Limited | Kind::Failed)
    }

    /// Says of what this is a part.
    pub(crate) fn during(self, what: &str) -> Self {
        Self { text: format!("{what}: {}", self.text), ..self }
    }
}

/// An error with its causes.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A server's words, as far as they can be shown: one line, and not too long.
pub(crate) fn shown(text: &str) -> String {
    /// A sentence or two.
    const CHARACTERS_MAX: usize = 300;
    let line: String = text.trim().chars().take(CHARACTERS_MAX).collect();
    line.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'")
}
