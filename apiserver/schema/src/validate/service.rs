//! The spec of a service.

use super::errors::Errors;
use super::meta;
use super::names::{self, Format, PORTS};
use crate::path::Path;
use crate::view::{given, list, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A day: the longest a client is remembered.
const AFFINITY: (i64, i64) = (1, 86_400);

pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(spec, "type");
    errors.required_one_of(&path.field("type"), kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    let headless = text(spec, "clusterIP") == "None";
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.required(&path.field("ports"), "");
    }
    ports(spec, kind, &path.field("ports"), errors);
    meta::labels(spec, "selector", path, errors);
    affinity(spec, path, errors);
    addresses(spec, kind, path, errors);
    policies(spec, path, errors);
    load_balancer_class(spec, kind, &path.field("loadBalancerClass"), errors);
}

/// Whose load balancer it is to be: one with a class is left to who answers to that.
fn load_balancer_class(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let Some(class) = spec["loadBalancerClass"].as_str() else { return };
    if kind == "LoadBalancer" {
        Format::QualifiedName.require(class, path, errors);
    } else {
        errors.forbidden(path, "may only be used when `type` is 'LoadBalancer'");
    }
}

fn ports(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let ports = list(spec, "ports");
    let (mut named, mut claimed) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        let (name, protocol) = (text(port, "name"), text(port, "protocol"));
        if name.is_empty() && ports.len() > 1 {
            errors.required(&path.field("name"), "");
        } else if !name.is_empty() {
            Format::Label.require(name, &path.field("name"), errors);
            if !named.insert(name) {
                errors.duplicate(&path.field("name"), name);
            }
        }
        if port["port"].as_i64().is_none() {
            errors.required(&path.field("port"), "");
        }
        errors.in_range(&path.field("port"), &port["port"], PORTS);
        errors.required_one_of(&path.field("protocol"), protocol, &["SCTP", "TCP", "UDP"]);
        names::port(&port["targetPort"], &path.field("targetPort"), errors);
        if !claimed.insert((protocol, port["port"].as_i64())) {
            errors.duplicate(&path, json!({"port": port["port"], "protocol": protocol}));
        }
        node_port(port, kind, &path.field("nodePort"), errors);
    }
}

fn node_port(port: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let number = port["nodePort"].as_i64().unwrap_or_default();
    if number == 0 {
        return;
    }
    if matches!(kind, "ClusterIP" | "ExternalName") {
        errors.forbidden(path, format!("may not be used when `type` is '{kind}'"));
    }
    errors.in_range(path, &port["nodePort"], PORTS);
}

fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let affinity = text(spec, "sessionAffinity");
    errors.required_one_of(&path.field("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let (config, path) = (&spec["sessionAffinityConfig"], path.field("sessionAffinityConfig"));
    let client = path.field("clientIP");
    errors.in_range(&client.field("timeoutSeconds"), &config["clientIP"]["timeoutSeconds"], AFFINITY);
}

fn addresses(spec: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let (cluster, at) = (text(spec, "clusterIP"), path.field("clusterIP"));
    if kind == "ExternalName" {
        if !cluster.is_empty() {
            errors.forbidden(&at, "may not be set when `type` is 'ExternalName'");
        }
        let name = text(spec, "externalName").trim_end_matches('.');
        Format::Subdomain.require_given(name, &path.field("externalName"), errors);
    }
    if cluster == "None" && matches!(kind, "NodePort" | "LoadBalancer") {
        errors.invalid(&at, cluster, format!("may not be set to 'None' for {kind} services"));
    } else if !matches!(cluster, "" | "None") {
        names::address(cluster, &at, errors);
    }
    let all = list(spec, "clusterIPs");
    if let Some(first) = all.first().and_then(Value::as_str)
        && !cluster.is_empty()
        && first != cluster
    {
        errors.invalid(&path.field("clusterIPs").index(0), first, "must be the same as `clusterIP`");
    }
    for (index, address) in list(spec, "externalIPs").iter().enumerate() {
        let external = path.field("externalIPs");
        external_address(address.as_str().unwrap_or_default(), &external.index(index), errors);
    }
}

fn external_address(text: &str, path: &Path<'_>, errors: &mut Errors) {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_loopback() || address.is_unspecified() || address.is_multicast() => {
            errors.invalid(path, text, "may not be an unspecified, loopback or multicast address");
        }
        _ => names::address(text, path, errors),
    }
}

fn policies(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["externalTrafficPolicy", "internalTrafficPolicy"] {
        errors.one_of(&path.field(field), text(spec, field), &["Cluster", "Local"]);
    }
    let external = !list(spec, "externalIPs").is_empty() || matches!(text(spec, "type"), "NodePort" | "LoadBalancer");
    if given(spec, "externalTrafficPolicy") && !external {
        let detail = "may only be set for externally-accessible services";
        errors.invalid(&path.field("externalTrafficPolicy"), text(spec, "externalTrafficPolicy"), detail);
    }
    // The cluster has IPv4 addresses only.
    let (policy, at) = (text(spec, "ipFamilyPolicy"), path.field("ipFamilyPolicy"));
    if policy == "RequireDualStack" {
        errors.invalid(&at, policy, "this cluster is not configured for dual-stack services");
    }
    errors.one_of(&at, policy, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    for (index, family) in list(spec, "ipFamilies").iter().enumerate() {
        let families = path.field("ipFamilies");
        let family = family.as_str().unwrap_or_default();
        if family == "IPv6" {
            errors.invalid(&families.index(index), family, "not configured on this cluster");
        } else {
            errors.required_one_of(&families.index(index), family, &["IPv4", "IPv6"]);
        }
    }
}
