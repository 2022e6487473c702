//! StorageObjectInUseProtection: volumes, claims and classes of attributes stay until nobody uses them; controllers let them go.

use super::reading::items;
use super::{Admitted, Attributes, Operation, Plugin, known};
use crate::registry::object::metadata_mut;
use serde_json::{Value, json};

pub(super) const PLUGIN: Plugin =
    Plugin { name: "StorageObjectInUseProtection", handles: &[Operation::Create], mutate: Some(admit), validate: None };

/// Of what, and what holds it.
const HELD: [(&str, &str, &str); 3] = [
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

fn admit<'a>(seen: &'a Attributes<'a>, object: &'a mut Value) -> Admitted<'a> {
    let held = HELD.iter().find(|(group, plural, _)| seen.is_about(group, plural));
    if let Some((_, _, finalizer)) = held
        && !items(&object["metadata"], "finalizers").iter().any(|one| one == finalizer)
    {
        let list = metadata_mut(object).entry("finalizers").or_insert(Value::Null);
        match list.as_array_mut() {
            Some(list) => list.push((*finalizer).into()),
            None => *list = json!([finalizer]),
        }
    }
    known(Ok(()))
}
