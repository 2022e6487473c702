//! Queueing hints against the decision itself: whatever happens, no pod is left parked that would find a node now.

use super::*;
use crate::actor::{Scheduler, Signal};
use crate::config::Config;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Act {
    /// A node comes, or becomes this.
    Node {
        number: u8,
        zone: u8,
        cores: u8,
        taint: bool,
        cordon: bool,
    },
    NodeGone(u8),
    /// A pod of one of the kinds below waits.
    Pod(u8),
    /// One of the pods, wherever it is, goes.
    PodGone(u8),
    /// A pod that has a node gets other labels.
    Relabel(u8),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let node = (0..4_u8, 0..3_u8, 0..3_u8, proptest::bool::weighted(0.2), proptest::bool::weighted(0.2));
    let node = node.prop_map(|(number, zone, cores, taint, cordon)| Act::Node { number, zone, cores, taint, cordon });
    let act = prop_oneof![
        3 => node,
        1 => (0..4_u8).prop_map(Act::NodeGone),
        4 => (0..7_u8).prop_map(Act::Pod),
        2 => (0..20_u8).prop_map(Act::PodGone),
        1 => (0..20_u8).prop_map(Act::Relabel),
    ];
    proptest::collection::vec(act, 1..40)
}

/// Pods that need room, a port, a zone, neighbours, distance, or an even spread.
fn wanted(number: usize, kind: u8) -> Value {
    let term = |app: &str| json!([{"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"}]);
    let affinity = |kind: &str, app: &str| json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": term(app)}}});
    let container = |extra: Value| json!({"containers": [extra]});
    let spec = match kind {
        0 => container(json!({"name": "c", "resources": {"requests": {"cpu": "1500m"}}})),
        1 => container(json!({"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]})),
        2 => json!({"nodeSelector": {"zone": "z1"}}),
        3 => affinity("podAffinity", "other"),
        4 => affinity("podAntiAffinity", "web"),
        5 => {
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}}}]})
        }
        _ => json!({"tolerations": [{"operator": "Exists"}]}),
    };
    let app = if kind == 6 { "other" } else { "web" };
    let name = format!("p{number}");
    let mut whole = json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "labels": {"app": app}},
        "spec": {"containers": [{"name": "c"}]}});
    super::merge(&mut whole["spec"], spec);
    whole
}

/// The server's side: objects, and a scheduler that hears of them.
struct World {
    scheduler: Scheduler,
    nodes: BTreeMap<u8, Object>,
    pods: BTreeMap<usize, Arc<k8s_openapi::api::core::v1::Pod>>,
    made: usize,
    now: u64,
}

impl World {
    fn tell(&mut self, before: Option<Object>, now: Option<Object>) {
        self.scheduler.note(Signal::Changed { before, now }, self.now);
    }

    fn put_pod(&mut self, number: usize, value: Value) {
        let pod: Arc<k8s_openapi::api::core::v1::Pod> = Arc::new(serde_json::from_value(value).unwrap());
        let before = self.pods.insert(number, Arc::clone(&pod)).map(Object::Pod);
        self.tell(before, Some(Object::Pod(pod)));
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Node { number, zone, cores, taint, cordon } => {
                let taints = if *taint { json!([{"key": "k", "effect": "NoSchedule"}]) } else { json!([]) };
                let extra = json!({"metadata": {"labels": {"zone": format!("z{zone}")}},
                    "spec": {"unschedulable": cordon, "taints": taints}, "status": {"allocatable": {"cpu": cores.to_string()}}});
                let node = node(&format!("n{number}"), extra);
                let before = self.nodes.insert(*number, node.clone());
                self.tell(before, Some(node));
            }
            Act::NodeGone(number) => {
                if let Some(node) = self.nodes.remove(number) {
                    self.tell(Some(node), None);
                }
            }
            Act::Pod(kind) => {
                self.made += 1;
                self.put_pod(self.made, wanted(self.made, *kind));
            }
            Act::PodGone(of) => {
                let number = self.pods.keys().nth(usize::from(*of)).copied();
                if let Some(pod) = number.and_then(|number| self.pods.remove(&number)) {
                    self.tell(Some(Object::Pod(pod)), None);
                }
            }
            Act::Relabel(of) => {
                let placed =
                    |pod: &Arc<k8s_openapi::api::core::v1::Pod>| pod.spec.as_ref().unwrap().node_name.is_some();
                let all: Vec<usize> =
                    self.pods.iter().filter(|(_, pod)| placed(pod)).map(|(number, _)| *number).collect();
                if let Some(number) = all.get(usize::from(*of)) {
                    let mut value = json!(&*self.pods[number]);
                    let was = value["metadata"]["labels"]["app"] == "web";
                    value["metadata"]["labels"]["app"] = json!(if was { "other" } else { "web" });
                    self.put_pod(*number, value);
                }
            }
        }
    }

    /// Decides about all whose turn it is, as the loop does, without preemption.
    fn drain(&mut self) {
        let profile = profile();
        while let Some(pod) = self.scheduler.queue.take(self.now) {
            match decide_with(&self.scheduler.cluster, &profile, &pod) {
                Decision::Bind(placement) => {
                    self.scheduler.cluster.assume(&pod, &placement.node);
                    let number: usize = pod.name[1..].parse().unwrap();
                    let mut value = json!(&*pod.pod);
                    value["spec"]["nodeName"] = json!(placement.node);
                    self.put_pod(number, value);
                }
                Decision::Wait(wait) => self.scheduler.queue.park(&pod.uid, wait.rejectors, self.now),
            }
        }
    }
}

proptest! {
    #[test]
    fn nobody_is_left_waiting(acts in acts()) {
        let scheduler = Scheduler::new(Config::default());
        let mut world = World { scheduler, nodes: BTreeMap::new(), pods: BTreeMap::new(), made: 0, now: 0 };
        for act in &acts {
            world.now += 1;
            world.act(act);
            world.drain();
            let waiting = world.pods.values().filter(|pod| pod.spec.as_ref().unwrap().node_name.is_none());
            for pod in waiting {
                let pod = PodInfo::new(Arc::clone(pod));
                if let Decision::Bind(placement) = decide(&world.scheduler.cluster, &pod) {
                    return Err(TestCaseError::fail(format!("{} would fit on {} after {act:?}", pod.name, placement.node)));
                }
            }
        }
    }
}
