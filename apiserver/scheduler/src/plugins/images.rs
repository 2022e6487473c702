//! ImageLocality: nodes that have the images already.

use super::SCORE_MAX;
use crate::cycle::Cycle;
use crate::node::NodeInfo;

const MEBIBYTE: i64 = 1024 * 1024;
/// Less than this is as good as nothing.
const BYTES_MIN: i64 = 23 * MEBIBYTE;
/// More than this for each container counts no more.
const BYTES_MAX: i64 = 1000 * MEBIBYTE;

pub(super) fn score(cycle: &Cycle<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let spec = cycle.pod.pod.spec.as_ref()?;
    let containers: Vec<_> = spec.init_containers.iter().flatten().chain(&spec.containers).collect();
    let of_containers = containers.iter().filter_map(|container| container.image.as_deref());
    let volumes = spec.volumes.iter().flatten();
    let of_volumes = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    let names: Vec<String> = of_containers.chain(of_volumes).map(tagged).collect();
    let most = BYTES_MAX * i64::try_from(containers.len()).unwrap_or(i64::MAX / BYTES_MAX);
    let all = cycle.cluster.nodes.len().max(1) as f64;
    let score = |node: &&NodeInfo| {
        // An image that few nodes have counts little, so that its pods do not all go there.
        let bytes = |name: &String| {
            let size = node.images.get(name)?;
            let nodes = cycle.cluster.images.get(name).copied().unwrap_or(0);
            Some((*size as f64 * (nodes as f64 / all)) as i64)
        };
        let sum: i64 = names.iter().filter_map(bytes).sum();
        SCORE_MAX * (sum.clamp(BYTES_MIN, most.max(BYTES_MIN)) - BYTES_MIN) / (most - BYTES_MIN).max(1)
    };
    Some(nodes.iter().map(score).collect())
}

/// Nodes list images with their tags.
fn tagged(name: &str) -> String {
    if name.rfind(':') > name.rfind('/') { name.to_owned() } else { format!("{name}:latest") }
}

#[cfg(test)]
mod tests {
    use super::tagged;

    #[test]
    fn a_port_is_no_tag() {
        let names = ["web", "host:5000/web", "host:5000/web:1", "web@sha256:ab"];
        assert_eq!(names.map(tagged), ["web:latest", "host:5000/web:latest", "host:5000/web:1", "web@sha256:ab"]);
    }
}
