//! ServiceAccount: a pod runs as an account that exists, and gets its token, unless pod or account would rather not.

mod mount; // the volume that carries the token
mod mountable; // accounts that say which secrets their pods may have

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::{Target, generated_name};
use crate::status::Status;
use rand::Rng;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "ServiceAccount",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: Some(validate),
};

/// The account of who names none. A controller makes it with the namespace.
const DEFAULT: &str = "default";
/// How often it is looked for the account that a controller is about to make.
const TRIES: usize = 10;
/// Two names of one field; the second is the older one.
const FIELDS: [&str; 2] = ["serviceAccountName", "serviceAccount"];
/// Marks the image that a kubelet makes of a static pod. It is what runs already, so nothing is added to it.
const MIRROR: &str = "kubernetes.io/config.mirror";

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    let spec = pod.get("spec").and_then(Value::as_object);
    let Some(spec) = spec.filter(|_| seen.is_about("", "pods")) else { return known(Ok(())) };
    let named = FIELDS.iter().find_map(|field| spec.get(*field)?.as_str().filter(|name| !name.is_empty()));
    let is_new = seen.operation == Operation::Create;
    let new = is_new && !is_mirror(pod);
    let Some(name) = named.or(new.then_some(DEFAULT)).map(str::to_owned) else { return known(Ok(())) };
    for field in FIELDS {
        if pod["spec"][field] != *name {
            pod["spec"][field] = name.as_str().into();
        }
    }
    if !new {
        return known(Ok(()));
    }
    later(async move {
        let account = account(seen, &name).await?;
        if mount::is_wanted(pod, &account) {
            mount::mount(&mut pod["spec"], generated_name);
        }
        let secrets = &account["imagePullSecrets"];
        let has_none = pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty);
        if has_none && secrets.as_array().is_some_and(|secrets| !secrets.is_empty()) {
            pod["spec"]["imagePullSecrets"] = secrets.clone();
        }
        Ok(())
    })
}

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    let ephemeral = seen.request.part == "ephemeralcontainers" && seen.request.resource.is("", "pods");
    let new = seen.is_about("", "pods") && seen.operation == Operation::Create;
    if !new && !ephemeral {
        return known(Ok(()));
    }
    later(async move {
        if new && is_mirror(pod) {
            return mountable::of_mirror(&pod["spec"]).map_err(|why| seen.forbidden(why));
        }
        let name = pod["spec"][FIELDS[0]].as_str().unwrap_or_default();
        if name.is_empty() {
            let why = format!("no service account specified for pod {}/{}", seen.request.namespace, seen.name);
            return Err(seen.forbidden(&why));
        }
        let account = account(seen, name).await?;
        if !mountable::is_limited(&account) {
            return Ok(());
        }
        let kinds: &[_] = if new { &mountable::NEW } else { &mountable::EPHEMERAL };
        mountable::check(&account, &pod["spec"], kinds).map_err(|why| seen.forbidden(&why))
    })
}

fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"][MIRROR].is_null()
}

/// The account of the pod. For the default one it is waited a moment: whoever makes a namespace and a pod in it at once should not have to
/// know that a controller stands between the two.
async fn account(seen: &Attributes<'_>, name: &str) -> Result<Arc<Value>, Status> {
    let namespace = seen.request.namespace.as_str();
    let target = Target { resource: built_in("", "serviceaccounts")?, namespace, name };
    let tries = if name == DEFAULT { TRIES } else { 1 };
    let rest = Duration::from_millis(rand::rng().random_range(100..200));
    let mut tried = 1;
    loop {
        match seen.stored.get(target).await {
            Err(status) if status.reason == "NotFound" && tried < tries => {
                tried += 1;
                tokio::time::sleep(rest).await;
            }
            found => {
                return found.map_err(|status| {
                    let why = if status.reason == "NotFound" {
                        format!("serviceaccount {name:?} not found")
                    } else {
                        status.to_string()
                    };
                    seen.forbidden(&format!("error looking up service account {namespace}/{name}: {why}"))
                });
            }
        }
    }
}

/// The token, the authority's certificate and the namespace, where clients in pods look for them.
fn sources() -> Value {
    let field = json!({"apiVersion": "v1", "fieldPath": "metadata.namespace"});
    json!([
        {"serviceAccountToken": {"expirationSeconds": skiff_authn::request::WARN_ONLY_SECONDS, "path": "token"}},
        {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
        {"downwardAPI": {"items": [{"fieldRef": field, "path": "namespace"}]}},
    ])
}

#[cfg(test)]
mod tests;
