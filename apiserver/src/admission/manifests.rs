//! Policies and hooks from files (KEP-5793): they hold before anything is stored, nobody takes them away through the API, and they are asked
//! about the kinds that configure admission too, of which those from the API are not.
//!
//! A plugin is told of a folder (`staticManifestsDir`), whose files are read again when they change. What cannot be used at a start stops the
//! start; later it leaves what was there before.

use super::Attributes;
use super::configured::{GROUP, Named};
use super::file::{AdmissionFile, AdmissionFileError};
use crate::registry::object::{meta, name_of};
use crate::status::Status;
use serde::Deserialize;
use serde_json::Value;
use skiff_schema::{
    FieldError, FieldErrorKind, FieldValidation, Resource, apply_defaults, decode_value, find_kind, validate_create,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How all of them are called, and nothing else.
const SUFFIX: &str = ".static.k8s.io";

/// Plugins that may be told of a folder, and what may be in it: the kinds that hold something, and what they hold it for.
const SOURCES: [(&str, &[&str]); 4] = [
    ("MutatingAdmissionPolicy", &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"]),
    ("MutatingAdmissionWebhook", &["MutatingWebhookConfiguration"]),
    ("ValidatingAdmissionPolicy", &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"]),
    ("ValidatingAdmissionWebhook", &["ValidatingWebhookConfiguration"]),
];

/// What is in the files.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Manifests {
    /// Whether there is a folder at all.
    is_on: bool,
    /// By plural.
    kinds: BTreeMap<String, Named>,
}

/// Folders that plugins are told of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folders(Vec<(&'static [&'static str], PathBuf)>);

impl Folders {
    /// Those that `file` names.
    ///
    /// # Errors
    /// One of them is none, or is not named by its whole path.
    pub(crate) fn of(file: &AdmissionFile) -> Result<Self, AdmissionFileError> {
        let mut folders = Vec::new();
        for (plugin, kinds) in SOURCES {
            let folder = file.told(plugin, |told| {
                let Some(folder) = told["staticManifestsDir"].as_str().filter(|text| !text.is_empty()) else {
                    return Ok(None);
                };
                let wrong = |why: &str| format!("staticManifestsDir: Invalid value: {folder:?}: {why}");
                let path = PathBuf::from(folder);
                match std::fs::metadata(&path) {
                    _ if !path.is_absolute() => Err(wrong("must be an absolute file path")),
                    Err(error) => Err(wrong(&format!("unable to read: {error}"))),
                    Ok(found) if !found.is_dir() => Err(wrong("must be a directory")),
                    Ok(_) => Ok(Some(path)),
                }
            })?;
            folders.extend(folder.map(|folder| (kinds, folder)));
        }
        Ok(Self(folders))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// A file cannot be read, or holds something that cannot be used: which one, and what.
    pub(crate) fn read(&self) -> Result<Manifests, String> {
        let mut all = Manifests { is_on: !self.0.is_empty(), kinds: BTreeMap::new() };
        for (kinds, folder) in &self.0 {
            for file in files(folder)? {
                let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
                for document in serde_norway::Deserializer::from_str(&text) {
                    let read = Value::deserialize(document).map_err(|error| error.to_string());
                    let added = read.and_then(|document| all.add(kinds, document));
                    added.map_err(|why| format!("error loading {}: {why}", file.display()))?;
                }
            }
        }
        all.check_bindings()?;
        Ok(all)
    }
}

/// The files of a folder that are read, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let unread = |error: std::io::Error| format!("failed to read manifest directory {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        if matches!(ending.as_deref(), Some("yaml" | "yml" | "json")) && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Manifests {
    /// What is there of a kind.
    pub(crate) fn of(&self, plural: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.kinds.get(plural).into_iter().flatten()
    }

    /// Adds an object, or all of a list.
    fn add(&mut self, kinds: &[&str], object: Value) -> Result<(), String> {
        if object.is_null() {
            return Ok(());
        }
        let (version, kind) =
            (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
        let is_list =
            kind.strip_suffix("List").is_some_and(|of| of.is_empty() && version == "v1" || kinds.contains(&of));
        if is_list {
            let items = object["items"].as_array().cloned().unwrap_or_default();
            let of_kind = kind.strip_suffix("List").filter(|of| !of.is_empty());
            for mut item in items {
                // What is in a list of one kind need not say its own.
                if let (Some(of), true) = (of_kind, item["kind"].is_null() && item.is_object()) {
                    item["kind"] = of.into();
                    item["apiVersion"] = version.into();
                }
                self.add(kinds, item)?;
            }
            return Ok(());
        }
        let resource = find_kind(version, kind).filter(|_| version == format!("{GROUP}/v1") && kinds.contains(&kind));
        let resource = resource.ok_or_else(|| format!("unsupported resource type {version} {kind}"))?;
        let object = usable(resource, object)?;
        let name = name_of(&object).to_owned();
        if self.kinds.entry(resource.plural.to_string()).or_default().insert(name.clone(), object).is_some() {
            return Err(format!("duplicate name {name:?}"));
        }
        Ok(())
    }

    /// Bindings are about policies that are there.
    fn check_bindings(&self) -> Result<(), String> {
        for (policies, bindings) in [
            ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
            ("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        ] {
            for (name, binding) in self.of(bindings) {
                let policy = binding["spec"]["policyName"].as_str().unwrap_or_default();
                if !self.of(policies).any(|(name, _)| name == policy) {
                    return Err(format!(
                        "binding {name:?} references policy {policy:?} which does not exist in the manifest directory"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// An object as it would be stored, if it may stand in a file.
fn usable(resource: &Resource, object: Value) -> Result<Value, String> {
    let decoded = decode_value(resource, object, &[], FieldValidation::Strict).map_err(|error| error.to_string())?;
    let mut object = decoded.object;
    apply_defaults(resource, &mut object);
    let name = name_of(&object).to_owned();
    if !name.ends_with(SUFFIX) {
        return Err(format!("{name:?} must have a name ending with {SUFFIX:?}"));
    }
    let errors = validate_create(resource, &object);
    if !errors.is_empty() {
        return Err(Status::invalid(resource, &name, &errors).message);
    }
    let (kind, spec) = (&resource.kind, &object["spec"]);
    for field in ["paramKind", "paramRef"] {
        if !spec[field].is_null() {
            return Err(format!("{kind} {name:?}: spec.{field} is not supported for static manifests"));
        }
    }
    let mut hooks = object["webhooks"].as_array().into_iter().flatten();
    if let Some(hook) = hooks.find(|hook| !hook["clientConfig"]["service"].is_null()) {
        let hook = hook["name"].as_str().unwrap_or_default();
        return Err(format!(
            "{kind} {name:?}: webhook {hook:?}: clientConfig.service is not supported for static manifests; use clientConfig.url"
        ));
    }
    Ok(object)
}

/// Names that are for files are refused where there are some (elsewhere their kinds warn of them).
///
/// # Errors
/// A new object has one.
pub(super) fn check_name(seen: &Attributes<'_>, object: &Value) -> Result<(), Status> {
    let resource = &seen.request.resource;
    let is_on = seen.setting.configured.manifests.is_on;
    let is_new = is_on && seen.old.is_none() && object.is_object() && seen.request.part.is_empty();
    if !is_new || resource.group != GROUP || !meta(object, "name").ends_with(SUFFIX) {
        return Ok(());
    }
    let why = format!(
        "names ending with {SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    );
    let (field, value) = ("metadata.name".to_owned(), Some(seen.name.into()));
    Err(Status::invalid(
        resource,
        seen.name,
        &[FieldError { kind: FieldErrorKind::Invalid, field, value, detail: why }],
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, Value)]) -> (tempfile::TempDir, Folders) {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, object) in files {
            std::fs::write(folder.path().join(name), object.to_string()).expect("written");
        }
        let folders = Folders(vec![(SOURCES[2].1, folder.path().to_owned())]);
        (folder, folders)
    }

    fn policy(name: &str) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
            "spec": {"validations": [{"expression": "false"}],
                "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["pods"]}]}}})
    }

    fn binding(name: &str, policy: &str) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
            "spec": {"policyName": policy, "validationActions": ["Deny"]}})
    }

    #[test]
    fn files_of_a_folder_are_read_with_their_lists() {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [policy("b.static.k8s.io"), binding("c.static.k8s.io", "a.static.k8s.io")]});
        let (_folder, folders) =
            folder(&[("1.json", policy("a.static.k8s.io")), ("2.YAML", list), ("3.txt", json!("no"))]);
        let read = folders.read().expect("usable");
        let names = |plural: &str| read.of(plural).map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names("validatingadmissionpolicies"), ["a.static.k8s.io", "b.static.k8s.io"]);
        assert_eq!(names("validatingadmissionpolicybindings"), ["c.static.k8s.io"]);
        let (_, policy) = read.of("validatingadmissionpolicies").next().expect("one");
        assert_eq!(policy["spec"]["failurePolicy"], "Fail", "defaults are there");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let mut with_params = policy("a.static.k8s.io");
        with_params["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        let mut unknown = policy("a.static.k8s.io");
        unknown["spec"]["nonsense"] = json!(1);
        for (object, why) in [
            (policy("a"), "\"a\" must have a name ending with \".static.k8s.io\""),
            (with_params, "spec.paramKind is not supported for static manifests"),
            (unknown, "spec.nonsense"),
            (
                binding("b.static.k8s.io", "a.static.k8s.io"),
                "references policy \"a.static.k8s.io\" which does not exist",
            ),
            (json!({"apiVersion": "v1", "kind": "Pod"}), "unsupported resource type v1 Pod"),
        ] {
            let (_folder, folders) = folder(&[("1.json", object)]);
            let said = folders.read().expect_err("not usable");
            assert!(said.contains(why), "{said}");
        }
        let twice = [("1.json", policy("a.static.k8s.io")), ("2.json", policy("a.static.k8s.io"))];
        let (_folder, folders) = folder(&twice);
        assert!(folders.read().is_err_and(|why| why.contains("2.json: duplicate name")));
    }
}
