//! The config map by which API servers behind this one know whom they may believe: clients by the cluster's authority, and users that a
//! front proxy names by the front proxy's.

use crate::registry::{Change, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_schema::Decoded;

/// Where they look.
const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";

/// What it says: certificates are PEM, everything else is a list in JSON.
pub(super) fn data(clients: &str, front: &str) -> Value {
    let list = |name: &str| json!([name]).to_string();
    json!({
        "client-ca-file": clients,
        "requestheader-client-ca-file": front,
        "requestheader-allowed-names": list("front-proxy-client"),
        "requestheader-username-headers": list("X-Remote-User"),
        "requestheader-uid-headers": list("X-Remote-Uid"),
        "requestheader-group-headers": list("X-Remote-Group"),
        "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
    })
}

/// Makes it, or corrects it; what else it holds stays.
pub(super) async fn publish(registry: &Registry, data: &Value) -> Result<(), Status> {
    let target = Target { resource: built_in("", "configmaps")?, namespace: NAMESPACE, name: NAME };
    let filled = |current: &Value| {
        let mut next = current.clone();
        for (key, value) in data.as_object().into_iter().flatten() {
            next["data"][key] = value.clone();
        }
        next
    };
    let change = Change::of_present(|current| Ok(Decoded { object: filled(current), warnings: Vec::new() }));
    match registry.write(&Request::own("update", &target), &change).await {
        Err(status) if status.reason == "NotFound" => {}
        other => return other.map(drop),
    }
    let object =
        filled(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}}));
    let draft = Decoded { object, warnings: Vec::new() };
    match registry.create(&Request::own("create", &target), draft).await {
        Err(status) if status.reason != "AlreadyExists" => Err(status),
        _ => Ok(()),
    }
}
