//! Objects as users write them, and what becomes of them.

use super::*;
use crate::route::{Action, Host, PathChange, PathMatch, Rule};

/// A cluster in which services called `gone` and secrets called `gone` are not there, and namespace `other` has the label `team=b`.
fn look(objects: &[Value]) -> (Plan, Vec<Written>) {
    let read: Vec<(String, ObjectMeta, Value)> = objects
        .iter()
        .map(|object| {
            let meta = serde_json::from_value(object["metadata"].clone()).unwrap();
            (object["kind"].as_str().unwrap().to_owned(), meta, object.clone())
        })
        .collect();
    let of = |kind: &str| -> Vec<Object<'_>> {
        let fits = read.iter().filter(|(own, ..)| own == kind);
        fits.map(|(_, meta, fields)| Object { meta, fields }).collect()
    };
    let world = World {
        classes: of("GatewayClass"),
        gateways: of("Gateway"),
        http_routes: of("HTTPRoute"),
        grpc_routes: of("GRPCRoute"),
        grants: of("ReferenceGrant"),
        labels: &|name| if name == "other" { [("team".into(), "b".into())].into() } else { BTreeMap::new() },
        missing: &|backend| (backend.service == "gone").then(|| "it is gone".into()),
        wrong: &|secret| (secret.name == "gone").then(|| "it is gone".into()),
        refused: &BTreeMap::new(),
        addresses: &["192.0.2.1".to_owned()],
    };
    let mut plan = Plan::default();
    let written = add(&mut plan, &world);
    (plan, written)
}

fn class() -> Value {
    json!({"kind": "GatewayClass", "metadata": {"name": "c"}, "spec": {"controllerName": CONTROLLER}})
}

fn gateway(listeners: Value) -> Value {
    json!({"kind": "Gateway", "metadata": {"name": "g", "namespace": "n"}, "spec": {"gatewayClassName": "c", "listeners": listeners}})
}

fn http(port: u16) -> Value {
    json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"})
}

fn route(namespace: &str, parent: Value, spec: Value) -> Value {
    let mut spec = spec;
    spec["parentRefs"] = json!([parent]);
    json!({"kind": "HTTPRoute", "metadata": {"name": "r", "namespace": namespace}, "spec": spec})
}

fn to(service: &str) -> Value {
    json!({"rules": [{"backendRefs": [{"name": service, "port": 80}]}]})
}

/// Reason and status of a condition of the object whose status has this path in it.
fn condition(written: &[Written], path: &str, at: &str, kind: &str) -> String {
    let one = written.iter().find(|one| one.path.contains(path)).unwrap_or_else(|| panic!("{path}: {written:?}"));
    let all = one.status.pointer(at).unwrap_or_else(|| panic!("{at}: {}", one.status));
    let found =
        all.as_array().unwrap().iter().find(|one| one["type"] == kind).unwrap_or_else(|| panic!("{kind}: {all}"));
    format!("{} {}", found["status"].as_str().unwrap(), found["reason"].as_str().unwrap())
}

fn of_route(written: &[Written], kind: &str) -> String {
    condition(written, "/httproutes/", "/parents/0/conditions", kind)
}

#[test]
fn a_route_of_a_gateway_is_served() {
    let (plan, written) = look(&[class(), gateway(json!([http(8000)])), route("n", json!({"name": "g"}), to("s"))]);
    let rules = &plan.ports[&8000].rules;
    assert_eq!((rules.len(), &rules[0].host, &rules[0].path), (1, &Host::Any, &PathMatch::Prefix(String::new())));
    assert_eq!(condition(&written, "/gatewayclasses/c", "/conditions", "Accepted"), "True Accepted");
    assert_eq!(condition(&written, "/gateways/g", "/conditions", "Programmed"), "True Programmed");
    assert_eq!(condition(&written, "/gateways/g", "/listeners/0/conditions", "ResolvedRefs"), "True ResolvedRefs");
    let gateway = &written.iter().find(|one| one.path.contains("/gateways/")).unwrap().status;
    assert_eq!(gateway["listeners"][0]["attachedRoutes"], 1);
    assert_eq!(gateway["addresses"][0], json!({"type": "IPAddress", "value": "192.0.2.1"}));
    assert_eq!(
        (of_route(&written, "Accepted"), of_route(&written, "ResolvedRefs")),
        ("True Accepted".into(), "True ResolvedRefs".into())
    );
}

#[test]
fn what_a_route_names_and_is_not_there_is_answered_with_500() {
    let (plan, written) = look(&[class(), gateway(json!([http(80)])), route("n", json!({"name": "g"}), to("gone"))]);
    let Action::Forward(forward) = &plan.ports[&80].rules[0].action else { panic!() };
    assert_eq!((forward.to[0].to.as_ref(), forward.to[0].weight), (None, 1));
    assert_eq!(of_route(&written, "ResolvedRefs"), "False BackendNotFound");
    assert_eq!(of_route(&written, "Accepted"), "True Accepted");
}

#[test]
fn other_namespaces_are_let_in_and_named_by_permission_only() {
    let parent = || json!({"name": "g", "namespace": "n"});
    let closed = gateway(json!([http(80)]));
    let (_, written) = look(&[class(), closed, route("other", parent(), to("s"))]);
    assert_eq!(of_route(&written, "Accepted"), "False NotAllowedByListeners");
    let mut chosen = http(80);
    chosen["allowedRoutes"] = json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "b"}}}});
    let abroad = json!({"rules": [{"backendRefs": [{"name": "s", "namespace": "n", "port": 80}]}]});
    let mut objects = vec![class(), gateway(json!([chosen])), route("other", parent(), abroad)];
    let (_, written) = look(&objects);
    assert_eq!(of_route(&written, "Accepted"), "True Accepted");
    assert_eq!(of_route(&written, "ResolvedRefs"), "False RefNotPermitted");
    objects.push(json!({"kind": "ReferenceGrant", "metadata": {"name": "x", "namespace": "n"}, "spec": {
        "from": [{"group": GROUP, "kind": "HTTPRoute", "namespace": "other"}], "to": [{"group": "", "kind": "Service"}]}}));
    assert_eq!(of_route(&look(&objects).1, "ResolvedRefs"), "True ResolvedRefs");
}

#[test]
fn listeners_that_cannot_be_say_why() {
    let tls = |name: &str| {
        json!({"name": name, "port": 443, "protocol": "HTTPS", "hostname": "a.test",
        "tls": {"certificateRefs": [{"name": name}]}})
    };
    let mut twin = tls("twin");
    twin["hostname"] = "a.test".into();
    let listeners = json!([tls("good"), twin, {"name": "plain", "port": 443, "protocol": "HTTP"},
        {"name": "tcp", "port": 1, "protocol": "TCP"}]);
    let (plan, written) = look(&[class(), gateway(listeners)]);
    let of = |at: usize, kind: &str| condition(&written, "/gateways/g", &format!("/listeners/{at}/conditions"), kind);
    assert_eq!(of(0, "Programmed"), "True Programmed");
    assert_eq!(of(1, "Conflicted"), "True HostnameConflict");
    assert_eq!(of(2, "Conflicted"), "True ProtocolConflict");
    assert_eq!((of(3, "Accepted"), of(3, "Programmed")), ("False UnsupportedProtocol".into(), "False Invalid".into()));
    assert_eq!(plan.secrets().len(), 1);
    let (_, written) = look(&[class(), gateway(json!([tls("gone")]))]);
    assert_eq!(
        condition(&written, "/gateways/g", "/listeners/0/conditions", "ResolvedRefs"),
        "False InvalidCertificateRef"
    );
}

#[test]
fn parents_and_hosts_that_do_not_fit_are_refused() {
    let mut one = http(80);
    one["hostname"] = "*.a.test".into();
    let objects = |parent: Value, spec: Value| [class(), gateway(json!([one])), route("n", parent, spec)];
    let (_, written) = look(&objects(json!({"name": "g", "sectionName": "no"}), to("s")));
    assert_eq!(of_route(&written, "Accepted"), "False NoMatchingParent");
    let mut elsewhere = to("s");
    elsewhere["hostnames"] = json!(["b.test"]);
    assert_eq!(
        of_route(&look(&objects(json!({"name": "g"}), elsewhere)).1, "Accepted"),
        "False NoMatchingListenerHostname"
    );
    let (plan, _) = look(&objects(json!({"name": "g"}), to("s")));
    assert_eq!(plan.ports[&80].rules[0].host, Host::AllBelow("a.test".into()));
    let odd = json!({"rules": [{"matches": [{"path": {"type": "RegularExpression", "value": "/a.*"}}]}]});
    assert_eq!(of_route(&look(&objects(json!({"name": "g"}), odd)).1, "Accepted"), "False UnsupportedValue");
    let (_, written) = look(&objects(json!({"name": "unknown"}), to("s")));
    assert!(!written.iter().any(|one| one.path.contains("/httproutes/")), "it is not ours to say");
}

#[test]
fn matches_and_filters() {
    let spec = json!({"hostnames": ["a.test"], "rules": [{
        "matches": [{"path": {"type": "PathPrefix", "value": "/old"}, "method": "GET",
                     "headers": [{"name": "X-A", "value": "1"}], "queryParams": [{"name": "q", "value": "2"}]}],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "1"}], "remove": ["b"]}},
            {"type": "URLRewrite", "urlRewrite": {"hostname": "in.test", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "m", "port": 80}, "percent": 10}},
        ],
        "timeouts": {"request": "10s", "backendRequest": "2s"},
        "backendRefs": [{"name": "s", "port": 80, "weight": 9}, {"name": "t", "port": 80, "weight": 1}],
    }, {
        "matches": [{"path": {"type": "Exact", "value": "/moved"}}],
        "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}],
    }]});
    let (plan, _) = look(&[class(), gateway(json!([http(80)])), route("n", json!({"name": "g"}), spec)]);
    let rules: &Vec<Rule<Action>> = &plan.ports[&80].rules;
    let Action::Forward(forward) = &rules[0].action else { panic!() };
    assert_eq!(
        (rules[0].headers.len(), rules[0].query.len(), rules[0].method.as_ref().unwrap().as_str()),
        (1, 1, "GET")
    );
    assert_eq!(forward.to.iter().map(|one| one.weight).collect::<Vec<_>>(), [9, 1]);
    assert_eq!(forward.path, Some(PathChange::Prefix("/old".into(), "/new".into())));
    assert_eq!(forward.path.as_ref().unwrap().of("/old/x"), "/new/x");
    assert_eq!(
        (forward.mirrors[0].share, forward.within.unwrap().as_secs(), forward.try_within.unwrap().as_secs()),
        ((10, 100), 10, 2)
    );
    let Action::Redirect(redirect) = &rules[1].action else { panic!() };
    assert_eq!((redirect.status, redirect.scheme.as_deref()), (301, Some("https")));
}

#[test]
fn calls_of_grpc_are_paths() {
    let spec = json!({"parentRefs": [{"name": "g"}], "rules": [{"matches": [{"method": {"service": "a.S", "method": "Do"}}, {"method": {"service": "a.T"}}],
        "backendRefs": [{"name": "s", "port": 80}]}]});
    let route = json!({"kind": "GRPCRoute", "metadata": {"name": "r", "namespace": "n"}, "spec": spec});
    let (plan, written) = look(&[class(), gateway(json!([http(80)])), route]);
    let paths: Vec<&PathMatch> = plan.ports[&80].rules.iter().map(|rule| &rule.path).collect();
    assert_eq!(paths, [&PathMatch::Exact("/a.S/Do".into()), &PathMatch::Prefix("/a.T".into())]);
    assert_eq!(condition(&written, "/grpcroutes/r", "/parents/0/conditions", "Accepted"), "True Accepted");
}

#[test]
fn statuses_of_other_controllers_stay() {
    let mut one = route("n", json!({"name": "g"}), to("s"));
    let theirs = json!({"controllerName": "example.com/theirs", "parentRef": {"name": "x"}, "conditions": []});
    one["status"] =
        json!({"parents": [theirs, {"controllerName": CONTROLLER, "parentRef": {"name": "old"}, "conditions": []}]});
    let (_, written) = look(&[class(), gateway(json!([http(80)])), one]);
    let parents = written.iter().find(|one| one.path.contains("/httproutes/")).unwrap().status["parents"].clone();
    assert_eq!((&parents[0], &parents[1]["parentRef"]["name"]), (&theirs, &json!("g")));
    assert_eq!(parents.as_array().unwrap().len(), 2);
}
