//! Who goes first, through the doors: a flood leaves others served, who is refused is told when to come again, and whoever goes away gives its
//! seat back. A store that keeps some writes waiting makes requests as long as a test wants.

mod common;
#[path = "common/held.rs"]
mod held; // a store that keeps writes waiting

use axum::body::{Body, to_bytes};
use common::World;
use held::Held;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Limits};
use skiff_client::Identity;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use tower::ServiceExt;

const FLOWS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// Looks until something is so, each after a moment: far more than it takes.
const LOOKS: usize = 3000;

/// A server with a level `small` of four seats for the users `flood` and `victim`, who may do everything.
struct Scene {
    world: World,
    server: ApiServer,
    store: Arc<Held>,
}

type Answer = (StatusCode, HeaderMap, Value);

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let users = ["flood", "victim"];
        let subjects = users.map(|name| json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}));
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
        let binding = json!({"metadata": {"name": "both"}, "roleRef": role, "subjects": subjects});
        world.must("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
        let queuing = json!({"queues": 512, "handSize": 2, "queueLengthLimit": 3});
        // As many shares as the levels that every cluster has, of eight seats.
        let limited = json!({"nominalConcurrencyShares": 245, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Queue", "queuing": queuing}});
        let level = json!({"metadata": {"name": "small"}, "spec": {"type": "Limited", "limited": limited}});
        world.must("POST", &format!("{FLOWS}/prioritylevelconfigurations"), &level).await;
        world.must("POST", &format!("{FLOWS}/flowschemas"), &schema("small", "small", &users)).await;
        let store = Arc::new(Held::of(world.store.backend(), b"/registry/configmaps/default/held"));
        let server = world.another(store.clone(), common::NODE_PORTS).await;
        let server = server.limited_to(Limits { reading: 5, mutating: 3 }, true);
        Self { world, server, store }
    }

    fn request(&self, user: &str, method: &str, path: &str, body: &Value) -> impl Future<Output = Answer> + use<> {
        let mut request = common::request(method, path, "application/json", &body.to_string());
        if user != "admin" {
            request.extensions_mut().insert(Identity { user: user.to_owned(), ..Identity::default() });
        }
        answer(self.server.clone(), request)
    }

    /// Writes a config map that is stored when the test lets it.
    fn write(&self, user: &str, number: usize) -> JoinHandle<Answer> {
        let map = json!({"metadata": {"name": format!("held-{user}-{number}")}});
        tokio::spawn(self.request(user, "POST", MAPS, &map))
    }

    /// Waits until so many requests of the level are executed and wait.
    async fn settle(&self, executing: usize, waiting: usize) {
        let mut seen = (0, 0);
        for _ in 0..LOOKS {
            let path = "/debug/api_priority_and_fairness/dump_priority_levels";
            let (_, _, page) = self.request("admin", "GET", path, &Value::Null).await;
            let text = page.as_str().expect("text").to_owned();
            let row = text.lines().find(|line| line.starts_with("small,")).expect("a row of the level");
            let cells: Vec<usize> = row.split(',').map(|cell| cell.trim().parse().unwrap_or(0)).collect();
            seen = (cells[5], cells[4]);
            if seen == (executing, waiting) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{seen:?} instead of {executing} executed and {waiting} waiting");
    }
}

fn schema(name: &str, level: &str, users: &[&str]) -> Value {
    let subjects: Vec<Value> = users.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect();
    let resources =
        json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true});
    let paths = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    let rule = json!({"subjects": subjects, "resourceRules": [resources], "nonResourceRules": [paths]});
    json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": 50, "distinguisherMethod": {"type": "ByUser"},
        "priorityLevelConfiguration": {"name": level}, "rules": [rule]}})
}

async fn answer(server: ApiServer, request: Request<Body>) -> Answer {
    let response = server.router().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    let text = String::from_utf8_lossy(&body).into_owned();
    (parts.status, parts.headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn all(tasks: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("not aborted"));
    }
    answers
}

/// A hundred requests of one user take four seats and six places in queues; the others are told to come again. Those of another user, who
/// comes later, are served as often as the first one's from then on, and administrators are served all the time.
#[tokio::test]
async fn a_flood_leaves_others_served() {
    let scene = Scene::new().await;
    let flood: Vec<_> = (0..100).map(|number| scene.write("flood", number)).collect();
    scene.settle(4, 6).await;
    // Hands are dealt by a hash that nobody can foresee: two flows share a queue once in 128 times, and hardly ever both of theirs.
    let victim: Vec<_> = (0..3).map(|number| scene.write("victim", number)).collect();
    scene.settle(4, 9).await;
    let (code, ..) = scene.request("admin", "POST", MAPS, &json!({"metadata": {"name": "of-admin"}})).await;
    assert_eq!(code, StatusCode::CREATED, "administrators do not wait");
    scene.store.gate.add_permits(10);
    scene.settle(3, 0).await;
    let served = victim.iter().filter(|task| task.is_finished()).count();
    assert!(served >= 2, "{served} of three, when six were served after they had come");
    scene.store.gate.add_permits(100);
    scene.settle(0, 0).await;
    assert!(all(victim).await.iter().all(|(code, ..)| *code == StatusCode::CREATED));
    let answers = all(flood).await;
    let (served, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|(code, ..)| *code == StatusCode::CREATED);
    assert_eq!((served.len(), refused.len()), (10, 90));
    for (code, headers, status) in refused {
        assert_eq!(*code, StatusCode::TOO_MANY_REQUESTS);
        assert!(headers["retry-after"].to_str().expect("text").parse::<u64>().expect("seconds") >= 1);
        let said = (&status["reason"], &status["message"], &status["kind"]);
        let message = "Too many requests, please try again later.";
        assert_eq!(said, (&json!("TooManyRequests"), &json!(message), &json!("Status")));
        assert!(headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    }
}

/// Whoever is not there any more has neither a place in a queue nor a seat, over TLS and with HTTP as clients speak it.
#[tokio::test]
async fn who_goes_away_gives_its_seat_back() {
    let scene = Scene::new().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let file = scene.world.folder.path().join("kubeconfig");
    let address = listener.local_addr().expect("bound");
    scene.world.pki.write_kubeconfig(&file, &format!("https://{address}")).expect("a kubeconfig");
    let stop = tokio_util::sync::CancellationToken::new();
    let (server, until) = (scene.server.clone(), stop.clone());
    let serving = tokio::spawn(async move { server.serve(listener, until).await });
    let client = || async {
        let config = kube::config::Kubeconfig::read_from(&file).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.expect("usable");
        kube::Client::try_from(config).expect("a client")
    };
    let mut tasks = Vec::new();
    for number in 0..6 {
        let client = client().await;
        let map = json!({"metadata": {"name": format!("held-{number}")}}).to_string();
        let request =
            Request::post(MAPS).header("content-type", "application/json").header("impersonate-user", "flood");
        let request = request.body(map.into_bytes()).expect("a request");
        tasks.push(tokio::spawn(async move { client.request::<Value>(request).await.map(drop) }));
    }
    scene.settle(4, 2).await;
    // Whichever four are executed: when all six are gone one after the other, nobody is left.
    for (left, task) in [(4, 1), (4, 0), (3, 0), (2, 0), (1, 0), (0, 0)].into_iter().zip(tasks) {
        task.abort();
        scene.settle(left.0, left.1).await;
    }
    stop.cancel();
    serving.await.expect("no panic").expect("served");
}

/// Without fairness there are two limits; administrators and watches are not counted.
#[tokio::test]
async fn plain_limits_refuse_at_once() {
    let scene = Scene::new().await;
    let limits = Limits { reading: 1, mutating: 2 };
    let scene = Scene { server: scene.server.clone().limited_to(limits, false), ..scene };
    let held: Vec<_> = (0..2).map(|number| scene.write("flood", number)).collect();
    for _ in 0..LOOKS {
        if scene.store.held.load(Ordering::Relaxed) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let map = json!({"metadata": {"name": "free"}});
    let (code, headers, _) = scene.request("victim", "POST", MAPS, &map).await;
    assert_eq!((code, headers["retry-after"].to_str().expect("text")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    let map = json!({"metadata": {"name": "of-admin"}});
    assert_eq!(scene.request("admin", "POST", MAPS, &map).await.0, StatusCode::CREATED);
    assert_eq!(scene.request("victim", "GET", MAPS, &Value::Null).await.0, StatusCode::OK, "reads are counted apart");
    scene.store.gate.add_permits(2);
    assert!(all(held).await.iter().all(|(code, ..)| *code == StatusCode::CREATED));
    let map = json!({"metadata": {"name": "after"}});
    assert_eq!(scene.request("victim", "POST", MAPS, &map).await.0, StatusCode::CREATED);
}

/// A schema says whether its level is there; answers name both, and metrics have the level's seats.
#[tokio::test]
async fn schemas_say_whether_their_level_is_there() {
    let scene = Scene::new().await;
    let made = scene.world.must("POST", &format!("{FLOWS}/flowschemas"), &schema("mine", "later", &["somebody"])).await;
    let said = |status: &'static str| {
        let path = format!("{FLOWS}/flowschemas/mine");
        let world = &scene.world;
        async move {
            for _ in 0..LOOKS {
                let schema = world.get(&path).await.1;
                if schema["status"]["conditions"][0]["status"] == status {
                    return schema["status"]["conditions"][0].clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            panic!("the condition never was {status}");
        }
    };
    let condition = said("True").await;
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Dangling"), &json!("NotFound")));
    let limited = json!({"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}});
    let level = json!({"metadata": {"name": "later"}, "spec": {"type": "Limited", "limited": limited}});
    let level = scene.world.must("POST", &format!("{FLOWS}/prioritylevelconfigurations"), &level).await;
    let condition = said("False").await;
    let message = "This FlowSchema references the PriorityLevelConfiguration object named \"later\" and it exists";
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("Found"), &json!(message)));
    let mut headers = HeaderMap::new();
    for _ in 0..LOOKS {
        headers = scene.request("somebody", "GET", "/version", &Value::Null).await.1;
        if headers["x-kubernetes-pf-flowschema-uid"] == made["metadata"]["uid"].as_str().expect("a uid") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(headers["x-kubernetes-pf-flowschema-uid"], made["metadata"]["uid"].as_str().expect("a uid"));
    assert_eq!(headers["x-kubernetes-pf-prioritylevel-uid"], level["metadata"]["uid"].as_str().expect("a uid"));
    let (_, _, page) = scene.request("admin", "GET", "/metrics", &Value::Null).await;
    let page = page.as_str().expect("text");
    assert!(page.contains("apiserver_flowcontrol_nominal_limit_seats{priority_level=\"later\"} 1\n"), "{page}");
}

/// What every cluster has comes back, and is as it should be, unless somebody has said that it is to stay as it is.
#[tokio::test]
async fn every_cluster_has_the_objects_of_kubernetes() {
    let world = World::new().await;
    let mut count = 0;
    for _ in 0..LOOKS {
        let list = world.get(&format!("{FLOWS}/flowschemas")).await.1;
        let of_level = |item: &Value| item["status"]["conditions"][0]["reason"] == "Found";
        let items = list["items"].as_array().cloned().unwrap_or_default();
        count = items.iter().filter(|item| of_level(item)).count();
        if count == 11 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(count, 11, "schemas whose level is there");
    let levels = world.get(&format!("{FLOWS}/prioritylevelconfigurations")).await.1;
    assert_eq!(levels["items"].as_array().map(Vec::len), Some(8));
    let exempt = world.get(&format!("{FLOWS}/flowschemas/exempt")).await.1;
    assert_eq!(exempt["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"], "true");
    let managers: Vec<_> = exempt["metadata"]["managedFields"].as_array().into_iter().flatten().collect();
    let mut managers: Vec<_> = managers.iter().filter_map(|one| one["manager"].as_str()).collect();
    managers.sort_unstable();
    let both = ["consumer", "producer"].map(|end| format!("api-priority-and-fairness-config-{end}-v1"));
    assert_eq!(managers, both);
}
