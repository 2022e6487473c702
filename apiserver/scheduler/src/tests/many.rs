//! Many pods on many nodes: nothing is over its capacity, and how many decisions a second that takes.
//!
//! Ordinarily a few; with `SKIFF_LONG=1` ten thousand pods of ten deployments on a thousand nodes in ten zones, one by one as a
//! scheduler decides about them. The rate is printed (`--nocapture`), and means something in optimised code only.

use super::*;
use std::time::Instant;

fn nodes(count: usize) -> Vec<Object> {
    let one = |number: usize| {
        let labels = json!({"topology.kubernetes.io/zone": format!("z{}", number % 10)});
        let allocatable = json!({"cpu": "8", "memory": "32Gi", "pods": "110"});
        node(&format!("n{number}"), json!({"metadata": {"labels": labels}, "status": {"allocatable": allocatable}}))
    };
    (0..count).map(one).collect()
}

fn member(number: usize, extra: Value) -> Arc<PodInfo> {
    let requests = json!({"cpu": "500m", "memory": "512Mi"});
    let app = format!("app{}", number % 10);
    let mut whole = json!({
        "metadata": {"labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "web:1", "resources": {"requests": requests}}]},
    });
    super::merge(&mut whole, extra);
    pod(&format!("p{number}"), whole)
}

/// Places them one by one; answers how many found a node.
fn place(cluster: &mut Cluster, pods: usize, extra: &Value) -> usize {
    let profile = profile();
    let (mut start, mut placed) = (0, 0);
    for number in 0..pods {
        let pod = member(number, extra.clone());
        let half = look(cluster, &profile, &pod, start);
        start = (start + half.looked_at()) % cluster.nodes.len();
        let cycle = Cycle { cluster, profile: &profile, pod: &pod };
        if let Decision::Bind(placement) = conclude(&cycle, half, &|_| 0, 7, Timestamp::UNIX_EPOCH) {
            cluster.assume(&pod, &placement.node);
            placed += 1;
        }
    }
    placed
}

#[test]
fn many_pods_find_their_nodes() {
    let (pods, count) = if std::env::var_os("SKIFF_LONG").is_some() { (10_000, 1000) } else { (100, 20) };
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"tier": "t"}}}]},
        "metadata": {"labels": {"tier": "t"}}});
    for (what, extra) in [("plain", json!({})), ("spread over zones", spread)] {
        let mut cluster = cluster(nodes(count), &[]);
        let began = Instant::now();
        assert_eq!(place(&mut cluster, pods, &extra), pods, "{what}");
        println!("{what}: {:.0} decisions a second", pods as f64 / began.elapsed().as_secs_f64());
        let fits = |node: &crate::node::NodeInfo| node.requested.cpu_millis <= node.allocatable.cpu_millis;
        assert!(cluster.nodes.iter().all(fits));
    }
}
