//! What a pod asks for, what is promised to others on a node, and what is left.

use super::Other;
use crate::answer::Finding;
use crate::look::{full_name, list, name, number, text};
use crate::words::{amount, amount_of, listed, parsed};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// So many of those who hold the most are named.
const HOLDERS_MAX: usize = 3;

/// Amounts by the names of their resources.
pub(super) type Amounts = BTreeMap<String, i64>;

fn requests(of: &Value) -> Amounts {
    let map = of.pointer("/resources/requests").and_then(Value::as_object);
    map.into_iter().flatten().map(|(name, value)| (name.clone(), parsed(name, value))).collect()
}

fn sum(mut left: Amounts, right: &Amounts) -> Amounts {
    for (name, amount) in right {
        let total = left.entry(name.clone()).or_default();
        *total = total.saturating_add(*amount);
    }
    left
}

fn most(mut left: Amounts, right: &Amounts) -> Amounts {
    for (name, amount) in right {
        let total = left.entry(name.clone()).or_default();
        *total = (*total).max(*amount);
    }
    left
}

/// What a pod asks for: its containers together, or its hungriest init container if that is more, plus its overhead; what it asks for as
/// a whole goes before that (Kubernetes, "Resource Management for Pods and Containers").
pub(super) fn asked(pod: &Value) -> Amounts {
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for init in list(pod, "/spec/initContainers") {
        let own = sum(sidecars.clone(), &requests(init));
        peak = most(peak, &own);
        if text(init, "/restartPolicy") == "Always" {
            sidecars = own;
        }
    }
    let running = list(pod, "/spec/containers").iter().fold(sidecars, |all, one| sum(all, &requests(one)));
    let mut total = most(running, &peak);
    if let Some(spec) = pod.get("spec") {
        total.extend(requests(spec));
    }
    let overhead = pod.pointer("/spec/overhead").and_then(Value::as_object);
    let overhead: Amounts =
        overhead.into_iter().flatten().map(|(name, value)| (name.clone(), parsed(name, value))).collect();
    sum(total, &overhead)
}

/// What `node` has too little of for a pod and what it asks for, beside those that are `here`.
pub(super) fn shortages((pod, asked): (&Value, &Amounts), node: &Value, here: &[&Other<'_>]) -> Vec<Finding> {
    let allocatable = |resource: &str| {
        node.pointer("/status/allocatable").and_then(|map| map.get(resource)).map(|value| parsed(resource, value))
    };
    let mut found = Vec::new();
    let pods_max = allocatable("pods").unwrap_or(110);
    if i64::try_from(here.len()).unwrap_or(i64::MAX) >= pods_max {
        let cause = format!("Node {} has as many pods as it takes: {} of {pods_max}.", name(node), here.len());
        let advice = "Remove pods, let the node take more (--max-pods of its kubelet), or add a node.";
        found.push(Finding::new("TooManyPods", format!("node {}", name(node)), cause).advice(advice));
    }
    for (resource, &wanted) in asked.iter().filter(|(_, wanted)| **wanted > 0) {
        let Some(total) = allocatable(resource).filter(|total| *total > 0) else {
            found.push(not_offered(node, resource, wanted));
            continue;
        };
        let held: i64 = here.iter().map(|other| promised(other, resource)).fold(0, i64::saturating_add);
        if wanted > total.saturating_sub(held) {
            found.push(short(pod, node, resource, (wanted, held, total), here));
        }
    }
    found
}

/// What `other` was promised of a resource.
fn promised(other: &Other<'_>, resource: &str) -> i64 {
    other.asked.get(resource).copied().unwrap_or(0)
}

fn not_offered(node: &Value, resource: &str, wanted: i64) -> Finding {
    let cause = format!("The pod asks for {}, and node {} offers none.", amount_of(resource, wanted), name(node));
    Finding::new("InsufficientResources", format!("node {}", name(node)), cause)
        .advice(format!("Install what offers {resource} (a device plugin), or leave it out."))
}

fn short(
    pod: &Value,
    node: &Value,
    resource: &str,
    (wanted, held, total): (i64, i64, i64),
    here: &[&Other<'_>],
) -> Finding {
    let shown = |number: i64| amount(resource, number);
    let free = total.saturating_sub(held);
    let mut holders: Vec<(&Value, i64)> =
        here.iter().map(|other| (other.pod, promised(other, resource))).filter(|(_, amount)| *amount > 0).collect();
    holders.sort_by_key(|(other, amount)| (Reverse(*amount), full_name(other)));
    let named: Vec<_> = holders
        .iter()
        .take(HOLDERS_MAX)
        .map(|(other, amount)| format!("{} ({})", full_name(other), shown(*amount)))
        .collect();
    let holding = match holders.len() {
        0 => "nobody holds any".to_owned(),
        1 => format!("1 pod holds {}", shown(held)),
        some => format!("{some} pods hold {}", shown(held)),
    };
    let cause = format!(
        "The pod asks for {}; node {} has {} free of {} allocatable ({holding}).",
        amount_of(resource, wanted),
        name(node),
        shown(free.max(0)),
        shown(total)
    );
    let most = if named.is_empty() { String::new() } else { format!("Most is held by {}.", listed(&named)) };
    let advice = if wanted > total {
        format!("No node of this size takes it: ask for at most {}, or add a larger node.", shown(total))
    } else {
        format!("Ask for at most {}, give back what others hold, or add a node.", shown(free.max(0)))
    };
    Finding::new("InsufficientResources", format!("node {}", name(node)), cause)
        .fact(most)
        .fact(priority(pod, &holders, resource))
        .advice(advice)
}

/// Whether others would have to make room.
fn priority(pod: &Value, holders: &[(&Value, i64)], resource: &str) -> String {
    let of = |pod: &Value| number(pod, "/spec/priority").unwrap_or(0);
    let own = of(pod);
    let below: i64 = holders.iter().filter(|(other, _)| of(other) < own).map(|(_, amount)| *amount).sum();
    if below == 0 {
        return format!(
            "Its priority is {own}; nobody of lower priority holds {resource}, so that nobody has to make room."
        );
    }
    let below = amount(resource, below);
    match text(pod, "/spec/preemptionPolicy") {
        "Never" => format!("Pods of lower priority than {own} hold {below}, but its preemptionPolicy is Never."),
        _ => format!("Pods of lower priority than {own} hold {below}, which may be preempted."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_for_what_it_needs_at_its_hungriest() {
        let container = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let mut sidecar = container("100m");
        sidecar["restartPolicy"] = json!("Always");
        let pod = json!({"spec": {"initContainers": [sidecar, container("2")], "containers": [container("500m")], "overhead": {"cpu": "50m"}}});
        assert_eq!(asked(&pod)["cpu"], 2150);
        let whole = json!({"spec": {"containers": [container("500m")], "resources": {"requests": {"cpu": "1"}}}});
        assert_eq!(asked(&whole)["cpu"], 1000);
    }
}
