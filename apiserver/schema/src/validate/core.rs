//! Config maps, secrets, nodes, events, leases, bindings, endpoints and endpoint slices.

use super::errors::Errors;
use super::names::{self, Format, PORTS};
use super::resources;
use crate::path::Path;
use crate::view::{entries, given, list, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What a config map or a secret may hold: 1 MiB.
const DATA_SIZE: usize = 1 << 20;

/// Endpoints in a slice, and addresses of an endpoint.
const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;

const LINK_LOCAL: &str = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
const LINK_LOCAL_MULTICAST: &str = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";

pub(crate) fn config_map(object: &Value, errors: &mut Errors) {
    let (data, binary) = (Path::Root.field("data"), Path::Root.field("binaryData"));
    let mut size = 0;
    for (field, path) in [("data", &data), ("binaryData", &binary)] {
        for (key, value) in entries(object, field) {
            Format::ConfigKey.require(key, &path.key(key), errors);
            size += value.as_str().map_or(0, str::len);
        }
    }
    for (key, _) in entries(object, "data").filter(|(key, _)| object["binaryData"].get(key.as_str()).is_some()) {
        errors.invalid(&data.key(key), key.as_str(), "duplicate of key present in binaryData");
    }
    if size > DATA_SIZE {
        errors.too_long(&Path::Root, DATA_SIZE);
    }
}

/// Credentials of registries are a JSON object; what stands in it is not told.
fn registries(object: &Value, key: &str, errors: &mut Errors) {
    let path = Path::Root.field("data");
    let path = path.key(key);
    let Some(encoded) = object["data"].get(key).map(|text| text.as_str().unwrap_or_default()) else {
        errors.required(&path, "");
        return;
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<Option<BTreeMap<String, IgnoredAny>>>(&bytes) {
        errors.invalid(&path, "<secret contents redacted>", error.to_string());
    }
}

pub(crate) fn secret(object: &Value, errors: &mut Errors) {
    let data = Path::Root.field("data");
    let mut size = 0;
    for (key, value) in entries(object, "data") {
        Format::ConfigKey.require(key, &data.key(key), errors);
        // Base64 spells three bytes with four letters.
        size += value.as_str().map_or(0, str::len) / 4 * 3;
    }
    if size > DATA_SIZE {
        errors.too_long(&data, DATA_SIZE);
    }
    let mut require = |key: &str| {
        if object["data"].get(key).is_none() {
            errors.required(&data.key(key), "");
        }
    };
    match text(object, "type") {
        "kubernetes.io/dockerconfigjson" => registries(object, ".dockerconfigjson", errors),
        "kubernetes.io/dockercfg" => registries(object, ".dockercfg", errors),
        "kubernetes.io/ssh-auth" => require("ssh-privatekey"),
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(require),
        "kubernetes.io/basic-auth" if object["data"].get("username").is_none() => require("password"),
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], name).is_empty() {
                let metadata = Path::Root.field("metadata");
                errors.required(&metadata.field("annotations").key(name), "");
            }
        }
        _ => {}
    }
}

pub(crate) fn node(object: &Value, errors: &mut Errors) {
    let metadata = Path::Root.field("metadata");
    let mut seen = BTreeSet::new();
    for (index, taint) in list(&object["spec"], "taints").iter().enumerate() {
        // Kubernetes looks for them in metadata, where they once were.
        let taints = metadata.field("taints");
        let path = taints.index(index);
        let (key, effect) = (text(taint, "key"), text(taint, "effect"));
        Format::QualifiedName.require(key, &path.field("key"), errors);
        Format::LabelValue.require(text(taint, "value"), &path.field("value"), errors);
        errors.required_one_of(&path.field("effect"), effect, &["NoExecute", "NoSchedule", "PreferNoSchedule"]);
        if !seen.insert((key, effect)) {
            errors.duplicate(&path, taint.clone());
        }
    }
    let status = Path::Root.field("status");
    for field in ["capacity", "allocatable"] {
        for (name, amount) in entries(&object["status"], field) {
            resources::node_amount_of(name, amount, &status.field(field).key(name), errors);
        }
    }
}

pub(crate) fn lease(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|seconds| *seconds <= 0) {
        errors.invalid(&path.field("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    errors.not_negative(&path.field("leaseTransitions"), &spec["leaseTransitions"]);
}

pub(crate) fn binding(object: &Value, errors: &mut Errors) {
    let (target, path) = (&object["target"], Path::Root.field("target"));
    errors.one_of(&path.field("kind"), text(target, "kind"), &["Node", "<empty>"]);
    if text(target, "name").is_empty() {
        errors.required(&path.field("name"), "");
    }
}

pub(crate) fn endpoints(object: &Value, errors: &mut Errors) {
    let subsets = Path::Root.field("subsets");
    for (index, subset) in list(object, "subsets").iter().enumerate() {
        let path = subsets.index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for field in ["addresses", "notReadyAddresses"] {
            for (at, address) in list(subset, field).iter().enumerate() {
                let list = path.field(field);
                endpoint_address(address, &list.index(at), errors);
            }
        }
        let ports = list(subset, "ports");
        let path = path.field("ports");
        for (index, port) in ports.iter().enumerate() {
            let entry = path.index(index);
            if ports.len() > 1 && text(port, "name").is_empty() {
                errors.required(&entry.field("name"), "");
            }
            if port["port"].is_null() {
                errors.invalid(&entry.field("port"), 0, "must be between 1 and 65535, inclusive");
            }
        }
        endpoint_ports(ports, &path, errors);
    }
}

fn endpoint_address(address: &Value, path: &Path<'_>, errors: &mut Errors) {
    reachable_address(text(address, "ip"), &path.field("ip"), errors);
    if given(address, "hostname") {
        Format::Label.require(text(address, "hostname"), &path.field("hostname"), errors);
    }
    if given(address, "nodeName") {
        Format::Subdomain.require(text(address, "nodeName"), &path.field("nodeName"), errors);
    }
}

/// An address that a service may lead to: one that means the same from everywhere.
fn reachable_address(text: &str, path: &Path<'_>, errors: &mut Errors) {
    let Ok(address) = text.parse::<IpAddr>() else { return names::address(text, path, errors) };
    let refused = match address {
        address if address.is_unspecified() => "may not be unspecified (0.0.0.0 or ::)",
        address if address.is_loopback() => "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        IpAddr::V4(address) if address.is_link_local() => LINK_LOCAL,
        IpAddr::V6(address) if address.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V4(address) if address.octets()[..3] == [224, 0, 0] => LINK_LOCAL_MULTICAST,
        IpAddr::V6(address) if address.segments()[0] & 0xff0f == 0xff02 => LINK_LOCAL_MULTICAST,
        _ => return,
    };
    errors.invalid(path, text, refused);
}

pub(crate) fn endpoint_slice(object: &Value, errors: &mut Errors) {
    let kind = text(object, "addressType");
    errors.required_one_of(&Path::Root.field("addressType"), kind, &["FQDN", "IPv4", "IPv6"]);
    let (endpoints, path) = (list(object, "endpoints"), Path::Root.field("endpoints"));
    if endpoints.len() > MOST_ENDPOINTS {
        errors.too_many(&path, endpoints.len(), MOST_ENDPOINTS);
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let endpoint_path = path.index(index);
        let (addresses, path) = (list(endpoint, "addresses"), endpoint_path.field("addresses"));
        if addresses.is_empty() {
            errors.required(&path, "must contain at least 1 address");
        } else if addresses.len() > MOST_ADDRESSES {
            errors.too_many(&path, addresses.len(), MOST_ADDRESSES);
        }
        for (at, address) in addresses.iter().enumerate() {
            slice_address(kind, address.as_str().unwrap_or_default(), &path.index(at), errors);
        }
    }
    endpoint_ports(list(object, "ports"), &Path::Root.field("ports"), errors);
}

fn slice_address(kind: &str, text: &str, path: &Path<'_>, errors: &mut Errors) {
    match kind {
        "IPv4" if text.parse::<std::net::Ipv4Addr>().is_err() => {
            errors.invalid(path, text, "must be a valid IPv4 address")
        }
        "IPv6" if text.parse::<std::net::Ipv6Addr>().is_err() => {
            errors.invalid(path, text, "must be a valid IPv6 address")
        }
        "IPv4" | "IPv6" => reachable_address(text, path, errors),
        "FQDN" => Format::Subdomain.require(text, path, errors),
        _ => {}
    }
}

fn endpoint_ports(ports: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut named = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            Format::Label.require(name, &path.field("name"), errors);
        }
        if !named.insert(name) {
            errors.duplicate(&path.field("name"), name);
        }
        errors.in_range(&path.field("port"), &port["port"], PORTS);
        errors.one_of(&path.field("protocol"), text(port, "protocol"), &["SCTP", "TCP", "UDP"]);
    }
}
