//! The volume that carries an account's token, and its mount in every container.

use serde_json::{Value, json};

/// With which the volume's name begins.
const PREFIX: &str = "kube-api-access-";
/// Where clients in pods look for the token, the authority's certificate and the namespace.
const PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Permission bits of the files, as for every projected volume that does not say otherwise.
const MODE: i64 = 0o644;

/// Whether the pod gets the token: as the pod says, or else its account, or else yes.
pub(super) fn is_wanted(pod: &Value, account: &Value) -> bool {
    let said = pod["spec"]["automountServiceAccountToken"].as_bool();
    said.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

/// Mounts it in every container of `spec` that has nothing else at its place; `named` makes up a name.
pub(super) fn mount(spec: &mut Value, named: impl Fn(&str) -> String) {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    let mut names = volumes.filter_map(|volume| volume["name"].as_str());
    let present = names.find(|name| name.starts_with(PREFIX)).map(str::to_owned);
    let is_new = present.is_none();
    let name = present.unwrap_or_else(|| named(PREFIX));
    let mut is_used = false;
    for list in ["initContainers", "containers"] {
        for container in spec[list].as_array_mut().into_iter().flatten() {
            is_used |= add(container, &name);
        }
    }
    if is_new && is_used {
        push(spec, "volumes", json!({"name": name, "projected": {"defaultMode": MODE, "sources": super::sources()}}));
    }
}

fn add(container: &mut Value, volume: &str) -> bool {
    let taken = container["volumeMounts"].as_array().into_iter().flatten().any(|mount| mount["mountPath"] == PATH);
    if !taken && container.is_object() {
        push(container, "volumeMounts", json!({"mountPath": PATH, "name": volume, "readOnly": true}));
    }
    !taken
}

fn push(object: &mut Value, list: &str, item: Value) {
    match object[list].as_array_mut() {
        Some(items) => items.push(item),
        None => object[list] = json!([item]),
    }
}
