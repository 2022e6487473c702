//! TaintNodesByCondition: a new node takes no pods until the node lifecycle controller has seen that it is ready.

use super::reading::{items, text};
use super::{Admitted, Attributes, Operation, Plugin, known};
use crate::registry::object::object_at;
use serde_json::{Value, json};

pub(super) const PLUGIN: Plugin =
    Plugin { name: "TaintNodesByCondition", handles: &[Operation::Create], mutate: Some(admit), validate: None };

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const EFFECT: &str = "NoSchedule";

fn admit<'a>(seen: &'a Attributes<'a>, node: &'a mut Value) -> Admitted<'a> {
    if seen.is_about("", "nodes") {
        taint(node);
    }
    known(Ok(()))
}

fn taint(node: &mut Value) {
    let is_it = |taint: &Value| text(taint, "key") == NOT_READY && text(taint, "effect") == EFFECT;
    if items(&node["spec"], "taints").iter().any(is_it) {
        return;
    }
    let taint = json!({"key": NOT_READY, "effect": EFFECT});
    let taints = object_at(node, "spec").entry("taints").or_insert(Value::Null);
    match taints.as_array_mut() {
        Some(taints) => taints.push(taint),
        None => *taints = json!([taint]),
    }
}
