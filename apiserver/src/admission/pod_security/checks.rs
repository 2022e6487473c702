//! The controls of the Pod Security Standards: which ones there are, since which release, and what a pod breaks.
//!
//! Names, releases and texts are those of Kubernetes' admission plugin, because people and tests search for them.

use super::baseline::BASELINE;
use super::policy::{Level, Standard, Version};
use super::restricted::RESTRICTED;
use serde_json::Value;

/// What is looked at: a pod, or the template of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    /// Every container, in the order of what runs when.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        lists.into_iter().flat_map(move |list| self.spec[list].as_array().into_iter().flatten())
    }

    /// Names of the containers that `breaks` is true of.
    pub(super) fn names(self, mut breaks: impl FnMut(&'a Value) -> bool) -> Vec<&'a str> {
        let broken = self.containers().filter(move |container| breaks(container));
        broken.map(|container| container["name"].as_str().unwrap_or_default()).collect()
    }

    /// Rules about users do not hold where root inside is nobody outside (KEP-127).
    pub(super) fn has_own_users(self) -> bool {
        self.spec["hostUsers"] == false
    }

    /// What Linux knows only cannot be set there.
    pub(super) fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// In two words, for many pods at once.
    pub(super) reason: String,
    /// With the containers and values; may be empty.
    pub(super) detail: String,
}

impl Violation {
    pub(super) fn new(reason: &str, detail: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), detail: detail.into() }
    }
}

/// What a control makes of a pod.
pub(super) type Look = fn(Pod<'_>) -> Option<Violation>;

/// A control.
pub(super) struct Check {
    /// Kubernetes' identifier; violations are told in its order.
    pub(super) id: &'static str,
    /// From which release (`1.` and this) it is looked at how, oldest first.
    pub(super) since: &'static [(u32, Look)],
    /// The baseline control whose place it takes.
    pub(super) instead_of: &'static str,
}

impl Check {
    fn at(&self, minor: u32) -> Option<Look> {
        self.since.iter().rev().find(|(first, _)| *first <= minor).map(|(_, look)| *look)
    }
}

/// The last release that changed a rule; those after it have the same.
fn newest() -> u32 {
    BASELINE.iter().chain(RESTRICTED).flat_map(|check| check.since).map(|(minor, _)| *minor).max().unwrap_or_default()
}

/// All that `pod` breaks of `standard`, in Kubernetes' order: baseline first, by identifier.
pub(super) fn violations(standard: Standard, pod: Pod<'_>) -> Vec<Violation> {
    let minor = match standard.version {
        Version::Minor(minor) => minor.min(newest()),
        Version::Latest => newest(),
    };
    let restricted = match standard.level {
        Level::Privileged => return Vec::new(),
        Level::Baseline => &[],
        Level::Restricted => RESTRICTED,
    };
    let replaced = |id: &str| restricted.iter().any(|check| check.instead_of == id && check.at(minor).is_some());
    let baseline = BASELINE.iter().filter(|check| !replaced(check.id));
    baseline.chain(restricted).filter_map(|check| check.at(minor)?(pod)).collect()
}

/// All violations in one sentence: `host namespaces (hostPID=true), privileged (container "a" must not …)`.
pub(super) fn sentence(violations: &[Violation]) -> String {
    let one = |violation: &Violation| match violation.detail.as_str() {
        "" => violation.reason.clone(),
        detail => format!("{} ({detail})", violation.reason),
    };
    violations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `"a", "b"`.
pub(super) fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    items.join(", ")
}

/// The word for so many.
pub(super) fn plural<'a>(one: &'a str, several: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { several }
}

/// `container "a"`, `containers "a", "b"`.
pub(super) fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// Who sets something: the pod, some containers, or both; `None` if nobody.
pub(super) fn setters(pod: bool, names: &[&str]) -> Option<String> {
    match (pod, names.is_empty()) {
        (false, true) => None,
        (true, true) => Some("pod".to_owned()),
        (false, false) => Some(containers(names)),
        (true, false) => Some(format!("pod and {}", containers(names))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of a pod comes in the order of identifiers, and each control's releases in theirs.
    #[test]
    fn tables_are_in_order() {
        for table in [BASELINE, RESTRICTED] {
            assert!(table.is_sorted_by_key(|check| check.id));
            assert!(table.iter().all(|check| check.since.is_sorted_by_key(|(minor, _)| *minor)));
        }
        let known = |id: &str| id.is_empty() || BASELINE.iter().any(|check| check.id == id);
        assert!(RESTRICTED.iter().all(|check| known(check.instead_of)));
        assert!(BASELINE.iter().all(|check| check.instead_of.is_empty()));
        assert_eq!((BASELINE.len(), RESTRICTED.len(), newest()), (12, 7, 35));
    }
}
