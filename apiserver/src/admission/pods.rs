//! Pods: phase, quality of service, service account, priority and tolerations (admission plugins ServiceAccount, Priority,
//! DefaultTolerationSeconds; "Pod Quality of Service Classes").
//!
//! Service account tokens are not mounted: this server issues none.

use crate::registry::object::object_at;
use crate::registry::{Registry, Target};
use crate::status::Status;
use serde_json::{Value, json};

/// How long a pod stays on a node that stopped answering.
const TOLERATION_SECONDS: i64 = 300;

/// Before the defaults.
pub(super) async fn admit(registry: &Registry, target: &Target<'_>, pod: &mut Value) -> Result<(), Status> {
    if !pod["spec"].is_object() {
        return Ok(()); // The validation says so in better words.
    }
    set_priority(target, pod)?;
    tolerate_short_outages(pod);
    check_service_account(registry, target, pod).await
}

async fn check_service_account(registry: &Registry, target: &Target<'_>, pod: &mut Value) -> Result<(), Status> {
    let spec = object_at(pod, "spec");
    let named = ["serviceAccountName", "serviceAccount"].iter().find_map(|field| spec.get(*field)?.as_str());
    let name = named.filter(|name| !name.is_empty()).unwrap_or("default").to_owned();
    spec.insert("serviceAccountName".to_owned(), name.as_str().into());
    spec.insert("serviceAccount".to_owned(), name.as_str().into());
    // A controller makes the default account; a pod need not wait for it, as it gets no token either way.
    if name == "default" {
        return Ok(());
    }
    let resource = skiff_schema::find("", "v1", "serviceaccounts").expect("the table of resources has serviceaccounts");
    let account = Target { resource, namespace: target.namespace, name: &name };
    registry.get(&account).await.map(drop).map_err(|status| {
        let why = format!("error looking up service account {}/{name}: {status}", target.namespace);
        Status::forbidden(target.resource, target.name, &why)
    })
}

fn set_priority(target: &Target<'_>, pod: &mut Value) -> Result<(), Status> {
    let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let priority: i64 = match class {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        other => {
            let why = format!("no PriorityClass with name {other} was found");
            return Err(Status::forbidden(target.resource, target.name, &why));
        }
    };
    let spec = object_at(pod, "spec");
    spec.insert("priority".to_owned(), priority.into());
    spec.entry("preemptionPolicy").or_insert_with(|| "PreemptLowerPriority".into());
    Ok(())
}

fn tolerate_short_outages(pod: &mut Value) {
    let mut list = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covered = |toleration: &Value| {
            let (same_key, any_key) =
                (toleration["key"] == key, toleration["key"].as_str().unwrap_or_default().is_empty());
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (same_key || any_key) && matches!(effect, "" | "NoExecute")
        };
        if !list.iter().any(covered) {
            list.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    object_at(pod, "spec").insert("tolerations".to_owned(), list.into());
}

/// An update by a client that keeps a manifest of its own, without what was added when the pod was made.
pub(super) fn admit_update(old: &Value, pod: &mut Value) {
    if !pod["spec"].is_object() {
        return;
    }
    tolerate_short_outages(pod);
    let spec = object_at(pod, "spec");
    for field in ["priority", "preemptionPolicy"] {
        let before = &old["spec"][field];
        if spec.get(field).is_none_or(Value::is_null) && !before.is_null() {
            spec.insert(field.to_owned(), before.clone());
        }
    }
    // Two names of one field (`serviceAccount` is the older one).
    let account =
        ["serviceAccountName", "serviceAccount"].iter().find_map(|field| spec.get(*field).filter(|v| !v.is_null()));
    if let Some(account) = account.cloned() {
        spec.insert("serviceAccountName".to_owned(), account.clone());
        spec.insert("serviceAccount".to_owned(), account);
    }
}

/// After the defaults.
pub(super) fn complete(pod: &mut Value) {
    pod["status"] = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
}

/// Guaranteed: every container's limits equal its requests, for cpu and memory. BestEffort: none asks for anything.
fn quality(spec: &Value) -> &'static str {
    let lists = [&spec["containers"], &spec["initContainers"]];
    let containers: Vec<&Value> = lists.iter().filter_map(|list| list.as_array()).flatten().collect();
    let amount = |container: &Value, kind: &str, what: &str| container["resources"][kind][what].clone();
    let asks = |container: &&Value| {
        ["requests", "limits"]
            .iter()
            .any(|kind| ["cpu", "memory"].iter().any(|what| !amount(container, kind, what).is_null()))
    };
    let exact = |container: &&Value| {
        ["cpu", "memory"].iter().all(|what| {
            let (limit, request) = (amount(container, "limits", what), amount(container, "requests", what));
            // The defaults have copied limits to requests that were left out.
            !limit.is_null() && limit == request
        })
    };
    match () {
        () if !containers.iter().any(asks) => "BestEffort",
        () if containers.iter().all(exact) => "Guaranteed",
        () => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_follows_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (containers, expected) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"limits": both, "requests": both}}]), "Guaranteed"),
            (json!([{"resources": {"limits": both, "requests": both}}, {}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
        ] {
            assert_eq!(quality(&json!({"containers": containers})), expected, "{containers}");
        }
    }

    #[test]
    fn tolerations_are_added_once() {
        let mut pod = json!({"spec": {"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]}});
        tolerate_short_outages(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(1));
        let mut pod = json!({"spec": {}});
        tolerate_short_outages(&mut pod);
        tolerate_short_outages(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    }

    /// Fault N29: an update with the client's own manifest changes nothing of what the server added.
    #[test]
    fn an_update_without_what_was_added_keeps_it() {
        let mut stored = json!({"spec": {"priority": 0, "preemptionPolicy": "PreemptLowerPriority",
            "serviceAccountName": "default", "serviceAccount": "default"}});
        tolerate_short_outages(&mut stored);
        let mut pod = json!({"spec": {"serviceAccountName": "default"}});
        admit_update(&stored, &mut pod);
        assert_eq!(pod, stored);
    }
}
