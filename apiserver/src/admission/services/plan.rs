//! What a service needs, keeps and lets go. No I/O.

use super::claim::Held;
use serde_json::{Value, json};
use skiff_schema::{FieldError, FieldErrorKind};
use std::net::Ipv4Addr;

/// A port that needs a node port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Position in `spec.ports`.
    pub(super) index: usize,
    /// The one asked for.
    pub(super) wanted: Option<u16>,
}

/// What must be claimed for a service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) address: bool,
    pub(super) wanted_address: Option<Ipv4Addr>,
    pub(super) ports: Vec<Port>,
    /// A port at which balancers ask for endpoints, and the one asked for.
    pub(super) health: Option<Option<u16>>,
}

fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn needs_address(service: &Value) -> bool {
    kind(service) != "ExternalName" && service["spec"]["clusterIP"] != "None"
}

fn needs_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"].as_bool() != Some(false),
        _ => false,
    }
}

/// Whether balancers ask each node how many endpoints it has.
fn needs_health(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn invalid(field: &str, value: &Value, detail: &str) -> FieldError {
    let (field, detail) = (field.to_owned(), detail.to_owned());
    FieldError { kind: FieldErrorKind::Invalid, field, value: Some(value.clone()), detail }
}

impl Needs {
    /// Reads a service, and writes its two forms of one address (`clusterIP`, `clusterIPs`) into agreement first.
    pub(super) fn of(service: &mut Value) -> Result<Self, FieldError> {
        agree_on_address(service)?;
        if kind(service) == "ExternalName" {
            return Ok(Self::default());
        }
        let spec = &mut service["spec"];
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = "SingleStack".into();
        }
        if spec["ipFamilies"] != json!(["IPv4"]) || spec["ipFamilyPolicy"] == "RequireDualStack" {
            let detail = "this cluster has IPv4 only";
            return Err(invalid("spec.ipFamilies", &spec["ipFamilies"], detail));
        }
        let ports = if needs_node_ports(service) { wanted_ports(service)? } else { Vec::new() };
        let health = match needs_health(service) {
            true => Some(wanted_port(&service["spec"]["healthCheckNodePort"], "spec.healthCheckNodePort")?),
            false => None,
        };
        Ok(Self { address: needs_address(service), wanted_address: wanted_address(service)?, ports, health })
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn agree_on_address(service: &mut Value) -> Result<(), FieldError> {
    let spec = &mut service["spec"];
    let list: Vec<Value> = spec["clusterIPs"].as_array().cloned().unwrap_or_default();
    if list.len() > 1 {
        return Err(invalid(
            "spec.clusterIPs",
            &spec["clusterIPs"],
            "may only hold up to 1 value: this cluster has IPv4 only",
        ));
    }
    match (text(&spec["clusterIP"]).to_owned(), list.first().map(text).unwrap_or_default().to_owned()) {
        (one, listed) if one.is_empty() && listed.is_empty() => {
            for field in ["clusterIP", "clusterIPs"] {
                spec.as_object_mut().map(|spec| spec.remove(field));
            }
        }
        (one, listed) if listed.is_empty() => spec["clusterIPs"] = json!([one]),
        (one, listed) if one.is_empty() => spec["clusterIP"] = listed.into(),
        (one, listed) if one == listed => {}
        _ => return Err(invalid("spec.clusterIPs", &spec["clusterIPs"], "first value must match `clusterIP`")),
    }
    Ok(())
}

fn wanted_address(service: &Value) -> Result<Option<Ipv4Addr>, FieldError> {
    match text(&service["spec"]["clusterIP"]) {
        "" | "None" => Ok(None),
        address => address
            .parse()
            .map(Some)
            .map_err(|_| invalid("spec.clusterIPs[0]", &address.into(), "must be a valid IPv4 address")),
    }
}

fn wanted_ports(service: &Value) -> Result<Vec<Port>, FieldError> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten().enumerate();
    ports
        .map(|(index, port)| {
            let wanted = wanted_port(&port["nodePort"], &format!("spec.ports[{index}].nodePort"))?;
            Ok(Port { index, wanted })
        })
        .collect()
}

fn wanted_port(value: &Value, field: &str) -> Result<Option<u16>, FieldError> {
    let detail = "must be between 1 and 65535, inclusive";
    let wanted = u16::try_from(value.as_u64().unwrap_or(0)).map_err(|_| invalid(field, value, detail))?;
    Ok(Some(wanted).filter(|port| *port != 0))
}

/// Writes into `new` what `old` was given and `new` leaves open, and drops what a change of type makes void.
pub(super) fn carry_over(old: &Value, new: &mut Value) {
    if needs_address(old) && kind(new) != "ExternalName" && text(&new["spec"]["clusterIP"]).is_empty() {
        new["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
        new["spec"]["clusterIPs"] = old["spec"]["clusterIPs"].clone();
    }
    if needs_node_ports(old) && needs_node_ports(new) {
        keep_node_ports(old, new);
    }
    if needs_health(old) && needs_health(new) && new["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
        new["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
    }
    drop_void(old, new);
}

/// Ports keep their node ports.
fn keep_node_ports(old: &Value, new: &mut Value) {
    let old_ports = old["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let same = |a: &Value, b: &Value| a["port"] == b["port"] && a["protocol"] == b["protocol"];
    for port in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
        let Some(before) = old_ports.iter().find(|before| same(before, port)) else { continue };
        if port["nodePort"].as_u64().unwrap_or(0) == 0 && !before["nodePort"].is_null() {
            port["nodePort"] = before["nodePort"].clone();
        }
    }
}

/// Whether a field means something to a service.
type Means = fn(&Value) -> bool;

/// Fields that a change of type makes void: dropped if the client has not changed them too, for then the server gave them
/// or the client merely sent back what it had read. What it did change is left for the validation to refuse.
const DEPENDENT: [(&str, Means); 8] = [
    ("clusterIP", |service| kind(service) != "ExternalName"),
    ("clusterIPs", |service| kind(service) != "ExternalName"),
    ("ipFamilies", |service| kind(service) != "ExternalName"),
    ("ipFamilyPolicy", |service| kind(service) != "ExternalName"),
    ("healthCheckNodePort", needs_health),
    ("allocateLoadBalancerNodePorts", |service| kind(service) == "LoadBalancer"),
    ("loadBalancerClass", |service| kind(service) == "LoadBalancer"),
    ("externalTrafficPolicy", is_external),
];

/// Whether clients outside of the cluster reach it.
fn is_external(service: &Value) -> bool {
    let addresses = service["spec"]["externalIPs"].as_array().is_some_and(|list| !list.is_empty());
    matches!(kind(service), "NodePort" | "LoadBalancer") || kind(service) == "ClusterIP" && addresses
}

fn drop_void(old: &Value, new: &mut Value) {
    let void =
        DEPENDENT.iter().filter(|(field, means)| means(old) && !means(new) && new["spec"][field] == old["spec"][field]);
    let void: Vec<&str> = void.map(|(field, _)| *field).collect();
    if let Some(spec) = new["spec"].as_object_mut() {
        spec.retain(|field, _| !void.contains(&field.as_str()));
    }
    let typed = |service: &Value| matches!(kind(service), "NodePort" | "LoadBalancer");
    let (before, after) = (node_ports(old), node_ports(new));
    if typed(old) && !typed(new) && after.iter().all(|port| before.contains(port)) {
        for port in new["spec"]["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
}

fn node_ports(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    ports.filter_map(|port| u16::try_from(port["nodePort"].as_u64()?).ok()).filter(|port| *port != 0).collect()
}

/// Everything a stored service has.
pub(super) fn held(service: &Value) -> Vec<Held> {
    let address = text(&service["spec"]["clusterIP"]).parse().ok().map(Held::Address);
    let health = service["spec"]["healthCheckNodePort"].as_u64().and_then(|port| u16::try_from(port).ok());
    let ports = node_ports(service).into_iter().chain(health.filter(|port| *port != 0));
    address.into_iter().chain(ports.map(Held::Port)).collect()
}

/// What `old` has and `new` has not.
pub(super) fn no_longer_held(old: Option<&Value>, new: &Value) -> Vec<Held> {
    let kept = held(new);
    old.map(held).unwrap_or_default().into_iter().filter(|one| !kept.contains(one)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node_port() -> Value {
        json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}]}})
    }

    #[test]
    fn an_update_without_addresses_keeps_them() {
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]}});
        carry_over(&node_port(), &mut new);
        assert_eq!(new["spec"]["clusterIP"], "10.96.0.9");
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30080);
        assert_eq!(Needs::of(&mut new).expect("sound").ports[1], Port { index: 1, wanted: None });
    }

    #[test]
    fn a_change_to_cluster_ip_lets_ports_go() {
        let mut new = node_port();
        new["spec"]["type"] = "ClusterIP".into();
        carry_over(&node_port(), &mut new);
        assert!(new["spec"]["ports"][0]["nodePort"].is_null());
        assert_eq!(no_longer_held(Some(&node_port()), &new), [Held::Port(30080)]);
    }

    /// Fault N29: what only the old type has goes with it, unless the client changed it as well.
    #[test]
    fn a_change_of_type_drops_what_the_old_type_had() {
        let mut old = node_port();
        let spec = json!({"type": "LoadBalancer", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "externalTrafficPolicy": "Local", "internalTrafficPolicy": "Cluster", "healthCheckNodePort": 31000,
            "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b"});
        old["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let mut new = old.clone();
        new["spec"]["type"] = "ExternalName".into();
        new["spec"]["externalName"] = "a.b".into();
        carry_over(&old, &mut new);
        assert_eq!(
            new["spec"],
            json!({"type": "ExternalName", "externalName": "a.b", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP"}]})
        );
        assert_eq!(no_longer_held(Some(&old), &new).len(), 3);
        let mut changed = old.clone();
        changed["spec"]["type"] = "ClusterIP".into();
        changed["spec"]["externalTrafficPolicy"] = "Cluster".into();
        carry_over(&old, &mut changed);
        assert_eq!(changed["spec"]["externalTrafficPolicy"], "Cluster", "left for the validation");
    }

    #[test]
    fn headless_and_external_services_need_nothing() {
        for spec in [json!({"clusterIP": "None"}), json!({"type": "ExternalName", "externalName": "a.b"})] {
            let needs = Needs::of(&mut json!({ "spec": spec })).expect("sound");
            assert!(!needs.address && needs.ports.is_empty(), "{spec}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for spec in [
            json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.8"]}),
            json!({"clusterIPs": ["10.96.0.8", "fd00::1"]}),
            json!({"clusterIP": "nonsense"}),
            json!({"ipFamilies": ["IPv6"]}),
        ] {
            assert!(Needs::of(&mut json!({ "spec": spec })).is_err(), "{spec}");
        }
    }
}
