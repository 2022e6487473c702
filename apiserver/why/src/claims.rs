//! Claims that have no volume yet.

use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{list, name, pairs, text};
use crate::paths;
use crate::pod::events_about;
use crate::words::{amount, for_so_long, listed, parsed, sentence};
use serde_json::Value;

const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

/// The names of the claims that a pod's volumes use.
pub(crate) fn of_pod(pod: &Value) -> Vec<String> {
    let volumes = list(pod, "/spec/volumes").iter();
    let names = volumes.filter_map(|volume| {
        let named = text(volume, "/persistentVolumeClaim/claimName");
        match (named, volume.get("ephemeral").is_some_and(|source| !source.is_null())) {
            ("", false) => None,
            // KEP-1698: the claim of a generic ephemeral volume is named after pod and volume.
            ("", true) => Some(format!("{}-{}", name(pod), text(volume, "/name"))),
            (named, _) => Some(named.to_owned()),
        }
    });
    names.collect()
}

/// Why claims of `pod` are not bound.
pub(crate) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let namespace = text(pod, "/metadata/namespace");
    of_pod(pod).iter().flat_map(|claim| explain(facts, namespace, claim, true)).collect()
}

/// Why the claim `claim` is not bound; `used`: a pod waits for it.
pub(crate) fn explain(facts: &Facts, namespace: &str, claim: &str, used: bool) -> Vec<Finding> {
    let about = format!("persistentvolumeclaim {namespace}/{claim}");
    match facts.get(&paths::one(namespace, "persistentvolumeclaims", claim)) {
        Look::Unknown => Vec::new(),
        Look::Absent => {
            let cause = format!("The claim {claim} does not exist in namespace {namespace}.");
            vec![
                Finding::new("ClaimMissing", about, cause)
                    .advice(format!("Create the claim {claim}, or change the pod's volume.")),
            ]
        }
        Look::Is(found) => match text(found, "/status/phase") {
            "Bound" => Vec::new(),
            "Lost" => {
                let cause = format!(
                    "The claim {claim} has lost its volume {}: it was deleted or given to another claim.",
                    text(found, "/spec/volumeName")
                );
                vec![
                    Finding::new("ClaimLost", about, cause)
                        .advice("What was on it is gone unless the volume still exists; make a new claim."),
                ]
            }
            _ => unbound(facts, found, about, used),
        },
    }
}

fn unbound(facts: &Facts, claim: &Value, about: String, used: bool) -> Vec<Finding> {
    let Some(classes) = facts.list(CLASSES) else { return Vec::new() };
    let asked =
        claim.pointer("/spec/resources/requests/storage").map(|value| amount("storage", parsed("storage", value)));
    let wants = format!("The claim {} of {}", name(claim), asked.unwrap_or_else(|| "no size".to_owned()));
    let age = for_so_long(facts.now, text(claim, "/metadata/creationTimestamp"));
    let said = last_words(facts, claim);
    let of_default = |class: &&Value| pairs(class, "/metadata/annotations").contains(&(DEFAULT, "true"));
    let named = claim.pointer("/spec/storageClassName").and_then(Value::as_str);
    let all: Vec<_> = classes.iter().map(name).collect();
    let there_are = if all.is_empty() {
        "There is no class at all.".to_owned()
    } else {
        format!("There are the classes {}.", listed(&all))
    };
    let finding = |cause: String| Finding::new("ClaimUnbound", about.clone(), cause).fact(said.clone());
    let class = match named {
        Some("") => {
            return vec![static_volume(
                facts,
                claim,
                finding(format!("{wants} names no class and is bound to existing volumes only{age}.")),
            )];
        }
        Some(named) => classes.iter().find(|class| name(class) == named),
        None => classes.iter().find(of_default),
    };
    let Some(class) = class else {
        let cause = match named {
            Some(named) => format!("{wants} wants the class {named}, which does not exist{age}."),
            None => format!("{wants} names no class, and no class is the default{age}."),
        };
        let advice = "Name a class that exists in spec.storageClassName, or mark one as the default (annotation storageclass.kubernetes.io/is-default-class).";
        return vec![finding(cause).fact(there_are).advice(advice)];
    };
    let (class, provisioner) = (class, text(class, "/provisioner"));
    if text(class, "/volumeBindingMode") == "WaitForFirstConsumer" && !used {
        return vec![finding(format!(
            "{wants} waits for a pod that uses it: class {} binds at the first one (WaitForFirstConsumer).",
            name(class)
        ))];
    }
    let cause = format!("{wants} has no volume{age}: class {}, provisioner {provisioner}.", name(class));
    let advice = match provisioner {
        "kubernetes.io/no-provisioner" => {
            "Nothing makes volumes of this class: create one that fits the claim.".to_owned()
        }
        other => format!("See whether the program behind {other} runs, and what it logs."),
    };
    vec![finding(cause).advice(advice)]
}

/// What was said last about the claim.
fn last_words(facts: &Facts, claim: &Value) -> String {
    let events = events_about(facts, claim);
    match events.iter().find(|event| text(event, "/type") == "Warning").or(events.first()) {
        Some(event) => format!("Said last ({}): {}", text(event, "/reason"), sentence(text(event, "/message"))),
        None => "Nobody has said anything about it: no event.".to_owned(),
    }
}

/// Volumes that could be bound, and what does not fit.
fn static_volume(facts: &Facts, claim: &Value, finding: Finding) -> Finding {
    let Some(volumes) = facts.list(&paths::all("persistentvolumes")) else { return finding };
    let wanted = claim.pointer("/spec/resources/requests/storage").map_or(0, |value| parsed("storage", value));
    let free: Vec<String> = volumes
        .iter()
        .filter(|volume| text(volume, "/status/phase") == "Available")
        .map(|volume| {
            let size = volume.pointer("/spec/capacity/storage").map_or(0, |value| parsed("storage", value));
            let small = if size < wanted { ", too small" } else { "" };
            let modes: Vec<_> = list(volume, "/spec/accessModes").iter().filter_map(Value::as_str).collect();
            format!(
                "{} ({}, {}, class {:?}{small})",
                name(volume),
                amount("storage", size),
                listed(&modes),
                text(volume, "/spec/storageClassName")
            )
        })
        .collect();
    let there =
        if free.is_empty() { "No volume is free.".to_owned() } else { format!("Free volumes: {}.", listed(&free)) };
    finding.fact(there).advice("Create a volume of this size with the same access modes and no class.")
}
