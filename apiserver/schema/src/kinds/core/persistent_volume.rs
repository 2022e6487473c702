//! PersistentVolume.

use super::persistent_volume_claim::{access, access_modes, amount, or_unset, phase, positive};
use crate::kinds::{Change, Row, Rules, Stamp, status};
use crate::path::Path;
use crate::table::text::{age, name};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::validate::{node_selector, update};
use crate::view::{default, entries, given, list, object_mut, text};
use serde_json::{Value, json};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["pv"],
    subresources: &[status(["", "v1", "PersistentVolume"])],
    rules: Rules {
        defaults,
        prepare: |new, old, _| {
            if old.is_none() {
                new["status"] = json!({"phase": "Pending"});
            }
        },
        stamp: Some(note_phase),
        validate,
        printer: &PRINTER,
        returns_deleted: true,
        ..Rules::PLAIN
    },
    ..Row::cluster(
        ["", "v1", "PersistentVolume"],
        ["persistentvolumes", "persistentvolume"],
        "io.k8s.api.core.v1.PersistentVolume",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        Column::text("Capacity", "What it holds."),
        Column::text("Access Modes", "How it may be mounted."),
        Column::text("Reclaim Policy", "What becomes of it after its claim."),
        Column::text("Status", "Whether it is free."),
        Column::text("Claim", "Whose it is."),
        Column::text("StorageClass", "Its class."),
        Column::text("VolumeAttributesClass", "Its attributes."),
        Column::text("Reason", "Why it is in its state."),
        AGE,
        Column::wide("VolumeMode", "Whether it is a file system or a device."),
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let claim = &spec["claimRef"];
        let claimed = format!("{}/{}", text(claim, "namespace"), text(claim, "name"));
        let class = it["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
        vec![
            name(it),
            amount(&spec["capacity"]["storage"]).into(),
            access_modes(list(spec, "accessModes")).into(),
            text(spec, "persistentVolumeReclaimPolicy").into(),
            phase(it).into(),
            if claim.is_object() { claimed } else { String::new() }.into(),
            class.unwrap_or(text(spec, "storageClassName")).into(),
            or_unset(&spec["volumeAttributesClassName"]),
            text(&it["status"], "reason").into(),
            age(it, now),
            or_unset(&spec["volumeMode"]),
        ]
    },
};

fn defaults(object: &mut Value) {
    if let Some(status) = object_mut(object, "status") {
        default(status, "phase", "Pending");
    }
    let Some(spec) = object_mut(object, "spec") else { return };
    default(spec, "persistentVolumeReclaimPolicy", "Retain");
    default(spec, "volumeMode", "Filesystem");
    if spec["hostPath"].is_object() && spec["hostPath"]["type"].is_null() {
        spec["hostPath"]["type"] = "".into();
    }
    if let Some(iscsi) = spec.get_mut("iscsi").filter(|it| it.is_object()) {
        default(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = spec.get_mut("rbd").filter(|it| it.is_object()) {
        default(rbd, "pool", "rbd");
        default(rbd, "user", "admin");
        default(rbd, "keyring", "/etc/ceph/keyring");
    }
}

/// Notes when the phase changed, unless whoever changed it says so.
fn note_phase(new: &mut Value, old: Option<&Value>, stamp: &Stamp<'_>) {
    const SINCE: &str = "lastPhaseTransitionTime";
    let none = Value::Null;
    let before = old.map_or(&none, |old| &old["status"]);
    let said = new["status"][SINCE].is_string() && new["status"][SINCE] != before[SINCE];
    if said || !new["status"].is_object() {
        return;
    }
    if new["status"]["phase"] == before["phase"] {
        if before[SINCE].is_string() {
            new["status"][SINCE] = before[SINCE].clone();
        }
    } else {
        new["status"][SINCE] = stamp.now.into();
    }
}

/// The sources of volumes, by what each must say.
const SOURCES: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("csi", &["driver", "volumeHandle"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("flocker", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("glusterfs", &["endpoints", "path"]),
    ("hostPath", &["path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("local", &["path"]),
    ("nfs", &["server", "path"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("storageos", &[]),
    ("vsphereVolume", &["volumePath"]),
];

fn validate(change: &Change<'_>, errors: &mut Errors) {
    if !change.is_whole() {
        return;
    }
    let (spec, path) = (&change.new["spec"], Path::Root.field("spec"));
    let modes = path.field("accessModes");
    if list(spec, "accessModes").is_empty() {
        errors.required(&modes, "");
    }
    access(list(spec, "accessModes"), &modes, errors);
    capacity(spec, &path.field("capacity"), errors);
    let policies = ["Delete", "Recycle", "Retain"];
    errors.one_of(&path.field("persistentVolumeReclaimPolicy"), text(spec, "persistentVolumeReclaimPolicy"), &policies);
    source(spec, &path, errors);
    for class in ["storageClassName", "volumeAttributesClassName"].into_iter().filter(|class| given(spec, class)) {
        Format::Subdomain.require(text(spec, class), &path.field(class), errors);
    }
    errors.one_of(&path.field("volumeMode"), text(spec, "volumeMode"), &["Block", "Filesystem"]);
    if spec["volumeAttributesClassName"].is_string() && !spec["csi"].is_object() {
        errors.required(&path.field("csi"), "has to be specified when using volumeAttributesClassName");
    }
    if let Some(old) = change.old {
        unchanged(spec, &old["spec"], &path, errors);
    }
}

fn capacity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let count = entries(spec, "capacity").count();
    if count == 0 {
        errors.required(path, "");
    }
    if count != 1 || spec["capacity"]["storage"].is_null() {
        errors.unsupported(path, spec["capacity"].clone(), &["storage"]);
    }
    for (name, value) in entries(spec, "capacity") {
        positive(value, &path.key(name), errors);
    }
}

fn source(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut found = SOURCES.iter().filter(|(kind, _)| spec[*kind].is_object());
    let Some((kind, needs)) = found.next() else { return errors.required(path, "must specify a volume type") };
    for (more, _) in found {
        errors.forbidden(&path.field(more), "may not specify more than 1 volume type");
    }
    let (source, at) = (&spec[*kind], path.field(kind));
    for need in needs.iter().filter(|need| !given(source, need) || source[**need] == json!([])) {
        errors.required(&at.field(need), "");
    }
    match *kind {
        "hostPath" | "local" if text(source, "path").split('/').any(|part| part == "..") => {
            errors.invalid(&at.field("path"), text(source, "path"), "must not contain '..'");
        }
        "hostPath" => {
            let kinds =
                ["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            errors.one_of(&at.field("type"), text(source, "type"), &kinds);
        }
        "nfs" if given(source, "path") && !text(source, "path").starts_with('/') => {
            errors.invalid(&at.field("path"), text(source, "path"), "must be an absolute path");
        }
        _ => {}
    }
    node_affinity(&spec["nodeAffinity"], &path.field("nodeAffinity"), errors);
    if *kind == "local" && !spec["nodeAffinity"]["required"].is_object() {
        errors.required(&path.field("nodeAffinity"), "Local volume requires node affinity");
    }
    let root = text(source, "path").trim_matches('/').is_empty();
    if *kind == "hostPath" && root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.forbidden(&path.field("persistentVolumeReclaimPolicy"), detail);
    }
}

/// The nodes from which a volume can be reached.
fn node_affinity(affinity: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !affinity.is_object() {
        return;
    }
    let (required, path) = (&affinity["required"], path.field("required"));
    if !required.is_object() {
        return errors.required(&path, "must specify required node constraints");
    }
    node_selector::check(required, &path, errors);
}

/// Where a volume lies stays.
fn unchanged(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let sources = |spec: &Value| -> Value {
        let found = SOURCES.iter().filter(|(kind, _)| spec[*kind].is_object());
        found.map(|(kind, _)| ((*kind).to_owned(), spec[*kind].clone())).collect()
    };
    let (mut now, then) = (sources(new), sources(old));
    // The secret for growth may come later.
    let secret = "controllerExpandSecretRef";
    if then["csi"].is_object() && !given(&then["csi"], secret) && now["csi"].is_object() {
        now["csi"][secret] = Value::Null;
    }
    if !update::equal(&now, &then) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&path.field("persistentvolumesource"), detail);
    }
    update::same("volumeMode", new, old, &Path::Root, errors);
    if given(old, "nodeAffinity") && !update::equal(&new["nodeAffinity"], &old["nodeAffinity"]) {
        let detail = "field is immutable, except for updating from beta label to GA";
        errors.invalid(&Path::Root.field("nodeAffinity"), new["nodeAffinity"].clone(), detail);
    }
    let class = "volumeAttributesClassName";
    if given(old, class) && new[class].is_null() {
        errors.forbidden(&path.field(class), "update from non-nil value to nil is forbidden");
    }
}

#[cfg(test)]
mod tests {
    use crate::kinds::testing::{errors, set, update_errors};
    use serde_json::{Value, json};

    fn with(pointer: &str, value: Value) -> Value {
        let mut it = json!({"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/d"}}});
        set(&mut it, pointer, value);
        it
    }

    #[test]
    fn what_is_refused() {
        let of = |pointer: &str, value: Value| errors(&super::ROW, &with(pointer, value));
        assert_eq!(of("/spec/storageClassName", json!("fast")), [""; 0]);
        for (pointer, value, expected) in [
            ("/spec/accessModes", json!([]), "spec.accessModes: Required"),
            ("/spec/capacity/storage", json!("0"), "spec.capacity[storage]: Invalid"),
            ("/spec/hostPath", Value::Null, "spec: Required"),
            ("/spec/hostPath/path", json!("/a/../b"), "spec.hostPath.path: Invalid"),
            ("/spec/nfs", json!({"server": "s", "path": "/p"}), "spec.nfs: Forbidden"),
            ("/spec/persistentVolumeReclaimPolicy", json!("Burn"), "spec.persistentVolumeReclaimPolicy: NotSupported"),
            ("/spec/volumeAttributesClassName", json!("a"), "spec.csi: Required"),
        ] {
            assert_eq!(of(pointer, value), [expected]);
        }
        assert_eq!(of("/spec/capacity", json!({})), ["spec.capacity: Required", "spec.capacity: NotSupported"]);
    }

    #[test]
    fn a_change_of_phase_has_its_time() {
        let noted = |phase: &str, since: Value| {
            let old = json!({"status": {"phase": "Pending", "lastPhaseTransitionTime": "2026-01-01T00:00:00Z"}});
            let mut new = json!({"status": {"phase": phase, "lastPhaseTransitionTime": since}});
            let stamp = super::Stamp { who: &Value::Null, now: "2026-01-03T00:00:00Z" };
            super::note_phase(&mut new, Some(&old), &stamp);
            new["status"]["lastPhaseTransitionTime"].as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(noted("Pending", json!("2026-01-01T00:00:00Z")), "2026-01-01T00:00:00Z");
        assert_eq!(noted("Pending", Value::Null), "2026-01-01T00:00:00Z", "what was not said stays");
        assert_eq!(noted("Bound", json!("2026-01-02T00:00:00Z")), "2026-01-02T00:00:00Z");
        assert_eq!(noted("Bound", json!("2026-01-01T00:00:00Z")), "2026-01-03T00:00:00Z");
    }

    #[test]
    fn where_it_lies_stays() {
        let old = with("/spec/volumeMode", json!("Filesystem"));
        let of = |pointer: &str, value: Value| update_errors(&super::ROW, &with(pointer, value), &old);
        assert_eq!(of("/spec/persistentVolumeReclaimPolicy", json!("Delete")), [""; 0]);
        assert_eq!(of("/spec/hostPath/path", json!("/e")), ["spec.persistentvolumesource: Forbidden"]);
        assert_eq!(of("/spec/volumeMode", json!("Block")), ["volumeMode: Invalid"]);
    }
}
