//! PodSecurity: the Pod Security Standards (KEP-2579), as the labels of a namespace ask for them.
//!
//! Pods that break what is enforced are refused. What makes pods is never refused: whoever writes it is warned, and the audit record
//! notes it, because its pods will be looked at anyway.

mod baseline; // nothing that leads out of a container
mod checks; // which controls there are, and since when
mod policy; // what a namespace asks for
mod restricted; // nothing special at all
mod settings; // what administrators say at a start

#[cfg(test)]
mod tests;

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::registry::object::name_of;
use crate::status::Status;
use checks::{Pod, sentence, violations};
use policy::{Level, PREFIX, Policy, Standard};
use serde_json::Value;
pub(crate) use settings::Settings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "PodSecurity",
    handles: &[Operation::Create, Operation::Update],
    mutate: None,
    validate: Some(check),
};

/// Parts of a pod that do not change what it runs.
const OTHER_PARTS: [&str; 8] = ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];
/// How many pods of a namespace are looked at when it asks for more.
const PODS_MAX: usize = 3000;

/// Where kinds have the template of their pods.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

fn check<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let resource = &seen.request.resource;
    if resource.is("", "pods") {
        return later(check_pod(seen, object));
    }
    if !seen.request.part.is_empty() {
        return known(Ok(()));
    }
    if resource.is("", "namespaces") {
        return later(check_namespace(seen, object));
    }
    let template = TEMPLATES.iter().find(|(group, plural, _)| resource.is(group, plural));
    match template.and_then(|(_, _, path)| object.pointer(path)) {
        Some(template) => later(async move {
            tell_about_template(seen, template).await;
            Ok(())
        }),
        None => known(Ok(())),
    }
}

/// Labels that cannot be read are refused, and pods that are there already are looked at when more is enforced than before.
async fn check_namespace(seen: &Attributes<'_>, namespace: &Value) -> Result<(), Status> {
    let settings = settings(seen);
    let read = |namespace: &Value| Policy::of(&namespace["metadata"]["labels"], settings.defaults);
    let (new, errors) = read(namespace);
    let old = seen.old.filter(|_| seen.operation == Operation::Update).map(read);
    // What could not be read before may stay.
    if !errors.is_empty() && old.as_ref().is_none_or(|(_, before)| *before != errors) {
        return Err(Status::invalid(&seen.request.resource, seen.name, &errors));
    }
    let spared = settings.spares_namespace(seen.name);
    let Some((old, _)) = old else {
        if spared {
            seen.request.warn(ignored(seen.name, &new, &settings.defaults, &namespace["metadata"]["labels"]));
        }
        return Ok(());
    };
    let (policy, new, old) = (new, new.enforce, old.enforce);
    let stricter = new.level != Level::Privileged && (new.version != old.version || new.level > old.level);
    if stricter && spared {
        seen.request.warn(ignored(seen.name, &policy, &settings.defaults, &namespace["metadata"]["labels"]));
    } else if stricter {
        let pods = match built_in("", "pods") {
            Ok(pods) => seen.stored.list(pods, seen.name).await,
            Err(status) => Err(status),
        };
        seen.request.warn(match pods {
            Ok(mut pods) => {
                pods.retain(|pod| !settings.spares_class(&pod["spec"]));
                about_pods(seen.name, new, &pods)
            }
            Err(_) => vec!["failed to list pods while checking new PodSecurity enforce level".to_owned()],
        });
    }
    Ok(())
}

fn settings<'a>(seen: &'a Attributes<'_>) -> &'a Settings {
    &seen.setting.configured.pod_security
}

/// What is told of a namespace whose labels have no effect, because it is spared.
fn ignored(name: &str, policy: &Policy, defaults: &Policy, labels: &Value) -> Option<String> {
    if policy.allows_everything() || policy == defaults {
        return None;
    }
    let modes = [("enforce", policy.enforce), ("audit", policy.audit), ("warn", policy.warn)];
    let said = modes.into_iter().filter(|(mode, standard)| {
        let is_set = ["", "-version"].iter().any(|end| labels[format!("{PREFIX}{mode}{end}")].is_string());
        is_set && standard.level != Level::Privileged
    });
    let said: Vec<String> = said.map(|(mode, standard)| format!("{mode}={standard}")).collect();
    let list = said.join(", ");
    Some(format!("namespace \"{name}\" is exempt from Pod Security, and the policy ({list}) will be ignored"))
}

/// Whether nobody looks at this write, because of its namespace or user; the audit record says so.
fn is_spared(seen: &Attributes<'_>) -> bool {
    let settings = settings(seen);
    let why = match () {
        () if settings.spares_namespace(&seen.request.namespace) => "namespace",
        () if settings.spares_user(&seen.request.who.user) => "user",
        () => return false,
    };
    note(seen, "exempt", why.to_owned());
    true
}

/// The first pod of each controller before all the others, because the others are like it.
fn in_order_of_weight(pods: &[Arc<Value>]) -> Vec<&Arc<Value>> {
    let mut controllers = BTreeSet::new();
    let is_first = |pod: &&Arc<Value>| {
        let owners = pod["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let controller = owners.filter(|owner| owner["controller"] == true).find_map(|owner| owner["uid"].as_str());
        controller.is_none_or(|uid| controllers.insert(uid.to_owned()))
    };
    let (mut first, others): (Vec<&Arc<Value>>, Vec<&Arc<Value>>) = pods.iter().partition(is_first);
    first.extend(others);
    first
}

/// What is told of pods that break what `namespace` enforces from now on.
fn about_pods(namespace: &str, enforced: Standard, pods: &[Arc<Value>]) -> Vec<String> {
    let checked = pods.len().min(PODS_MAX);
    let mut broken: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in in_order_of_weight(pods).into_iter().take(checked) {
        let found = violations(enforced, Pod { metadata: &pod["metadata"], spec: &pod["spec"] });
        if !found.is_empty() {
            let reasons: Vec<&str> = found.iter().map(|violation| violation.reason.as_str()).collect();
            broken.entry(reasons.join(", ")).or_default().push(name_of(pod));
        }
    }
    let mut told = Vec::new();
    if checked < pods.len() {
        let all = pods.len();
        told.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {all} existing pods"
        ));
    }
    if !broken.is_empty() {
        told.push(format!(
            "existing pods in namespace \"{namespace}\" violate the new PodSecurity enforce level \"{enforced}\""
        ));
    }
    let mut lines: Vec<String> = broken.into_iter().map(|(reasons, names)| about_some(&reasons, &names)).collect();
    lines.sort_unstable();
    told.extend(lines);
    told
}

fn about_some(reasons: &str, names: &[&str]) -> String {
    let first = names.iter().min().copied().unwrap_or_default();
    match names.len() {
        0 | 1 => format!("{first}: {reasons}"),
        2 => format!("{first} (and 1 other pod): {reasons}"),
        count => format!("{first} (and {} other pods): {reasons}", count - 1),
    }
}

/// What the namespace of the request asks for, and what of its labels cannot be read.
async fn asked(seen: &Attributes<'_>) -> Result<(Policy, Vec<String>), Status> {
    let name = seen.request.namespace.as_str();
    let namespace = Target { resource: built_in("", "namespaces")?, namespace: "", name };
    let namespace = seen.stored.get(namespace).await?;
    let (policy, errors) = Policy::of(&namespace["metadata"]["labels"], settings(seen).defaults);
    Ok((policy, errors.iter().map(ToString::to_string).collect()))
}

async fn check_pod(seen: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    let request = seen.request;
    if OTHER_PARTS.contains(&request.part.as_str()) || is_spared(seen) {
        return Ok(());
    }
    let (policy, errors) = asked(seen).await.map_err(|status| {
        let why = format!("failed to lookup namespace \"{}\"", request.namespace);
        note(seen, "error", format!("{why}: {}", status.message));
        Status::internal(format!("Internal error occurred: {why}"))
    })?;
    if errors.is_empty() && policy.allows_everything() {
        note(seen, "enforce-policy", policy.enforce.to_string());
        return Ok(());
    }
    if seen.operation == Operation::Update && seen.old.is_some_and(|old| !runs_something_else(pod, old)) {
        return Ok(());
    }
    if settings(seen).spares_class(&pod["spec"]) {
        note(seen, "exempt", "runtimeClass".to_owned());
        return Ok(());
    }
    note(seen, "enforce-policy", policy.enforce.to_string());
    let pod = Pod { metadata: &pod["metadata"], spec: &pod["spec"] };
    let broken = violations(policy.enforce, pod);
    let refused = !broken.is_empty();
    tell(seen, (policy, &errors), pod, refused);
    if refused {
        return Err(seen.forbidden(&format!("violates PodSecurity \"{}\": {}", policy.enforce, sentence(&broken))));
    }
    Ok(())
}

/// Tells whoever writes something that makes pods what will become of them.
async fn tell_about_template(seen: &Attributes<'_>, template: &Value) {
    if is_spared(seen) {
        return;
    }
    if settings(seen).spares_class(&template["spec"]) {
        return note(seen, "exempt", "runtimeClass".to_owned());
    }
    match asked(seen).await {
        Ok((policy, errors)) => {
            let silent = policy.warn.level == Level::Privileged && policy.audit.level == Level::Privileged;
            if !errors.is_empty() || !silent {
                let pod = Pod { metadata: &template["metadata"], spec: &template["spec"] };
                tell(seen, (policy, &errors), pod, false);
            }
        }
        Err(status) => {
            let why = format!("failed to lookup namespace \"{}\": {}", seen.request.namespace, status.message);
            note(seen, "error", why);
        }
    }
}

/// Notes what breaks the audited standard, and warns of what breaks the other one, unless it is `refused` anyway.
fn tell(seen: &Attributes<'_>, (policy, errors): (Policy, &[String]), pod: Pod<'_>, refused: bool) {
    if !errors.is_empty() {
        let list = if let [one] = errors { one.clone() } else { format!("[{}]", errors.join(", ")) };
        note(seen, "error", format!("Failed to parse policy: {list}"));
    }
    let would = |standard: Standard| {
        let broken = violations(standard, pod);
        (!broken.is_empty()).then(|| format!("would violate PodSecurity \"{standard}\": {}", sentence(&broken)))
    };
    if let Some(text) = would(policy.audit) {
        note(seen, "audit-violations", text);
    }
    if !refused {
        seen.request.warn(would(policy.warn));
    }
}

fn note(seen: &Attributes<'_>, key: &str, value: String) {
    seen.request.annotate(&format!("{PREFIX}{key}"), value);
}

/// Whether an update makes the pod run something that has not been looked at: of a running pod only images change, and debugging
/// containers come.
fn runs_something_else(pod: &Value, old: &Value) -> bool {
    let of = |pod: &Value, list: &str| pod["spec"][list].as_array().cloned().unwrap_or_default();
    let other_image = |new: &Value, old: &Value| new["image"] != old["image"];
    let listed = ["containers", "initContainers"].into_iter().any(|list| {
        let (new, old) = (of(pod, list), of(old, list));
        new.len() != old.len() || new.iter().zip(&old).any(|(new, old)| other_image(new, old))
    });
    let before = of(old, "ephemeralContainers");
    listed
        || of(pod, "ephemeralContainers").iter().any(|new| {
            let same = before.iter().find(|old| old["name"] == new["name"]);
            same.is_none_or(|old| other_image(new, old))
        })
}
