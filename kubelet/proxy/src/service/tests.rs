//! How services and slices are understood.

use super::*;
use crate::topology::Otherwise;
use serde_json::json;

fn service(spec: serde_json::Value) -> Service {
    serde_json::from_value(json!({"metadata": {"namespace": "default", "name": "web"}, "spec": spec}))
        .expect("a service")
}

fn slice(ports: serde_json::Value, endpoints: serde_json::Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "ports": ports, "endpoints": endpoints
    }))
    .expect("a slice")
}

fn here() -> Here {
    Here { node: "here".to_owned(), zone: None }
}

fn endpoints(conditions: &[(&str, serde_json::Value)]) -> BTreeSet<SocketAddrV4> {
    let list: Vec<_> =
        conditions.iter().map(|(ip, conditions)| json!({"addresses": [ip], "conditions": conditions})).collect();
    let service = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    let slice = slice(json!([{"port": 8080}]), json!(list));
    read([&service], [&slice], &here()).ports[0].internal.endpoints.clone()
}

fn set(texts: &[&str]) -> BTreeSet<SocketAddrV4> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[test]
fn ready_endpoints_are_used_and_ending_ones_only_when_there_is_no_other() {
    let ready = json!({"ready": true});
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let starting = json!({"ready": false, "serving": false});
    assert_eq!(
        endpoints(&[("10.1.0.2", ready.clone()), ("10.1.0.3", ending.clone()), ("10.1.0.4", starting.clone())]),
        set(&["10.1.0.2:8080"])
    );
    assert_eq!(endpoints(&[("10.1.0.3", ending), ("10.1.0.4", starting.clone())]), set(&["10.1.0.3:8080"]));
    assert_eq!(endpoints(&[("10.1.0.4", starting)]), set(&[]));
    assert_eq!(endpoints(&[("10.1.0.5", json!({}))]), set(&["10.1.0.5:8080"]));
}

#[test]
fn ports_are_matched_by_name_and_protocol() {
    let service = service(json!({"clusterIP": "10.96.0.5", "ports": [
        {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": 30053},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}));
    let slice = slice(
        json!([{"name": "dns", "port": 5353, "protocol": "UDP"}, {"name": "dns-tcp", "port": 5354, "protocol": "TCP"}]),
        json!([{"addresses": ["10.1.0.2"]}]),
    );
    let Read { ports, warnings, .. } = read([&service], [&slice], &here());
    assert!(warnings.is_empty());
    assert_eq!(ports[0].name, "default/web/dns-tcp/tcp");
    assert_eq!((ports[0].internal.endpoints.clone(), ports[0].node_port), (set(&["10.1.0.2:5354"]), None));
    assert_eq!((ports[1].internal.endpoints.clone(), ports[1].node_port), (set(&["10.1.0.2:5353"]), Some(30053)));
}

#[test]
fn headless_external_name_and_foreign_services_are_left_alone() {
    for spec in [
        json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.org"}),
        json!({"ports": [{"port": 80}]}),
    ] {
        assert!(read([&service(spec)], [], &here()).ports.is_empty());
    }
    let mut foreign = service(json!({"clusterIP": "10.96.0.5", "ports": [{"port": 80}]}));
    foreign.metadata.labels = Some([(PROXY_NAME.to_owned(), "other".to_owned())].into());
    assert!(read([&foreign], [], &here()).ports.is_empty());
}

#[test]
fn what_is_not_done_is_said() {
    let mut service = service(json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"],
        "loadBalancerSourceRanges": ["192.0.2.0/24", "fd00::/64"], "ports": [{"port": 80}]}));
    service.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}})).expect("a status");
    let slice = slice(json!([{"port": 80}]), json!([{"addresses": ["127.0.0.1", "10.1.0.2"]}]));
    let Read { ports, warnings, .. } = read([&service], [&slice], &here());
    assert_eq!((ports[0].cluster.len(), ports[0].balancer.len(), ports[0].sources.len()), (1, 1, 1));
    assert_eq!(ports[0].internal.endpoints, set(&["10.1.0.2:80"]));
    let text: Vec<_> = warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(text.len(), 3, "{text:?}");
}

#[test]
fn local_policies_mean_the_endpoints_of_this_node() {
    let at = |ip: &str, node: &str| json!({"addresses": [ip], "nodeName": node});
    let near = slice(json!([{"port": 8080}]), json!([at("10.1.0.2", "here"), at("10.1.1.2", "there")]));
    let far = slice(json!([{"port": 8080}]), json!([at("10.1.1.2", "there")]));
    let outward = service(json!({"type": "LoadBalancer", "clusterIP": "10.96.0.5", "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 31000, "ports": [{"port": 80, "nodePort": 30080}]}));
    let Read { ports, health, .. } = read([&outward], [&near], &here());
    assert_eq!(ports[0].internal.endpoints, set(&["10.1.0.2:8080", "10.1.1.2:8080"]));
    assert_eq!(ports[0].outside.as_ref().unwrap().endpoints, set(&["10.1.0.2:8080"]));
    assert_eq!(health[&31000].ready_here, 1);
    let Read { ports, health, .. } = read([&outward], [&far], &here());
    assert_eq!(ports[0].outside.as_ref().unwrap().otherwise, Otherwise::Drop);
    assert_eq!(health[&31000].ready_here, 0);
    let inward = service(json!({"clusterIP": "10.96.0.5", "internalTrafficPolicy": "Local", "ports": [{"port": 80}]}));
    let Read { ports, health, .. } = read([&inward], [&near], &here());
    assert_eq!((ports[0].internal.endpoints.clone(), ports[0].outside.clone()), (set(&["10.1.0.2:8080"]), None));
    assert!(health.is_empty());
}

#[test]
fn a_list_of_sources_that_cannot_be_read_lets_nobody_in() {
    let mut service =
        service(json!({"clusterIP": "10.96.0.5", "loadBalancerSourceRanges": ["fd00::/64"], "ports": [{"port": 80}]}));
    service.status =
        serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}})).expect("a status");
    let read = read([&service], [], &here());
    assert_eq!(read.ports[0].sources, [Block { base: [0; 4], mask: [255; 4] }]);
    assert_eq!(read.warnings.len(), 1);
}
