//! RuntimeClass: a pod takes what its class needs for itself, and goes where its class runs (KEP-688).

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, built_in, known, later, tolerations};
use crate::registry::Target;
use crate::registry::object::object_at;
use crate::status::Status;
use serde_json::Value;
use std::sync::Arc;

pub(super) const PLUGIN: Plugin =
    Plugin { name: "RuntimeClass", handles: &[Operation::Create], mutate: Some(admit), validate: Some(validate) };

fn admit<'a>(seen: &'a Attributes<'a>, pod: &'a mut Value) -> Admitted<'a> {
    if !seen.is_about("", "pods") || text(&pod["spec"], "runtimeClassName").is_empty() {
        return known(Ok(()));
    }
    later(async move {
        let class = class(seen, pod).await?;
        let done = class.map_or(Ok(()), |class| take_over(&mut pod["spec"], &class));
        done.map_err(|why| seen.forbidden(&why))
    })
}

fn validate<'a>(seen: &'a Attributes<'a>, pod: &'a Value) -> Admitted<'a> {
    let spec = &pod["spec"];
    let says_nothing = text(spec, "runtimeClassName").is_empty() && spec["overhead"].is_null();
    if !seen.is_about("", "pods") || says_nothing {
        return known(Ok(()));
    }
    later(async move {
        let class = class(seen, pod).await?;
        agrees(spec, class.as_deref().unwrap_or(&Value::Null)).map_err(|why| seen.forbidden(why))
    })
}

async fn class(seen: &Attributes<'_>, pod: &Value) -> Result<Option<Arc<Value>>, Status> {
    let name = text(&pod["spec"], "runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let target = Target { resource: built_in("node.k8s.io", "runtimeclasses")?, namespace: "", name };
    match seen.stored.get(target).await {
        Err(status) if status.reason == "NotFound" => {
            Err(seen.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found")))
        }
        found => found.map(Some),
    }
}

/// Amounts are canonical wherever they stand.
const UNEQUAL: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

fn take_over(spec: &mut Value, class: &Value) -> Result<(), String> {
    let needed = &class["overhead"]["podFixed"];
    if class["overhead"].is_object() {
        let said = &spec["overhead"];
        if said.as_object().is_some_and(|said| !said.is_empty()) && said != needed {
            return Err(UNEQUAL.to_owned());
        }
        if needed.is_object() {
            spec["overhead"] = needed.clone();
        }
    }
    let scheduling = &class["scheduling"];
    for (key, value) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let selector = object_at(spec, "nodeSelector");
        if let Some(said) = selector.get(key).filter(|said| *said != value) {
            let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            return Err(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                words(value),
                words(said)
            ));
        }
        selector.insert(key.clone(), value.clone());
    }
    if scheduling.is_object() {
        tolerations::merge(spec, items(scheduling, "tolerations"));
    }
    Ok(())
}

fn agrees(spec: &Value, class: &Value) -> Result<(), &'static str> {
    let (said, is_said) = (&spec["overhead"], spec["overhead"].as_object().is_some_and(|said| !said.is_empty()));
    if !class["overhead"].is_object() {
        let without = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return if is_said { Err(without) } else { Ok(()) };
    }
    let needed = &class["overhead"]["podFixed"];
    let needs = needed.as_object().is_some_and(|needed| !needed.is_empty());
    if (is_said || needs) && said != needed { Err(UNEQUAL) } else { Ok(()) }
}
