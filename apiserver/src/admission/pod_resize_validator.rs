//! PodResizeValidator: a pod becomes no larger than its node.

use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::status::Status;
use serde_json::Value;
use skiff_proto::quantity::Quantity;

pub(super) const PLUGIN: Plugin =
    Plugin { name: "PodResizeValidator", handles: &[Operation::Update], mutate: None, validate: Some(validate) };

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    let request = seen.request;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    let before = seen.old.map(|old| &old["metadata"]["generation"]);
    if request.part != "resize"
        || !request.resource.is("", "pods")
        || node.is_empty()
        || before == Some(&pod["metadata"]["generation"])
    {
        return known(Ok(()));
    }
    later(async move {
        let target = Target { resource: built_in("", "nodes")?, namespace: "", name: node };
        let node = seen.stored.get(target).await.map_err(|status| match status.reason {
            "NotFound" => seen.forbidden(&format!("node {node:?} not found")),
            _ => status,
        })?;
        fits(pod, &node).map_err(|why| -> Status { seen.forbidden(&why) })
    })
}

/// Whether the node, empty, could take the pod.
fn fits(pod: &Value, node: &Value) -> Result<(), String> {
    let system = node["metadata"]["labels"]["kubernetes.io/os"].as_str().unwrap_or("linux");
    if system != "linux" {
        let name = node["metadata"]["name"].as_str().unwrap_or_default();
        return Err(format!("pod resize is only supported on linux nodes, node {name:?} is {system:?}"));
    }
    let allocatable = &node["status"]["allocatable"];
    let mut lacking = Vec::new();
    // Thousandths of a processor, bytes.
    for (name, unit) in [("cpu", 1_000_000), ("memory", 1_000_000_000)] {
        let (asked, most) = (asked(&pod["spec"], name), nanos(&allocatable[name]));
        if asked > most {
            let shown = |nanos: i128| (nanos + unit - 1) / unit;
            lacking.push(format!("{name}, requested: {}, allocatable: {}", shown(asked), shown(most)));
        }
    }
    match &lacking[..] {
        [] => Ok(()),
        all => Err(format!("node didn't have enough allocatable resources: {}", all.join("; "))),
    }
}

fn nanos(amount: &Value) -> i128 {
    amount.as_str().and_then(|text| Quantity::parse(text).ok()).map_or(0, Quantity::nanos)
}

/// What a pod asks for at most at one time: its containers and sidecars together, or the largest of what comes before them.
fn asked(spec: &Value, name: &str) -> i128 {
    let whole = &spec["resources"]["requests"][name];
    if !whole.is_null() {
        return nanos(whole) + nanos(&spec["overhead"][name]);
    }
    let of = |container: &Value| nanos(&container["resources"]["requests"][name]);
    let list = |field: &str| spec[field].as_array().map_or(&[][..], Vec::as_slice);
    let (mut sidecars, mut largest) = (0, 0);
    for init in list("initContainers") {
        if init["restartPolicy"] == "Always" {
            sidecars += of(init);
            largest = largest.max(sidecars);
        } else {
            largest = largest.max(sidecars + of(init));
        }
    }
    let running: i128 = list("containers").iter().map(of).sum();
    (running + sidecars).max(largest) + nanos(&spec["overhead"][name])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_no_larger_than_its_node() {
        let pod = |cpu: &str| {
            json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}],
                "initContainers": [{"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}]}})
        };
        let node = json!({"status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}});
        assert_eq!(fits(&pod("1500m"), &node), Ok(()));
        let why = "node didn't have enough allocatable resources: cpu, requested: 2100, allocatable: 2000";
        assert_eq!(fits(&pod("1600m"), &node), Err(why.to_owned()));
        assert!(fits(&pod("1"), &json!({"metadata": {"labels": {"kubernetes.io/os": "windows"}}})).is_err());
    }
}
