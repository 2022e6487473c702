//! What servers behind this one serve, among what is served here: in the legacy documents and in the aggregated one.

use super::remote::Remote;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::sync::Arc;

/// Those of each group, the most preferred group first, and in it the most preferred version.
fn groups(remotes: &[Arc<Remote>]) -> Vec<(&str, Vec<&Remote>)> {
    let mut sorted: Vec<&Remote> = remotes.iter().map(|remote| &**remote).collect();
    sorted.sort_by_key(|remote| (Reverse(remote.priorities), &remote.name));
    let mut groups: Vec<(&str, Vec<&Remote>)> = Vec::new();
    for remote in sorted {
        match groups.iter_mut().find(|(group, _)| *group == remote.group) {
            Some((_, versions)) => versions.push(remote),
            None => groups.push((&remote.group, vec![remote])),
        }
    }
    for (_, versions) in &mut groups {
        versions.sort_by_key(|remote| Reverse(remote.priorities.1));
    }
    groups
}

fn legacy(group: &str, versions: &[&Remote], own: Option<Value>) -> Value {
    let mut entry = own.unwrap_or_else(|| json!({"name": group, "versions": []}));
    for remote in versions {
        let version = json!({"groupVersion": format!("{group}/{}", remote.version), "version": remote.version});
        if let Some(list) = entry["versions"].as_array_mut()
            && !list.contains(&version)
        {
            list.push(version);
        }
    }
    if entry["preferredVersion"].is_null() {
        entry["preferredVersion"] = entry["versions"][0].clone();
    }
    entry
}

/// An APIGroupList with their groups too.
pub(crate) fn with_groups(mut list: Value, remotes: &[Arc<Remote>]) -> Value {
    for (group, versions) in groups(remotes) {
        let Some(entries) = list["groups"].as_array_mut() else { break };
        match entries.iter_mut().find(|entry| entry["name"] == group) {
            Some(entry) => *entry = legacy(group, &versions, Some(entry.take())),
            None => entries.push(legacy(group, &versions, None)),
        }
    }
    list
}

/// An APIGroup, of here, of theirs, or of both; nothing, if nobody has it.
pub(crate) fn with_group(own: Option<Value>, group: &str, remotes: &[Arc<Remote>]) -> Option<Value> {
    let Some((_, versions)) = groups(remotes).into_iter().find(|(name, _)| *name == group) else { return own };
    let mut entry = legacy(group, &versions, own);
    entry["kind"] = "APIGroup".into();
    entry["apiVersion"] = "v1".into();
    Some(entry)
}

/// The items of an APIGroupDiscoveryList with their groups too. One that has not said what it serves, or does not answer, is marked.
pub(crate) fn with_aggregated(mut items: Vec<Value>, remotes: &[Arc<Remote>]) -> Vec<Value> {
    for (group, versions) in groups(remotes) {
        let versions: Vec<Value> = versions.iter().map(|remote| version(remote)).collect();
        let own = items.iter_mut().find(|item| item["metadata"]["name"] == group);
        match own.and_then(|item| item["versions"].as_array_mut()) {
            Some(list) => {
                list.retain(|one| versions.iter().all(|other| other["version"] != one["version"]));
                list.extend(versions);
            }
            None => items.push(json!({"metadata": {"name": group}, "versions": versions})),
        }
    }
    items
}

fn version(remote: &Remote) -> Value {
    let resources = remote.learned().resources.clone();
    let fresh = resources.is_some() && remote.is_available();
    let entries = resources.map(|list| entries(&list, remote)).unwrap_or_default();
    let mut version = json!({"version": remote.version, "freshness": if fresh { "Current" } else { "Stale" }});
    if !entries.is_empty() {
        version["resources"] = entries.into();
    }
    version
}

/// The entries of an APIResourceList as the aggregated form has them.
fn entries(list: &Value, remote: &Remote) -> Vec<Value> {
    let all = list["resources"].as_array().map_or(&[][..], Vec::as_slice);
    let named = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    let kind = |entry: &Value| {
        let or =
            |field: &str, own: &str| entry[field].as_str().filter(|text| !text.is_empty()).unwrap_or(own).to_owned();
        json!({"group": or("group", &remote.group), "version": or("version", &remote.version), "kind": entry["kind"]})
    };
    let of_one = |entry: &Value| {
        let name = named(entry);
        let mut one = json!({"resource": name, "responseKind": kind(entry),
            "scope": if entry["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": entry["singularName"], "verbs": entry["verbs"]});
        for field in ["shortNames", "categories"] {
            if entry[field].is_array() {
                one[field] = entry[field].clone();
            }
        }
        let parts =
            all.iter().filter_map(|part| Some((named(part).strip_prefix(&format!("{name}/"))?.to_owned(), part)));
        let parts = parts
            .map(|(part, entry)| json!({"subresource": part, "responseKind": kind(entry), "verbs": entry["verbs"]}));
        let parts: Vec<Value> = parts.collect();
        if !parts.is_empty() {
            one["subresources"] = parts.into();
        }
        one
    };
    all.iter().filter(|entry| !named(entry).contains('/')).map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::remote::Learned;
    use super::*;
    use skiff_client::Presented;

    fn remote(group: &str, version: &str, priorities: (i64, i64)) -> Arc<Remote> {
        let service = json!({"metadata": {"name": format!("{version}.{group}")}, "spec": {"group": group, "version": version,
            "groupPriorityMinimum": priorities.0, "versionPriority": priorities.1, "service": {"namespace": "n", "name": "s"}},
            "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let front = Presented::new(&own, &key.serialize_pem()).expect("keys");
        Arc::new(Remote::read(&service, &Arc::new(front)))
    }

    #[test]
    fn groups_of_others_stand_beside_ours() {
        let remotes =
            [remote("a.example", "v1", (1, 1)), remote("a.example", "v2", (1, 9)), remote("apps", "v9", (1, 1))];
        let own = json!({"name": "apps", "preferredVersion": {"version": "v1"}, "versions": [{"version": "v1"}]});
        let list = with_groups(json!({"groups": [own.clone()]}), &remotes);
        let versions = |at: usize| -> Vec<String> {
            let versions = list["groups"][at]["versions"].as_array().unwrap();
            versions.iter().map(|it| it["version"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(
            (versions(0), versions(1)),
            (vec!["v1".to_owned(), "v9".to_owned()], vec!["v2".to_owned(), "v1".to_owned()])
        );
        assert_eq!(list["groups"][1]["preferredVersion"]["groupVersion"], "a.example/v2");
        assert_eq!(with_group(None, "a.example", &remotes).unwrap()["kind"], "APIGroup");
        assert_eq!(with_group(Some(own.clone()), "other", &remotes), Some(own));
        assert_eq!(with_group(None, "other", &remotes), None);
    }

    #[test]
    fn what_they_serve_is_listed_in_the_aggregated_form() {
        let remote = remote("a.example", "v1", (1, 1));
        assert_eq!(with_aggregated(Vec::new(), &[Arc::clone(&remote)])[0]["versions"][0]["freshness"], "Stale");
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]}]});
        *remote.learned() = Learned { resources: Some(Arc::new(list)), openapi_v3: None };
        let items = with_aggregated(Vec::new(), &[remote]);
        assert_eq!(
            items,
            [json!({"metadata": {"name": "a.example"}, "versions": [{"version": "v1", "freshness": "Current",
            "resources": [{"resource": "flunders", "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"],
                "responseKind": {"group": "a.example", "version": "v1", "kind": "Flunder"},
                "subresources": [{"subresource": "status", "verbs": ["get"],
                    "responseKind": {"group": "a.example", "version": "v1", "kind": "Flunder"}}]}]}]})]
        );
    }
}
