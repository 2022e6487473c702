//! Gateway API by the definitions of whoever installs them: they may come after the node, change, and go again.

use crate::support::{apply, deployment, service, until, until_none, web};
use nix::sched::{CloneFlags, setns};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually};
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const GROUP: &str = "gateway.networking.k8s.io";
/// Where the gateway listens, and where it is moved.
const PORT: u16 = 8000;
const OTHER_PORT: u16 = 8001;

/// A definition that takes any fields: what the controller reads is what upstream's own define.
fn definition(kind: &str, plural: &str, version: &str, scope: &str) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}});
    let version =
        json!({"name": version, "served": true, "storage": true, "schema": schema, "subresources": {"status": {}}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, the definitions of a test"}},
        "spec": {"group": GROUP, "scope": scope, "versions": [version],
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")}}})
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn class() -> Value {
    object("GatewayClass", "skiff", json!({"controllerName": "skiff.dev/gateway"}))
}

fn gateway(port: u16) -> Value {
    let listener = json!({"name": "http", "port": port, "protocol": "HTTP"});
    object("Gateway", "front", json!({"gatewayClassName": "skiff", "listeners": [listener]}))
}

/// Who says `x-to: two` comes to the second one, all others to the first, but for `/both`, which is shared one to three.
fn route() -> Value {
    let to = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    let path = |path: &str| json!({"path": {"type": "PathPrefix", "value": path}});
    let marked = json!({"path": {"type": "PathPrefix", "value": "/"}, "headers": [{"name": "x-to", "value": "two"}]});
    let whole =
        json!({"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}}});
    let rules = json!([
        {"matches": [path("/both")], "filters": [whole], "backendRefs": [to("one", 1), to("two", 3)]},
        {"matches": [marked], "backendRefs": [to("two", 1)]},
        {"matches": [path("/")], "backendRefs": [to("one", 1), to("two", 0)]},
    ]);
    object("HTTPRoute", "shop", json!({"parentRefs": [{"name": "front"}], "hostnames": ["shop.test"], "rules": rules}))
}

/// The status and the first line of the answer to a request that is made from inside the box.
fn ask(node: &TestNode, port: u16, path: &str, headers: &str) -> Result<(String, String), String> {
    ask_host(node, port, "shop.test", (path, headers))
}

fn ask_host(node: &TestNode, port: u16, host: &str, (path, headers): (&str, &str)) -> Result<(String, String), String> {
    let (pid, request) = (node.holder(), format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n"));
    let asking = std::thread::spawn(move || -> std::io::Result<String> {
        setns(File::open(format!("/proc/{pid}/ns/net"))?, CloneFlags::CLONE_NEWNET)?;
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    });
    let answer = asking.join().unwrap().map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    Ok((status, body.lines().next().unwrap_or_default().to_owned()))
}

/// Waits until a request is answered with 200 by a pod whose name begins so.
#[track_caller]
fn comes_to(node: &TestNode, port: u16, path: &str, headers: &str, pod: &str) {
    eventually(&format!("{path} at {port} comes to {pod}"), || match ask(node, port, path, headers)? {
        (status, line) if status == "200" && line.starts_with(&format!("hello from {pod}-")) => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Type, status and reason of conditions, with what they are of.
fn conditions(at: &Value) -> Vec<String> {
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let all = at.as_array().into_iter().flatten();
    let all = all.filter(|one| one["observedGeneration"].is_i64() && one["lastTransitionTime"].is_string());
    all.map(|one| format!("{} {} {}", text(one, "type"), text(one, "status"), text(one, "reason"))).collect()
}

fn has(at: &Value, wanted: &[&str]) -> bool {
    let all = conditions(at);
    wanted.iter().all(|one| all.iter().any(|other| other == one))
}

fn install(node: &TestNode) {
    let all = [
        definition("GatewayClass", "gatewayclasses", "v1", "Cluster"),
        definition("Gateway", "gateways", "v1", "Namespaced"),
        definition("HTTPRoute", "httproutes", "v1", "Namespaced"),
    ];
    apply(node, &all);
    for plural in ["gatewayclasses", "gateways", "httproutes"] {
        until(node, &["crd", &format!("{plural}.{GROUP}")], "is established", |crd| {
            let all = crd["status"]["conditions"].as_array();
            all.is_some_and(|all| all.iter().any(|one| one["type"] == "Established" && one["status"] == "True"))
        });
    }
}

fn statuses_are_upstreams(node: &TestNode) {
    until(node, &["gatewayclass", "skiff"], "is accepted", |class| {
        has(&class["status"]["conditions"], &["Accepted True Accepted"])
    });
    let gateway = until(node, &["gateway", "front"], "is programmed", |gateway| {
        let own = has(&gateway["status"]["conditions"], &["Accepted True Accepted", "Programmed True Programmed"]);
        own && gateway["status"]["listeners"][0]["attachedRoutes"] == 1
    });
    let listener = &gateway["status"]["listeners"][0];
    let wanted = [
        "Accepted True Accepted",
        "Programmed True Programmed",
        "ResolvedRefs True ResolvedRefs",
        "Conflicted False NoConflicts",
    ];
    assert!(has(&listener["conditions"], &wanted), "{listener}");
    assert_eq!(gateway["status"]["addresses"][0], json!({"type": "IPAddress", "value": "172.31.255.1"}));
    let route = until(node, &["httproute", "shop"], "is accepted", |route| {
        has(&route["status"]["parents"][0]["conditions"], &["Accepted True Accepted", "ResolvedRefs True ResolvedRefs"])
    });
    let parent = &route["status"]["parents"][0];
    assert_eq!(
        (&parent["controllerName"], &parent["parentRef"]["name"]),
        (&"skiff.dev/gateway".into(), &"front".into())
    );
}

fn requests_are_matched_and_shared(node: &TestNode) {
    comes_to(node, PORT, "/", "", "one");
    comes_to(node, PORT, "/", "X-To: two\r\n", "two");
    comes_to(node, PORT, "/", "X-To: three\r\n", "one");
    let by =
        |pod: &str| (0..80).filter(|_| ask(node, PORT, "/both", "").is_ok_and(|(_, line)| line.contains(pod))).count();
    // 80 requests of which each comes to `one` with a chance of a quarter: less than 4 or more than 45 would be one in a million.
    let of_one = by("from one-");
    assert!((4..46).contains(&of_one), "{of_one} of 80");
}

#[test]
fn gateways_are_served_from_the_definition_on_and_until_it_goes() {
    let node = TestNode::up(&[]);
    let port = json!([{"port": 80, "targetPort": 8080}]);
    apply(
        &node,
        &[
            deployment("one", 1, web()),
            deployment("two", 1, web()),
            service("one", "one", port.clone()),
            service("two", "two", port),
        ],
    );
    install(&node);
    apply(&node, &[class(), gateway(PORT), route()]);
    requests_are_matched_and_shared(&node);
    statuses_are_upstreams(&node);
    what_is_missing_is_told(&node);
    apply(&node, &[gateway(OTHER_PORT)]);
    comes_to(&node, OTHER_PORT, "/", "", "one");
    eventually("nothing listens where it was", || ask(&node, PORT, "/", "").err().ok_or("still open"));
    it_goes_with_its_definition(&node);
    node.down();
}

/// A backend that is not there is told by ResolvedRefs and answered with 500.
fn what_is_missing_is_told(node: &TestNode) {
    let rules = json!([{"backendRefs": [{"name": "nobody", "port": 80}]}]);
    let gone = json!({"parentRefs": [{"name": "front"}], "hostnames": ["gone.test"], "rules": rules});
    apply(node, &[object("HTTPRoute", "gone", gone)]);
    until(node, &["httproute", "gone"], "names its missing backend", |route| {
        has(
            &route["status"]["parents"][0]["conditions"],
            &["Accepted True Accepted", "ResolvedRefs False BackendNotFound"],
        )
    });
    eventually("it is answered with 500", || match ask_host(node, PORT, "gone.test", ("/", "")) {
        Ok((status, _)) if status == "500" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(node.skiff(["delete", "httproute/gone"]).ok());
    until(node, &["gateway", "front"], "has one route again", |gateway| {
        gateway["status"]["listeners"][0]["attachedRoutes"] == 1
    });
}

fn it_goes_with_its_definition(node: &TestNode) {
    drop(node.skiff(["delete", &format!("crd/httproutes.{GROUP}")]).ok());
    eventually("no route is there any more", || match ask(node, OTHER_PORT, "/", "")? {
        (status, _) if status == "404" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    install(node);
    apply(node, &[route()]);
    comes_to(node, OTHER_PORT, "/", "X-To: two\r\n", "two");
    drop(node.skiff(["delete", &format!("crd/gateways.{GROUP}")]).ok());
    eventually("nothing listens any more", || ask(node, OTHER_PORT, "/", "").err().ok_or("still open"));
    drop(node.skiff(["delete", &format!("crd/gatewayclasses.{GROUP}"), &format!("crd/httproutes.{GROUP}")]).ok());
    until_none(node, &["crd"]);
}
