//! What is wrong with a CustomResourceDefinition.
//!
//! Kubernetes checks what all versions have in common as if it stood above them, so a schema that is the same in all of them (in a single
//! one, say) is complained about as `spec.validation`.

use crate::custom::approval;
use crate::custom::definition::{self, About};
use crate::kinds::Change;
use crate::kinds::admissionregistration::webhooks;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::names::Format;
use crate::view::{given, list, text};
use serde_json::Value;

/// How many fields may be selectable.
const SELECTABLE_MAX: usize = 8;
/// Longest deprecation warning.
const WARNING_CHARACTERS_MAX: usize = 256;

pub(super) fn validate(change: &Change<'_>, errors: &mut Errors) {
    let (new, status) = (change.new, Path::Root.field("status"));
    if change.part == "status" {
        names(&new["status"]["acceptedNames"], &status.field("acceptedNames"), errors);
        return;
    }
    let expected = format!("{}.{}", text(&new["spec"]["names"], "plural"), text(&new["spec"], "group"));
    if text(&new["metadata"], "name") != expected && change.old.is_none() {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.invalid(&Path::Root.field("metadata").field("name"), text(&new["metadata"], "name"), detail);
    }
    spec(&new["spec"], change.old.map(|old| &old["spec"]), &Path::Root.field("spec"), errors);
    if let Some(old) = change.old {
        unchanged(new, old, errors);
    }
    names(&new["status"]["acceptedNames"], &status.field("acceptedNames"), errors);
    stored_versions(new, &status.field("storedVersions"), errors);
    approved(new, change.old, errors);
    let keeps = |object: &Value| object["spec"]["preserveUnknownFields"] == true;
    if keeps(new) && !change.old.is_some_and(keeps) {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.invalid(&Path::Root.field("spec").field("preserveUnknownFields"), true, detail);
    }
}

fn unchanged(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::Root.field("spec");
    let names = spec.field("names");
    let mut same = |path: &Path<'_>, new: &Value, old: &Value| {
        if new != old {
            errors.invalid(path, new.clone(), "field is immutable");
        }
    };
    let established = list(&old["status"], "conditions")
        .iter()
        .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True");
    if established {
        same(&spec.field("scope"), &new["spec"]["scope"], &old["spec"]["scope"]);
        same(&names.field("kind"), &new["spec"]["names"]["kind"], &old["spec"]["names"]["kind"]);
    }
    same(&spec.field("group"), &new["spec"]["group"], &old["spec"]["group"]);
    same(&names.field("plural"), &new["spec"]["names"]["plural"], &old["spec"]["names"]["plural"]);
}

fn spec(spec: &Value, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let (group, at) = (text(spec, "group"), path.field("group"));
    Format::Subdomain.require_given(group, &at, errors);
    if !group.is_empty() && Format::Subdomain.check(group).is_none() && !group.contains('.') {
        errors.invalid(&at, group, "should be a domain with at least one dot");
    }
    errors.required_one_of(&path.field("scope"), text(spec, "scope"), &["Cluster", "Namespaced"]);
    let versions = list(spec, "versions");
    let versions_at = path.field("versions");
    for (index, version) in versions.iter().enumerate() {
        if version["schema"]["openAPIV3Schema"].is_null() {
            let (at, schema) = (versions_at.index(index), "schema");
            errors.required(&at.field(schema).field("openAPIV3Schema"), "");
        }
    }
    let common = Common::of(versions, old.map_or(&[][..], |old| list(old, "versions")));
    for (index, version) in versions.iter().enumerate() {
        one_version((index, version), &common, &versions_at.index(index), errors);
    }
    let mut seen: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() < versions.len() {
        errors.invalid(&versions_at, versions, "must contain unique version names");
    }
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.invalid(&versions_at, versions, "must have exactly one version marked as storage version");
    }
    let names_at = path.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if !given(&spec["names"], field) {
            errors.required(&names_at.field(field), "");
        }
    }
    names(&spec["names"], &names_at, errors);
    if let Some(first) = versions.first() {
        parts(first, &common, path, errors);
    }
    conversion(&spec["conversion"], &path.field("conversion"), errors);
}

/// Which parts are the same in all versions.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
    any_status: bool,
    /// Versions whose schemas are what they were.
    unchanged: Vec<bool>,
}

impl Common {
    fn of(versions: &[Value], old: &[Value]) -> Self {
        let before = |name: &Value| old.iter().find(|version| version["name"] == *name);
        let stands = |version: &Value| before(&version["name"]).is_some_and(|old| old["schema"] == version["schema"]);
        let same = |key: &str| versions.windows(2).all(|pair| pair[0][key] == pair[1][key]);
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
            any_status: versions.iter().any(|version| version["subresources"]["status"].is_object()),
            unchanged: versions.iter().map(stands).collect(),
        }
    }
}

fn one_version((index, version): (usize, &Value), common: &Common, path: &Path<'_>, errors: &mut Errors) {
    let name = text(version, "name");
    Format::Label1035.require(name, &path.field("name"), errors);
    deprecation(version, &path.field("deprecationWarning"), errors);
    if !common.schema {
        let has_status = version["subresources"]["status"].is_object();
        let about = About { has_status, unchanged: common.unchanged[index] };
        schema(version, about, &path.field("schema"), errors);
    }
    if !common.subresources {
        subresources(&version["subresources"], &path.field("subresources"), errors);
    }
    if !common.columns {
        columns(version, path, errors);
    }
    if !common.selectable {
        selectable(version, &path.field("selectableFields"), errors);
    }
}

/// What stands above all versions.
fn parts(version: &Value, common: &Common, path: &Path<'_>, errors: &mut Errors) {
    if common.schema {
        let unchanged = common.unchanged.first().copied().unwrap_or_default();
        let about = About { has_status: common.any_status, unchanged };
        schema(version, about, &path.field("validation"), errors);
    }
    if common.subresources {
        subresources(&version["subresources"], &path.field("subresources"), errors);
    }
    if common.columns {
        columns(version, path, errors);
    }
    if common.selectable {
        selectable(version, &path.field("selectableFields"), errors);
    }
}

fn schema(version: &Value, about: About, path: &Path<'_>, errors: &mut Errors) {
    let schema = &version["schema"]["openAPIV3Schema"];
    if schema.is_object() {
        definition::check(schema, about, &path.field("openAPIV3Schema"), errors);
    }
}

fn deprecation(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(warning) = version["deprecationWarning"].as_str() else { return };
    if version["deprecated"] != true {
        errors.invalid(path, warning, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > WARNING_CHARACTERS_MAX {
        errors.invalid(path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(path, warning, "must not be an empty string");
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, letter)| letter.is_control()) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.invalid(path, warning, detail);
    }
}

fn subresources(subresources: &Value, path: &Path<'_>, errors: &mut Errors) {
    let scale = &subresources["scale"];
    if !scale.is_object() {
        return;
    }
    for (key, prefix) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let name = format!("scale.{key}");
        let (at, value) = (path.field(&name), text(scale, key));
        if value.is_empty() {
            errors.required(&at, "");
        } else if simple(value, &at, errors) && !value.starts_with(prefix) {
            errors.invalid(&at, value, format!("should be a json path under {}", prefix.trim_end_matches('.')));
        }
    }
    let (at, value) = (path.field("scale.labelSelectorPath"), text(scale, "labelSelectorPath"));
    let below = value.starts_with(".spec.") || value.starts_with(".status.");
    if !value.is_empty() && simple(value, &at, errors) && !below {
        errors.invalid(&at, value, "should be a json path under either .spec or .status");
    }
}

fn simple(value: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    let fine = value.starts_with('.');
    if !fine {
        errors.invalid(path, value, "must be a simple json path starting with .");
    }
    fine
}

fn columns(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let path = path.field("additionalPrinterColumns");
    for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
        let path = path.index(index);
        let (kind, format, json_path) = (text(column, "type"), text(column, "format"), text(column, "jsonPath"));
        if !given(column, "name") {
            errors.required(&path.field("name"), "");
        }
        let rule = format!("must be one of {}", TYPES.join(","));
        if kind.is_empty() {
            errors.required(&path.field("type"), &rule);
        } else if !TYPES.contains(&kind) {
            errors.invalid(&path.field("type"), kind, rule);
        }
        if !format.is_empty() && !FORMATS.contains(&format) {
            errors.invalid(&path.field("format"), format, format!("must be one of {}", FORMATS.join(",")));
        }
        if json_path.is_empty() {
            errors.required(&path.field("JSONPath"), "");
        } else {
            simple(json_path, &path.field("JSONPath"), errors);
        }
    }
}

fn selectable(version: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in list(version, "selectableFields").iter().enumerate() {
        let (at, json_path) = (path.index(index), text(field, "jsonPath"));
        let at = at.field("jsonPath");
        if json_path.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let found = match definition::type_at(&version["schema"]["openAPIV3Schema"], json_path) {
            Ok(found) => found,
            Err(problem) => {
                errors.invalid(&at, json_path, format!("is an invalid path: {problem}"));
                continue;
            }
        };
        if json_path.starts_with(".metadata") {
            errors.invalid(&at, json_path, "must not point to fields in metadata");
        }
        if !matches!(found, "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats \
                          are allowed.";
            errors.invalid(&at, json_path, detail);
        }
        if seen.contains(&json_path) {
            errors.duplicate(&at, json_path);
        } else {
            seen.push(json_path);
        }
    }
    if seen.len() > SELECTABLE_MAX {
        errors.too_many(path, seen.len(), SELECTABLE_MAX);
    }
}

fn conversion(conversion: &Value, path: &Path<'_>, errors: &mut Errors) {
    let strategy = text(conversion, "strategy");
    errors.required_one_of(&path.field("strategy"), strategy, &["None", "Webhook"]);
    if strategy == "Webhook" {
        return webhook(&conversion["webhook"], path, errors);
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if given(&conversion["webhook"], "clientConfig") {
        errors.forbidden(&path.field("webhookClientConfig"), detail);
    }
    if !list(&conversion["webhook"], "conversionReviewVersions").is_empty() {
        errors.forbidden(&path.field("conversionReviewVersions"), detail);
    }
}

/// Who converts. Kubernetes names the fields as they were called before v1, and has no versions without a client to be asked.
fn webhook(webhook: &Value, path: &Path<'_>, errors: &mut Errors) {
    let at = path.field("webhookClientConfig");
    if given(webhook, "clientConfig") {
        webhooks::client(&webhook["clientConfig"], &at, errors);
    } else {
        errors.required(&at, "required when strategy is set to Webhook");
    }
    let versions = list(webhook, "conversionReviewVersions");
    let has_known = versions.iter().any(|version| version == "v1" || version == "v1beta1");
    let at = path.field("conversionReviewVersions");
    if versions.is_empty() {
        errors.required(&at, "");
    } else {
        webhooks::versions(versions, has_known, &at, errors);
    }
}

/// The names of a kind.
fn names(names: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut label = |name: &str, path: &Path<'_>, prefix: &str| {
        if let Some(rule) = Format::Label1035.check(&name.to_lowercase()).filter(|_| !name.is_empty()) {
            errors.invalid(path, name, format!("{prefix}{rule}"));
        } else if prefix.is_empty() && name.chars().any(char::is_uppercase) {
            errors.invalid(path, name, Format::Label1035.check(name).unwrap_or_default());
        }
    };
    for field in ["plural", "singular"] {
        label(text(names, field), &path.field(field), "");
    }
    for field in ["kind", "listKind"] {
        label(text(names, field), &path.field(field), "may have mixed case, but should otherwise match: ");
    }
    for field in ["shortNames", "categories"] {
        let at = path.field(field);
        for (index, name) in list(names, field).iter().enumerate() {
            label(name.as_str().unwrap_or_default(), &at.index(index), "");
        }
    }
    let (kind, list_kind) = (text(names, "kind"), text(names, "listKind"));
    if !kind.is_empty() && kind == list_kind {
        errors.invalid(&path.field("listKind"), list_kind, "kind and listKind may not be the same");
    }
}

fn stored_versions(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (stored, versions) = (list(&object["status"], "storedVersions"), list(&object["spec"], "versions"));
    if stored.is_empty() {
        errors.invalid(path, stored, "must have at least one stored version");
        return;
    }
    for version in versions.iter().filter(|version| version["storage"] == true) {
        if !stored.contains(&version["name"]) {
            let detail = format!("must have the storage version {}", text(version, "name"));
            errors.invalid(path, stored, detail);
        }
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let name = name.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
                 storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            errors.invalid(&path.index(index), name, detail);
        }
    }
}

/// Groups of Kubernetes itself need the word of its community.
fn approved(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let Some((state, reason)) = approval::of(new) else { return };
    if old.and_then(approval::of).is_some_and(|(before, _)| before == state) {
        return;
    }
    let annotations = Path::Root.field("metadata");
    let annotations = annotations.field("annotations");
    let path = annotations.key(approval::ANNOTATION);
    match state {
        approval::State::Missing => errors.required(&path, &reason),
        approval::State::Invalid => {
            errors.invalid(&path, text(&new["metadata"]["annotations"], approval::ANNOTATION), reason);
        }
        approval::State::Approved | approval::State::Unapproved => {}
    }
}
