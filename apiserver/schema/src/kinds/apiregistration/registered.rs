//! The APIServices that a server registers by itself: one for each version of a group that it answers for, those of custom resources
//! too. A plan without I/O: what is wanted, what is there, what is to be done.

use crate::Catalog;
use crate::view::{list, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The label of those that a server keeps by itself (kube-aggregator).
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Its value for those that are looked after once, when the server starts.
const ON_START: &str = "onstart";
/// Its value for those that are looked after always.
const ALWAYS: &str = "true";

/// Built-in groups with their priority in discovery, highest first.
const GROUPS: [(&str, i64); 22] = [
    ("", 18_000),
    ("apps", 17_800),
    ("events.k8s.io", 17_750),
    ("authentication.k8s.io", 17_700),
    ("authorization.k8s.io", 17_600),
    ("autoscaling", 17_500),
    ("batch", 17_400),
    ("certificates.k8s.io", 17_300),
    ("networking.k8s.io", 17_200),
    ("policy", 17_100),
    ("rbac.authorization.k8s.io", 17_000),
    ("storage.k8s.io", 16_800),
    ("apiextensions.k8s.io", 16_700),
    ("admissionregistration.k8s.io", 16_700),
    ("scheduling.k8s.io", 16_600),
    ("coordination.k8s.io", 16_500),
    ("node.k8s.io", 16_300),
    ("discovery.k8s.io", 16_200),
    ("resource.k8s.io", 16_200),
    ("flowcontrol.apiserver.k8s.io", 16_100),
    ("internal.apiserver.k8s.io", 16_000),
    ("storagemigration.k8s.io", 15_800),
];

/// The priority of a version within its group.
fn version_priority(group: &str, version: &str) -> i64 {
    match (group, version) {
        ("", _) => 1,
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        _ => 15,
    }
}

/// What is to be done about one of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Registration {
    /// It is missing.
    Create(Value),
    /// It says something else; this is its `spec`.
    Update {
        /// Its name.
        name: String,
        /// What it is to say.
        spec: Value,
    },
    /// It is kept by a server and answers for nothing any longer.
    Delete {
        /// Its name.
        name: String,
    },
}

/// The versions that a definition of a custom resource has served, with their group.
#[must_use]
pub fn served_versions(definition: &Value) -> Vec<(String, String)> {
    let spec = &definition["spec"];
    let served = list(spec, "versions").iter().filter(|version| version["served"] == true);
    served.map(|version| (text(spec, "group").to_owned(), text(version, "name").to_owned())).collect()
}

/// What is to be done so that there is one for each version of a group: of `custom` ones always, of what is built in only
/// `at_start`. `present` are all that are there. Those that nobody labelled are left alone.
#[must_use]
pub fn registrations<'a>(
    custom: impl IntoIterator<Item = &'a (String, String)>,
    present: impl IntoIterator<Item = &'a Value>,
    at_start: bool,
) -> Vec<Registration> {
    let mut wanted = wanted(custom);
    let mut plan = Vec::new();
    for service in present {
        let name = text(&service["metadata"], "name");
        let managed = text(&service["metadata"]["labels"], MANAGED);
        let is_ours = managed == ALWAYS || managed == ON_START && at_start;
        match wanted.remove(name).map(Wanted::spec) {
            Some(spec) if is_ours && spec != service["spec"] => {
                plan.push(Registration::Update { name: name.to_owned(), spec });
            }
            None if is_ours => plan.push(Registration::Delete { name: name.to_owned() }),
            _ => {}
        }
    }
    let missing = wanted.into_iter().filter(|(_, wanted)| at_start || wanted.managed == ALWAYS);
    plan.extend(missing.map(|(name, wanted)| {
        let metadata = json!({"name": name, "labels": {MANAGED: wanted.managed}});
        Registration::Create(json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": metadata, "spec": wanted.spec()}))
    }));
    plan
}

/// One that there is to be.
struct Wanted<'a> {
    group: &'a str,
    version: &'a str,
    /// Of the group, and of the version in it.
    priorities: (i64, i64),
    managed: &'static str,
}

impl Wanted<'_> {
    fn spec(self) -> Value {
        let (group, version) = self.priorities;
        let mut spec = json!({"version": self.version, "groupPriorityMinimum": group, "versionPriority": version});
        if !self.group.is_empty() {
            spec["group"] = self.group.into();
        }
        spec
    }
}

/// All that there are to be, by name.
fn wanted<'a>(custom: impl IntoIterator<Item = &'a (String, String)>) -> BTreeMap<String, Wanted<'a>> {
    let builtin = Catalog::builtin();
    let mut wanted = BTreeMap::new();
    let mut add = |group: &'a str, version: &'a str, priorities: (i64, i64), managed: &'static str| {
        let name = format!("{version}.{group}");
        wanted.entry(name).or_insert(Wanted { group, version, priorities, managed });
    };
    for (group, priority) in GROUPS {
        for version in builtin.versions(group) {
            add(group, version, (priority, version_priority(group, version)), ON_START);
        }
    }
    for (group, version) in custom {
        add(group, version, (1000, 100), ALWAYS);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(plan: &[Registration]) -> Vec<&str> {
        fn name(it: &Registration) -> Option<&str> {
            match it {
                Registration::Create(service) => Some(text(&service["metadata"], "name")),
                _ => None,
            }
        }
        plan.iter().filter_map(name).collect()
    }

    #[test]
    fn every_served_version_is_registered_once() {
        let definition = json!({"spec": {"group": "a.example", "versions": [{"name": "v1", "served": true},
            {"name": "v2", "served": false}]}});
        let served = served_versions(&definition);
        assert_eq!(served, [("a.example".to_owned(), "v1".to_owned())]);
        let plan = registrations(served.iter().chain(&served), &[], true);
        let names = created(&plan);
        assert!(names.contains(&"v1.") && names.contains(&"v2.autoscaling") && names.contains(&"v1.a.example"));
        let versions: usize = Catalog::builtin().groups().iter().map(|it| Catalog::builtin().versions(it).len()).sum();
        // The group of APIServices is not registered itself; the custom resource is one more.
        assert_eq!(names.len(), versions, "a group has no priority: {names:?}");
        assert_eq!(created(&registrations(&served, &[], false)), ["v1.a.example"]);
    }

    #[test]
    fn what_answers_for_nothing_goes_and_what_others_made_stays() {
        let service = |name: &str, managed: &str| json!({"metadata": {"name": name, "labels": {MANAGED: managed}}, "spec": {"version": "v1"}});
        let present = [service("v1.gone", "true"), service("v1.apps", "onstart"), service("v1.other", "")];
        assert_eq!(registrations(&[], &present, false), [Registration::Delete { name: "v1.gone".to_owned() }]);
        let plan = registrations(&[], &present, true);
        assert!(plan.iter().any(|it| matches!(it, Registration::Update { name, .. } if name == "v1.apps")), "{plan:?}");
    }
}
