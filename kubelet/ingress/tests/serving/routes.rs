//! Where requests go, what they say there, and what is told of it.

use super::*;

#[tokio::test]
async fn hosts_and_paths_lead_to_services() {
    let world = World::new();
    let (one, two) = (Backend::new("one").await, Backend::new("two").await);
    world.service("one", None, &[&one]);
    world.service("two", None, &[&two]);
    world.ingress("i", json!({}), json!({
        "rules": [host("a.test", &[("/", "Prefix", "one"), ("/two", "Exact", "two")]), host("*.b.test", &[("/x", "Prefix", "two")])],
    }));
    world.answers("a.test", "/", 200).await;
    for (name, path, by) in [
        ("a.test", "/any", Some("one")),
        ("A.test:8080", "/two", Some("two")),
        ("a.test", "/two/", Some("one")),
        ("c.b.test", "/x/y?q=1", Some("two")),
        ("c.b.test", "/y", None),
        ("d.c.b.test", "/x", None),
        ("other", "/", None),
    ] {
        let answer = client::get(world.plain(), name, path).await.unwrap();
        match by {
            Some(by) => assert_eq!(answer.by(), by, "{name}{path}"),
            None => assert_eq!(answer.status, 404, "{name}{path}"),
        }
    }
    let refused = client::get(world.plain(), "a.test", "/a/%2e%2e/two").await.unwrap();
    assert_eq!(refused.status, 400);
    until("the status says where it is reached", async || {
        let written = json!([{"ip": world.address.to_string()}]);
        world.cluster.all("ingresses")[0]["status"]["loadBalancer"]["ingress"] == written
    })
    .await;
    let class = &world.cluster.all("ingressclasses")[0];
    assert_eq!(class["spec"]["controller"], "skiff.dev/ingress");
    assert_eq!(class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"], "true");
    world.end().await;
}

#[tokio::test]
async fn a_backend_learns_who_asked_and_nothing_of_the_connection() {
    let world = World::new();
    let one = Backend::new("one").await;
    world.service("one", None, &[&one]);
    world.ingress("i", json!({}), json!({"rules": [host("a.test", &[("/", "Prefix", "one")])]}));
    world.answers("a.test", "/", 200).await;
    let sent = [("x-forwarded-for", "6.6.6.6"), ("connection", "x-secret"), ("x-secret", "1"), ("kept", "1")];
    let answer =
        client::send(world.plain(), client::request("POST", "a.test", "/p?q=1", &sent, b"body")).await.unwrap();
    let told = answer.told();
    assert_eq!((&told["path"], &told["method"], &told["length"]), (&json!("/p?q=1"), &json!("POST"), &json!(4)));
    let headers = &told["headers"];
    assert_eq!((&headers["host"], &headers["kept"]), (&json!("a.test"), &json!("1")));
    assert_eq!((&headers["x-forwarded-for"], &headers["x-forwarded-proto"]), (&json!("127.0.0.1"), &json!("http")));
    assert!(headers["x-secret"].is_null() && headers["connection"].is_null(), "{headers}");
    assert_eq!(answer.header("x-by"), "one");
    world.end().await;
}

#[tokio::test]
async fn what_is_missing_is_told_by_events() {
    let world = World::new();
    let spec = json!({"tls": [{"hosts": ["a.test"], "secretName": "gone"}], "rules": [host("a.test", &[("/", "Prefix", "gone")])]});
    world.ingress("i", json!({"skiff.dev/affinity": "ip"}), spec);
    world.answers("a.test", "/", 503).await;
    until("all is told", async || world.cluster.all("events").len() >= 3).await;
    let events = world.cluster.all("events");
    let told: Vec<String> = events
        .iter()
        .map(|event| format!("{} {}", event["reason"].as_str().unwrap(), event["message"].as_str().unwrap()))
        .collect();
    for text in [
        "BackendNotFound there is no service n/gone",
        "CertificateNotUsable there is no secret n/gone",
        "Rejected metadata.annotations[skiff.dev/affinity]: ip: want cookie or none",
    ] {
        assert!(told.iter().any(|one| one == text), "{told:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_cookie_leads_to_the_same_backend() {
    let world = World::new();
    let (one, two) = (Backend::new("one").await, Backend::new("two").await);
    world.service("s", None, &[&one, &two]);
    world.ingress(
        "i",
        json!({"skiff.dev/affinity": "cookie"}),
        json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}),
    );
    world.answers("a.test", "/", 200).await;
    let first = client::get(world.plain(), "a.test", "/").await.unwrap();
    let set = first.header("set-cookie").to_owned();
    assert!(set.starts_with("skiff-affinity=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = set.split(';').next().unwrap();
    for _ in 0..6 {
        let again = client::send(world.plain(), client::request("GET", "a.test", "/", &[("cookie", cookie)], b""))
            .await
            .unwrap();
        assert_eq!((again.by(), again.header("set-cookie")), (first.by(), ""));
    }
    world.end().await;
}

#[tokio::test]
async fn bodies_and_answers_have_their_limits() {
    let world = World::new();
    let one = Backend::new("one").await;
    world.service("s", None, &[&one]);
    let limits = json!({"skiff.dev/body-max": "4", "skiff.dev/response-timeout": "50ms"});
    world.ingress("i", limits, json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    world.answers("a.test", "/", 200).await;
    let post = |body| client::send(world.plain(), client::request("POST", "a.test", "/", &[], body));
    assert_eq!(post(b"1234").await.unwrap().status, 200);
    assert_eq!(post(b"12345").await.unwrap().status, 413);
    let late = client::get(world.plain(), "a.test", "/late").await.unwrap();
    assert_eq!(late.status, 504, "{late:?}");
    world.end().await;
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_costs_no_request() {
    let world = World::new();
    let (one, two) = (Backend::new("one").await, Backend::new("two").await);
    two.end();
    until("it has ended", async || TcpStream::connect(two.address).await.is_err()).await;
    world.service("s", None, &[&one, &two]);
    world.ingress("i", json!({}), json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    world.answers("a.test", "/", 200).await;
    for _ in 0..20 {
        let answer = client::send(world.plain(), client::request("POST", "a.test", "/", &[], b"x")).await.unwrap();
        assert_eq!(answer.by(), "one");
    }
    world.end().await;
}

#[tokio::test]
async fn requests_are_logged_and_counted() {
    let folder = std::env::temp_dir().join(format!("skiff-ingress-{}", std::process::id()));
    let world = World::with_log(Some(folder.clone()));
    let one = Backend::new("one").await;
    world.service("s", None, &[&one]);
    world.ingress("i", json!({}), json!({"rules": [host("a.test", &[("/", "Prefix", "s")])]}));
    world.answers("a.test", "/seen?q=1", 200).await;
    let of_health = SocketAddr::new(world.address, 10254);
    let health = client::get(of_health, "x", "/readyz").await.unwrap();
    assert_eq!(health.status, 200);
    until("it is counted", async || {
        let text = client::get(of_health, "x", "/metrics").await.unwrap().body;
        String::from_utf8_lossy(&text).contains("skiff_ingress_requests_total{object=\"n/i\",status=\"2xx\"} 1\n")
    })
    .await;
    let mut line = Value::Null;
    until("it is logged", async || {
        let text = std::fs::read_to_string(&folder).unwrap_or_default();
        line = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .find(|one: &Value| one["status"] == 200)
            .unwrap_or_default();
        !line.is_null()
    })
    .await;
    let wanted = json!({"method": "GET", "host": "a.test", "path": "/seen?q=1", "object": "n/i", "tries": 1, "endpoint": one.address.to_string()});
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&line[key], value, "{line}");
    }
    std::fs::remove_file(&folder).unwrap();
    world.end().await;
}
