//! Whole decisions: what users see, properties over random clusters, and preemption against a model that tries everything.

mod devices; // claims of devices
mod many; // many pods on many nodes
mod messages; // what is said of pods that wait
mod preemption; // victims, against a model that tries everything
mod random; // random clusters
mod recorded; // what a real kube-scheduler said
mod spreading; // affinity and topology spread
mod volumes; // claims
mod waking; // no pod is left waiting that would fit

use crate::cluster::{Cluster, Object};
use crate::cycle::Cycle;
use crate::decide::{Decision, conclude, look};
use crate::pod::PodInfo;
use crate::profile::Profile;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn profile() -> Profile {
    Profile::named(crate::SCHEDULER_NAME)
}

/// A node with two cores, a gibibyte and room for five pods; `extra` is merged in.
pub(super) fn node(name: &str, extra: Value) -> Object {
    let mut whole = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi", "pods": "5"}},
    });
    merge(&mut whole, extra);
    Object::Node(Arc::new(serde_json::from_value(whole).unwrap()))
}

/// A pod without requests; `extra` is merged in.
pub(super) fn pod(name: &str, extra: Value) -> Arc<PodInfo> {
    let mut whole = json!({
        "metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c"}]},
    });
    merge(&mut whole, extra);
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(whole).unwrap())))
}

/// A pod that asks for CPU, with a priority, perhaps on a node.
pub(super) fn sized(name: &str, cpu: &str, priority: i32, node: Option<&str>) -> Arc<PodInfo> {
    let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    pod(name, json!({"spec": {"containers": containers, "priority": priority, "nodeName": node}}))
}

fn merge(whole: &mut Value, extra: Value) {
    match (whole, extra) {
        (Value::Object(whole), Value::Object(extra)) => {
            for (key, value) in extra {
                merge(whole.entry(key).or_insert(Value::Null), value);
            }
        }
        (whole, extra) => *whole = extra,
    }
}

pub(super) fn cluster(objects: impl IntoIterator<Item = Object>, pods: &[Arc<PodInfo>]) -> Cluster {
    let mut cluster = Cluster::new();
    for object in objects {
        cluster.put(&object);
    }
    pods.iter().for_each(|pod| cluster.put_pod(pod));
    cluster
}

pub(super) fn decide_with(cluster: &Cluster, profile: &Profile, pod: &PodInfo) -> Decision {
    let cycle = Cycle { cluster, profile, pod };
    conclude(&cycle, look(cluster, profile, pod, 0), &|_| 0, 7, Timestamp::UNIX_EPOCH)
}

pub(super) fn decide(cluster: &Cluster, pod: &PodInfo) -> Decision {
    decide_with(cluster, &profile(), pod)
}

/// The node, or the message before what preemption says.
pub(super) fn said(cluster: &Cluster, pod: &PodInfo) -> String {
    match decide(cluster, pod) {
        Decision::Bind(placement) => format!("on {}", placement.node),
        Decision::Wait(wait) => wait.message.split(" no new claims").next().unwrap_or_default().to_owned(),
    }
}
