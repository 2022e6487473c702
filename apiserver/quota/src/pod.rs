//! What a pod takes: what its containers ask for at the same time, and what they may use at most (KEP-753, KEP-1287, KEP-2837).

use crate::amounts::{Amounts, count};
use jiff::Timestamp;
use serde_json::Value;

/// What pods count under, beside resources that are named after hardware.
const NAMES: [&str; 10] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// The resources of which quotas limit requests and limits.
const COMPUTE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const PAGES: &str = "hugepages-";
const REQUESTS: &str = "requests.";
const LIMITS: &str = "limits.";

/// A resource that some device plugin brings.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with(REQUESTS)
}

pub(crate) fn counts_under(name: &str) -> bool {
    let requested = name.strip_prefix(REQUESTS);
    let device =
        requested.is_some_and(|name| is_extended(name) || name.starts_with("deviceclass.resource.kubernetes.io/"));
    NAMES.contains(&name) || requested.unwrap_or(name).starts_with(PAGES) || device
}

/// Whether it still takes what it asks for: it has not ended, and is not past its time either.
fn is_running(pod: &Value, now: i64) -> bool {
    if matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded")) {
        return false;
    }
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let deletion = pod["metadata"]["deletionTimestamp"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    deletion.zip(grace).is_none_or(|(deletion, grace)| now <= deletion.as_second().saturating_add(grace))
}

pub(crate) fn usage(pod: &Value, now: i64) -> Amounts {
    if !is_running(pod, now) {
        return Amounts::default();
    }
    let mut amounts = named(&requests(pod), &limits(pod));
    amounts.set("pods", count(1));
    amounts
}

/// Requests and limits under the names that quotas have for them.
pub(crate) fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut amounts = Amounts::default();
    for name in COMPUTE {
        if let Some(asked) = requests.get(name) {
            amounts.set(name, asked);
            amounts.set(&format!("{REQUESTS}{name}"), asked);
        }
        if let Some(most) = limits.get(name) {
            amounts.set(&format!("{LIMITS}{name}"), most);
        }
    }
    for name in requests.names() {
        let Some(asked) = requests.get(name) else { continue };
        if name.starts_with(PAGES) {
            amounts.set(name, asked);
        }
        if name.starts_with(PAGES) || is_extended(name) {
            amounts.set(&format!("{REQUESTS}{name}"), asked);
        }
    }
    amounts
}

fn list<'a>(pod: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    pod["spec"][field].as_array().into_iter().flatten()
}

/// What runs at the same time: containers and sidecars, or one of the others and the sidecars before it.
fn at_once(pod: &Value, of: impl Fn(&Value) -> Amounts) -> Amounts {
    let mut sum = Amounts::default();
    for container in list(pod, "containers") {
        sum.add(&of(container));
    }
    let (mut sidecars, mut start) = (Amounts::default(), Amounts::default());
    for container in list(pod, "initContainers") {
        let mut asked = of(container);
        if container["restartPolicy"] == "Always" {
            sum.add(&asked);
            sidecars.add(&asked);
            start.raise(&sidecars);
        } else {
            asked.add(&sidecars);
            start.raise(&asked);
        }
    }
    sum.raise(&start);
    sum
}

/// What the pod says as a whole stands for what its containers say.
fn overridden(mut sum: Amounts, of_pod: &Value) -> Amounts {
    let of_pod = Amounts::of(of_pod);
    let names: Vec<String> = of_pod.names().filter(|name| is_of_pods(name)).map(str::to_owned).collect();
    sum.extend(of_pod.only(&names));
    sum
}

/// Resources that a pod can ask for as a whole.
fn is_of_pods(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with(PAGES)
}

/// Whether the pod asks as a whole, so that containers need not.
pub(crate) fn asks_as_a_whole(pod: &Value) -> bool {
    let resources = &pod["spec"]["resources"];
    ["requests", "limits"].iter().any(|kind| Amounts::of(&resources[kind]).names().any(is_of_pods))
}

fn requests(pod: &Value) -> Amounts {
    let sum = at_once(pod, |container| effective(pod, container, "requests"));
    let mut sum = overridden(sum, &pod["spec"]["resources"]["requests"]);
    sum.add(&Amounts::of(&pod["spec"]["overhead"]));
    sum
}

fn limits(pod: &Value) -> Amounts {
    let sum = at_once(pod, |container| effective(pod, container, "limits"));
    let mut sum = overridden(sum, &pod["spec"]["resources"]["limits"]);
    let names: Vec<String> = sum.names().map(str::to_owned).collect();
    sum.add(&Amounts::of(&pod["spec"]["overhead"]).only(&names));
    sum
}

/// While a container is resized it takes the larger of what it asks for and what it has; what cannot be had does not count.
fn effective(pod: &Value, container: &Value, kind: &str) -> Amounts {
    let mut asked = Amounts::of(&container["resources"][kind]);
    let lists = ["containerStatuses", "initContainerStatuses"].into_iter();
    let mut statuses = lists.flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let Some(status) = statuses.find(|status| status["name"] == container["name"]) else { return asked };
    if !status["resources"].is_object() {
        return asked;
    }
    let mut has = Amounts::of(&status["resources"][kind]);
    if kind == "requests" {
        has.raise(&Amounts::of(&status["allocatedResources"]));
    }
    let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let hopeless =
        conditions.any(|condition| condition["type"] == "PodResizePending" && condition["reason"] == "Infeasible");
    if hopeless {
        return has;
    }
    let names: Vec<String> = asked.names().map(str::to_owned).collect();
    asked.raise(&has.only(&names));
    asked
}
