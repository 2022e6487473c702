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
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, kind: &str, role: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]})
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_have() {
    let world = World::new().await;
    let all = ["create", "get", "update", "patch", "delete"];
    let kinds = ["roles", "rolebindings", "clusterroles", "clusterrolebindings"];
    let rules = json!([rule(&all, "rbac.authorization.k8s.io", &kinds), rule(&["get"], "", &["configmaps"])]);
    grant(&world, "eve", "eve", rules, true).await;
    let eve = user("eve");
    let (own, cluster) = (format!("{RBAC}/namespaces/default"), RBAC.to_owned());
    let secrets = json!([rule(&["get"], "", &["secrets"])]);
    // What she has, she may give.
    let held = role("held", json!([rule(&["get"], "", &["configmaps"])]));
    assert_eq!(ask(&world, &eve, "POST", &format!("{own}/roles"), &held).await.0, StatusCode::CREATED);
    world.must("POST", &format!("{own}/roles"), &role("secrets", secrets.clone())).await;
    let gathers =
        json!({"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    world
        .must(
            "POST",
            &format!("{own}/rolebindings"),
            &json!({"metadata": {"name": "admins"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}}),
        )
        .await;
    let not_held = "is attempting to grant RBAC permissions not currently held";
    let mine = json!({"subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "eve"}]});
    for (attempt, method, path, body, why) in [
        ("a role", "POST", format!("{own}/roles"), role("r", secrets.clone()), not_held),
        ("a dry run", "POST", format!("{own}/roles?dryRun=All"), role("r", secrets.clone()), not_held),
        (
            "a cluster role",
            "POST",
            format!("{cluster}/clusterroles"),
            role("r", json!([rule(&["*"], "*", &["*"])])),
            not_held,
        ),
        ("by PUT", "PUT", format!("{own}/roles/held"), role("held", secrets.clone()), not_held),
        ("by PUT of a new one", "PUT", format!("{own}/roles/new"), role("new", secrets.clone()), not_held),
        ("by patch", "PATCH", format!("{own}/roles/held"), json!({ "rules": secrets }), not_held),
        (
            "more verbs",
            "PATCH",
            format!("{own}/roles/held"),
            json!({"rules": [rule(&["get", "list"], "", &["configmaps"])]}),
            not_held,
        ),
        (
            "the wildcard",
            "PATCH",
            format!("{own}/roles/held"),
            json!({"rules": [rule(&["*"], "", &["configmaps"])]}),
            not_held,
        ),
        ("by gathering", "POST", format!("{cluster}/clusterroles"), gathers, "must have cluster-admin privileges"),
        ("by binding a role", "POST", format!("{own}/rolebindings"), binding("b", "Role", "secrets"), not_held),
        (
            "by binding in the cluster",
            "POST",
            format!("{cluster}/clusterrolebindings"),
            binding("b", "ClusterRole", "cluster-admin"),
            not_held,
        ),
        ("by joining a binding", "PATCH", format!("{own}/rolebindings/admins"), mine, not_held),
        (
            "a role that is not there",
            "POST",
            format!("{own}/rolebindings"),
            binding("b", "Role", "none"),
            "\"none\" not found",
        ),
    ] {
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

/// A kubelet whose key somebody has stolen reaches what its own pods need.
#[tokio::test]
async fn a_kubelet_stays_on_its_node() {
    let world = World::new().await;
    let node = |name: &str| json!({"metadata": {"name": name}});
    let (n, o) = (Identity::node("n"), Identity::node("o"));
    assert_eq!(ask(&world, &n, "POST", "/api/v1/nodes", &node("n")).await.0, StatusCode::CREATED);
    assert_eq!(ask(&world, &o, "POST", "/api/v1/nodes", &node("o")).await.0, StatusCode::CREATED);
    world.must("POST", "/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "s"}})).await;
    world.must("POST", "/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "other"}})).await;
    world
        .must(
            "POST",
            "/api/v1/namespaces/default/pods",
            &json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}}),
        )
        .await;
    let pods = "/api/v1/namespaces/default/pods";
    let secret = "/api/v1/namespaces/default/secrets/s";
    let mut code = StatusCode::FORBIDDEN;
    for _ in 0..500 {
        code = ask(&world, &n, "GET", secret, &Value::Null).await.0;
        if code == StatusCode::OK {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(code, StatusCode::OK);
    for (who, method, path, body) in [
        (&o, "GET", secret.to_owned(), Value::Null),
        (&n, "GET", "/api/v1/namespaces/default/secrets/other".to_owned(), Value::Null),
        (&n, "GET", "/api/v1/namespaces/default/secrets".to_owned(), Value::Null),
        (&n, "GET", "/api/v1/secrets".to_owned(), Value::Null),
        (&n, "GET", "/api/v1/nodes".to_owned(), Value::Null),
        (&n, "GET", "/api/v1/nodes/o".to_owned(), Value::Null),
        (&n, "PATCH", "/api/v1/nodes/o/status".to_owned(), json!({"status": {}})),
        (&n, "PATCH", "/api/v1/nodes/n".to_owned(), json!({"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}})),
        (
            &n,
            "PATCH",
            "/api/v1/nodes/n".to_owned(),
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/a": "b"}}}),
        ),
        (&n, "GET", "/api/v1/nodes/n/proxy/pods".to_owned(), Value::Null),
        (&n, "GET", pods.to_owned(), Value::Null),
        (&o, "PATCH", format!("{pods}/p/status"), json!({"status": {"phase": "Failed"}})),
        (&o, "DELETE", format!("{pods}/p"), Value::Null),
        (&n, "POST", format!("{pods}/p/exec"), Value::Null),
        (
            &o,
            "POST",
            pods.to_owned(),
            json!({"metadata": {"name": "q"}, "spec": {"nodeName": "o", "containers": [{"name": "c", "image": "i"}]}}),
        ),
        (&n, "POST", format!("{RBAC}/clusterrolebindings"), binding("b", "ClusterRole", "cluster-admin")),
        (&n, "GET", "/api/v1/namespaces/default/serviceaccounts/none".to_owned(), Value::Null),
        (&user("system:node:n"), "GET", secret.to_owned(), Value::Null),
    ] {
        let (code, message) = ask(&world, who, method, &path, &body).await;
        assert_eq!(code, StatusCode::FORBIDDEN, "{} {method} {path}: {message}", who.user);
    }
    assert_eq!(
        ask(&world, &n, "GET", &format!("{pods}?fieldSelector=spec.nodeName%3Dn"), &Value::Null).await.0,
        StatusCode::OK
    );
    assert_eq!(
        ask(&world, &n, "GET", "/api/v1/nodes?fieldSelector=metadata.name%3Dn", &Value::Null).await.0,
        StatusCode::OK
    );
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
}

#[tokio::test]
async fn default_roles_are_there_and_come_back() {
    let world = World::new().await;
    let roles = world.get(&format!("{RBAC}/clusterroles")).await.1;
    assert_eq!(roles["items"].as_array().map(Vec::len), Some(70));
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
    world.must("DELETE", &format!("{RBAC}/clusterrolebindings/system:node-proxier"), &Value::Null).await;
    // Another server starts on the same store.
    let another = world.another(world.store.backend(), 30_000..=32_767).await;
    let get = async |path: String| send(another.router(), request("GET", &path, "", "")).await.1;
    let rules =
        async |name: &str| get(format!("{RBAC}/clusterroles/{name}")).await["rules"].as_array().map_or(0, Vec::len);
    assert_eq!((rules("system:kube-dns").await > 0, rules("system:heapster").await), (true, 0));
    assert_eq!(get(format!("{RBAC}/clusterrolebindings/system:node-proxier")).await["kind"], "ClusterRoleBinding");
}
