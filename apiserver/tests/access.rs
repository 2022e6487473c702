//! Who may do what, at the doors: nobody without credentials, and nobody more than they were given.

mod common;

use axum::body::Body;
use common::{World, request, send};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use skiff_client::Identity;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// One request as somebody else than the administrator.
async fn ask(world: &World, who: &Identity, method: &str, path: &str, body: &Value) -> (StatusCode, String) {
    let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let mut request = request(method, path, content_type, &text);
    request.extensions_mut().insert(who.clone());
    let (code, answer) = send(world.server.router(), request).await;
    (code, answer["message"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
}

fn user(name: &str) -> Identity {
    Identity { user: name.to_owned(), ..Identity::default() }
}

/// Everything that discovery names: path of the collection, and of an object with its parts.
async fn routes(world: &World) -> Vec<String> {
    let mut routes = Vec::new();
    let groups = world.get("/apis").await.1;
    let versions = groups["groups"].as_array().into_iter().flatten().flat_map(|group| group["versions"].as_array());
    let mut places = vec!["/api/v1".to_owned()];
    places.extend(versions.flatten().map(|one| format!("/apis/{}", one["groupVersion"].as_str().unwrap_or_default())));
    for place in places {
        let list = world.get(&place).await.1;
        for resource in list["resources"].as_array().into_iter().flatten() {
            let name = resource["name"].as_str().unwrap_or_default();
            let (plural, part) = name.split_once('/').map_or((name, ""), |(plural, part)| (plural, part));
            let space = if resource["namespaced"] == true { "/namespaces/default" } else { "" };
            match part {
                "" => routes.extend([format!("{place}{space}/{plural}"), format!("{place}{space}/{plural}/x")]),
                part => routes.push(format!("{place}{space}/{plural}/x/{part}")),
            }
        }
    }
    routes
}

/// Whatever is served, by whatever method and in whatever form: without credentials it is refused.
#[tokio::test]
async fn every_route_is_closed_to_strangers() {
    let world = World::new().await;
    let routes = routes(&world).await;
    assert!(routes.len() > 150, "{}", routes.len());
    let forms = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
        "text/plain",
    ];
    let mut open = Vec::new();
    for path in &routes {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            for form in forms {
                let asked = Request::builder().method(method).uri(path).header("content-type", form);
                let (code, _) = send(world.server.router(), asked.body(Body::from("{}")).expect("a request")).await;
                if !matches!(code.as_u16(), 401 | 403 | 405) {
                    open.push(format!("{method} {path} {form}: {code}"));
                }
            }
        }
        let watch = Request::builder().uri(format!("{path}?watch=true&fieldSelector=metadata.name%3Dx"));
        let (code, _) = send(world.server.router(), watch.body(Body::empty()).expect("a request")).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "watch of {path}");
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
}

/// Gives `who` the rules in the namespace `default`, or everywhere.
async fn grant(world: &World, name: &str, who: &str, rules: Value, everywhere: bool) {
    let (kind, place) =
        if everywhere { ("ClusterRole", RBAC.to_owned()) } else { ("Role", format!("{RBAC}/namespaces/default")) };
    let plural = kind.to_lowercase();
    world.must("POST", &format!("{place}/{plural}s"), &json!({"metadata": {"name": name}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": who}]});
    world.must("POST", &format!("{place}/{plural}bindings"), &binding).await;
    // What is stored is known a moment later.
    let spec = json!({"spec": {"user": who, "resourceAttributes": {"namespace": "default", "verb": rules[0]["verbs"][0],
        "group": rules[0]["apiGroups"][0], "resource": rules[0]["resources"][0], "name": rules[0]["resourceNames"][0]}}});
    for _ in 0..500 {
        let review = world.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", &spec).await;
        if review["status"]["allowed"] == true {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{who} was given {name} and does not have it");
}

fn rule(verbs: &[&str], group: &str, resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": [group], "resources": resources})
}

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]})
}

const NOT_HELD: &str = "is attempting to grant RBAC permissions not currently held";

/// How somebody may try to get at secrets, or at everything, who may write roles: what it is, the request, and why it is refused.
fn attempts() -> Vec<(&'static str, &'static str, String, Value, &'static str)> {
    let (own, cluster) = (format!("{RBAC}/namespaces/default"), RBAC.to_owned());
    let secrets = json!([rule(&["get"], "", &["secrets"])]);
    let everything = role("r", json!([rule(&["*"], "*", &["*"])]));
    let held = |verbs: &[&str]| json!({ "rules": [rule(verbs, "", &["configmaps"])] });
    let selectors = json!([{"matchLabels": {"a": "b"}}]);
    let gathers = json!({"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": selectors}});
    let (roles, bindings) = (format!("{own}/roles"), format!("{own}/rolebindings"));
    let admins = binding("b", "ClusterRole", "cluster-admin");
    let mine = json!({ "subjects": admins["subjects"] });
    vec![
        ("a role", "POST", roles.clone(), role("r", secrets.clone()), NOT_HELD),
        ("a dry run", "POST", format!("{roles}?dryRun=All"), role("r", secrets.clone()), NOT_HELD),
        ("a cluster role", "POST", format!("{cluster}/clusterroles"), everything, NOT_HELD),
        ("by PUT", "PUT", format!("{roles}/held"), role("held", secrets.clone()), NOT_HELD),
        ("by PUT of a new one", "PUT", format!("{roles}/new"), role("new", secrets.clone()), NOT_HELD),
        ("by patch", "PATCH", format!("{roles}/held"), json!({ "rules": secrets }), NOT_HELD),
        ("more verbs", "PATCH", format!("{roles}/held"), held(&["get", "list"]), NOT_HELD),
        ("the wildcard", "PATCH", format!("{roles}/held"), held(&["*"]), NOT_HELD),
        ("by gathering", "POST", format!("{cluster}/clusterroles"), gathers, "must have cluster-admin privileges"),
        ("by binding a role", "POST", bindings.clone(), binding("b", "Role", "secrets"), NOT_HELD),
        ("in the cluster", "POST", format!("{cluster}/clusterrolebindings"), admins, NOT_HELD),
        ("by joining a binding", "PATCH", format!("{bindings}/admins"), mine, NOT_HELD),
        ("no such role", "POST", bindings, binding("b", "Role", "none"), "\"none\" not found"),
    ]
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let world = World::new().await;
    let all = ["create", "get", "update", "patch", "delete"];
    let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
    let rules = json!([rule(&all, "rbac.authorization.k8s.io", &kinds), rule(&["get"], "", &["configmaps"])]);
    grant(&world, "eve", "eve", rules, true).await;
    let (eve, own) = (user("eve"), format!("{RBAC}/namespaces/default"));
    // What she has, she may give.
    let held = role("held", json!([rule(&["get"], "", &["configmaps"])]));
    assert_eq!(ask(&world, &eve, "POST", &format!("{own}/roles"), &held).await.0, StatusCode::CREATED);
    let secrets = json!([rule(&["get"], "", &["secrets"])]);
    world.must("POST", &format!("{own}/roles"), &role("secrets", secrets.clone())).await;
    let mut admins = binding("admins", "ClusterRole", "cluster-admin");
    admins["subjects"] = json!([]);
    world.must("POST", &format!("{own}/rolebindings"), &admins).await;
    for (attempt, method, path, body, why) in attempts() {
        let (code, message) = ask(&world, &eve, method, &path, &body).await;
        assert!(matches!(code.as_u16(), 403 | 404) && message.contains(why), "{attempt}: {code} {message}");
    }
    let said = ask(&world, &eve, "POST", &format!("{own}/roles"), &role("r", secrets)).await.1;
    assert_eq!(
        said,
        "roles.rbac.authorization.k8s.io \"r\" is forbidden: user \"eve\" (groups=[\"system:authenticated\"]) is attempting \
         to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
}

#[tokio::test]
async fn who_may_escalate_or_bind_may_give_more() {
    let world = World::new().await;
    let group = "rbac.authorization.k8s.io";
    grant(&world, "smith", "smith", json!([rule(&["create", "escalate"], group, &["roles"])]), false).await;
    grant(
        &world,
        "binder",
        "binder",
        json!([rule(&["create"], group, &["rolebindings"]),
        {"verbs": ["bind"], "apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"]}]),
        false,
    )
    .await;
    let own = format!("{RBAC}/namespaces/default");
    let made =
        ask(&world, &user("smith"), "POST", &format!("{own}/roles"), &role("r", json!([rule(&["*"], "*", &["*"])])))
            .await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    let bind = async |name: &str, role: &str| {
        ask(&world, &user("binder"), "POST", &format!("{own}/rolebindings"), &binding(name, "ClusterRole", role)).await
    };
    assert_eq!(bind("a", "view").await.0, StatusCode::CREATED);
    assert_eq!(bind("b", "edit").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nobody_becomes_somebody_else() {
    let world = World::new().await;
    grant(
        &world,
        "actor",
        "actor",
        json!([{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]}]),
        true,
    )
    .await;
    for (headers, allowed) in [
        (&[("impersonate-user", "bob")][..], true),
        (&[("impersonate-user", "alice")], false),
        (&[("impersonate-user", "bob"), ("impersonate-group", "system:masters")], false),
        (&[("impersonate-user", "bob"), ("impersonate-uid", "1")], false),
        (&[("impersonate-user", "bob"), ("impersonate-extra-scopes", "all")], false),
        (&[("impersonate-user", "system:serviceaccount:kube-system:default")], false),
        (&[("impersonate-user", "system:node:n"), ("impersonate-group", "system:nodes")], false),
    ] {
        let mut request = request("GET", "/version", "", "");
        request.extensions_mut().insert(user("actor"));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().expect("a value"));
        }
        let code = send(world.server.router(), request).await.0;
        assert_eq!(code, if allowed { StatusCode::OK } else { StatusCode::FORBIDDEN }, "{headers:?}");
    }
}

/// What kubelets may not do: who (`n`, `o`, or only called like one), and what.
fn trespasses() -> Vec<(&'static str, &'static str, String, Value)> {
    let api = "/api/v1";
    let pods = format!("{api}/namespaces/default/pods");
    let secrets = format!("{api}/namespaces/default/secrets");
    let node = |name: &str| format!("{api}/nodes/{name}");
    let taints = json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}});
    let labels = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}});
    let pod =
        json!({"metadata": {"name": "q"}, "spec": {"nodeName": "o", "containers": [{"name": "c", "image": "i"}]}});
    vec![
        ("o", "GET", format!("{secrets}/s"), Value::Null),
        ("n", "GET", format!("{secrets}/other"), Value::Null),
        ("n", "GET", secrets.clone(), Value::Null),
        ("n", "GET", format!("{api}/secrets"), Value::Null),
        ("n", "GET", format!("{api}/nodes"), Value::Null),
        ("n", "GET", node("o"), Value::Null),
        ("n", "PATCH", format!("{}/status", node("o")), json!({"status": {}})),
        ("n", "PATCH", node("n"), taints),
        ("n", "PATCH", node("n"), labels),
        ("n", "GET", format!("{}/proxy/pods", node("n")), Value::Null),
        ("n", "GET", pods.clone(), Value::Null),
        ("o", "PATCH", format!("{pods}/p/status"), json!({"status": {"phase": "Failed"}})),
        ("o", "DELETE", format!("{pods}/p"), Value::Null),
        ("n", "POST", format!("{pods}/p/exec"), Value::Null),
        ("o", "POST", pods, pod),
        ("n", "POST", format!("{RBAC}/clusterrolebindings"), binding("b", "ClusterRole", "cluster-admin")),
        ("n", "GET", format!("{api}/namespaces/default/serviceaccounts/none"), Value::Null),
        ("", "GET", format!("{secrets}/s"), Value::Null),
    ]
}

/// A kubelet whose key somebody has stolen reaches what its own pods need.
#[tokio::test]
async fn a_kubelet_stays_on_its_node() {
    let world = World::new().await;
    let (n, o) = (Identity::node("n"), Identity::node("o"));
    for (who, name) in [(&n, "n"), (&o, "o")] {
        let node = json!({"metadata": {"name": name}});
        assert_eq!(ask(&world, who, "POST", "/api/v1/nodes", &node).await.0, StatusCode::CREATED);
    }
    for name in ["s", "other"] {
        let secret = json!({"metadata": {"name": name}});
        world.must("POST", "/api/v1/namespaces/default/secrets", &secret).await;
    }
    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"nodeName": "n", "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
    world.must("POST", pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await;
    // At once: whoever hears of the pod before the authorizer does is made to wait for it.
    let secret = "/api/v1/namespaces/default/secrets/s";
    assert_eq!(ask(&world, &n, "GET", secret, &Value::Null).await.0, StatusCode::OK);
    for (name, method, path, body) in trespasses() {
        let who = match name {
            "n" => n.clone(),
            "o" => o.clone(),
            _ => user("system:node:n"),
        };
        let (code, message) = ask(&world, &who, method, &path, &body).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{name} {method} {path}: {message}");
    }
    let own_pods = format!("{pods}?fieldSelector=spec.nodeName%3Dn");
    for own in [own_pods.as_str(), "/api/v1/nodes?fieldSelector=metadata.name%3Dn"] {
        assert_eq!(ask(&world, &n, "GET", own, &Value::Null).await.0, StatusCode::OK, "{own}");
    }
}

/// Paths to kubelets and pods are rights of their own.
#[tokio::test]
async fn proxies_are_rights_of_their_own() {
    let world = World::new().await;
    grant(&world, "reader", "reader", json!([rule(&["get", "list"], "", &["nodes", "pods", "services"])]), true).await;
    for path in [
        "/api/v1/nodes/n/proxy/run",
        "/api/v1/nodes/n/proxy",
        "/api/v1/namespaces/default/pods/p/proxy/",
        "/api/v1/namespaces/default/services/s/proxy/",
        "/api/v1/namespaces/default/pods/p/log",
        "/api/v1/namespaces/default/pods/p/exec",
    ] {
        let (code, message) = ask(&world, &user("reader"), "GET", path, &Value::Null).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{path}: {message}");
    }
    assert_eq!(ask(&world, &user("reader"), "GET", "/api/v1/nodes", &Value::Null).await.0, StatusCode::OK);
    // Who may read through these paths may not run anything by a WebSocket, which begins with GET.
    grant(&world, "watcher", "watcher", json!([rule(&["get"], "", &["pods/exec", "nodes/proxy"])]), true).await;
    for path in
        ["/api/v1/namespaces/default/pods/p/exec?command=id", "/api/v1/nodes/n/proxy/exec/default/p/c?command=id"]
    {
        let mut request = request("GET", path, "", "");
        request.extensions_mut().insert(user("watcher"));
        for (name, value) in [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")] {
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        let (code, answer) = send(world.server.router(), request).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|text| text.contains("cannot create resource")), "{answer}");
    }
}

#[tokio::test]
async fn default_roles_are_there_and_come_back() {
    let world = World::new().await;
    let roles = world.get(&format!("{RBAC}/clusterroles")).await.1;
    assert_eq!(roles["items"].as_array().map(Vec::len), Some(71));
    let view = world.get(&format!("{RBAC}/clusterroles/view")).await.1;
    assert!(view["rules"].as_array().is_some_and(|rules| rules.len() > 10), "{view}");
    assert_eq!(view["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
    let merge = "application/merge-patch+json";
    let patch = async |name: &str, change: Value| {
        let path = format!("{RBAC}/clusterroles/{name}");
        assert_eq!(world.ask("PATCH", &path, merge, &change.to_string()).await.0, StatusCode::OK);
    };
    patch("system:kube-dns", json!({"rules": []})).await;
    patch(
        "system:heapster",
        json!({"rules": [], "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}),
    )
    .await;
    world
        .must(
            "DELETE",
            &format!("{RBAC}/clusterrolebindings/system:node-proxier"),
            &json!({"kind": "DeleteOptions", "apiVersion": "v1"}),
        )
        .await;
    // Another server starts on the same store.
    let another = world.another(world.store.backend(), 30_000..=32_767).await;
    let get = async |path: String| send(another.router(), request("GET", &path, "", "")).await.1;
    let rules =
        async |name: &str| get(format!("{RBAC}/clusterroles/{name}")).await["rules"].as_array().map_or(0, Vec::len);
    assert_eq!((rules("system:kube-dns").await > 0, rules("system:heapster").await), (true, 0));
    assert_eq!(get(format!("{RBAC}/clusterrolebindings/system:node-proxier")).await["kind"], "ClusterRoleBinding");
}
