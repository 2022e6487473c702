//! Groups that are Kubernetes' own: whether its community has approved a definition.

use crate::view::text;
use serde_json::Value;

/// The annotation that says so.
pub(crate) const ANNOTATION: &str = "api-approved.kubernetes.io";

const PROPOSAL: &str = "see https://github.com/kubernetes/enhancements/pull/1111";

/// What the annotation of a definition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Where it was approved.
    Approved,
    /// Why it was not.
    Unapproved,
    /// Neither.
    Invalid,
    /// Nothing.
    Missing,
}

impl State {
    /// Reason of the condition `KubernetesAPIApprovalPolicyConformant`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Approved => "ApprovedAnnotation",
            Self::Unapproved => "UnapprovedAnnotation",
            Self::Invalid => "InvalidAnnotation",
            Self::Missing => "MissingAnnotation",
        }
    }
}

/// State and sentence of a definition in such a group; `None`: it is in another.
pub(crate) fn of(definition: &Value) -> Option<(State, String)> {
    let group = text(&definition["spec"], "group");
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')));
    if !protected {
        return None;
    }
    let said = text(&definition["metadata"]["annotations"], ANNOTATION);
    let must = format!("protected groups must have approval annotation {ANNOTATION:?}");
    let url = said.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !rest.starts_with('/')
            && !rest.is_empty()
    });
    Some(match said {
        "" => (State::Missing, format!("{must}, {PROPOSAL}")),
        _ if said.starts_with("unapproved") => (State::Unapproved, format!("not approved: {said:?}")),
        _ if url => (State::Approved, format!("approved in {said}")),
        _ => (State::Invalid, format!("{must} with either a URL or a reason starting with \"unapproved\", {PROPOSAL}")),
    })
}
