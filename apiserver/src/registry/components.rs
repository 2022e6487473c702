//! The states of the control plane's parts, computed when they are asked for (`v1` ComponentStatus, deprecated since 1.19): the store
//! answers or not; scheduler and controllers hold a lease that they renew, and who holds none says nothing.

use super::object::{Object, name_of};
use super::{List, ListOptions, Registry, Target, built_in};
use crate::status::Status;
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_schema::{Resource, Review};
use skiff_store::backend::Revision;
use std::sync::Arc;

/// Parts with a lease, in the order of their names.
const LEADERS: [(&str, &str); 2] = [("controller-manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")];
/// How long a lease lasts that does not say so.
const LEASE_SECONDS: i64 = 15;

/// Whether objects of the resource are computed instead of stored.
pub(super) fn is_computed(resource: &Resource) -> bool {
    resource.review() == Review::Parts
}

impl Registry {
    /// One part.
    pub(super) async fn component(&self, target: &Target<'_>) -> Result<Object, Status> {
        let list = self.components(target.resource, &ListOptions::default()).await?;
        for object in list.items {
            if name_of(&object.value()?) == target.name {
                return Ok(object);
            }
        }
        Err(target.not_found())
    }

    /// All parts that are selected.
    pub(super) async fn components(&self, resource: &Arc<Resource>, options: &ListOptions) -> Result<List, Status> {
        let mut parts = Vec::new();
        for (name, lease) in LEADERS {
            parts.push((name, self.leader(lease).await?));
        }
        parts.push(("etcd-0", self.store_state().await));
        parts.sort_by_key(|(name, _)| *name);
        let mut items = Vec::new();
        for (name, [status, field, said]) in parts {
            let mut condition = json!({"type": "Healthy", "status": status});
            condition[field.as_str().unwrap_or_default()] = said;
            let object = json!({"apiVersion": "v1", "kind": "ComponentStatus", "metadata": {"name": name},
                "conditions": [condition]});
            let object = Object::encode(resource, &object, 0)?;
            if options.selection.selects(&object)? {
                items.push(object);
            }
        }
        let revision: Revision = 0;
        Ok(List { items, revision, continue_token: String::new(), remaining: None })
    }

    /// Status, field and text of what the store answers.
    async fn store_state(&self) -> [Value; 3] {
        match self.backend().health().await {
            Ok(()) => ["True".into(), "message".into(), "ok".into()],
            Err(error) => ["False".into(), "error".into(), error.to_string().into()],
        }
    }

    /// Status, field and text of what a lease says about its holder.
    async fn leader(&self, name: &str) -> Result<[Value; 3], Status> {
        let resource = built_in("coordination.k8s.io", "leases")?;
        match self.get(&Target { resource, namespace: "kube-system", name }).await {
            Ok(lease) => Ok(said_by(&lease.value()?["spec"], name, Timestamp::now())),
            Err(status) if status.reason == "NotFound" => {
                let why = format!("there is no lease kube-system/{name}: nothing says whether it runs");
                Ok(["Unknown".into(), "error".into(), why.into()])
            }
            Err(status) => Err(status),
        }
    }
}

fn said_by(spec: &Value, name: &str, now: Timestamp) -> [Value; 3] {
    let renewed = spec["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let lasts = spec["leaseDurationSeconds"].as_i64().unwrap_or(LEASE_SECONDS);
    let holder = spec["holderIdentity"].as_str().unwrap_or_default();
    let age = renewed.map(|renewed| now.as_second() - renewed.as_second());
    match age {
        _ if holder.is_empty() => {
            let why = format!("nobody holds the lease kube-system/{name}");
            ["False".into(), "error".into(), why.into()]
        }
        Some(age) if age <= lasts => ["True".into(), "message".into(), "ok".into()],
        _ => {
            let why = format!("{holder} has not renewed the lease kube-system/{name} in time");
            ["False".into(), "error".into(), why.into()]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_says_whether_its_holder_runs() {
        let now: Timestamp = "2026-01-01T00:00:20Z".parse().expect("a time");
        let lease = |holder: &str, renewed: &str| {
            let spec = json!({"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15});
            said_by(&spec, "x", now)[0].clone()
        };
        assert_eq!(lease("me", "2026-01-01T00:00:10.000000Z"), "True");
        assert_eq!(lease("me", "2026-01-01T00:00:00.000000Z"), "False");
        assert_eq!(lease("", "2026-01-01T00:00:10.000000Z"), "False");
    }
}
