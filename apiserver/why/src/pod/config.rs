//! Config maps, secrets and keys that a pod refers to and that are not there.

use super::containers::Case;
use super::whom;
use crate::answer::Finding;
use crate::facts::{Facts, Look};
use crate::look::{list, text};
use crate::paths;
use crate::words::listed;
use serde_json::Value;
use std::collections::BTreeSet;

/// Something that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    plural: &'static str,
    name: String,
    /// `None`: the object alone.
    key: Option<String>,
    /// Where the pod refers to it.
    place: String,
}

fn is_optional(of: &Value) -> bool {
    of.get("optional").and_then(Value::as_bool) == Some(true)
}

/// One reference with keys, or without any if all of the object is taken.
fn with_items(plural: &'static str, source: &Value, name: &str, place: &str) -> Vec<Reference> {
    if name.is_empty() || is_optional(source) {
        return Vec::new();
    }
    let reference = |key: Option<String>| Reference { plural, name: name.to_owned(), key, place: place.to_owned() };
    let keys = list(source, "/items").iter().map(|item| reference(Some(text(item, "/key").to_owned())));
    std::iter::once(reference(None)).chain(keys).collect()
}

fn of_env(container: &Value) -> Vec<Reference> {
    let place = format!("the environment of container {}", text(container, "/name"));
    let mut found = Vec::new();
    for from in list(container, "/envFrom") {
        for (plural, field) in [("configmaps", "configMapRef"), ("secrets", "secretRef")] {
            found.extend(with_items(plural, &from[field], text(&from[field], "/name"), &place));
        }
    }
    for from in list(container, "/env") {
        for (plural, field) in [("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")] {
            let source = &from["valueFrom"][field];
            if source.is_object() && !is_optional(source) {
                let place = format!("the variable {} of container {}", text(from, "/name"), text(container, "/name"));
                found.push(Reference {
                    plural,
                    name: text(source, "/name").to_owned(),
                    key: Some(text(source, "/key").to_owned()),
                    place,
                });
            }
        }
    }
    found
}

fn of_volumes(pod: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    for volume in list(pod, "/spec/volumes") {
        let place = format!("the volume {}", text(volume, "/name"));
        found.extend(with_items("configmaps", &volume["configMap"], text(volume, "/configMap/name"), &place));
        found.extend(with_items("secrets", &volume["secret"], text(volume, "/secret/secretName"), &place));
        for source in list(volume, "/projected/sources") {
            found.extend(with_items("configmaps", &source["configMap"], text(source, "/configMap/name"), &place));
            found.extend(with_items("secrets", &source["secret"], text(source, "/secret/name"), &place));
        }
    }
    found
}

/// What of the pod's references is missing.
pub(super) fn findings(facts: &Facts, pod: &Value) -> Vec<Finding> {
    let containers = [list(pod, "/spec/initContainers"), list(pod, "/spec/containers")].concat();
    let all: BTreeSet<Reference> = of_volumes(pod).into_iter().chain(containers.iter().flat_map(of_env)).collect();
    missing(facts, pod, all)
}

/// What of one container's references is missing.
pub(super) fn of_container(case: &Case<'_>) -> Vec<Finding> {
    missing(case.facts, case.pod, of_env(case.spec).into_iter().collect())
}

fn missing(facts: &Facts, pod: &Value, all: BTreeSet<Reference>) -> Vec<Finding> {
    let namespace = text(pod, "/metadata/namespace");
    let mut found = Vec::new();
    let mut absent = BTreeSet::new();
    for Reference { plural, name, key, place } in all {
        let (kind, word, reason) = if plural == "secrets" {
            ("Secret", "secret", "SecretMissing")
        } else {
            ("ConfigMap", "configmap", "ConfigMapMissing")
        };
        match (facts.get(&paths::one(namespace, plural, &name)), key) {
            (Look::Absent, _) if absent.insert((plural, name.clone())) => {
                let cause = format!("The {kind} {name} does not exist in namespace {namespace}, and {place} needs it.");
                found.push(Finding::new(reason, whom(pod), cause).advice(format!(
                    "Create it: kubectl create {word}{} {name} -n {namespace} …, or mark the reference as optional.",
                    if plural == "secrets" { " generic" } else { "" }
                )));
            }
            (Look::Is(object), Some(key)) if !has_key(object, &key) => {
                let keys = keys(object);
                let has = if keys.is_empty() {
                    "It has no keys.".to_owned()
                } else {
                    format!("It has the keys {}.", listed(&keys))
                };
                let cause = format!("The {kind} {namespace}/{name} has no key {key}, and {place} needs it.");
                found.push(
                    Finding::new("KeyMissing", whom(pod), cause)
                        .fact(has)
                        .advice("Add the key, or mark the reference as optional."),
                );
            }
            _ => {}
        }
    }
    found
}

fn keys(object: &Value) -> Vec<&str> {
    let of = |field: &str| object.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
    of("data").chain(of("binaryData")).map(String::as_str).collect()
}

fn has_key(object: &Value, key: &str) -> bool {
    keys(object).contains(&key)
}
