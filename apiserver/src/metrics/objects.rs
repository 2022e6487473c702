//! What a node or a pod uses, as an object of `metrics.k8s.io`. Pure.

use super::samples::Counted;
use super::scrape::Usage;
use crate::registry::object::{meta, name_of, now, rfc3339};
use jiff::SignedDuration;
use serde_json::{Value, json};
use skiff_proto::quantity::Quantity;

/// NodeMetrics, if anything is known.
pub(super) fn of_node(node: &Value, counted: &Counted) -> Option<Value> {
    let usage = counted.last.node.since(Some(&counted.before.node))?;
    let mut object = object("NodeMetrics", node, &usage);
    object["usage"] = used(&usage);
    Some(object)
}

/// PodMetrics, if they are known of all its containers that run.
pub(super) fn of_pod(pod: &Value, counted: &Counted) -> Option<Value> {
    let key = (meta(pod, "namespace").to_owned(), name_of(pod).to_owned());
    let (now, before) = (counted.last.pods.get(&key)?, counted.before.pods.get(&key));
    let mut usages = Vec::new();
    for (name, point) in now {
        usages.push((name, point.since(before.and_then(|before| before.get(name)))?));
    }
    // The pod is described by the container that was looked at first and longest.
    let widest = usages.iter().map(|(_, usage)| usage).max_by_key(|usage| usage.window)?;
    let mut object = object("PodMetrics", pod, widest);
    let container = |(name, usage): &(&String, Usage)| json!({"name": name, "usage": used(usage)});
    object["containers"] = usages.iter().map(container).collect();
    Some(object)
}

fn object(kind: &str, of: &Value, usage: &Usage) -> Value {
    let mut metadata = json!({"name": name_of(of), "creationTimestamp": now()});
    for field in ["namespace", "labels"] {
        if !of["metadata"][field].is_null() {
            metadata[field] = of["metadata"][field].clone();
        }
    }
    json!({"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": metadata,
        "timestamp": rfc3339(usage.at), "window": duration(usage.window)})
}

fn used(usage: &Usage) -> Value {
    json!({"cpu": cores(usage.nano_cores), "memory": bytes(usage.bytes)})
}

fn cores(nano: u64) -> String {
    canonical(format!("{nano}n"))
}

fn bytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1024) { canonical(format!("{}Ki", bytes / 1024)) } else { bytes.to_string() }
}

fn canonical(text: String) -> String {
    Quantity::parse(&text).map_or(text, Quantity::canonical)
}

/// As Go writes it, to the millisecond: `1m2.5s`.
fn duration(length: SignedDuration) -> String {
    let (minutes, rest) = (length.as_secs() / 60, length.as_secs() % 60);
    let thousandths = format!(".{:03}", length.subsec_millis());
    let seconds = format!("{rest}{}s", thousandths.trim_end_matches('0').trim_end_matches('.'));
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scrape::Scrape;
    use super::*;
    use jiff::Timestamp;
    use std::sync::Arc;

    #[test]
    fn quantities_and_durations_have_kubernetes_form() {
        let all = [
            cores(0),
            cores(1_500_000_000),
            cores(2_000_000_000),
            cores(123),
            bytes(4096),
            bytes(5000),
            bytes(3 << 30),
        ];
        assert_eq!(all, ["0", "1500m", "2", "123n", "4Ki", "5000", "3Gi"]);
        let length = |ms| duration(SignedDuration::from_millis(ms));
        assert_eq!(
            [length(15_000), length(1_003), length(60_500), length(3_600_000)],
            ["15s", "1.003s", "1m0.5s", "1h0m0s"]
        );
    }

    #[test]
    fn a_pod_is_told_of_when_all_its_containers_are_known() {
        let line = |container: &str, cpu: f64| {
            let labels = format!("{{container=\"{container}\",namespace=\"n\",pod=\"p\"}}");
            format!(
                "container_cpu_usage_seconds_total{labels} {cpu}\ncontainer_memory_working_set_bytes{labels} 1024\n"
            )
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let scrape = |second, text: &str| Arc::new(Scrape::read(text, at(second)));
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}}});
        let before = scrape(10, &line("a", 1.0));
        let counted = Counted { before: before.clone(), last: scrape(12, &line("a", 2.0)) };
        let object = of_pod(&pod, &counted).unwrap();
        assert_eq!(object["containers"], json!([{"name": "a", "usage": {"cpu": "500m", "memory": "1Ki"}}]));
        assert_eq!((&object["window"], &object["timestamp"]), (&json!("2s"), &json!("1970-01-01T00:00:12Z")));
        assert_eq!(object["metadata"]["labels"]["a"], "b");
        let more = Counted { before, last: scrape(12, &(line("a", 2.0) + &line("new", 1.0))) };
        assert_eq!(of_pod(&pod, &more), None, "nobody knows since when the other one runs");
    }
}
