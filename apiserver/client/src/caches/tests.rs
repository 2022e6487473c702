//! Caches against a scripted server: what it is asked, and what they hold after what it says.

use super::*;
use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::mpsc;

/// A request that waits for its answer.
struct Asked {
    uri: String,
    answer: mpsc::UnboundedSender<String>,
    code: tokio::sync::oneshot::Sender<u16>,
}

/// The server: each request comes out here, and is answered by the test, line by line.
struct Script {
    caches: Caches,
    asked: mpsc::UnboundedReceiver<Asked>,
}

impl Script {
    fn new() -> Self {
        let (asks, asked) = mpsc::unbounded_channel();
        let server = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (answer, lines) = mpsc::unbounded_channel::<String>();
            let (code, coded) = tokio::sync::oneshot::channel();
            let uri = request.uri().to_string();
            let _over = asks.send(Asked { uri, answer, code });
            async move {
                let code = coded.await.unwrap_or(500);
                let frames = futures::stream::unfold(lines, |mut lines| async {
                    let line = lines.recv().await?;
                    Some((Ok::<_, Infallible>(Frame::data(Bytes::from(line))), lines))
                });
                let body = StreamBody::new(frames.boxed());
                Ok::<_, Infallible>(Response::builder().status(code).body(body).expect("a response"))
            }
        });
        let mut caches = Caches::new(kube::Client::new(server, "default"));
        caches.pace = Pace { min: Duration::from_millis(1), max: Duration::from_millis(4) };
        Self { caches, asked }
    }

    /// The next request, which must contain each of `parts`; it is answered with `code`.
    async fn expect(&mut self, code: u16, parts: &[&str]) -> mpsc::UnboundedSender<String> {
        let Asked { uri, answer, code: coded } = self.asked.recv().await.expect("a request");
        for part in parts {
            assert!(uri.contains(part), "{uri} has no {part}");
        }
        coded.send(code).expect("it waits");
        answer
    }

    /// A list with these pods, at `revision`.
    async fn list(&mut self, revision: u64, pods: &[Value]) {
        let answer = self.expect(200, &["/api/v1/pods?", "limit=500"]).await;
        send(&answer, &list(revision, pods, ""));
    }
}

fn list(revision: u64, pods: &[Value], more: &str) -> Value {
    json!({"kind": "PodList", "apiVersion": "v1", "items": pods,
        "metadata": {"resourceVersion": revision.to_string(), "continue": more}})
}

fn send(to: &mpsc::UnboundedSender<String>, line: &Value) {
    to.send(format!("{line}\n")).expect("it is read");
}

fn pod(name: &str, revision: u64) -> Value {
    json!({"metadata": {"name": name, "namespace": "a", "uid": name, "resourceVersion": revision.to_string(),
        "labels": {"app": name, "tier": "web"}, "managedFields": [{"manager": "m"}],
        "ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "owner"}]},
        "spec": {"containers": [], "nodeName": "n"}})
}

fn event(kind: &str, object: Value) -> Value {
    json!({"type": kind, "object": object})
}

/// Waits until the cache reaches `revision`.
async fn reaches(cache: &Cache<Pod>, revision: u64) {
    let mut positions = cache.shared.positions();
    positions.wait_for(|position| position.revision >= revision).await.expect("it is followed");
}

fn names(pods: Vec<Arc<Pod>>) -> Vec<String> {
    let mut names: Vec<_> = pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect();
    names.sort();
    names
}

/// One list and one watch, however many hold the cache; events and bookmarks move it; indexes answer.
#[tokio::test]
async fn holders_share_one_watch() {
    let mut script = Script::new();
    let (pods, same) = (script.caches.all::<Pod>(), script.caches.all::<Pod>());
    script.list(5, &[pod("one", 2), pod("two", 4)]).await;
    pods.synced().await;
    assert_eq!(names(same.all()), ["one", "two"]);
    assert!(Arc::ptr_eq(&pods.get("a", "one").unwrap(), &same.get("a", "one").unwrap()));
    let watch = script.expect(200, &["watch=true", "resourceVersion=5", "allowWatchBookmarks=true"]).await;
    send(&watch, &event("ADDED", pod("three", 6)));
    send(&watch, &event("DELETED", pod("one", 7)));
    send(&watch, &event("BOOKMARK", json!({"kind": "Pod", "metadata": {"resourceVersion": "9"}})));
    reaches(&pods, 9).await;
    assert_eq!(names(pods.all()), ["three", "two"]);
    assert_eq!(names(pods.owned_by("owner")), ["three", "two"]);
    assert_eq!(names(pods.on_node("n")), ["three", "two"]);
    assert!(pods.on_node("m").is_empty() && pods.within("b").is_empty());
    let labels = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    assert_eq!(names(pods.labelled("a", &labels("app", "two"))), ["two"]);
    let selector = LabelSelector { match_labels: Some(labels("tier", "web")), ..LabelSelector::default() };
    assert_eq!(names(pods.selected("a", &selector)), ["three", "two"]);
    assert_eq!(pods.get("a", "two").unwrap().metadata.managed_fields, None);
    // The watch ends; it goes on from the bookmark.
    drop(watch);
    script.expect(200, &["watch=true", "resourceVersion=9"]).await;
    assert!(script.asked.try_recv().is_err(), "nothing else was asked");
}

/// After 410 a list says what changed meanwhile, and subscribers hear of that only.
#[tokio::test]
async fn what_was_missed_is_told_after_a_new_list() {
    let mut script = Script::new();
    let pods = script.caches.all::<Pod>();
    script.list(5, &[pod("stays", 2), pod("goes", 4), pod("changes", 5)]).await;
    pods.synced().await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let subscription = pods.subscribe(move |change| {
        let name = change.meta().name.clone().unwrap();
        let _over = told.send((name, change.before.is_some(), change.now.is_some()));
    });
    let mut first = Vec::new();
    while let Ok((name, before, now)) = heard.try_recv() {
        assert!(!before && now);
        first.push(name);
    }
    first.sort();
    assert_eq!(first, ["changes", "goes", "stays"], "who subscribes hears of what there is");
    let watch = script.expect(200, &["watch=true"]).await;
    send(&watch, &event("ERROR", json!({"kind": "Status", "code": 410, "message": "too old"})));
    script.list(9, &[pod("stays", 2), pod("changes", 8), pod("comes", 9)]).await;
    reaches(&pods, 9).await;
    let mut second = Vec::new();
    while let Ok(change) = heard.try_recv() {
        second.push(change);
    }
    second.sort();
    let change = |name: &str, before, now| (name.to_owned(), before, now);
    assert_eq!(second, [change("changes", true, true), change("comes", false, true), change("goes", true, false)]);
    assert_eq!(pods.position().list_done, 2);
    drop(subscription);
    let watch = script.expect(200, &["watch=true", "resourceVersion=9"]).await;
    send(&watch, &event("MODIFIED", pod("stays", 10)));
    reaches(&pods, 10).await;
    assert!(heard.try_recv().is_err(), "nobody is told any more");
}

/// Refusals are no end; pages that expired are listed again; an unreadable line leads to a new list.
#[tokio::test]
async fn failures_are_tried_again() {
    let mut script = Script::new();
    let pods = script.caches.all::<Pod>();
    for _ in 0..3 {
        let answer = script.expect(500, &["limit=500"]).await;
        send(&answer, &json!({"kind": "Status", "code": 500, "message": "not now"}));
    }
    let answer = script.expect(200, &["limit=500"]).await;
    send(&answer, &list(3, &[pod("one", 1)], "token"));
    drop(answer);
    let answer = script.expect(410, &["continue=token"]).await;
    send(&answer, &json!({"kind": "Status", "code": 410, "message": "expired"}));
    drop(answer);
    let answer = script.expect(200, &["limit=500"]).await;
    send(&answer, &list(4, &[pod("one", 1)], "token"));
    drop(answer);
    let answer = script.expect(200, &["continue=token"]).await;
    send(&answer, &list(4, &[pod("two", 2)], ""));
    drop(answer);
    pods.synced().await;
    assert_eq!(names(pods.all()), ["one", "two"]);
    let watch = script.expect(200, &["watch=true", "resourceVersion=4"]).await;
    send(&watch, &json!({"type": "ADDED"}));
    script.list(8, &[]).await;
    reaches(&pods, 8).await;
    assert!(pods.all().is_empty());
}

/// With the last holder the watch ends; metadata are those of the objects, where somebody holds these.
#[tokio::test]
async fn nobody_follows_for_nobody() {
    let mut script = Script::new();
    let pods = script.caches.all::<Pod>();
    script.list(5, &[pod("one", 2)]).await;
    pods.synced().await;
    let watch = script.expect(200, &["watch=true"]).await;
    let resource = ApiResource::erase::<Pod>(&());
    let metadata = script.caches.metadata(&resource);
    metadata.synced().await;
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = seen.clone();
    let subscription =
        metadata.subscribe(move |_, now| log.lock().unwrap().extend(now.and_then(|now| now.name.clone())));
    assert_eq!(*seen.lock().unwrap(), ["one"]);
    drop((pods, metadata));
    assert!(!watch.is_closed(), "the subscription holds the cache");
    drop(subscription);
    watch.closed().await;
    let metadata = script.caches.metadata(&resource);
    let answer = script.expect(200, &["limit=500"]).await;
    let only =
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": pod("two", 6)["metadata"]});
    send(&answer, &list(6, &[only], ""));
    drop(answer);
    metadata.synced().await;
    script.expect(200, &["watch=true", "resourceVersion=6"]).await;
}
