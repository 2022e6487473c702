//! Accounts that say which secrets their pods may have (annotation `kubernetes.io/enforce-mountable-secrets`), and what no mirror pod may
//! have.

use serde_json::Value;
use std::collections::BTreeSet;

const ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

/// Lists of containers of a new pod, and what a refusal calls one.
pub(super) const NEW: [(&str, &str); 2] = [("initContainers", "init container"), ("containers", "container")];
/// Those that are added to a pod.
pub(super) const EPHEMERAL: [(&str, &str); 1] = [("ephemeralContainers", "ephemeral container")];

/// Whether pods of `account` may have only the secrets that it lists. Values are those that Go reads as true.
pub(super) fn is_limited(account: &Value) -> bool {
    let said = account["metadata"]["annotations"][ANNOTATION].as_str().unwrap_or_default();
    matches!(said, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Refuses secrets in `spec` that `account` does not list.
pub(super) fn check(account: &Value, spec: &Value, kinds: &[(&str, &str)]) -> Result<(), String> {
    let names = |list: &str| -> BTreeSet<String> {
        let all = account[list].as_array().into_iter().flatten();
        all.filter_map(|one| one["name"].as_str()).map(str::to_owned).collect()
    };
    let (mountable, pull, owner) = (names("secrets"), names("imagePullSecrets"), text(&account["metadata"], "name"));
    let is_new = kinds.len() == NEW.len();
    let reference = "because service account";
    for volume in each(spec, "volumes").filter(|volume| is_new && volume["secret"].is_object()) {
        let secret = text(&volume["secret"], "secretName");
        if !mountable.contains(secret) {
            return Err(format!(
                "volume with secret.secretName=\"{secret}\" is not allowed {reference} {owner} does not reference that secret"
            ));
        }
    }
    for (list, word) in kinds {
        for container in each(spec, list) {
            let name = text(container, "name");
            for (how, secret) in of_container(container) {
                if !mountable.contains(secret) {
                    return Err(format!(
                        "{word} {name} with {how} referencing secret.secretName=\"{secret}\" is not allowed {reference} \
                         {owner} does not reference that secret"
                    ));
                }
            }
        }
    }
    for (index, secret) in each(spec, "imagePullSecrets").enumerate().filter(|_| is_new) {
        let secret = text(secret, "name");
        if !pull.contains(secret) {
            return Err(format!(
                "imagePullSecrets[{index}].name=\"{secret}\" is not allowed {reference} {owner} does not reference that \
                 imagePullSecret"
            ));
        }
    }
    Ok(())
}

/// Refuses what the image of a static pod may not refer to: the kubelet that runs the pod has no such object.
pub(super) fn of_mirror(spec: &Value) -> Result<(), &'static str> {
    if !text(spec, "serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let in_containers = lists.iter().flat_map(|list| each(spec, list)).any(|one| !of_container(one).is_empty());
    let parts = |volume: &Value, part: &str| each(&volume["projected"], "sources").any(|one| !one[part].is_null());
    let in_volumes = each(spec, "volumes").any(|volume| volume["secret"].is_object() || parts(volume, "secret"));
    if in_containers || in_volumes || each(spec, "imagePullSecrets").next().is_some() {
        return Err("a mirror pod may not reference secrets");
    }
    if each(spec, "volumes").any(|volume| parts(volume, "serviceAccountToken")) {
        return Err("a mirror pod may not use ServiceAccountToken volume projections");
    }
    Ok(())
}

/// The secrets of a container's environment, with what refers to them.
fn of_container(container: &Value) -> Vec<(String, &str)> {
    let one = each(container, "env").filter_map(|env| {
        let secret = env["valueFrom"]["secretKeyRef"]["name"].as_str()?;
        Some((format!("envVar {}", text(env, "name")), secret))
    });
    let all =
        each(container, "envFrom").filter_map(|from| Some(("envFrom".to_owned(), from["secretRef"]["name"].as_str()?)));
    one.chain(all).collect()
}

fn each<'a>(object: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object[list].as_array().into_iter().flatten()
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}
