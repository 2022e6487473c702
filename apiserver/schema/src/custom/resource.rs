//! The resources that a definition brings: one for each served version.

use super::version::Version;
use crate::kinds::{ALL, READ_WRITE, Rules};
use crate::resource::{Name, Subresource};
use crate::view::{list, text};
use crate::{Resource, custom::naming};
use serde_json::Value;
use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

/// What is left of the verbs while a definition is being deleted.
const LEAVING: &[&str] = &["delete", "deletecollection", "get", "list", "watch"];

/// What a custom resource has beyond what every resource has.
#[derive(Debug, Clone)]
pub(crate) struct Custom {
    /// Its version, read.
    pub(crate) version: Arc<Version>,
    /// `apiVersion` of stored objects.
    pub(crate) stored: Name,
    /// `spec.conversion.webhook`, if that is the strategy.
    pub(crate) conversion: Option<Arc<Value>>,
    /// What its definition says of objects, as it was written; OpenAPI shows it.
    pub(crate) written: Arc<Value>,
}

/// The resources of `definitions`, in the order in which a catalogue wants them: versions of a group in order of preference.
///
/// A definition is served as soon as its names are accepted. One whose schema cannot be read is not (only another server could
/// have stored it).
#[must_use]
pub fn custom_resources<'a>(definitions: impl IntoIterator<Item = &'a Value>) -> Vec<Arc<Resource>> {
    let served = definitions.into_iter().filter(|definition| naming::is_true(&definition["status"], "Established"));
    let mut resources: Vec<Arc<Resource>> = served.flat_map(of).map(Arc::new).collect();
    resources.sort_by(|one, other| place(one).cmp(&place(other)));
    resources
}

fn of(definition: &Value) -> Vec<Resource> {
    let versions = list(&definition["spec"], "versions").iter();
    versions.filter(|version| version["served"] == true).filter_map(|version| one(definition, version)).collect()
}

/// A definition's resource in its storage version, served or not: for those who move or remove its objects.
#[must_use]
pub fn stored_resource(definition: &Value) -> Option<Arc<Resource>> {
    let version = list(&definition["spec"], "versions").iter().find(|version| version["storage"] == true)?;
    one(definition, version).map(Arc::new)
}

fn one(definition: &Value, written: &Value) -> Option<Resource> {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let (group, version, kind) = (text(spec, "group"), text(written, "name"), text(names, "kind"));
    let storage = list(spec, "versions").iter().find(|version| version["storage"] == true)?;
    let read = Arc::new(Version::read(written).ok()?);
    let owned = |text: &str| Name::Owned(text.to_owned());
    let each = |key: &str| list(names, key).iter().filter_map(Value::as_str).map(owned).collect();
    let leaving = !definition["metadata"]["deletionTimestamp"].is_null();
    let part = |name: &'static str, body: [&str; 3]| {
        let [group, version, kind] = body.map(owned);
        Subresource { name: name.into(), group, version, kind, verbs: READ_WRITE }
    };
    let scale = read.scale.is_some().then(|| part("scale", ["autoscaling", "v1", "Scale"]));
    let status = read.has_status.then(|| part("status", [group, version, kind]));
    let reversed: Vec<&str> = group.split('.').rev().collect();
    let plural = text(names, "plural");
    Some(Resource {
        group: owned(group),
        version: owned(version),
        kind: owned(kind),
        list_kind: owned(text(names, "listKind")),
        plural: owned(plural),
        singular: owned(text(names, "singular")),
        short_names: each("shortNames"),
        categories: each("categories"),
        namespaced: text(spec, "scope") == "Namespaced",
        verbs: if leaving { LEAVING } else { ALL },
        subresources: scale.into_iter().chain(status).collect(),
        definition: Name::Owned(format!("{}.{version}.{kind}", reversed.join("."))),
        storage_folder: Name::Owned(format!("{group}/{plural}")),
        conversion: None,
        schema: read.schema().clone(),
        rules: Rules { generation: true, free_finalizers: true, unconditional_update: false, ..Rules::PLAIN },
        bare_status: OnceLock::new(),
        custom: Some(Custom {
            version: read,
            conversion: (spec["conversion"]["strategy"] == "Webhook")
                .then(|| Arc::new(spec["conversion"]["webhook"].clone())),
            stored: Name::Owned(format!("{group}/{}", text(storage, "name"))),
            written: Arc::new(written.clone()),
        }),
    })
}

/// Groups by name, in them versions in order of preference, in them resources by name.
fn place(resource: &Resource) -> (&str, Reverse<(u8, u64, u64)>, &str, &str) {
    (&resource.group, Reverse(rank(&resource.version)), &resource.version, &resource.plural)
}

/// How much a version is preferred: `v2` before `v1` before `v1beta2` before `v1alpha1` before all that look otherwise.
fn rank(version: &str) -> (u8, u64, u64) {
    let other = (0, 0, 0);
    let Some(rest) = version.strip_prefix('v') else { return other };
    let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    let (major, rest) = rest.split_at(end);
    let Ok(major) = major.parse() else { return other };
    let stages = [("", 3), ("beta", 2), ("alpha", 1)];
    let found = stages.iter().find_map(|(stage, rank)| match (*stage, rest) {
        ("", "") => Some((*rank, major, 0)),
        ("", _) => None,
        (stage, rest) => Some((*rank, major, rest.strip_prefix(stage)?.parse().ok()?)),
    });
    found.unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use serde_json::json;

    #[test]
    fn versions_come_in_order_of_preference() {
        let mut versions = ["foo1", "v1alpha1", "v10", "v2", "v1beta1", "v11beta2", "v3beta1", "v12alpha1", "v1"];
        versions.sort_by_key(|version| Reverse(rank(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v11beta2", "v3beta1", "v1beta1", "v12alpha1", "v1alpha1", "foo1"]);
    }

    #[test]
    fn a_definition_brings_a_resource_for_each_served_version() {
        let version = |name: &str, served: bool, storage: bool| {
            json!({"name": name, "served": served, "storage": storage, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object"}}})
        };
        let names = json!({"plural": "widgets", "kind": "Widget", "listKind": "WidgetList", "singular": "widget",
            "shortNames": ["w"]});
        let mut definition = json!({"metadata": {"name": "widgets.a.b"},
            "spec": {"group": "a.b", "scope": "Cluster", "names": names,
                "versions": [version("v1", true, false), version("v2", true, true), version("v3", false, false)]},
            "status": {"acceptedNames": names}});
        assert!(custom_resources([&definition]).is_empty(), "nobody has established it");
        definition["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let catalog = Catalog::builtin().with(custom_resources([&definition]));
        assert_eq!(catalog.versions("a.b"), ["v2", "v1"]);
        let old = catalog.find("a.b", "v1", "widgets").expect("it is served");
        assert_eq!((&*old.storage_folder, &*old.stored_api_version()), ("a.b/widgets", "a.b/v2"));
        assert!(old.has_status() && !old.namespaced);
        let mut object = json!({"apiVersion": "a.b/v2", "kind": "Widget", "metadata": {"name": "x"}, "gone": 1});
        old.from_storage(&mut object);
        assert_eq!(object["apiVersion"], "a.b/v1");
        assert!(object.get("gone").is_none(), "the store may hold what the schema no longer knows");
        definition["metadata"]["deletionTimestamp"] = "x".into();
        assert!(!custom_resources([&definition])[0].verbs.contains(&"create"));
    }
}
