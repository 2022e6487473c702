//! Objects as users write them.

use super::*;
use serde_json::json;

const PORTS: Ports = Ports { http: 80, https: 443, https_outside: 8443 };

fn read(annotations: Value, spec: Value) -> (Plan, Vec<Problem>) {
    let meta = json!({"name": "i", "namespace": "n", "annotations": annotations});
    let meta: ObjectMeta = serde_json::from_value(meta).unwrap();
    let mut plan = Plan::default();
    let problems = add(&mut plan, PORTS, &meta, &json!({"spec": spec}));
    (plan, problems)
}

fn path(path: &str, kind: &str, service: &str) -> Value {
    json!({"path": path, "pathType": kind, "backend": {"service": {"name": service, "port": {"number": 80}}}})
}

fn service(action: &Action) -> &str {
    let Action::Forward(forward) = action else { panic!("{action:?}") };
    &forward.to[0].to.as_ref().unwrap().service
}

#[test]
fn hosts_paths_and_the_default_backend() {
    let (plan, problems) = read(
        json!({}),
        json!({
            "defaultBackend": {"service": {"name": "rest", "port": {"name": "web"}}},
            "rules": [
                {"host": "*.A.b", "http": {"paths": [path("/x/", "Prefix", "one"), path("/x", "Exact", "two"),
                                                     path("/y", "ImplementationSpecific", "three")]}},
                {"http": {"paths": [path("/z", "Prefix", "four")]}},
            ],
        }),
    );
    assert_eq!(problems, []);
    let rules: Vec<_> =
        plan.ports[&80].rules.iter().map(|r| (r.host.clone(), r.path.clone(), service(&r.action))).collect();
    let below = || Host::OneBelow("a.b".into());
    assert_eq!(
        rules,
        [
            (below(), PathMatch::Prefix("/x".into()), "one"),
            (below(), PathMatch::Exact("/x".into()), "two"),
            (below(), PathMatch::Prefix("/y".into()), "three"),
            (below(), PathMatch::Otherwise, "rest"),
            (Host::Any, PathMatch::Prefix("/z".into()), "four"),
            (Host::Any, PathMatch::Otherwise, "rest"),
        ]
    );
    assert!(!plan.ports.contains_key(&443), "nothing is encrypted");
}

#[test]
fn a_host_with_a_certificate_is_served_on_both_ports_or_sent_to_one() {
    let spec = json!({
        "tls": [{"hosts": ["a.b", "*.c"], "secretName": "s"}],
        "rules": [{"host": "a.b", "http": {"paths": [path("/", "Prefix", "one")]}},
                  {"host": "x.c", "http": {"paths": [path("/", "Prefix", "two")]}},
                  {"host": "plain", "http": {"paths": [path("/", "Prefix", "three")]}}],
    });
    let (plan, _) = read(json!({}), spec.clone());
    assert_eq!((plan.ports[&80].rules.len(), plan.ports[&443].rules.len()), (3, 3));
    assert!(plan.ports[&443].tls && !plan.ports[&80].tls);
    assert_eq!(plan.secrets().into_iter().map(|one| one.name).collect::<Vec<_>>(), ["s"]);
    let (plan, _) = read(json!({"skiff.dev/https-redirect": "true"}), spec);
    let sent: Vec<bool> = plan.ports[&80].rules.iter().map(|r| matches!(r.action, Action::Redirect(_))).collect();
    assert_eq!(sent, [true, true, false]);
    let Action::Redirect(redirect) = &plan.ports[&80].rules[0].action else { panic!() };
    let headers = http::HeaderMap::new();
    let asked = crate::route::Asked {
        host: "a.b",
        path: "/p",
        query: Some("q"),
        method: &http::Method::GET,
        headers: &headers,
    };
    assert_eq!(redirect.location(&asked, "http", 80), "https://a.b:8443/p?q");
}

#[test]
fn what_cannot_be_is_told_with_its_field() {
    let (plan, problems) = read(
        json!({"skiff.dev/affinity": "ip", "skiff.dev/body-max": "much", "skiff.dev/response-timeout": "5s"}),
        json!({"tls": [{"hosts": ["a"]}], "defaultBackend": {"resource": {"kind": "K", "name": "n"}}}),
    );
    let told: Vec<_> = problems.iter().map(|problem| problem.message.as_str()).collect();
    assert_eq!(
        told,
        [
            "metadata.annotations[skiff.dev/affinity]: ip: want cookie or none",
            "metadata.annotations[skiff.dev/body-max]: much: want a size such as 8Mi or 1000000",
            "spec.defaultBackend: only services can be backends: resource backends are not implemented",
            "spec.tls[0].secretName: names no secret: there is no certificate for all hosts",
        ]
    );
    assert_eq!(plan.ports[&80].rules[0].action, Action::Answer(503));
}

#[test]
fn classes_are_named_by_a_field_or_by_the_old_annotation() {
    let ours = ["skiff".to_owned()];
    for (annotation, field, is_one) in [
        (None, Some("skiff"), true),
        (Some("skiff"), None, true),
        (Some("skiff"), Some("nginx"), false),
        (None, None, false),
    ] {
        let annotations = annotation.map(|class: &str| [(CLASS.to_owned(), class.to_owned())].into());
        let meta = ObjectMeta { annotations, ..ObjectMeta::default() };
        let fields = json!({"spec": {"ingressClassName": field}});
        assert_eq!(is_ours(&meta, &fields, &ours), is_one, "{annotation:?} {field:?}");
    }
}
