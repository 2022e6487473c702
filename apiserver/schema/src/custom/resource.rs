//! The resources that a definition brings: one for each served version.

use super::approval;
use super::version::Version;
use crate::kinds::{ALL, READ_WRITE, Rules};
use crate::resource::{Name, Subresource};
use crate::view::{list, text};
use crate::{Resource, custom::naming};
use serde_json::{Value, json};
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
    /// What is told to whoever uses the version, if its definition calls it deprecated.
    pub(crate) deprecation: Option<Box<str>>,
}

/// A definition as a server keeps it: its versions read, and of itself all that is decided by; the schemas, which may be most of a
/// megabyte, only as text.
#[derive(Debug)]
pub struct Definition {
    brief: Value,
    versions: Vec<Read>,
    resources: Vec<Arc<Resource>>,
}

/// A served version of a definition.
#[derive(Debug, Clone)]
struct Read {
    name: Box<str>,
    version: Arc<Version>,
}

impl Definition {
    /// Reads a definition. What it says that it said `before` is not read again.
    #[must_use]
    pub fn read(definition: &Value, before: Option<&Self>) -> Self {
        let brief = brief(definition);
        let same = |before: &&Self| {
            let [now, then] = [&brief, &before.brief].map(|brief| &brief["metadata"]);
            !now["generation"].is_null() && ["uid", "generation"].iter().all(|field| now[*field] == then[*field])
        };
        let same = before.filter(same);
        let versions = same.map_or_else(|| versions(definition), |before| before.versions.clone());
        let mut read = Self { brief, versions, resources: Vec::new() };
        match same.filter(|same| same.serves_as(&read.brief)) {
            Some(same) => read.resources.clone_from(&same.resources),
            None => read.serve(),
        }
        read
    }

    /// The definition without its schemas.
    #[must_use]
    pub fn brief(&self) -> &Value {
        &self.brief
    }

    /// Its resources, one for each served version; none before its names are accepted. A version whose schema cannot be read is not
    /// served (only another server could have stored it).
    #[must_use]
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Gives it the status that it is going to have.
    pub fn set_status(&mut self, status: Value) {
        let before = std::mem::replace(&mut self.brief["status"], status);
        if before != self.brief["status"] {
            self.serve();
        }
    }

    /// Whether what is served of it depends on nothing in which `brief` differs.
    fn serves_as(&self, brief: &Value) -> bool {
        let [now, then] = [&self.brief, brief];
        now["spec"] == then["spec"]
            && now["status"]["acceptedNames"] == then["status"]["acceptedNames"]
            && now["metadata"]["deletionTimestamp"].is_null() == then["metadata"]["deletionTimestamp"].is_null()
            && is_established(now) == is_established(then)
    }

    fn serve(&mut self) {
        let versions = self.versions.iter().filter(|_| is_established(&self.brief));
        self.resources = versions.filter_map(|read| one(&self.brief, read)).map(Arc::new).collect();
    }
}

fn is_established(definition: &Value) -> bool {
    naming::is_true(&definition["status"], "Established")
}

/// A definition without what takes room and decides nothing.
fn brief(definition: &Value) -> Value {
    let version = |version: &Value| {
        json!({"name": version["name"], "served": version["served"], "storage": version["storage"],
            "deprecated": version["deprecated"], "deprecationWarning": version["deprecationWarning"]})
    };
    let (metadata, spec) = (&definition["metadata"], &definition["spec"]);
    let annotations = json!({approval::ANNOTATION: metadata["annotations"][approval::ANNOTATION]});
    json!({
        "metadata": {"name": metadata["name"], "uid": metadata["uid"], "generation": metadata["generation"],
            "deletionTimestamp": metadata["deletionTimestamp"], "finalizers": metadata["finalizers"],
            "annotations": annotations},
        "spec": {"group": spec["group"], "names": spec["names"], "scope": spec["scope"],
            "conversion": spec["conversion"],
            "versions": list(spec, "versions").iter().map(version).collect::<Vec<_>>()},
        "status": definition["status"],
    })
}

/// Reads the versions that are served.
fn versions(definition: &Value) -> Vec<Read> {
    let versions = list(&definition["spec"], "versions").iter();
    versions.filter(|version| version["served"] == true).filter_map(Read::of).collect()
}

impl Read {
    fn of(version: &Value) -> Option<Self> {
        Some(Self { name: text(version, "name").into(), version: Arc::new(Version::read(version).ok()?) })
    }
}

/// The resources of `definitions`, in the order in which a catalogue wants them: versions of a group in order of preference.
#[must_use]
pub fn custom_resources<'a>(definitions: impl IntoIterator<Item = &'a Definition>) -> Vec<Arc<Resource>> {
    let mut resources: Vec<Arc<Resource>> = definitions.into_iter().flat_map(Definition::resources).cloned().collect();
    resources.sort_by(|one, other| place(one).cmp(&place(other)));
    resources
}

/// A definition's resource in its storage version, served or not: for those who move or remove its objects.
#[must_use]
pub fn stored_resource(definition: &Value) -> Option<Arc<Resource>> {
    let version = list(&definition["spec"], "versions").iter().find(|version| version["storage"] == true)?;
    one(definition, &Read::of(version)?).map(Arc::new)
}

fn one(definition: &Value, read: &Read) -> Option<Resource> {
    let (spec, names) = (&definition["spec"], &definition["status"]["acceptedNames"]);
    let (group, version, kind) = (text(spec, "group"), &*read.name, text(names, "kind"));
    let storage = list(spec, "versions").iter().find(|version| version["storage"] == true)?;
    let owned = |text: &str| Name::Owned(text.to_owned());
    let each = |key: &str| list(names, key).iter().filter_map(Value::as_str).map(owned).collect();
    let leaving = !definition["metadata"]["deletionTimestamp"].is_null();
    let part = |name: &'static str, body: [&str; 3]| {
        let [group, version, kind] = body.map(owned);
        Subresource { name: name.into(), group, version, kind, verbs: READ_WRITE }
    };
    let read = &read.version;
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
            version: Arc::clone(read),
            conversion: (spec["conversion"]["strategy"] == "Webhook")
                .then(|| Arc::new(spec["conversion"]["webhook"].clone())),
            stored: Name::Owned(format!("{group}/{}", text(storage, "name"))),
            deprecation: deprecation(spec, version, kind),
        }),
    })
}

/// What is told to whoever uses `version`, if it is deprecated: what the definition says, or that a more preferred one is there.
fn deprecation(spec: &Value, version: &str, kind: &str) -> Option<Box<str>> {
    let versions = list(spec, "versions");
    let this = versions.iter().find(|one| one["name"] == version && one["deprecated"] == true)?;
    if let Some(said) = this["deprecationWarning"].as_str() {
        return Some(said.into());
    }
    let newer = versions.iter().filter(|one| one["served"] == true && one["deprecated"] != true);
    let newer =
        newer.map(|one| text(one, "name")).filter(|name| order(name) > order(version)).max_by_key(|name| order(name));
    let group = text(spec, "group");
    let told = format!("{group}/{version} {kind} is deprecated");
    Some(newer.map_or_else(|| told.clone(), |newer| format!("{told}; use {group}/{newer} {kind}")).into())
}

/// Groups by name, in them versions in order of preference, in them resources by name.
fn place(resource: &Resource) -> (&str, Reverse<(u8, u64, u64)>, &str, &str) {
    (&resource.group, Reverse(rank(&resource.version)), &resource.version, &resource.plural)
}

/// Versions that are more preferred are greater.
fn order(version: &str) -> ((u8, u64, u64), Reverse<&str>) {
    (rank(version), Reverse(version))
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

    fn resources(definition: &Value) -> Vec<Arc<Resource>> {
        custom_resources([&Definition::read(definition, None)])
    }

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
        assert!(resources(&definition).is_empty(), "nobody has established it");
        definition["status"]["conditions"] = json!([{"type": "Established", "status": "True"}]);
        let catalog = Catalog::builtin().with(resources(&definition));
        assert_eq!(catalog.versions("a.b"), ["v2", "v1"]);
        let old = catalog.find("a.b", "v1", "widgets").expect("it is served");
        assert_eq!((&*old.storage_folder, &*old.stored_api_version()), ("a.b/widgets", "a.b/v2"));
        assert!(old.has_status() && !old.namespaced);
        let mut object = json!({"apiVersion": "a.b/v2", "kind": "Widget", "metadata": {"name": "x"}, "gone": 1});
        old.from_storage(&mut object);
        assert_eq!(object["apiVersion"], "a.b/v1");
        assert!(object.get("gone").is_none(), "the store may hold what the schema no longer knows");
        definition["metadata"]["deletionTimestamp"] = "x".into();
        assert!(!resources(&definition)[0].verbs.contains(&"create"));
    }

    #[test]
    fn a_deprecated_version_says_what_to_use() {
        let version = |name: &str, served: bool, deprecated: bool| json!({"name": name, "served": served, "storage": name == "v1", "deprecated": deprecated});
        let versions = [
            version("v1", true, false),
            version("v2", false, false),
            version("v1beta1", true, true),
            version("v1alpha1", true, true),
        ];
        let mut spec = json!({"group": "a.b", "versions": versions});
        let told = |spec: &Value, version: &str| deprecation(spec, version, "Widget");
        assert_eq!(told(&spec, "v1"), None);
        assert_eq!(told(&spec, "v1beta1").as_deref(), Some("a.b/v1beta1 Widget is deprecated; use a.b/v1 Widget"));
        spec["versions"][0]["served"] = false.into();
        assert_eq!(told(&spec, "v1alpha1").as_deref(), Some("a.b/v1alpha1 Widget is deprecated"));
        spec["versions"][3]["deprecationWarning"] = "in its own words".into();
        assert_eq!(told(&spec, "v1alpha1").as_deref(), Some("in its own words"));
    }

    /// A thousand definitions whose status changes are not read a thousand times.
    #[test]
    fn what_has_not_changed_is_not_read_again() {
        let names = json!({"plural": "widgets", "kind": "Widget", "listKind": "WidgetList", "singular": "widget"});
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {"type": "string"}}}});
        let mut definition = json!({"metadata": {"name": "widgets.a.b", "uid": "u", "generation": 1},
            "spec": {"group": "a.b", "scope": "Cluster", "names": names,
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
            "status": {"acceptedNames": names}});
        let mut first = Definition::read(&definition, None);
        assert!(first.resources().is_empty(), "nobody has established it");
        assert!(!first.brief().to_string().contains("openAPIV3Schema"));
        let mut status = definition["status"].clone();
        status["conditions"] = json!([{"type": "Established", "status": "True"}]);
        first.set_status(status.clone());
        definition["status"] = status;
        let second = Definition::read(&definition, Some(&first));
        assert!(Arc::ptr_eq(&first.resources()[0], &second.resources()[0]));
        definition["status"]["acceptedNames"]["singular"] = "one".into();
        let third = Definition::read(&definition, Some(&second));
        let version = |of: &Definition| of.resources()[0].custom.as_ref().map(|it| Arc::as_ptr(&it.version));
        assert_eq!((&*third.resources()[0].singular, version(&third)), ("one", version(&second)));
        definition["metadata"]["generation"] = 2.into();
        assert_ne!(version(&Definition::read(&definition, Some(&third))), version(&third));
    }
}
