//! Questions about one small cluster, written as `name type`, and answers as `dig` shows them.

use super::*;
use hickory_proto::op::{MessageType, OpCode, Query};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

fn zone() -> Zone {
    let ranges = ["10.96.0.0/16", "10.244.0.0/24"].map(|text| crate::Range::parse(text).unwrap());
    let mut zone = Zone::new("cluster.local", vec!["10.96.0.10".parse().unwrap()], ranges.into(), 1).unwrap();
    let mut service = |name: &str, spec: Value| {
        let service: Service =
            serde_json::from_value(json!({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})).unwrap();
        zone.change_service(None, Some(&service));
    };
    let ports = json!([{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]);
    service("web", json!({"clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"], "ports": ports}));
    service("db", json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432}]}));
    service("early", json!({"clusterIP": "None", "publishNotReadyAddresses": true}));
    service("out", json!({"type": "ExternalName", "externalName": "www.example.com"}));
    service("in", json!({"type": "ExternalName", "externalName": "web.shop.svc.cluster.local."}));
    service("nowhere", json!({"type": "ExternalName", "externalName": "gone.shop.svc.cluster.local"}));
    service("round", json!({"type": "ExternalName", "externalName": "round.shop.svc.cluster.local"}));
    service("digits", json!({"type": "ExternalName", "externalName": "1.2.3.4"}));
    let mut slice = |service: &str, name: &str, endpoints: Value, ports: Value| {
        let meta = json!({"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}});
        let slice = json!({"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": ports});
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        zone.change_slice(None, Some(&slice));
    };
    let endpoints = json!([
        {"addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": {"ready": true}},
        {"addresses": ["10.244.0.6"], "hostname": "db-1", "conditions": {"ready": true}},
        {"addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": {"ready": false}},
        {"addresses": ["10.244.0.8"]},
    ]);
    slice("db", "db-a", endpoints, json!([{"name": "sql", "port": 5432, "protocol": "TCP"}]));
    let endpoint = json!([{"addresses": ["10.244.0.9"], "hostname": "first", "conditions": {"ready": false}}]);
    slice("early", "early-a", endpoint, json!([]));
    slice("web", "web-a", json!([{"addresses": ["10.244.0.4"]}]), json!([{"name": "http", "port": 8080}]));
    zone.complete();
    zone
}

fn ask(zone: &Zone, text: &str) -> Reply {
    let (name, kind) = text.split_once(' ').unwrap();
    let mut request = Message::new(7, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), kind.parse().unwrap()));
    reply(zone, &request, 1232, 0)
}

/// The code, the answers' data, and `+` with the additional ones.
fn told(text: &str) -> String {
    let (message, end) = match ask(&zone(), text) {
        Reply::Own(message) => (message, String::new()),
        Reply::Chase(message, target) => (message, format!(" then {target}")),
        Reply::Foreign => return "foreign".to_owned(),
    };
    let data = |records: &[Record]| records.iter().map(|record| record.data.to_string()).collect::<Vec<_>>().join(", ");
    let mut words = vec![message.response_code.to_str().to_owned()];
    words.extend((!message.answers.is_empty()).then(|| data(&message.answers)));
    words.extend((!message.additionals.is_empty()).then(|| format!("+ {}", data(&message.additionals))));
    words.extend((!message.authorities.is_empty()).then(|| "soa".to_owned()));
    words.join(" ") + &end
}

fn check(cases: &[(&str, &str)]) {
    for (question, expected) in cases {
        assert_eq!(told(question), *expected, "{question}");
    }
}

#[test]
fn a_service_has_its_addresses_and_a_record_for_each_port() {
    check(&[
        ("web.shop.svc.cluster.local A", "No Error 10.96.0.7"),
        ("web.shop.svc.cluster.local AAAA", "No Error fd00::7"),
        ("web.shop.svc.cluster.local MX", "No Error soa"),
        (
            "_http._tcp.web.shop.svc.cluster.local SRV",
            "No Error 0 100 80 web.shop.svc.cluster.local. + 10.96.0.7, fd00::7",
        ),
        (
            "_dns._udp.web.shop.svc.cluster.local SRV",
            "No Error 0 100 53 web.shop.svc.cluster.local. + 10.96.0.7, fd00::7",
        ),
        ("_http._udp.web.shop.svc.cluster.local SRV", "Non-Existent Domain soa"),
        ("_tcp.web.shop.svc.cluster.local A", "No Error soa"),
        ("10-244-0-4.web.shop.svc.cluster.local A", "No Error 10.244.0.4"),
        ("x.web.shop.svc.cluster.local A", "Non-Existent Domain soa"),
        ("a.b.c.web.shop.svc.cluster.local A", "Non-Existent Domain soa"),
        ("gone.shop.svc.cluster.local A", "Non-Existent Domain soa"),
    ]);
}

#[test]
fn a_headless_service_has_its_ready_endpoints() {
    check(&[
        ("db.shop.svc.cluster.local A", "No Error 10.244.0.5, 10.244.0.6, 10.244.0.8"),
        ("db.shop.svc.cluster.local AAAA", "No Error soa"),
        ("db-1.db.shop.svc.cluster.local A", "No Error 10.244.0.6"),
        ("db-2.db.shop.svc.cluster.local A", "Non-Existent Domain soa"),
        ("10-244-0-8.db.shop.svc.cluster.local A", "No Error 10.244.0.8"),
        (
            "_sql._tcp.db.shop.svc.cluster.local SRV",
            "No Error 0 33 5432 10-244-0-8.db.shop.svc.cluster.local., 0 33 5432 db-0.db.shop.svc.cluster.local., 0 33 5432 \
             db-1.db.shop.svc.cluster.local. + 10.244.0.8, 10.244.0.5, 10.244.0.6",
        ),
        ("early.shop.svc.cluster.local A", "No Error 10.244.0.9"),
        ("first.early.shop.svc.cluster.local A", "No Error 10.244.0.9"),
    ]);
}

#[test]
fn an_alias_is_followed_as_far_as_the_cluster_goes() {
    check(&[
        ("out.shop.svc.cluster.local A", "No Error www.example.com. then www.example.com."),
        ("out.shop.svc.cluster.local CNAME", "No Error www.example.com."),
        ("in.shop.svc.cluster.local A", "No Error web.shop.svc.cluster.local., 10.96.0.7"),
        ("nowhere.shop.svc.cluster.local A", "Non-Existent Domain gone.shop.svc.cluster.local. soa"),
        ("round.shop.svc.cluster.local A", "Server Failure"),
        ("round.shop.svc.cluster.local CNAME", "No Error round.shop.svc.cluster.local."),
        ("digits.shop.svc.cluster.local A", "Non-Existent Domain soa"),
        ("x.out.shop.svc.cluster.local A", "Non-Existent Domain soa"),
    ]);
}

#[test]
fn addresses_have_names() {
    check(&[
        ("7.0.96.10.in-addr.arpa PTR", "No Error web.shop.svc.cluster.local."),
        ("5.0.244.10.in-addr.arpa PTR", "No Error db-0.db.shop.svc.cluster.local."),
        ("8.0.244.10.in-addr.arpa PTR", "No Error 10-244-0-8.db.shop.svc.cluster.local."),
        ("7.0.244.10.in-addr.arpa PTR", "Non-Existent Domain soa"),
        ("9.0.244.10.in-addr.arpa PTR", "No Error first.early.shop.svc.cluster.local."),
        ("5.0.244.10.in-addr.arpa A", "No Error soa"),
        ("1.1.1.1.in-addr.arpa PTR", "foreign"),
        ("in-addr.arpa PTR", "foreign"),
    ]);
}

#[test]
fn pods_have_names_made_of_their_addresses() {
    check(&[
        ("10-244-0-5.shop.pod.cluster.local A", "No Error 10.244.0.5"),
        ("fd00--5.shop.pod.cluster.local AAAA", "No Error fd00::5"),
        ("10-244-0-5.shop.pod.cluster.local AAAA", "No Error soa"),
        ("web.shop.pod.cluster.local A", "Non-Existent Domain soa"),
        ("x.10-244-0-5.shop.pod.cluster.local A", "Non-Existent Domain soa"),
    ]);
}

#[test]
fn the_zone_says_what_it_is() {
    let soa = "ns.dns.cluster.local. hostmaster.cluster.local. 12 7200 1800 86400 5";
    check(&[
        ("cluster.local SOA", &format!("No Error {soa}")),
        ("cluster.local NS", "No Error ns.dns.cluster.local. + 10.96.0.10"),
        ("cluster.local A", "No Error soa"),
        ("ns.dns.cluster.local A", "No Error 10.96.0.10"),
        ("dns.cluster.local A", "No Error soa"),
        ("dns-version.cluster.local TXT", "No Error 1.1.0"),
        ("dns-version.cluster.local A", "No Error soa"),
        ("svc.cluster.local A", "No Error soa"),
        ("shop.svc.cluster.local A", "No Error soa"),
        ("shop.pod.cluster.local A", "No Error soa"),
        ("other.cluster.local A", "Non-Existent Domain soa"),
        ("web.shop.svc.cluster.local ANY", "No Error RFC8482 "),
        ("example.com A", "foreign"),
        ("local A", "foreign"),
        ("notcluster.local A", "foreign"),
    ]);
}

#[test]
fn letters_come_back_as_they_were_asked() {
    let Reply::Own(message) = ask(&zone(), "_hTTp._tcp.WeB.Shop.svc.CLUSTER.local SRV") else { panic!("not ours") };
    assert!(message.answers[0].name.eq_case(message.queries[0].name()));
    assert_eq!(message.additionals[0].name.to_ascii(), "WeB.Shop.svc.CLUSTER.local.");
    let Reply::Own(message) = ask(&zone(), "x.sVc.Cluster.Local A") else { panic!("not ours") };
    assert_eq!(message.authorities[0].name.to_ascii(), "Cluster.Local.");
}

#[test]
fn before_everything_is_known_nothing_is_known_to_be_missing() {
    let zone = Zone::new("cluster.local", Vec::new(), Vec::new(), 1).unwrap();
    let Reply::Own(message) = ask(&zone, "web.shop.svc.cluster.local A") else { panic!("not ours") };
    assert_eq!(message.response_code, ResponseCode::ServFail);
    assert!(matches!(ask(&zone, "example.com A"), Reply::Foreign));
}

#[test]
fn each_answer_begins_with_another_address_and_has_no_more_than_fit() {
    let zone = zone();
    let mut request = Message::new(7, MessageType::Query, OpCode::Query);
    request.add_query(Query::query(Name::from_ascii("db.shop.svc.cluster.local.").unwrap(), RecordType::A));
    let first = |turn| match reply(&zone, &request, 1232, turn) {
        Reply::Own(message) => message.answers[0].data.to_string(),
        _ => panic!("not ours"),
    };
    assert_eq!([0, 1, 2, 3].map(first), ["10.244.0.5", "10.244.0.6", "10.244.0.8", "10.244.0.5"]);
    let Reply::Own(message) = reply(&zone, &request, 16, 0) else { panic!("not ours") };
    assert_eq!(message.answers.len(), 2, "one more than fits, so that it is seen to be cut");
}

#[test]
fn a_domain_is_a_domain_name() {
    for bad in ["", ".", "a..b", "-a.local", "a_b", "ä.local"] {
        assert!(Zone::new(bad, Vec::new(), Vec::new(), 1).is_err(), "{bad}");
    }
    assert_eq!(Zone::new("Cluster.Local.", Vec::new(), Vec::new(), 1).unwrap().domain(), "cluster.local");
}
