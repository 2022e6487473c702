//! PodTolerationRestriction: pods of a namespace tolerate what the namespace adds, and nothing but what it allows.

use super::reading::{annotation, items};
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later, tolerations};
use crate::registry::Target;
use crate::status::Status;
use serde_json::{Value, json};
use skiff_quota::is_best_effort;
use std::sync::Arc;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PodTolerationRestriction",
    handles: &[Operation::Create, Operation::Update],
    mutate: Some(admit),
    validate: Some(validate),
};

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";
/// The taint of nodes that are short of memory, whose pods with requests of their own may come all the same.
const MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";

/// What holds for namespaces that say nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    defaults: Vec<Value>,
    allowed: Vec<Value>,
}

impl Settings {
    /// Reads what the plugin is told (`podtolerationrestriction.admission.k8s.io/v1alpha1` Configuration).
    ///
    /// # Errors
    /// It is of another kind, or says something that is not known.
    pub(crate) fn parse(told: &Value) -> Result<Self, String> {
        if told.is_null() {
            return Ok(Self::default());
        }
        if told["apiVersion"] != "podtolerationrestriction.admission.k8s.io/v1alpha1" || told["kind"] != "Configuration"
        {
            return Err("is no Configuration of podtolerationrestriction.admission.k8s.io/v1alpha1".to_owned());
        }
        let mut unknown = told.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        match unknown.find(|name| !matches!(*name, "apiVersion" | "kind" | "default" | "whitelist")) {
            Some(name) => Err(format!("{name}: is not known here")),
            None => Ok(Self { defaults: items(told, "default").to_vec(), allowed: items(told, "whitelist").to_vec() }),
        }
    }
}

/// The tolerations that a namespace names; `None`: it says nothing about them.
fn named(namespace: &Value, key: &str) -> Result<Option<Vec<Value>>, String> {
    match annotation(namespace, key) {
        None => Ok(None),
        Some("") => Ok(Some(Vec::new())),
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Array(tolerations)) => Ok(Some(tolerations)),
            Ok(Value::Null) => Ok(Some(Vec::new())),
            Ok(_) => Err(format!("{key}: is no list of tolerations")),
            Err(error) if error.is_eof() => Err("unexpected end of JSON input".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Adds what a pod tolerates without saying so.
fn add(settings: &Settings, pod: &mut Value, namespace: &Value, is_new: bool) -> Result<(), String> {
    let mut more = match is_new {
        true => named(namespace, DEFAULTS)?.unwrap_or_else(|| settings.defaults.clone()),
        false => Vec::new(),
    };
    // What the class of a new pod is, the server says only later.
    if !is_best_effort(&pod["spec"]) {
        more.push(json!({"key": MEMORY_PRESSURE, "operator": "Exists", "effect": "NoSchedule"}));
    }
    if !more.is_empty() {
        tolerations::merge(&mut pod["spec"], &more);
    }
    Ok(())
}

fn check(settings: &Settings, pod: &Value, namespace: &Value) -> Result<(), String> {
    let tolerated = items(&pod["spec"], "tolerations");
    if tolerated.is_empty() {
        return Ok(());
    }
    let (allowed, scope) = match named(namespace, ALLOWED)? {
        Some(allowed) => (allowed, "namespace"),
        None => (settings.allowed.clone(), "cluster"),
    };
    let is_allowed = |one: &Value| allowed.iter().any(|wide| tolerations::covers(wide, one));
    if allowed.is_empty() || tolerated.iter().all(is_allowed) {
        return Ok(());
    }
    Err(format!(
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
    ))
}

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || !pod["spec"].is_object() {
        return known(Ok(()));
    }
    later(async move {
        let (settings, namespace) = (&seen.setting.configured.told.tolerations, namespace(seen).await?);
        let is_new = seen.operation == Operation::Create;
        let done = add(settings, pod, &namespace, is_new).and_then(|()| check(settings, pod, &namespace));
        done.map_err(Status::unnamed)
    })
}

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") {
        return known(Ok(()));
    }
    later(async move {
        let settings = &seen.setting.configured.told.tolerations;
        check(settings, pod, &*namespace(seen).await?).map_err(Status::unnamed)
    })
}

async fn namespace(seen: &Attributes<'_>) -> Result<Arc<Value>, Status> {
    let name = seen.request.namespace.as_str();
    seen.stored.get(Target { resource: built_in("", "namespaces")?, namespace: "", name }).await
}
