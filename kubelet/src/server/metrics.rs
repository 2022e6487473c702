//! What the node and its pods use, as Prometheus and the metrics server read it. Pure.
//!
//! `/metrics/resource` has the names that Kubernetes keeps stable (KEP-727); `/metrics/cadvisor` the few that everybody's dashboards
//! ask for, by the same figures.

use super::usage::{ContainerUsage, NodeUsage, PodUsage};
use std::fmt::Write;

/// One family of figures.
struct Family {
    text: String,
}

impl Family {
    fn new(name: &str, kind: &str, help: &str) -> Self {
        Self { text: format!("# HELP {name} {help}\n# TYPE {name} {kind}\n") }
    }

    /// One figure; what is not known is left out.
    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: Option<f64>) {
        let Some(value) = value else { return };
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _infallible = writeln!(self.text, "{name}{labels} {value}");
    }
}

/// Backslashes, quotes and line ends (Prometheus, "Text-based format").
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[allow(clippy::cast_precision_loss, reason = "figures in the format are floating-point numbers")]
fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

fn seconds(nanoseconds: Option<u64>) -> Option<f64> {
    float(nanoseconds).map(|nanoseconds| nanoseconds / 1e9)
}

/// A family's name, kind and help, and where its figure comes from.
type Row<T> = (&'static str, &'static str, &'static str, fn(&T) -> Option<f64>);

const OF_CONTAINERS: [Row<ContainerUsage>; 3] = [
    (
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        |one| seconds(one.cpu_ns),
    ),
    ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes", |one| {
        float(one.working_set)
    }),
    ("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds", |one| {
        one.started.map(|at| at.as_duration().as_secs_f64())
    }),
];

const OF_NODE: [Row<NodeUsage>; 3] = [
    ("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds", |node| {
        seconds(node.cpu_ns)
    }),
    ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes", |node| {
        float(node.working_set)
    }),
    // Figures that could not be had are answered with an error, so that there are none here that are wrong.
    ("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise", |_| {
        Some(0.0)
    }),
];

const OF_PODS: [Row<PodUsage>; 2] = [
    ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds", |pod| {
        seconds(pod.sum(|one| one.cpu_ns))
    }),
    ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", |pod| {
        float(pod.sum(|one| one.working_set))
    }),
];

/// `/metrics/resource`.
pub(super) fn resource(node: &NodeUsage, pods: &[PodUsage]) -> String {
    let mut out = String::new();
    for (name, kind, help, value) in OF_CONTAINERS {
        let mut family = Family::new(name, kind, help);
        for (pod, container) in containers(pods) {
            let labels = [("container", &*container.name), ("namespace", &*pod.namespace), ("pod", &*pod.name)];
            family.add(name, &labels, value(container));
        }
        out += &family.text;
    }
    for (name, kind, help, value) in OF_NODE {
        let mut family = Family::new(name, kind, help);
        family.add(name, &[], value(node));
        out += &family.text;
    }
    for (name, kind, help, value) in OF_PODS {
        let mut family = Family::new(name, kind, help);
        for pod in pods {
            family.add(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], value(pod));
        }
        out += &family.text;
    }
    out
}

fn containers(pods: &[PodUsage]) -> impl Iterator<Item = (&PodUsage, &ContainerUsage)> {
    pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)))
}

/// `/metrics/cadvisor`.
pub(super) fn cadvisor(pods: &[PodUsage]) -> String {
    let families: [Row<ContainerUsage>; 5] = [
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |one| {
            seconds(one.cpu_ns)
        }),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |one| float(one.working_set)),
        ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", |one| float(one.memory)),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |one| float(one.rss)),
        ("container_fs_usage_bytes", "gauge", "Bytes of the container's writable layer.", |one| float(one.layer)),
    ];
    let render = |(name, kind, help, value): Row<ContainerUsage>| {
        let mut family = Family::new(name, kind, help);
        for (pod, container) in containers(pods) {
            let labels = [
                ("container", &*container.name),
                ("id", &*container.id),
                ("image", &*container.image),
                ("name", &*container.id),
                ("namespace", &*pod.namespace),
                ("pod", &*pod.name),
            ];
            family.add(name, &labels, value(container));
        }
        family.text
    };
    families.into_iter().map(render).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Vec<PodUsage> {
        let container = |name: &str, cpu_ns| ContainerUsage {
            name: name.into(),
            id: format!("id-{name}"),
            image: "x\"y".into(),
            cpu_ns,
            working_set: Some(4096),
            ..ContainerUsage::default()
        };
        let containers = vec![container("a", Some(1_500_000_000)), container("b", None)];
        vec![PodUsage { name: "p".into(), namespace: "n".into(), containers, ..PodUsage::default() }]
    }

    #[test]
    fn figures_have_the_stable_names() {
        let node = NodeUsage { cpu_ns: Some(2_000_000_000), working_set: Some(5), ..NodeUsage::default() };
        let text = resource(&node, &pods());
        for line in [
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 4096",
            "node_cpu_usage_seconds_total 2",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 8192",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("cpu_usage_seconds_total{container=\"b\""), "what is not known is not told");
    }

    #[test]
    fn labels_are_escaped() {
        assert!(cadvisor(&pods()).contains("image=\"x\\\"y\""));
    }
}
