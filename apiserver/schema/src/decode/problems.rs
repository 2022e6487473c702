//! Fields that are unknown or there twice, in the order in which Kubernetes complains about them: that of the text.

use crate::json;
use std::collections::BTreeSet;

/// How many are told (sigs.k8s.io/json stops there).
const TOLD_MAX: usize = 100;

/// A field that Kubernetes' API does not have, or that is there twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    /// No such field; its path.
    #[error("unknown field {0:?}")]
    Unknown(String),
    /// The same field again; its path.
    #[error("duplicate field {0:?}")]
    Duplicate(String),
    /// The same key again in a mapping of a YAML text, whose lines are counted.
    #[error("line {line}: key {key:?} already set in map")]
    Repeated {
        /// From 1.
        line: usize,
        /// The key alone.
        key: String,
    },
    /// Either of them in an operation of a JSON patch.
    #[error("json patch {0}")]
    InPatch(Box<Problem>),
}

/// Why strict clients are refused, in one sentence: what YAML says about its keys has lines of its own.
#[must_use]
pub fn sentence(problems: &[Problem]) -> String {
    let (keys, others): (Vec<_>, Vec<_>) = problems.iter().partition(|one| matches!(one, Problem::Repeated { .. }));
    let lines = keys.iter().map(|key| format!("\n  {key}")).collect::<String>();
    let yaml = (!lines.is_empty()).then(|| format!("yaml: unmarshal errors:{lines}"));
    let others = others.iter().map(ToString::to_string);
    yaml.into_iter().chain(others).collect::<Vec<_>>().join(", ")
}

/// The fields of `body` that are unknown or there twice, each once. What is inside an unknown field does not count, nor how
/// often that stands there.
pub(super) fn in_order(body: &[u8], unknown: &[String], duplicates: &[String]) -> Vec<Problem> {
    if unknown.is_empty() && duplicates.is_empty() {
        return Vec::new();
    }
    let unknown: BTreeSet<&str> = unknown.iter().map(String::as_str).collect();
    let mut told = BTreeSet::new();
    // The text has been read once already, so it is JSON.
    let keys = json::keys(body).unwrap_or_default();
    let problems = keys.into_iter().filter_map(|key| match () {
        () if unknown.contains(key.path.as_str()) => Some(Problem::Unknown(key.path)),
        () if key.again && !inside(&unknown, &key.path) => Some(Problem::Duplicate(key.path)),
        () => None,
    });
    problems.filter(|problem| told.insert(problem.clone())).take(TOLD_MAX).collect()
}

/// Whether a field that holds the one at `path` is unknown.
fn inside(unknown: &BTreeSet<&str>, path: &str) -> bool {
    path.match_indices(['.', '[']).any(|(end, _)| unknown.contains(&path[..end]))
}
