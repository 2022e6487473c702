//! The plan against a model: nodes that come, go and are tainted, pods that start, fail and end, templates that change, and a
//! controller that is killed between any two of its writes.

use super::fit::{Fit, fit};
use super::plan::{Backoffs, Seen, plan, status};
use super::pod::{node_of, pod_of};
use crate::owned::{is_available, is_going, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What happens to the model.
#[derive(Debug, Clone)]
enum Act {
    /// The controller looks, and is killed after so many writes.
    Look(usize),
    Ready(usize),
    Unready(usize),
    Fails(usize),
    Succeeds(usize),
    /// A pod that was told to go is gone.
    Gone(usize),
    /// Somebody deletes a pod.
    Deleted(usize),
    NodeComes,
    NodeGoes(usize),
    Taint(usize, &'static str),
    Change,
    Later(i64),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0_usize..6).prop_map(Act::Look),
        4 => (0_usize..12).prop_map(Act::Ready),
        1 => (0_usize..12).prop_map(Act::Unready),
        1 => (0_usize..12).prop_map(Act::Fails),
        1 => (0_usize..12).prop_map(Act::Succeeds),
        2 => (0_usize..12).prop_map(Act::Gone),
        1 => (0_usize..12).prop_map(Act::Deleted),
        1 => Just(Act::NodeComes),
        1 => (0_usize..6).prop_map(Act::NodeGoes),
        1 => (0_usize..6, prop::sample::select(vec!["NoSchedule", "NoExecute", ""])).prop_map(|(n, effect)| Act::Taint(n, effect)),
        1 => Just(Act::Change),
        2 => (1_i64..2000).prop_map(Act::Later),
    ]
}

struct Model {
    set: DaemonSet,
    version: u32,
    nodes: BTreeMap<String, Arc<Node>>,
    pods: Vec<Arc<Pod>>,
    made: u32,
    backoffs: Backoffs,
    now: Timestamp,
}

fn set(strategy: &Value, min_ready: i32) -> DaemonSet {
    serde_json::from_value(json!({"metadata": {"name": "d", "namespace": "n", "uid": "u"}, "spec": {
        "selector": {}, "minReadySeconds": min_ready, "updateStrategy": strategy,
        "template": {"metadata": {}, "spec": {"containers": []}}}}))
    .unwrap()
}

impl Model {
    fn new(strategy: &Value, min_ready: i32, nodes: u32) -> Self {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let (set, backoffs) = (set(strategy, min_ready), Backoffs::default());
        let mut model = Self { set, version: 0, nodes: BTreeMap::new(), pods: Vec::new(), made: 0, backoffs, now };
        (0..nodes).for_each(|_| model.node());
        model
    }

    fn node(&mut self) {
        self.made += 1;
        let name = format!("node-{}", self.made);
        let node = json!({"metadata": {"name": name}, "spec": {}});
        self.nodes.insert(name, Arc::new(serde_json::from_value(node).unwrap()));
    }

    fn min_ready(&self) -> SignedDuration {
        SignedDuration::from_secs(self.set.spec.as_ref().unwrap().min_ready_seconds.unwrap_or(0).into())
    }

    fn serves(&self, pod: &Pod) -> bool {
        !is_going(pod) && is_available(pod, self.min_ready(), self.now)
    }

    /// How many of the nodes that should have a pod have one that serves.
    fn available(&self) -> usize {
        let has_one = |name: &str| self.pods.iter().any(|pod| node_of(pod) == Some(name) && self.serves(pod));
        self.nodes.values().filter(|node| fit(&self.set)(node) == Fit::Runs && has_one(&node.name_any())).count()
    }

    fn look(&mut self, writes: usize) -> usize {
        let nodes: Vec<_> = self.nodes.values().cloned().collect();
        let pods = self.pods.clone();
        let hashes = vec![format!("h{}", self.version)];
        let seen = Seen { set: &self.set, hashes, nodes: &nodes, pods: &pods, now: self.now };
        let planned = plan(&seen, &seen.places(), &self.backoffs);
        for (_, node) in planned.ended.iter().filter(|(pod, _)| phase(pod) == "Failed") {
            self.backoffs.failed(node, self.now);
        }
        let mut left = writes;
        for node in planned.create.iter().take(left) {
            self.create(node);
        }
        left = left.saturating_sub(planned.create.len());
        let going: Vec<_> = planned.delete.into_iter().chain(planned.ended.into_iter().map(|(pod, _)| pod)).collect();
        for pod in going.iter().take(left) {
            let number = self.pods.iter().position(|one| one.name_any() == pod.name_any()).unwrap();
            self.delete(number);
        }
        planned.create.len() + going.len()
    }

    fn create(&mut self, node: &str) {
        assert_eq!(self.nodes.get(node).map(|node| fit(&self.set)(node)), Some(Fit::Runs), "{node}");
        self.made += 1;
        let mut pod = pod_of(&self.set, node, &format!("h{}", self.version));
        pod.metadata.name = Some(format!("pod-{:04}", self.made));
        pod.metadata.creation_timestamp = Some(Time(self.now));
        pod.status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
        self.pods.push(Arc::new(pod));
    }

    fn delete(&mut self, number: usize) {
        let pod = Arc::make_mut(&mut self.pods[number]);
        assert!(pod.metadata.deletion_timestamp.is_none(), "deleted twice: {}", pod.name_any());
        pod.metadata.deletion_timestamp = Some(Time(self.now));
    }

    fn become_(&mut self, number: usize, phase: &str, ready: &str) {
        let since = self.now;
        let Some(pod) = self.pods.get_mut(number).map(Arc::make_mut) else { return };
        if node_of(pod).is_none_or(|node| !self.nodes.contains_key(node)) {
            return;
        }
        let ended = matches!(crate::owned::phase(pod), "Failed" | "Succeeded");
        if ended || crate::owned::is_ready(pod) && ready == "True" {
            return;
        }
        pod.spec.as_mut().unwrap().node_name = node_of(&pod.clone()).map(str::to_owned);
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": since});
        pod.status = serde_json::from_value(json!({"phase": phase, "conditions": [condition]})).unwrap();
    }

    fn happen(&mut self, act: &Act) {
        match *act {
            Act::Look(writes) => drop(self.look(writes)),
            Act::Ready(number) => self.become_(number, "Running", "True"),
            Act::Unready(number) => self.become_(number, "Running", "False"),
            Act::Fails(number) => self.become_(number, "Failed", "False"),
            Act::Succeeds(number) => self.become_(number, "Succeeded", "False"),
            Act::Gone(number) if self.pods.get(number).is_some_and(|pod| is_going(pod)) => {
                drop(self.pods.remove(number))
            }
            Act::Deleted(number) if self.pods.get(number).is_some_and(|pod| !is_going(pod)) => self.delete(number),
            Act::Gone(_) | Act::Deleted(_) => {}
            Act::NodeComes => self.node(),
            Act::NodeGoes(number) => {
                if let Some(name) = self.nodes.keys().nth(number).cloned() {
                    self.nodes.remove(&name);
                    // The pod collector's work.
                    self.pods.retain(|pod| pod.spec.as_ref().unwrap().node_name.as_deref() != Some(&name));
                }
            }
            Act::Taint(number, effect) => {
                if let Some(node) = self.nodes.values_mut().nth(number) {
                    let taints = json!([{"key": "k", "effect": effect}]);
                    Arc::make_mut(node).spec.as_mut().unwrap().taints =
                        (!effect.is_empty()).then(|| serde_json::from_value(taints).unwrap());
                }
            }
            Act::Change => self.version += 1,
            Act::Later(seconds) => self.now += SignedDuration::from_secs(seconds),
        }
    }

    /// Nothing is in the way any more: all pods start, all that are told to go do.
    fn calm(&mut self) {
        for _ in 0..300 {
            let planned = self.look(usize::MAX);
            let quiet = planned == 0 && self.pods.iter().all(|pod| self.serves(pod));
            self.pods.retain(|pod| !is_going(pod));
            (0..self.pods.len()).for_each(|number| self.become_(number, "Running", "True"));
            self.now += SignedDuration::from_mins(1);
            if quiet {
                return;
            }
        }
        let left = self.look(0);
        let pods: Vec<_> = self.pods.iter().map(|pod| (pod.name_any(), node_of(pod), phase(pod))).collect();
        panic!("does not come to rest: {pods:?}, {left} to do, {:?}", self.backoffs);
    }

    fn status(&self) -> DaemonSetStatus {
        let nodes: Vec<_> = self.nodes.values().cloned().collect();
        let hashes = vec![format!("h{}", self.version)];
        let seen = Seen { set: &self.set, hashes, nodes: &nodes, pods: &self.pods, now: self.now };
        status(&seen, &seen.places(), 0)
    }

    fn on(&self, node: &Node) -> Vec<&Arc<Pod>> {
        self.pods.iter().filter(|pod| node_of(pod) == Some(&node.name_any())).collect()
    }
}

fn rolling(unavailable: Value, surge: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}})
}

fn strategies() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        rolling(json!(1), json!(0)),
        rolling(json!("40%"), json!(0)),
        rolling(json!(0), json!(1)),
        rolling(json!(0), json!("50%")),
        json!({"type": "OnDelete"}),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, in whatever order, and wherever the controller is killed: when it is over, each node has what belongs
    /// on it, of the present version.
    #[test]
    fn every_node_gets_what_belongs_there(
        strategy in strategies(), min_ready in 0_i32..90, nodes in 0_u32..6, happens in prop::collection::vec(acts(), 0..80),
    ) {
        let mut model = Model::new(&strategy, min_ready, nodes);
        happens.iter().for_each(|act| model.happen(act));
        model.calm();
        let latest = format!("h{}", model.version);
        let mut running = 0;
        for node in model.nodes.values() {
            let pods = model.on(node);
            let fit = fit(&model.set)(node);
            prop_assert!(pods.len() <= 1 && (fit != Fit::Runs || pods.len() == 1) && (fit != Fit::Never || pods.is_empty()));
            running += i32::from(fit == Fit::Runs);
            if strategy["type"] == "RollingUpdate" {
                let old = pods.iter().any(|pod| pod.labels()["controller-revision-hash"] != latest);
                prop_assert!(!old || fit == Fit::Stays, "an old pod stays on {}", node.name_any());
            }
        }
        let status = model.status();
        prop_assert_eq!((status.desired_number_scheduled, status.current_number_scheduled, status.number_ready), (running, running, running));
        prop_assert_eq!((status.number_available.unwrap_or(0), status.number_unavailable), (running, None));
    }

    /// A rollout takes no more than it may, however its looks and the pods' starts are mixed.
    #[test]
    fn a_rollout_keeps_its_limits(
        surge in any::<bool>(), limit in 1_usize..4, nodes in 1_u32..7, min_ready in 0_i32..30,
        happens in prop::collection::vec((0_usize..5, 0_usize..14, 0_usize..14, 0_i64..60), 0..60),
    ) {
        let strategy = if surge { rolling(json!(0), json!(limit)) } else { rolling(json!(limit), json!(0)) };
        let mut model = Model::new(&strategy, min_ready, nodes);
        model.calm();
        model.version += 1;
        let all = usize::try_from(nodes).unwrap();
        let least = if surge { all } else { all.saturating_sub(limit) };
        for (writes, ready, gone, later) in happens {
            for act in [Act::Look(writes), Act::Ready(ready), Act::Gone(gone), Act::Later(later)] {
                model.happen(&act);
                prop_assert!(model.available() >= least, "{} of {all} serve", model.available());
                let staying = model.pods.iter().filter(|pod| !is_going(pod)).count();
                let most = if surge { all + limit } else { all };
                prop_assert!(staying <= most);
                if !surge {
                    prop_assert!(model.nodes.values().all(|node| model.on(node).len() <= 1), "two pods on a node");
                }
            }
        }
        model.calm();
        prop_assert_eq!(model.status().updated_number_scheduled, Some(i32::try_from(nodes).unwrap()));
    }
}

/// Going back to a version whose pods are still there touches only the others.
#[test]
fn a_rollback_restarts_nothing_needlessly() {
    let mut model = Model::new(&rolling(json!(1), json!(0)), 0, 4);
    model.calm();
    let before: Vec<_> = model.pods.iter().map(|pod| pod.name_any()).collect();
    model.version = 1;
    model.look(usize::MAX);
    model.pods.retain(|pod| !is_going(pod));
    model.look(usize::MAX);
    model.version = 0;
    model.calm();
    let kept = model.pods.iter().filter(|pod| before.contains(&pod.name_any())).count();
    assert_eq!(kept, 3, "one was replaced before the rollback");
}

/// A daemon that fails again and again is replaced, less and less often.
#[test]
fn failures_are_waited_for_longer_and_longer() {
    let mut model = Model::new(&rolling(json!(1), json!(0)), 0, 1);
    let start = model.now;
    let mut at = Vec::new();
    while model.now < start + SignedDuration::from_mins(10) {
        let failed = model.made;
        model.look(usize::MAX);
        model.pods.retain(|pod| !is_going(pod));
        if model.made > failed {
            at.push(model.now.duration_since(start).as_secs());
        }
        (0..model.pods.len()).for_each(|number| model.become_(number, "Failed", "False"));
        model.now += SignedDuration::from_secs(1);
    }
    let waits: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.windows(2).skip(1).all(|pair| pair[1] >= 2 * pair[0] - 2), "{waits:?}");
    assert!(waits.len() < 12, "{waits:?}");
}
