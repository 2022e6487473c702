//! PodTopologyLabels: a pod that gets its node gets the labels that say where the node is (KEP-4742).

use super::reading::text;
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later};
use crate::registry::Target;
use crate::registry::object::{metadata_mut, object_at};
use crate::status::Status;
use serde_json::Value;

pub(super) const PLUGIN: Plugin =
    Plugin { name: "PodTopologyLabels", handles: &[Operation::Create], mutate: Some(admit), validate: None };

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// A binding is seen as what it makes of its pod.
fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    let is_pod = seen.request.resource.is("", "pods") && matches!(&*seen.request.part, "" | "binding");
    let node = text(&pod["spec"], "nodeName").to_owned();
    if !is_pod || node.is_empty() {
        return known(Ok(()));
    }
    later(async move { hand_over(seen, pod, &node).await })
}

async fn hand_over(seen: &Attributes<'_>, pod: &mut Value, node: &str) -> Result<(), Status> {
    let target = Target { resource: built_in("", "nodes")?, namespace: "", name: node };
    let node = match seen.stored.get(target).await {
        Ok(node) => node,
        Err(status) if status.reason == "NotFound" => return Ok(()),
        Err(status) => return Err(status),
    };
    for label in LABELS {
        if let Some(value) = node["metadata"]["labels"].get(label) {
            metadata_mut(pod);
            object_at(&mut pod["metadata"], "labels").insert(label.to_owned(), value.clone());
        }
    }
    Ok(())
}
