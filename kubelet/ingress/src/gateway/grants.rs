//! ReferenceGrant: who may name what in another namespace.

use super::{GROUP, Object};
use crate::ingress::list;
use serde_json::Value;

/// All grants.
pub(super) struct Grants<'a>(Vec<(&'a str, &'a Value)>);

impl<'a> Grants<'a> {
    pub(super) fn read(grants: &[Object<'a>]) -> Self {
        let of = |grant: &Object<'a>| (grant.meta.namespace.as_deref().unwrap_or_default(), &grant.fields["spec"]);
        Self(grants.iter().map(of).collect())
    }

    /// Whether an object of `kind` in `from` may name the core object `target` of `target_kind` in `to`.
    pub(super) fn allow(&self, (kind, from): (&str, &str), (target_kind, to, target): (&str, &str, &str)) -> bool {
        let is_from = |one: &Value| one["group"] == GROUP && one["kind"] == kind && one["namespace"] == from;
        let is_to = |one: &Value| {
            let named = one["name"].as_str().unwrap_or_default();
            one["group"].as_str().unwrap_or_default().is_empty()
                && one["kind"] == target_kind
                && (named.is_empty() || named == target)
        };
        let allows = |spec: &Value| list(&spec["from"]).any(is_from) && list(&spec["to"]).any(is_to);
        from == to || self.0.iter().any(|(namespace, spec)| *namespace == to && allows(spec))
    }
}
