//! `metrics.k8s.io` from the figures of a kubelet: by HTTP, for those who may read it, and as kubectl of two Debian releases shows it.

mod common;
#[path = "common/kubectl.rs"]
mod kubectl; // a kubectl, and where it works

use common::{World, kubelet, peer, send};
use http::StatusCode;
use jiff::Timestamp;
use kubectl::Kubectl;
use serde_json::{Value, json};
use skiff_client::Identity;
use std::time::Duration;

const BASE: &str = "/apis/metrics.k8s.io/v1beta1";
const SERVICE: &str = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io";

/// A server that answers for the group, with a kubelet.
async fn with_metrics() -> World {
    let mut world = World::new().await;
    world.server = world.server.clone().with_metrics().await.expect("what it needs is made");
    kubelet::start(&world).await;
    // The server has heard of its APIService when discovery shows the group.
    for _ in 0..500 {
        if world.get(BASE).await.0 == StatusCode::OK {
            return world;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the group is not served");
}

fn milli(value: &Value) -> i128 {
    skiff_proto::quantity::Quantity::parse(value.as_str().expect("a text")).expect("a quantity").millis()
}

fn is_near(value: i128, expected: i128) -> bool {
    (value - expected).abs() <= expected / 5
}

#[tokio::test]
async fn rates_are_of_the_time_that_they_name() {
    let world = with_metrics().await;
    let (code, list) = world.get(&format!("{BASE}/namespaces/default/pods")).await;
    assert_eq!((code, &list["kind"]), (StatusCode::OK, &json!("PodMetricsList")), "{list}");
    let pod = &list["items"][0];
    let of = |name: &str| pod["containers"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert!(is_near(milli(&of("c")["usage"]["cpu"]), 250) && is_near(milli(&of("d")["usage"]["cpu"]), 50), "{pod}");
    assert_eq!((&of("c")["usage"]["memory"], &pod["metadata"]["name"]), (&json!("64Mi"), &json!("p")));
    let (window, at) = (pod["window"].as_str().unwrap(), pod["timestamp"].as_str().unwrap());
    assert!(
        window.starts_with("1.") || window == "1s" || window.starts_with("0.9"),
        "two answers, a second apart: {window}"
    );
    let age = Timestamp::now().duration_since(at.parse::<Timestamp>().unwrap());
    assert!(age.as_secs() < 60, "{at}");
    let node = world.must("GET", &format!("{BASE}/nodes/n"), &Value::Null).await;
    assert!(is_near(milli(&node["usage"]["cpu"]), 500), "{node}");
    assert_eq!((&node["usage"]["memory"], &node["kind"]), (&json!("256Mi"), &json!("NodeMetrics")));
    let (code, status) = world.get(&format!("{BASE}/namespaces/default/pods/q")).await;
    assert_eq!((code, &status["reason"]), (StatusCode::NOT_FOUND, &json!("NotFound")));
    let none = world.must("GET", &format!("{BASE}/pods?labelSelector=app%3Dweb"), &Value::Null).await;
    assert_eq!(none["items"], json!([]));
    assert_eq!(world.post(&format!("{BASE}/nodes"), &json!({})).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(world.get(&format!("{BASE}/nodes?watch=true")).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn who_may_view_a_namespace_may_read_what_its_pods_use() {
    let world = with_metrics().await;
    let binding = json!({"metadata": {"name": "reader"}, "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "system:aggregated-metrics-reader", "apiGroup": "rbac.authorization.k8s.io"}});
    world.must("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding).await;
    let ask = async |path: String| {
        let mut request = common::request("GET", &path, "", "");
        request.extensions_mut().insert(Identity { user: "u".to_owned(), ..Identity::default() });
        send(world.server.router(), request).await.0
    };
    for _ in 0..500 {
        if ask(format!("{BASE}/namespaces/default/pods")).await == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ask(format!("{BASE}/namespaces/default/pods")).await, StatusCode::OK);
    assert_eq!(ask(format!("{BASE}/pods")).await, StatusCode::FORBIDDEN);
    assert_eq!(ask(format!("{BASE}/nodes")).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_metrics_server_takes_over_and_may_go_again() {
    let world = with_metrics().await;
    let mut service = world.must("GET", SERVICE, &Value::Null).await;
    service["spec"]["service"] = json!({"namespace": "kube-system", "name": "metrics-server"});
    service["spec"]["insecureSkipTLSVerify"] = true.into();
    world.must("PUT", SERVICE, &service).await;
    let becomes = async |expected: StatusCode| {
        for _ in 0..500 {
            if world.get(&format!("{BASE}/nodes")).await.0 == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {expected}: {:?}", world.get(&format!("{BASE}/nodes")).await);
    };
    becomes(StatusCode::SERVICE_UNAVAILABLE).await;
    world.must("DELETE", SERVICE, &json!({})).await;
    becomes(StatusCode::NOT_FOUND).await;
    let _again = world.server.clone().with_metrics().await.expect("made again at the next start");
    becomes(StatusCode::OK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_what_is_used() {
    for name in ["kubectl-1.20", "kubectl-1.32"] {
        let Some(program) = peer(name) else { continue };
        let mut world = with_metrics().await;
        let (shutdown, served) = world.serve();
        let kubectl = Kubectl::new(&world, program);
        tokio::task::spawn_blocking(move || shows(&kubectl)).await.expect("checked");
        shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), served).await.expect("stops").expect("served");
    }
}

fn shows(kubectl: &Kubectl) {
    let rows = |command: &str| {
        let text = kubectl.run(command);
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect::<Vec<Vec<String>>>()
    };
    let near = |cell: &str, expected: i128| {
        let number = cell.trim_end_matches(['m', '%']).parse().expect("a number");
        assert!(is_near(number, expected), "{cell} is not near {expected}");
    };
    let nodes = rows("top node");
    assert_eq!(nodes[1][0], "n");
    near(&nodes[1][1], 500);
    near(&nodes[1][2], 25);
    assert_eq!(nodes[1][3..], ["256Mi", "25%"]);
    let pods = rows("top pod p");
    assert_eq!((&*pods[1][0], &*pods[1][2]), ("p", "80Mi"));
    near(&pods[1][1], 300);
    let containers = rows("top pods --containers --sort-by=memory --no-headers");
    let names: Vec<_> = containers.iter().map(|row| (&*row[0], &*row[1], &*row[3])).collect();
    assert_eq!(names, [("p", "c", "64Mi"), ("p", "d", "16Mi")]);
    kubectl.run("label pod p app=web");
    assert_eq!(rows("top pod -l app=web --sort-by=cpu --no-headers -A")[0][..2], ["default", "p"]);
    let none = kubectl.output("top pod -l app=other");
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(said.contains("o resources found"), "{said}");
    let table = rows("get pods.metrics.k8s.io");
    assert_eq!(table[0], ["NAME", "CPU", "MEMORY", "WINDOW"]);
    assert_eq!((&*table[1][0], &*table[1][2]), ("p", "80Mi"));
}
