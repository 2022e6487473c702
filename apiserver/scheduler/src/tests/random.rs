//! Over random clusters: nothing is promised twice, and the order of events does not matter.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
struct Wanted {
    cpu: i64,
    port: Option<i32>,
    priority: i32,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (0_i64..1500, proptest::option::of(8000_i32..8003), 0_i32..3).prop_map(|(cpu, port, priority)| Wanted {
        cpu,
        port,
        priority,
    })
}

fn made(number: usize, wanted: &Wanted) -> Arc<PodInfo> {
    let ports: Vec<Value> = wanted.port.iter().map(|port| json!({"containerPort": 80, "hostPort": port})).collect();
    let requests = json!({"cpu": format!("{}m", wanted.cpu)});
    let container = json!({"name": "c", "ports": ports, "resources": {"requests": requests}});
    pod(&number.to_string(), json!({"spec": {"containers": [container], "priority": wanted.priority}}))
}

proptest! {
    #[test]
    fn nothing_is_promised_twice(pods in proptest::collection::vec(wanted(), 1..25), nodes in 1_usize..4) {
        let mut cluster = cluster((0..nodes).map(|number| node(&format!("n{number}"), json!({}))), &[]);
        let mut on: BTreeMap<String, Vec<&Wanted>> = BTreeMap::new();
        for (number, wanted) in pods.iter().enumerate() {
            let pod = made(number, wanted);
            if let Decision::Bind(placement) = decide(&cluster, &pod) {
                cluster.assume(&pod, &placement.node);
                on.entry(placement.node).or_default().push(wanted);
            }
        }
        for (node, there) in on {
            let mut ports: Vec<i32> = there.iter().filter_map(|one| one.port).collect();
            ports.sort_unstable();
            let taken = ports.len();
            ports.dedup();
            prop_assert_eq!(ports.len(), taken, "{} has a port twice", node);
            prop_assert!(there.len() <= 5 && there.iter().map(|one| one.cpu).sum::<i64>() <= 2000);
        }
    }

    /// A cluster that heard of the same objects in another order, and of some twice, decides the same.
    #[test]
    fn order_does_not_matter(pods in proptest::collection::vec(wanted(), 1..10), turn in 0_usize..10, asked in wanted()) {
        let placed: Vec<Arc<PodInfo>> = pods.iter().enumerate().map(|(number, wanted)| {
            let mut pod = (*made(number, wanted).pod).clone();
            pod.spec.as_mut().unwrap().node_name = Some(format!("n{}", number % 2));
            Arc::new(PodInfo::new(Arc::new(pod)))
        }).collect();
        let nodes = || [node("n0", json!({})), node("n1", json!({}))];
        let straight = cluster(nodes(), &placed);
        let mut turned = placed.clone();
        turned.rotate_left(turn % placed.len());
        let mut other = cluster([], &turned);
        nodes().into_iter().rev().for_each(|node| other.put(&node));
        turned.iter().for_each(|pod| other.put_pod(pod));
        prop_assert_eq!(format!("{:?}", decide(&straight, &made(99, &asked))), format!("{:?}", decide(&other, &made(99, &asked))));
    }

    /// A copy of the counts that followed pods off a node and back is as it was.
    #[test]
    fn counts_follow_pods(count in 1_usize..6) {
        let far = json!([{"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}]);
        let own = json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": far}}}});
        let placed: Vec<_> = (0..count).map(|number| sized(&number.to_string(), "1m", 0, Some("n"))).collect();
        let cluster = cluster([node("n", json!({}))], &placed);
        let (profile, wanted) = (profile(), pod("p", own));
        let cycle = Cycle { cluster: &cluster, profile: &profile, pod: &wanted };
        let before = cycle.prepare().unwrap();
        let mut counts = before.clone();
        let node = &cluster.nodes[0];
        placed.iter().for_each(|pod| cycle.count(&mut counts, pod, node, -1));
        let mut empty = node.clone();
        placed.iter().for_each(|pod| drop(empty.remove(&pod.uid)));
        prop_assert_eq!(cycle.obstacle(&counts, &empty), None);
        placed.iter().for_each(|pod| cycle.count(&mut counts, pod, node, 1));
        prop_assert_eq!(format!("{counts:?}"), format!("{before:?}"));
    }
}
