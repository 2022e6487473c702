//! Defaults of the core and discovery kinds other than pods.

use crate::view::{default, entries, given, is_unset, list, list_mut, object_mut, present_mut, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Three hours: how long `sessionAffinity: ClientIP` remembers a client.
const AFFINITY_SECONDS: i64 = 10_800;

pub(crate) fn service(spec: &mut Value) {
    default(spec, "sessionAffinity", "None");
    default(spec, "type", "ClusterIP");
    affinity(spec);
    for port in list_mut(spec, "ports") {
        service_port(port);
    }
    let kind = text(spec, "type").to_owned();
    if kind == "ExternalName" {
        return;
    }
    default(spec, "internalTrafficPolicy", "Cluster");
    // Skiff's services have one family: the cluster is IPv4 only.
    default(spec, "ipFamilyPolicy", "SingleStack");
    default(spec, "ipFamilies", json!(["IPv4"]));
    if kind == "NodePort" || kind == "LoadBalancer" || !list(spec, "externalIPs").is_empty() {
        default(spec, "externalTrafficPolicy", "Cluster");
    } else if text(spec, "externalTrafficPolicy") == "Cluster" {
        // The default of the type that the service had before; it says nothing any more.
        forget(spec, "externalTrafficPolicy");
    }
    if kind == "LoadBalancer" {
        default(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// A service that forgets its clients has nothing to configure about it.
fn affinity(spec: &mut Value) {
    if text(spec, "sessionAffinity") == "None" {
        forget(spec, "sessionAffinityConfig");
    } else if let Some(config) = object_mut(spec, "sessionAffinityConfig")
        && let Some(client) = object_mut(config, "clientIP")
    {
        default(client, "timeoutSeconds", AFFINITY_SECONDS);
    }
}

fn forget(spec: &mut Value, field: &str) {
    if let Some(fields) = spec.as_object_mut() {
        fields.remove(field);
    }
}

fn service_port(port: &mut Value) {
    default(port, "protocol", "TCP");
    let number = port.get("port").cloned().unwrap_or_default();
    let target = port.get("targetPort").cloned().unwrap_or_default();
    if (is_unset(&target) || target == 0)
        && let Some(map) = port.as_object_mut()
    {
        map.insert("targetPort".to_owned(), number);
    }
}

pub(crate) fn secret(object: &mut Value) {
    default(object, "type", "Opaque");
    let Some(strings) = object.as_object_mut().and_then(|map| map.remove("stringData")) else { return };
    if let (Some(data), Some(strings)) = (object_mut(object, "data"), strings.as_object()) {
        for (key, value) in strings {
            data[key] = STANDARD.encode(value.as_str().unwrap_or_default()).into();
        }
    }
}

pub(crate) fn namespace(object: &mut Value) {
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !name.is_empty()
        && let Some(labels) = object_mut(object, "metadata").and_then(|metadata| object_mut(metadata, "labels"))
    {
        default(labels, "kubernetes.io/metadata.name", name);
    }
    // A namespace that is being deleted has lost its finalizer for good.
    let leaving = object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    if !leaving && let Some(spec) = object_mut(object, "spec") {
        default(spec, "finalizers", json!(["kubernetes"]));
    }
    if let Some(status) = object_mut(object, "status") {
        default(status, "phase", "Active");
    }
}

pub(crate) fn node(object: &mut Value) {
    let Some(status) = present_mut(object, "status") else { return };
    if !given(status, "allocatable") && entries(status, "capacity").next().is_some() {
        status["allocatable"] = status["capacity"].clone();
    }
}

pub(crate) fn endpoints(object: &mut Value) {
    for subset in list_mut(object, "subsets") {
        for port in list_mut(subset, "ports") {
            default(port, "protocol", "TCP");
        }
    }
}

pub(crate) fn endpoint_slice(object: &mut Value) {
    for port in list_mut(object, "ports") {
        default(port, "name", "");
        default(port, "protocol", "TCP");
    }
}
