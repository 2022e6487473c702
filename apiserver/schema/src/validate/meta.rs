//! Metadata: names, labels, annotations, owners, finalizers; and label selectors.

use super::errors::Errors;
use super::names::Format;
use crate::Resource;
use crate::path::Path;
use crate::view::{entries, given, list, text};
use serde_json::Value;

/// All annotations of an object together: 256 KiB.
const ANNOTATIONS_SIZE: usize = 256 << 10;

/// The metadata of an object of `resource`.
pub(crate) fn metadata(resource: &Resource, format: Format, object: &Value, errors: &mut Errors) {
    let (metadata, path) = (&object["metadata"], Path::Root.field("metadata"));
    name(metadata, format, &path, errors);
    if !resource.namespaced && given(metadata, "namespace") {
        errors.forbidden(&path.field("namespace"), "not allowed on this type");
    } else if given(metadata, "namespace") {
        Format::Label.require(text(metadata, "namespace"), &path.field("namespace"), errors);
    }
    shared(metadata, resource.rules.free_finalizers, &path, errors);
}

/// What holds for the metadata of every object, but for its name.
fn shared(metadata: &Value, free_finalizers: bool, path: &Path<'_>, errors: &mut Errors) {
    labels_and_annotations(metadata, path, errors);
    owners(list(metadata, "ownerReferences"), &path.field("ownerReferences"), errors);
    finalizers(list(metadata, "finalizers"), free_finalizers, &path.field("finalizers"), errors);
}

/// Finalizers without a domain are Kubernetes' own, and of the two that stand for a propagation policy there is one at most.
fn finalizers(finalizers: &[Value], free: bool, path: &Path<'_>, errors: &mut Errors) {
    const STANDARD: [&str; 3] = ["foregroundDeletion", "kubernetes", "orphan"];
    for (index, finalizer) in finalizers.iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        // Kubernetes checks twice, and says which one it is only here.
        Format::QualifiedName.require(name, path, errors);
        if !free && !name.contains('/') && !STANDARD.contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(index), name, detail);
        }
    }
    let has = |name: &str| finalizers.iter().any(|one| one == name);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.invalid(path, finalizers, detail);
    }
}

/// The metadata of an object in another, which may be of any kind.
pub(crate) fn of_embedded(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    for field in ["name", "generateName"] {
        let name = text(metadata, field);
        if matches!(name, "." | "..") && field == "name" {
            errors.invalid(&path.field(field), name, format!("may not be '{name}'"));
        }
        for wrong in ["/", "%"] {
            if name.contains(wrong) {
                errors.invalid(&path.field(field), name, format!("may not contain '{wrong}'"));
            }
        }
    }
    if given(metadata, "namespace") {
        Format::Label.require(text(metadata, "namespace"), &path.field("namespace"), errors);
    }
    shared(metadata, false, path, errors);
}

fn name(metadata: &Value, format: Format, path: &Path<'_>, errors: &mut Errors) {
    let (name, generate) = (text(metadata, "name"), text(metadata, "generateName"));
    if !generate.is_empty() {
        // The server appends to it, so a final dash is fine.
        let prefix = generate.strip_suffix('-').unwrap_or(generate);
        if let Some(detail) = format.check(prefix) {
            errors.invalid(&path.field("generateName"), generate, detail);
        }
    }
    if name.is_empty() && generate.is_empty() {
        errors.required(&path.field("name"), "name or generateName is required");
    } else if !name.is_empty() {
        format.require(name, &path.field("name"), errors);
    }
}

/// Labels and annotations, of an object or of a pod template.
pub(crate) fn labels_and_annotations(metadata: &Value, path: &Path<'_>, errors: &mut Errors) {
    labels(metadata, "labels", path, errors);
    let path = path.field("annotations");
    let mut size = 0;
    for (key, value) in entries(metadata, "annotations") {
        // Keys of annotations may have upper case letters in their prefix.
        if let Some(detail) = Format::QualifiedName.check(&key.to_lowercase()) {
            errors.invalid(&path, key.as_str(), detail);
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_SIZE {
        errors.too_long(&path, ANNOTATIONS_SIZE);
    }
}

/// A map of labels in `field` of `holder`.
pub(crate) fn labels(holder: &Value, field: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.field(field);
    for (key, value) in entries(holder, field) {
        if let Some(detail) = Format::QualifiedName.check(key) {
            errors.invalid(&path, key.as_str(), detail);
        }
        let value = value.as_str().unwrap_or_default();
        if let Some(detail) = Format::LabelValue.check(value) {
            errors.invalid(&path, value, detail);
        }
    }
}

fn owners(owners: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let mut controllers = 0;
    for owner in owners {
        // Kubernetes names the list, not which of its entries.
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, field).is_empty() {
                errors.invalid(&path.field(field), "", "must not be empty");
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        errors.invalid(path, owners, "only one reference can have controller set to true");
    }
}

/// A label selector; absent is fine.
pub(crate) fn selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    labels(selector, "matchLabels", path, errors);
    let path = path.field("matchExpressions");
    for (index, requirement) in list(selector, "matchExpressions").iter().enumerate() {
        let path = path.index(index);
        Format::QualifiedName.require(text(requirement, "key"), &path.field("key"), errors);
        for (index, value) in list(requirement, "values").iter().enumerate() {
            Format::LabelValue.require(value.as_str().unwrap_or_default(), &path.field("values").index(index), errors);
        }
        let has_values = !list(requirement, "values").is_empty();
        match text(requirement, "operator") {
            "In" | "NotIn" if !has_values => {
                errors.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if has_values => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.forbidden(&path.field("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            operator => errors.invalid(&path.field("operator"), operator, "not a valid selector operator"),
        }
    }
}

/// Whether a selector is one that can select: its requirements can be understood.
pub(crate) fn is_selector(it: &Value) -> bool {
    let mut errors = Errors::default();
    selector(it, &Path::Root, &mut errors);
    errors.is_empty()
}

/// Whether a label selector selects `labels`. An empty selector selects everything.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let label = |key: &str| labels[key].as_str();
    let requirement = |requirement: &Value| {
        let value = label(text(requirement, "key"));
        let listed = list(requirement, "values").iter().any(|one| one.as_str() == value && value.is_some());
        match text(requirement, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    };
    entries(selector, "matchLabels").all(|(key, value)| label(key) == value.as_str())
        && list(selector, "matchExpressions").iter().all(requirement)
}
