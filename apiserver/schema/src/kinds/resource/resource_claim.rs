//! ResourceClaim: devices that pods use together.
//!
//! Nothing allocates devices, so that claims stay pending until a scheduler of another make does.

use super::{allocation, claim};
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::update;
use crate::view::{list, list_mut, object_mut, present_mut};
use serde_json::Value;

const GVK: [&str; 3] = ["resource.k8s.io", "v1", "ResourceClaim"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    subresources: &[status(GVK)],
    rules: Rules {
        defaults,
        prepare,
        validate,
        printer: &PRINTER,
        returns_deleted: true,
        status_keeps: crate::kinds::METADATA,
        ..Rules::PLAIN
    },
    ..Row::namespaced(GVK, ["resourceclaims", "resourceclaim"], "io.k8s.api.resource.v1.ResourceClaim")
};

static PRINTER: Printer = Printer {
    columns: &[NAME, Column::text("State", "Whether it is pending, allocated, reserved or deleted."), AGE],
    cells: |it, now| vec![name(it), state(it).into(), age(it, now)],
};

fn state(it: &Value) -> String {
    let (deleted, allocated) = (!it["metadata"]["deletionTimestamp"].is_null(), !it["status"]["allocation"].is_null());
    let states = [
        (deleted, "deleted"),
        (!deleted && !allocated, "pending"),
        (allocated, "allocated"),
        (allocated && !list(&it["status"], "reservedFor").is_empty(), "reserved"),
    ];
    states.into_iter().filter_map(|(is, state)| is.then_some(state)).collect::<Vec<_>>().join(",")
}

fn defaults(it: &mut Value) {
    if let Some(spec) = object_mut(it, "spec") {
        claim::defaults(spec);
    }
    let allocation = present_mut(it, "status").and_then(|status| present_mut(status, "allocation"));
    if let Some(devices) = allocation.and_then(|allocation| object_mut(allocation, "devices")) {
        list_mut(devices, "results").iter_mut().for_each(claim::toleration_defaults);
    }
}

/// What drivers said about devices goes with the devices.
fn prepare(new: &mut Value, old: Option<&Value>, part: &str) {
    let Some(old) = old.filter(|_| part == "status") else { return };
    let kept = allocation::devices(&new["status"]);
    let gone: Vec<_> = allocation::devices(&old["status"]).into_iter().filter(|one| !kept.contains(one)).collect();
    if let Some(status) = present_mut(new, "status")
        && let Some(devices) = status.get_mut("devices").and_then(Value::as_array_mut)
    {
        devices.retain(|one| !gone.contains(&allocation::device(one)));
        if devices.is_empty() {
            status["devices"] = Value::Null;
        }
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (new, root) = (change.new, Path::Root);
    match change.old {
        None => claim::spec(&new["spec"], &root.field("spec"), errors),
        Some(old) if change.part == "status" => allocation::status(new, old, &root.field("status"), errors),
        Some(old) => update::same("spec", new, old, &root, errors),
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, part_errors, set, update_errors};
    use serde_json::{Value, json};

    fn claim() -> Value {
        json!({"metadata": {"name": "a", "namespace": "default"},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}}})
    }

    #[test]
    fn requests_get_a_count() {
        let mut it = claim();
        super::defaults(&mut it);
        let exactly = json!({"deviceClassName": "c", "allocationMode": "ExactCount", "count": 1});
        assert_eq!(it["spec"]["devices"]["requests"][0]["exactly"], exactly);
    }

    #[test]
    fn what_is_refused() {
        assert_eq!(errors(&super::ROW, &claim()), [""; 0]);
        let two = json!([{"name": "r", "exactly": {"deviceClassName": "c"}}, {"name": "r", "exactly": {"deviceClassName": "c"}}]);
        let cases = [
            ("/requests", two, "requests[1]: Duplicate"),
            ("/requests/0/exactly", Value::Null, "requests[0]: Required"),
            ("/requests/0/exactly/deviceClassName", json!(""), "requests[0].exactly.deviceClassName: Required"),
            ("/requests/0/exactly/allocationMode", json!("Some"), "requests[0].exactly.allocationMode: NotSupported"),
            ("/requests/0/exactly/count", json!(-1), "requests[0].exactly.count: Invalid"),
            ("/requests/0/exactly/adminAccess", json!(true), "requests[0].adminAccess: Forbidden"),
            ("/requests/0/exactly/selectors", json!([{}]), "requests[0].exactly.selectors[0].cel: Required"),
            ("/constraints", json!([{"requests": ["r"]}]), "constraints[0]: Required"),
            ("/constraints", json!([{"matchAttribute": "x"}]), "constraints[0].matchAttribute: Invalid"),
            (
                "/config",
                json!([{"requests": ["s"], "opaque": {"driver": "d", "parameters": {}}}]),
                "config[0].requests[0]: Invalid",
            ),
            ("/config", json!([{"opaque": {"driver": "d", "parameters": 1}}]), "config[0].opaque.parameters: Invalid"),
        ];
        for (at, value, expected) in cases {
            let mut object = claim();
            set(&mut object, &format!("/spec/devices{at}"), value);
            assert_eq!(errors(&super::ROW, &object), [format!("spec.devices.{expected}")], "{at}");
        }
    }

    #[test]
    fn the_spec_stays_and_the_status_follows_the_allocation() {
        let mut new = claim();
        set(&mut new, "/spec/devices/requests/0/exactly/count", json!(2));
        assert_eq!(update_errors(&super::ROW, &new, &claim()), ["spec: Invalid"]);
        let of = |status: Value| {
            let mut new = claim();
            new["status"] = status;
            part_errors(&super::ROW, &new, &claim(), Some("status"))
        };
        let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x"});
        let user = json!({"resource": "pods", "name": "p", "uid": "u"});
        assert_eq!(of(json!({"allocation": {"devices": {"results": [result]}}, "reservedFor": [user]})), [""; 0]);
        assert_eq!(of(json!({"reservedFor": [user]})), ["status.reservedFor: Forbidden"]);
        let device = json!({"driver": "d", "pool": "p", "device": "y"});
        assert_eq!(of(json!({"devices": [device]})), ["status.devices[0]: Invalid"]);
    }
}
