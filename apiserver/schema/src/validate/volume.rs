//! Volumes of a pod, and where its containers mount them.

use super::errors::Errors;
use super::names::Format;
use super::probe;
use crate::kinds::driver_name;
use crate::path::Path;
use crate::view::{given, list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Octal 0777, the most a file mode may be.
const MODES: (i64, i64) = (0, 0o777);

/// The volumes; returns their names.
pub(crate) fn volumes<'a>(volumes: &'a [Value], path: &Path<'_>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name = text(volume, "name");
        Format::Label.require_given(name, &path.field("name"), errors);
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(&path.field("name"), name);
        }
        source(volume, &path, errors);
    }
    names
}

fn source(volume: &Value, path: &Path<'_>, errors: &mut Errors) {
    let sources = volume.as_object().into_iter().flatten().filter(|(key, value)| *key != "name" && !value.is_null());
    let mut sources = sources.map(|(key, value)| (key.as_str(), value));
    let Some((kind, source)) = sources.next() else {
        return errors.required(path, "must specify a volume type");
    };
    for (more, _) in sources {
        errors.forbidden(&path.field(more), "may not specify more than 1 volume type");
    }
    let path = path.field(kind);
    match kind {
        "hostPath" => host_path(source, &path, errors),
        "configMap" => {
            Format::Subdomain.require_given(text(source, "name"), &path.field("name"), errors);
            files(source, &path, errors);
        }
        "secret" => {
            Format::Subdomain.require_given(text(source, "secretName"), &path.field("secretName"), errors);
            files(source, &path, errors);
        }
        "downwardAPI" => downward(source, &path, errors),
        "projected" => projected(source, &path, errors),
        "emptyDir" => empty_dir(source, &path, errors),
        "image" if text(source, "reference").is_empty() => errors.required(&path.field("reference"), ""),
        "image" => {
            errors.one_of(&path.field("pullPolicy"), text(source, "pullPolicy"), super::container::PULL_POLICIES)
        }
        // The kubelet looks for the driver, and says so if its node has none.
        "csi" => csi(source, &path, errors),
        _ => elsewhere(kind, source, &path, errors),
    }
}

/// Sources that a node has from elsewhere, by what each must say. Which of them it can mount, its kubelet says.
const ELSEWHERE: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cephfs", &["monitors"]),
    ("cinder", &["volumeID"]),
    ("ephemeral", &["volumeClaimTemplate"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("quobyte", &["registry", "volume"]),
    ("rbd", &["monitors", "image"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

fn elsewhere(kind: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let needs = ELSEWHERE.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, needs)| *needs);
    let is_missing = |field: &str| !given(source, field) || source[field].as_array().is_some_and(Vec::is_empty);
    for need in needs.iter().filter(|need| is_missing(need)) {
        errors.required(&path.field(need), "");
    }
    if kind == "nfs" && given(source, "path") && !text(source, "path").starts_with('/') {
        errors.invalid(&path.field("path"), text(source, "path"), "must be an absolute path");
    }
}

fn csi(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    driver_name(text(source, "driver"), &path.field("driver"), errors);
    let secret = &source["nodePublishSecretRef"];
    if secret.is_object() && text(secret, "name").is_empty() {
        errors.required(&path.field("nodePublishSecretRef").field("name"), "");
    }
}

fn host_path(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = text(source, "path");
    if at.is_empty() {
        errors.required(&path.field("path"), "");
    } else {
        no_dot_dot(at, &path.field("path"), errors);
    }
    let types = ["BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    errors.one_of(&path.field("type"), text(source, "type"), &types);
}

fn empty_dir(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let medium = text(source, "medium");
    if !medium.starts_with("HugePages") {
        errors.one_of(&path.field("medium"), medium, &["Memory", "HugePages"]);
    }
}

fn files(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (index, item) in list(source, "items").iter().enumerate() {
        let items = path.field("items");
        let path = items.index(index);
        probe::config_key(item, &path, errors);
        relative(text(item, "path"), &path.field("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

fn downward(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (index, item) in list(source, "items").iter().enumerate() {
        let items = path.field("items");
        let path = items.index(index);
        relative(text(item, "path"), &path.field("path"), errors);
        mode(item, "mode", &path, errors);
        match (item["fieldRef"].is_object(), item["resourceFieldRef"].is_object()) {
            (false, false) => errors.required(&path, "one of fieldRef and resourceFieldRef must be specified"),
            (true, true) => {
                errors.invalid(&path, item.clone(), "fieldRef and resourceFieldRef can not be specified simultaneously")
            }
            _ => {}
        }
    }
}

fn projected(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for (index, projection) in list(source, "sources").iter().enumerate() {
        let sources = path.field("sources");
        let path = sources.index(index);
        let kinds = projection.as_object().into_iter().flatten().filter(|(_, value)| value.is_object());
        let kinds: Vec<_> = kinds.map(|(key, _)| key.as_str()).collect();
        match kinds.as_slice() {
            [] => errors.required(&path, "must specify a projection source"),
            [kind @ ("configMap" | "secret")] => {
                let path = path.field(kind);
                Format::Subdomain.require_given(text(&projection[*kind], "name"), &path.field("name"), errors);
                files(&projection[*kind], &path, errors);
            }
            ["downwardAPI"] => downward(&projection["downwardAPI"], &path.field("downwardAPI"), errors),
            ["serviceAccountToken"] => {
                token(&projection["serviceAccountToken"], &path.field("serviceAccountToken"), errors)
            }
            // What the kubelet gets from the API server or from who signs for it.
            [_] => {}
            [_, more, ..] => errors.forbidden(&path.field(more), "may not specify more than 1 projection source"),
        }
    }
}

fn token(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    relative(text(source, "path"), &path.field("path"), errors);
    let least = 10 * 60;
    if source["expirationSeconds"].as_i64().is_some_and(|seconds| seconds < least) {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(&path.field("expirationSeconds"), source["expirationSeconds"].clone(), detail);
    }
}

fn mode(holder: &Value, field: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = holder[field].as_i64()
        && !(MODES.0..=MODES.1).contains(&mode)
    {
        errors.invalid(&path.field(field), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn no_dot_dot(at: &str, path: &Path<'_>, errors: &mut Errors) {
    if at.split('/').any(|part| part == "..") {
        errors.invalid(path, at, "must not contain '..'");
    }
}

/// A path below a volume's root.
fn relative(at: &str, path: &Path<'_>, errors: &mut Errors) {
    if at.is_empty() {
        return errors.required(path, "");
    }
    if at.starts_with('/') {
        errors.invalid(path, at, "must be a relative path");
    }
    no_dot_dot(at, path, errors);
}

/// The mounts of a container, of volumes called `names`.
pub(crate) fn mounts(container: &Value, names: &BTreeSet<&str>, path: &Path<'_>, errors: &mut Errors) {
    let mut paths = BTreeSet::new();
    let privileged = container["securityContext"]["privileged"] == true;
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let list = path.field("volumeMounts");
        let path = list.index(index);
        let (name, at) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&path.field("name"), "");
        } else if !names.contains(name) {
            errors.not_found(&path.field("name"), name);
        }
        if at.is_empty() {
            errors.required(&path.field("mountPath"), "");
        } else if !paths.insert(at) {
            errors.invalid(&path.field("mountPath"), at, "must be unique");
        }
        sub_path(mount, &path, errors);
        let propagation = text(mount, "mountPropagation");
        errors.one_of(&path.field("mountPropagation"), propagation, &["Bidirectional", "HostToContainer", "None"]);
        if propagation == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.forbidden(&path.field("mountPropagation"), detail);
        }
    }
}

fn sub_path(mount: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["subPath", "subPathExpr"] {
        if given(mount, field) {
            relative(text(mount, field), &path.field(field), errors);
        }
    }
    if given(mount, "subPath") && given(mount, "subPathExpr") {
        errors.invalid(
            &path.field("subPathExpr"),
            text(mount, "subPathExpr"),
            "subPathExpr and subPath are mutually exclusive",
        );
    }
}
