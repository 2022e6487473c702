//! How long pods take, as a watcher with a connection of its own sees it.

use crate::{Figure, ms, percentile};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use serde_json::json;
use skiff_harness::TestNode;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const ONE_BY_ONE: usize = 100;
const AT_ONCE: [usize; 2] = [50, 100];
const WAIT_MAX: Duration = Duration::from_secs(300);
const IMAGE: &str = "skiff.local/demo";

/// What the watcher saw, and when.
struct Seen {
    at: Instant,
    name: String,
    what: Change,
}

#[derive(PartialEq)]
enum Change {
    Running,
    Gone,
    Other,
}

async fn connect(node: &TestNode) -> Client {
    let file = Kubeconfig::read_from(node.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// Reports every change of a pod until the receiver is dropped.
fn watch(pods: Api<Pod>) -> UnboundedReceiver<Seen> {
    let (send, receive) = unbounded_channel();
    tokio::spawn(async move {
        let events = pods.watch(&WatchParams::default(), "0").await.unwrap();
        let mut events = std::pin::pin!(events);
        while let Ok(Some(event)) = events.try_next().await {
            let (pod, gone) = match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                WatchEvent::Deleted(pod) => (pod, true),
                WatchEvent::Bookmark(_) | WatchEvent::Error(_) => continue,
            };
            let runs = pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
            let what = if gone {
                Change::Gone
            } else if runs {
                Change::Running
            } else {
                Change::Other
            };
            if send.send(Seen { at: Instant::now(), name: pod.name_any(), what }).is_err() {
                return;
            }
        }
    });
    receive
}

/// When `number` different pods have had `change`.
async fn all(seen: &mut UnboundedReceiver<Seen>, change: &Change, number: usize) -> Instant {
    let mut names = BTreeSet::new();
    let waiting = async {
        loop {
            let one = seen.recv().await.unwrap();
            if one.what == *change && names.insert(one.name) && names.len() == number {
                return one.at;
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, waiting).await.unwrap()
}

fn pod(name: &str) -> Pod {
    let container = json!({"name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent"});
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

async fn one_by_one(pods: &Api<Pod>, seen: &mut UnboundedReceiver<Seen>) -> Vec<Figure> {
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    // The first one brings the image.
    for number in 0..=ONE_BY_ONE {
        let name = format!("bench-{number}");
        let created = Instant::now();
        pods.create(&PostParams::default(), &pod(&name)).await.unwrap();
        let start = all(seen, &Change::Running, 1).await - created;
        let deleted = Instant::now();
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
        let end = all(seen, &Change::Gone, 1).await - deleted;
        if number > 0 {
            starts.push(start);
            ends.push(end);
        }
    }
    vec![
        Figure::new("create → Running, image present, p50 of 100", ms(percentile(&mut starts, 50))),
        Figure::new("create → Running, image present, p99 of 100", ms(percentile(&mut starts, 99))),
        Figure::new("delete → gone, p50 of 100", ms(percentile(&mut ends, 50))),
        Figure::new("delete → gone, p99 of 100", ms(percentile(&mut ends, 99))),
    ]
}

async fn at_once(client: &Client, seen: &mut UnboundedReceiver<Seen>, number: usize) -> Vec<Figure> {
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let labels = json!({"app": "bench"});
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "bench"},
        "spec": {
            "replicas": number, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod("unused").spec},
        },
    }));
    let created = Instant::now();
    deployments.create(&PostParams::default(), &deployment.unwrap()).await.unwrap();
    let start = all(seen, &Change::Running, number).await - created;
    let deleted = Instant::now();
    deployments.delete("bench", &DeleteParams::background()).await.unwrap();
    let end = all(seen, &Change::Gone, number).await - deleted;
    vec![
        Figure::new(format!("{number} pods at once until all are Running"), ms(start)),
        Figure::new(format!("{number} pods at once until all are gone"), ms(end)),
    ]
}

/// All figures about pods.
pub(crate) async fn measure(node: &TestNode) -> Vec<Figure> {
    let client = connect(node).await;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let mut seen = watch(pods.clone());
    let mut figures = one_by_one(&pods, &mut seen).await;
    for number in AT_ONCE {
        figures.extend(at_once(&client, &mut seen, number).await);
    }
    figures
}
