//! What the conditions of a namespace that is being emptied say, in the words of Kubernetes. No I/O.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

/// What is left in a namespace, and what went wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remaining {
    /// How many objects of each resource, named `plural.group`.
    pub(super) resources: BTreeMap<String, usize>,
    /// How many objects each finalizer holds.
    pub(super) finalizers: BTreeMap<String, usize>,
    /// Why the resources are not all known.
    pub(super) undiscovered: Option<String>,
    /// Why content could not be deleted, one sentence a resource.
    pub(super) failures: Vec<String>,
    /// Whether anything was there to delete.
    pub(super) deleted: bool,
}

impl Remaining {
    pub(super) fn note<'a>(&mut self, plural: &str, group: &str, finalizers: impl Iterator<Item = &'a str>) {
        *self.resources.entry(format!("{plural}.{group}")).or_default() += 1;
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.resources.is_empty() && self.failures.is_empty() && self.undiscovered.is_none()
    }
}

/// A condition: its kind; reason and message when all is well; when not.
type Row = (&'static str, &'static str, &'static str, Option<(&'static str, String)>);

fn rows(left: &Remaining) -> [Row; 5] {
    let discovery = left.undiscovered.clone().map(|why| ("DiscoveryFailed", why));
    let mut failures = left.failures.clone();
    failures.sort();
    let failed = format!("Failed to delete all resource types, {} remaining: {}", failures.len(), failures.join(", "));
    let content = join(&left.resources, |name, many| format!("{name} has {many} resource instances"));
    let held = join(&left.finalizers, |name, many| format!("{name} in {many} resource instances"));
    [
        (
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
            discovery,
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
            (!failures.is_empty()).then_some(("ContentDeletionFailed", failed)),
        ),
        (
            "NamespaceContentRemaining",
            "ContentRemoved",
            "All content successfully removed",
            content.map(|list| ("SomeResourcesRemain", format!("Some resources are remaining: {list}"))),
        ),
        (
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
            held.map(|list| {
                let message = format!("Some content in the namespace has finalizers remaining: {list}");
                ("SomeFinalizersRemain", message)
            }),
        ),
    ]
}

fn join(counts: &BTreeMap<String, usize>, say: impl Fn(&str, usize) -> String) -> Option<String> {
    let all: Vec<String> = counts.iter().map(|(name, many)| say(name, *many)).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// The conditions after that; `None`: they say so already.
pub(super) fn conditions(
    before: &[NamespaceCondition],
    left: &Remaining,
    now: Timestamp,
) -> Option<Vec<NamespaceCondition>> {
    let mut all = before.to_vec();
    for (kind, well, fine, wrong) in rows(left) {
        let status = if wrong.is_some() { "True" } else { "False" };
        let (reason, message) = wrong.unwrap_or_else(|| (well, fine.to_owned()));
        let known = all.iter().position(|one| one.type_ == kind);
        let since = known.map(|at| &all[at]).filter(|one| one.status == status);
        let since = since.and_then(|one| one.last_transition_time.clone());
        let new = NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        };
        match known {
            Some(at) => all[at] = new,
            None => all.push(new),
        }
    }
    (all != before).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_said_in_words() {
        let mut left = Remaining::default();
        left.note("pods", "", ["a.example/held"].into_iter());
        left.note("pods", "", std::iter::empty());
        left.note("widgets", "example.com", std::iter::empty());
        left.failures = vec!["no".to_owned()];
        let now = Timestamp::UNIX_EPOCH;
        let said = conditions(&[], &left, now).unwrap();
        let message = |kind: &str| said.iter().find(|one| one.type_ == kind).unwrap().message.clone().unwrap();
        assert_eq!(
            message("NamespaceContentRemaining"),
            "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource instances"
        );
        assert_eq!(
            message("NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: a.example/held in 1 resource instances"
        );
        assert_eq!(message("NamespaceDeletionContentFailure"), "Failed to delete all resource types, 1 remaining: no");
        assert_eq!(conditions(&said, &left, Timestamp::MAX), None, "nothing is written twice");
        let over = conditions(&said, &Remaining::default(), now).unwrap();
        assert!(over.iter().all(|one| one.status == "False") && over.len() == 5);
    }
}
