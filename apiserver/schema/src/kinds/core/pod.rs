//! Pod.

mod app_armor; // profiles that annotations name
mod ephemeral; // containers for looking into it
mod quality;
mod resize;
mod scheduling; // what is settled before anybody schedules it // other resources while it runs

use self::quality::quality;
use crate::kinds::{Change, Part, READ_WRITE, Row, Rules, Selectable, proxy, status};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::warnings::warnings;
use crate::validate::{pod, update};
use crate::view::{given, text};
use crate::{defaults, table};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["po"],
    categories: &["all"],
    subresources: PARTS,
    rules: Rules {
        defaults: defaults::pod::pod,
        prepare: |new, old, part| match (old, part) {
            (Some(old), "resize") => resize::prepare(new, old),
            (Some(old), "ephemeralcontainers") => ephemeral::prepare(new, old),
            // Who writes the status need not repeat what the server has made of the pod's resources.
            (Some(old), "status") if new["status"]["qosClass"].is_null() => {
                new["status"]["qosClass"] = old["status"]["qosClass"].clone();
            }
            _ => {}
        },
        complete: |new, old| {
            if old.is_none() {
                new["status"] = json!({"phase": "Pending", "qosClass": quality(&new["spec"])});
                scheduling::gate(new);
                scheduling::merge_label_keys(new);
                app_armor::fill_in(new);
            }
        },
        grace_seconds: Some(grace_seconds),
        is_traced: true,
        validate,
        warnings: |change| match (change.old, change.part) {
            // People seldom write pods that are there already.
            (None, "") => warnings(change.new, &Path::Root),
            _ => Vec::new(),
        },
        printer: &table::pod::POD,
        fields: FIELDS,
        generation: true,
        returns_deleted: true,
        // Old kubelets wrote owners that the garbage collector could not use.
        status_keeps: &["ownerReferences"],
        ..Rules::PLAIN
    },
    ..Row::namespaced(["", "v1", "Pod"], ["pods", "pod"], "io.k8s.api.core.v1.Pod")
};

/// What a pod has to end that does not say otherwise.
const GRACE_SECONDS: i64 = 30;

const STREAM: &[&str] = &["create", "get"];

const PARTS: &[Part] = &[
    Part { name: "attach", body: ["", "v1", "PodAttachOptions"], verbs: STREAM },
    Part { name: "binding", body: ["", "v1", "Binding"], verbs: &["create"] },
    Part { name: "ephemeralcontainers", body: ["", "v1", "Pod"], verbs: READ_WRITE },
    Part { name: "eviction", body: ["policy", "v1", "Eviction"], verbs: &["create"] },
    Part { name: "exec", body: ["", "v1", "PodExecOptions"], verbs: STREAM },
    Part { name: "log", body: ["", "v1", "Pod"], verbs: &["get"] },
    Part { name: "portforward", body: ["", "v1", "PodPortForwardOptions"], verbs: STREAM },
    proxy("PodProxyOptions"),
    Part { name: "resize", body: ["", "v1", "Pod"], verbs: READ_WRITE },
    status(["", "v1", "Pod"]),
];

const FIELDS: &[Selectable] = &[
    Selectable::at("spec.nodeName"),
    Selectable::at("spec.restartPolicy"),
    Selectable::at("spec.schedulerName"),
    Selectable::at("spec.serviceAccountName"),
    Selectable { path: "spec.hostNetwork", value: Some(|it| (it["spec"]["hostNetwork"] == true).to_string()) },
    Selectable::at("status.phase"),
    Selectable::at("status.podIP"),
    Selectable::at("status.nominatedNodeName"),
];

/// Only a pod that runs somewhere needs time to end.
fn grace_seconds(pod: &Value, asked: Option<i64>) -> i64 {
    let placed = given(&pod["spec"], "nodeName");
    let ended = matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed");
    if !placed || ended {
        return 0;
    }
    let asked = asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64());
    // Kubernetes reads a negative grace period as one second.
    match asked.unwrap_or(GRACE_SECONDS) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

/// Whether it only shows a pod that a node has from a file.
fn is_mirror(pod: &Value) -> bool {
    !pod["metadata"]["annotations"]["kubernetes.io/config.mirror"].is_null()
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    // A binding has been looked at by itself.
    if matches!(change.part, "status" | "binding") {
        return;
    }
    let spec = Path::Root.field("spec");
    pod::spec(&change.new["spec"], &spec, errors);
    match (change.old, change.part) {
        (None, _) => pod::only_on_create(change.new, errors),
        (Some(old), "resize") => resize::validate(change.new, old, errors),
        (Some(old), "ephemeralcontainers") => ephemeral::validate(change.new, old, errors),
        (Some(old), _) => update::pod(&change.new["spec"], &old["spec"], &spec, errors),
    }
}
