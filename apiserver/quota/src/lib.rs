//! What objects take of a namespace's resource quotas ("Resource Quotas"), and whether one more fits.
//!
//! Admission asks before an object is stored, the controller counts what is there; both must count alike, so the rules stand here once.
//! Pure functions over JSON: quotas and objects as the API server has them.
//!
//! Sources: kube-apiserver's evaluators of pods, services, claims and everything else, whose names and sentences these are.

mod amounts; // quantities by name
mod asked; // what one write wants
mod pod; // requests and limits of a pod
mod scope; // which quotas an object belongs to
mod usage; // what one object takes

pub use amounts::Amounts;
pub use asked::{Asked, Refused, Write};
pub use scope::{Scopes, is_best_effort};
pub use usage::{counted_by, counted_kinds, usage};

use serde_json::Value;

/// A kind of object, as quotas name it: group and plural.
pub type Kind<'a> = (&'a str, &'a str);

/// The same, to be kept.
pub type OwnedKind = (String, String);

/// Kinds that are not stored, and events: nobody counts them.
const UNCOUNTED: [Kind<'static>; 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// What all `objects` of a kind take of `quota`, by those names of `spec.hard` that the kind counts under.
///
/// `now` is in seconds since 1970: a pod that should have ended is not counted.
pub fn total<'a>(quota: &Value, kind: Kind<'_>, objects: impl Iterator<Item = &'a Value>, now: i64) -> Amounts {
    let hard = Amounts::of(&quota["spec"]["hard"]);
    let names: Vec<&str> = hard.names().filter(|name| counted_by(kind, name)).collect();
    let mut used = Amounts::zero(&names);
    for object in objects.filter(|object| Scopes::of(kind, object).fit(quota)) {
        used.add(&usage(kind, object, now).only(&names));
    }
    used
}

#[cfg(test)]
mod tests;
