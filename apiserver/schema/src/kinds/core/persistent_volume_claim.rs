//! PersistentVolumeClaim, and the rules of claims in templates.

use crate::defaults;
use crate::kinds::{Change, Row, Rules, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{meta, update};
use crate::view::{default, given, list, object_mut, text};
use serde_json::{Value, json};
use skiff_proto::quantity::Quantity;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["pvc"],
    subresources: &[status(["", "v1", "PersistentVolumeClaim"])],
    rules: Rules {
        defaults: claim,
        prepare: |new, old, _| {
            if old.is_none() {
                new["status"] = json!({"phase": "Pending"});
            }
            if let Some(spec) = object_mut(new, "spec") {
                one_source(spec);
            }
        },
        validate,
        printer: &PRINTER,
        returns_deleted: true,
        ..Rules::PLAIN
    },
    ..Row::namespaced(
        ["", "v1", "PersistentVolumeClaim"],
        ["persistentvolumeclaims", "persistentvolumeclaim"],
        "io.k8s.api.core.v1.PersistentVolumeClaim",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Status", "Whether it has its volume."),
        Column::text("Volume", "Its volume."),
        Column::text("Capacity", "What the volume holds."),
        Column::text("Access Modes", "How the volume may be mounted."),
        Column::text("StorageClass", "The class of volume that is asked for."),
        Column::text("VolumeAttributesClass", "The attributes that are asked for."),
        AGE,
        Column::wide("VolumeMode", "Whether it is a file system or a device."),
    ],
    cells: |it, now| {
        let (spec, status) = (&it["spec"], &it["status"]);
        let bound = given(spec, "volumeName");
        let (size, modes) = match bound {
            true => (amount(&status["capacity"]["storage"]), access_modes(list(status, "accessModes"))),
            false => (String::new(), String::new()),
        };
        let class = it["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
        vec![
            name(it),
            phase(it).into(),
            text(spec, "volumeName").into(),
            size.into(),
            modes.into(),
            class.unwrap_or(text(spec, "storageClassName")).into(),
            or_unset(&spec["volumeAttributesClassName"]),
            age(it, now),
            or_unset(&spec["volumeMode"]),
        ]
    },
};

/// The phase, or that it is going.
pub(super) fn phase(object: &Value) -> &str {
    if given(&object["metadata"], "deletionTimestamp") { "Terminating" } else { text(&object["status"], "phase") }
}

/// A field's text, or that it is not there.
pub(super) fn or_unset(value: &Value) -> Value {
    value.as_str().unwrap_or("<unset>").into()
}

/// An amount; 0 when it is absent.
pub(super) fn amount(value: &Value) -> String {
    value.as_str().and_then(|text| Quantity::parse(text).ok()).map_or_else(|| "0".to_owned(), |it| it.canonical())
}

/// Access modes by their short names, in Kubernetes' order.
pub(super) fn access_modes(modes: &[Value]) -> String {
    let short =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let found = short.into_iter().filter(|(mode, _)| modes.iter().any(|one| one == mode));
    found.map(|(_, short)| short).collect::<Vec<_>>().join(",")
}

/// Fills in a claim.
pub(crate) fn claim(object: &mut Value) {
    defaults::with_spec(object, |spec| default(spec, "volumeMode", "Filesystem"));
    if let Some(status) = object_mut(object, "status") {
        default(status, "phase", "Pending");
    }
}

/// A source that only the old field or only the new one names stands in both (`NormalizeDataSources`). The old one has no
/// namespace.
fn one_source(spec: &mut Value) {
    let (old, new) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    match (old.is_object(), new.is_object()) {
        (true, false) => spec["dataSourceRef"] = old,
        (false, true) if !given(&new, "namespace") => {
            let mut old = new;
            if let Some(fields) = old.as_object_mut() {
                fields.remove("namespace");
            }
            spec["dataSource"] = old;
        }
        _ => {}
    }
}

fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (new, path) = (change.new, Path::Root.field("spec"));
    if !change.is_whole() {
        return capacity(&new["status"], errors);
    }
    spec(&new["spec"], &path, errors);
    if let Some(old) = change.old {
        unchanged(new, old, &path, errors);
    }
}

/// Amounts of a status are not negative.
fn capacity(status: &Value, errors: &mut Errors) {
    let path = Path::Root.field("status");
    for field in ["capacity", "allocatedResources"] {
        let path = path.field(field);
        for (name, value) in crate::view::entries(status, field) {
            if value.as_str().and_then(|it| Quantity::parse(it).ok()).is_some_and(|it| it.nanos() < 0) {
                errors.invalid(&path.key(name), value.clone(), "must be a valid resource quantity");
            }
        }
    }
}

/// The spec of a claim.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let modes = path.field("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    meta::selector(&spec["selector"], &path.field("selector"), errors);
    access(list(spec, "accessModes"), &modes, errors);
    let resources = path.field("resources");
    let (asked, storage) = (&spec["resources"]["requests"]["storage"], resources.key("storage"));
    if asked.is_null() {
        errors.required(&storage, "");
    } else {
        positive(asked, &storage, errors);
    }
    for class in ["storageClassName", "volumeAttributesClassName"].into_iter().filter(|class| given(spec, class)) {
        Format::Subdomain.require(text(spec, class), &path.field(class), errors);
    }
    errors.one_of(&path.field("volumeMode"), text(spec, "volumeMode"), VOLUME_MODES);
    sources(spec, path, errors);
}

/// The access modes of a claim or volume.
pub(super) fn access(modes: &[Value], path: &Path<'_>, errors: &mut Errors) {
    for mode in modes.iter().filter_map(Value::as_str) {
        errors.one_of(path, if mode.is_empty() { " " } else { mode }, MODES);
    }
    let alone = |mode: &Value| mode == "ReadWriteOncePod";
    if modes.iter().any(alone) && modes.iter().any(|mode| !alone(mode) && MODES.iter().any(|one| mode == one)) {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

/// An amount above 0.
pub(super) fn positive(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(amount) = value.as_str().and_then(|text| Quantity::parse(text).ok()) else { return };
    if amount.nanos() <= 0 {
        errors.invalid(path, amount.canonical(), "must be greater than zero");
    }
}

fn sources(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let [plain, any] = ["dataSource", "dataSourceRef"];
    for field in [plain, any].into_iter().filter(|field| spec[*field].is_object()) {
        let (source, path) = (&spec[field], path.field(field));
        for part in ["name", "kind"].into_iter().filter(|part| !given(source, part)) {
            errors.required(&path.field(part), "");
        }
        if given(source, "apiGroup") {
            Format::Subdomain.require(text(source, "apiGroup"), &path.field("apiGroup"), errors);
        } else if text(source, "kind") != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.invalid(&path, text(source, "kind"), detail);
        }
        if given(source, "namespace") {
            Format::Label.require(text(source, "namespace"), &path.field("namespace"), errors);
        }
    }
    if !spec[plain].is_object() || !spec[any].is_object() {
        return;
    }
    if given(&spec[any], "namespace") {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.invalid(path, path.field(plain).to_string(), detail);
    } else if !update::equal(&spec[plain], &spec[any]) {
        errors.invalid(path, path.field(plain).to_string(), "must match dataSourceRef");
    }
}

/// A claim stays as it was made; one that has its volume may ask for more of it.
fn unchanged(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (mut now, mut then) = (new["spec"].clone(), old["spec"].clone());
    if !given(&then, "volumeName") {
        update::take("volumeName", &mut then, &now);
    }
    let size = |it: &Value| it.as_str().and_then(|it| Quantity::parse(it).ok()).map_or(0, |it| it.nanos());
    let asked = |it: &Value| size(&it["spec"]["resources"]["requests"]["storage"]);
    if text(&new["status"], "phase") == "Bound" {
        update::take("volumeAttributesClassName", &mut now, &then);
        if now["resources"]["requests"].is_object() {
            now["resources"]["requests"]["storage"] = then["resources"]["requests"]["storage"].clone();
        }
    } else if asked(new) == asked(old) && now["resources"]["requests"].is_object() {
        // One amount may be written in two ways.
        now["resources"]["requests"]["storage"] = then["resources"]["requests"]["storage"].clone();
    }
    if !update::equal(&now, &then) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.forbidden(path, detail);
    }
    let (resources, capacity) = (path.field("resources"), size(&new["status"]["capacity"]["storage"]));
    let requests = resources.field("requests");
    if asked(new) < asked(old) && asked(new) <= capacity {
        errors.forbidden(&requests.field("storage"), "field can not be less than status.capacity");
    }
    update::same("volumeMode", &new["spec"], &old["spec"], &Path::Root, errors);
    let class = "volumeAttributesClassName";
    if given(&old["status"], "currentVolumeAttributesClassName") && !given(&new["spec"], class) {
        let to = if new["spec"][class].is_null() { "nil" } else { "empty string" };
        let detail = format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil");
        errors.forbidden(&path.field(class), detail);
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}});
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&super::ROW, &with(pointer, value));
        assert_eq!(of("/spec/storageClassName", json!("")), [""; 0]);
        for (pointer, value, expected) in [
            ("/spec/accessModes", json!([]), "spec.accessModes: Required"),
            ("/spec/accessModes", json!(["Some"]), "spec.accessModes: NotSupported"),
            ("/spec/accessModes", json!(["ReadWriteOncePod", "ReadOnlyMany"]), "spec.accessModes: Forbidden"),
            ("/spec/resources", json!({}), "spec.resources[storage]: Required"),
            ("/spec/resources/requests/storage", json!("0"), "spec.resources[storage]: Invalid"),
            ("/spec/storageClassName", json!("-a"), "spec.storageClassName: Invalid"),
            ("/spec/volumeMode", json!("Tape"), "spec.volumeMode: NotSupported"),
            ("/spec/dataSource", json!({"kind": "X", "name": "a"}), "spec.dataSource: Invalid"),
        ] {
            assert_eq!(of(pointer, value), [expected]);
        }
    }

    #[test]
    fn a_claim_stays_as_it_was_made() {
        let old = with("/status", json!({"phase": "Pending"}));
        let of = |pointer: &str, value: Value| update_errors(&super::ROW, &with(pointer, value), &old);
        assert_eq!(of("/spec/volumeName", json!("v")), [""; 0]);
        assert_eq!(of("/spec/resources/requests/storage", json!("1024Mi")), [""; 0]);
        assert_eq!(of("/spec/resources/requests/storage", json!("2Gi")), ["spec: Forbidden"]);
        assert_eq!(of("/spec/volumeMode", json!("Block")), ["spec: Forbidden", "volumeMode: Invalid"]);
        let bound = |size: &str| {
            let mut it = with("/spec/resources/requests/storage", json!(size));
            it["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
            it
        };
        assert_eq!(update_errors(&super::ROW, &bound("2Gi"), &bound("1Gi")), [""; 0]);
        assert_eq!(
            update_errors(&super::ROW, &bound("1Gi"), &bound("2Gi")),
            ["spec.resources.requests.storage: Forbidden"]
        );
    }
}
