//! Defaults of pods and pod templates.

use crate::view::{default, default_number, entries, list_mut, object_mut, present_mut, text};
use serde_json::{Value, json};

/// Mode of files in volumes: 0644.
const FILE_MODE: i64 = 0o644;
/// Lifetime of a projected service account token: an hour.
const TOKEN_SECONDS: i64 = 3600;

/// A pod: the template's defaults, and those that apply only to real pods.
pub(crate) fn pod(object: &mut Value) {
    let Some(spec) = object_mut(object, "spec") else { return };
    pod_spec(spec);
    default(spec, "enableServiceLinks", true);
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers"] {
        for container in list_mut(spec, list) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
}

/// The spec of a pod or of a pod template.
pub(crate) fn pod_spec(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "securityContext", json!({}));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        list_mut(spec, list).iter_mut().for_each(container);
    }
    list_mut(spec, "volumes").iter_mut().for_each(volume);
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    default(container, "imagePullPolicy", policy);
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    default(container, "resources", json!({}));
    for port in list_mut(container, "ports") {
        default(port, "protocol", "TCP");
    }
    for variable in list_mut(container, "env") {
        if let Some(from) = present_mut(variable, "valueFrom") {
            field_reference(from);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = present_mut(container, name) {
            probe(found);
        }
    }
    if let Some(lifecycle) = present_mut(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = present_mut(lifecycle, hook) {
                http_get(handler);
            }
        }
    }
}

/// `Always` for images that move (`:latest`, or neither tag nor digest), else `IfNotPresent`.
/// A host of 127 bytes, a path of 127 bytes and their slash (the distribution specification's common limit).
const REFERENCE_BYTES_MAX: usize = 255;

fn pull_policy(image: &str) -> &'static str {
    // What is no reference has no tag that could move: upstream passes over the error of its parser.
    if image.contains('@') || !is_reference(image) {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

/// Whether a text without digest may be a reference: after the host, which may be in capitals, come small letters, then the tag.
fn is_reference(image: &str) -> bool {
    let host = |host: &str| host.contains(['.', ':']) || host == "localhost";
    let (path, implied) = match image.split_once('/') {
        Some((first, path)) if host(first) => (path, ""),
        Some(_) => (image, "docker.io/"),
        None => (image, "docker.io/library/"),
    };
    let length = implied.len() + image.len();
    let (path, tag) = path.split_once(':').unwrap_or((path, ""));
    let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !path.is_empty() && length <= REFERENCE_BYTES_MAX && path.chars().all(small) && tag.chars().all(word)
}

fn probe(probe: &mut Value) {
    for (field, number) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        default_number(probe, field, number);
    }
    http_get(probe);
    if let Some(grpc) = present_mut(probe, "grpc") {
        default(grpc, "service", "");
    }
}

fn http_get(handler: &mut Value) {
    if let Some(get) = present_mut(handler, "httpGet") {
        default(get, "path", "/");
        default(get, "scheme", "HTTP");
    }
}

fn field_reference(holder: &mut Value) {
    if let Some(field) = present_mut(holder, "fieldRef") {
        default(field, "apiVersion", "v1");
    }
}

/// What is limited and not requested is requested as limited.
fn requests_from_limits(container: &mut Value) {
    let Some(resources) = present_mut(container, "resources") else { return };
    let limits: Vec<_> = entries(resources, "limits").map(|(name, amount)| (name.clone(), amount.clone())).collect();
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = object_mut(resources, "requests") {
        limits.into_iter().for_each(|(name, amount)| default(requests, &name, amount));
    }
}

/// On the host's network a port of the container is a port of the host.
fn host_ports(container: &mut Value) {
    for port in list_mut(container, "ports") {
        if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
            default_number(port, "hostPort", number);
        }
    }
}

fn volume(volume: &mut Value) {
    let has_source =
        volume.as_object().is_none_or(|map| map.iter().any(|(key, value)| key != "name" && !value.is_null()));
    if !has_source {
        default(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(found) = present_mut(volume, source) {
            default(found, "defaultMode", FILE_MODE);
            list_mut(found, "items").iter_mut().for_each(field_reference);
            list_mut(found, "sources").iter_mut().for_each(projection);
        }
    }
    if let Some(host) = present_mut(volume, "hostPath") {
        default(host, "type", "");
    }
}

fn projection(source: &mut Value) {
    if let Some(token) = present_mut(source, "serviceAccountToken") {
        default(token, "expirationSeconds", TOKEN_SECONDS);
    }
    if let Some(downward) = present_mut(source, "downwardAPI") {
        list_mut(downward, "items").iter_mut().for_each(field_reference);
    }
}
