//! The documents hold together: references resolve, kinds are found, patches are described.

use super::*;

fn documents() -> &'static Documents {
    crate::Catalog::builtin().documents()
}

fn parsed(path: &str) -> Value {
    let document = documents().v3(path).unwrap_or_else(|| panic!("{path} is served"));
    serde_json::from_slice(&document.body).expect("JSON")
}

/// The schemas of a group-version have a resource behind them.
fn kinds_of<'a>(group: &'a str, version: &'a str) -> impl Iterator<Item = &'a str> {
    crate::Catalog::builtin().of_version(group, version).map(|it| &*it.kind)
}

fn check_references(value: &Value, prefix: &str, exists: &dyn Fn(&str) -> bool) {
    match value {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                let name = reference
                    .strip_prefix(prefix)
                    .unwrap_or_else(|| panic!("{reference} does not start with {prefix}"));
                assert!(exists(name), "{reference} leads nowhere");
            }
            map.values().for_each(|value| check_references(value, prefix, exists));
        }
        Value::Array(list) => list.iter().for_each(|value| check_references(value, prefix, exists)),
        _ => {}
    }
}

#[test]
fn every_reference_resolves() {
    let v2 = documents().v2_value();
    check_references(&v2, "#/definitions/", &|name| v2["definitions"].get(name).is_some());
    for (group, version) in documents().group_versions() {
        let document = parsed(&path(group, version));
        check_references(&document, "#/components/schemas/", &|name| {
            document["components"]["schemas"].get(name).is_some()
        });
        for kind in kinds_of(group, version) {
            let schemas = document["components"]["schemas"].as_object().expect("schemas");
            let wanted = json!({"group": group, "version": version, "kind": kind});
            let is_kind = |schema: &Value| {
                schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&wanted))
            };
            assert!(schemas.values().any(is_kind), "{kind} has no schema in {group}/{version}");
        }
    }
}

#[test]
fn the_index_names_every_document_with_its_hash() {
    let index = documents().v3_index();
    let paths = index["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), documents().group_versions().len());
    for (path, entry) in paths {
        let hash = documents().v3(path).expect("a document").hash;
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
    }
    assert!(documents().v3("apis/none/v1").is_none());
}

#[test]
fn patches_are_described_as_kubectl_wants() {
    let document = parsed("apis/apps/v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let names: Vec<_> =
        patch["parameters"].as_array().expect("parameters").iter().map(|it| it["name"].clone()).collect();
    assert!(names.contains(&"fieldValidation".into()) && names.contains(&"dryRun".into()), "{names:?}");
}

#[test]
fn merge_keys_are_announced() {
    let document = parsed("api/v1");
    let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
}

#[test]
fn operation_ids_are_unique() {
    for (group, version) in documents().group_versions() {
        let document = parsed(&path(group, version));
        let mut seen = std::collections::BTreeSet::new();
        for item in document["paths"].as_object().expect("paths").values() {
            for id in item.as_object().expect("operations").values().filter_map(|it| it.get("operationId")) {
                assert!(seen.insert(id.to_string()), "{id} stands twice in {group}/{version}");
            }
        }
    }
}

#[test]
fn documents_are_of_bearable_size() {
    let length = |path: String| documents().v3(&path).map_or(0, |document| document.body.len());
    let versions = documents().group_versions();
    let size = documents().v2_protobuf().body.len()
        + versions.iter().map(|(group, version)| length(path(group, version))).sum::<usize>();
    assert!(size < 4 << 20, "{size} bytes are kept");
}

/// Values taken from kube-apiserver's own documents.
#[test]
fn the_structure_is_that_of_kubernetes() {
    let document = parsed("apis/apps/v1");
    let schemas = &document["components"]["schemas"];
    let spec = &schemas["io.k8s.api.apps.v1.DeploymentSpec"];
    let bare = |field: &str| {
        let mut schema = spec["properties"][field].clone();
        schema.as_object_mut().expect("a schema").remove("description").expect("a sentence");
        schema
    };
    let reference = |name: &str| json!([{"$ref": format!("#/components/schemas/{name}")}]);
    assert_eq!(bare("replicas"), json!({"type": "integer", "format": "int32"}));
    assert_eq!(
        bare("strategy"),
        json!({"allOf": reference("io.k8s.api.apps.v1.DeploymentStrategy"), "default": {},
            "x-kubernetes-patch-strategy": "retainKeys"})
    );
    assert_eq!(bare("selector"), json!({"allOf": reference("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")}));
    assert_eq!(spec["required"], json!(["selector", "template"]));
    let options = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    let kind = |group: &str| json!({"group": group, "kind": "DeleteOptions", "version": "v1"});
    assert_eq!(options["x-kubernetes-group-version-kind"], json!([kind(""), kind("apps")]));
    let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"];
    assert_eq!(item["put"]["operationId"], "replaceAppsV1NamespacedDeploymentScale");
    assert_eq!(item["put"]["tags"], json!(["apps_v1"]));
    assert_eq!(
        item["put"]["x-kubernetes-group-version-kind"],
        json!({"group": "autoscaling", "kind": "Scale", "version": "v1"})
    );
    let list = &document["paths"]["/apis/apps/v1/deployments"];
    assert_eq!(list["get"]["operationId"], "listAppsV1DeploymentForAllNamespaces");
    assert!(list["parameters"].as_array().is_some_and(|all| all.len() == 11), "{list}");
}

/// kubectl takes every field for unknown that a schema with properties does not list.
#[test]
fn version_2_says_nothing_about_an_object_that_keeps_unknown_fields() {
    let definition = json!({
        "metadata": {"name": "xs.a.example"},
        "spec": {"group": "a.example", "scope": "Namespaced",
            "names": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "description": "Open.", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {"spec": {"type": "object"}}}}}]},
        "status": {"conditions": [{"type": "Established", "status": "True"}],
            "acceptedNames": {"plural": "xs", "singular": "x", "kind": "X", "listKind": "XList"}},
    });
    let documents = Documents::new(crate::custom_resources([&crate::Definition::read(&definition, None)]));
    let name = "example.a.v1.X";
    let kind = json!([{"group": "a.example", "version": "v1", "kind": "X"}]);
    let v2: Value = serde_json::from_slice(&documents.v2_json().body).expect("JSON");
    assert_eq!(v2["definitions"][name], json!({"type": "object", "x-kubernetes-group-version-kind": kind}));
    let v3: Value = serde_json::from_slice(&documents.v3("apis/a.example/v1").expect("served").body).expect("JSON");
    let properties = v3["components"]["schemas"][name]["properties"].as_object().expect("properties");
    assert_eq!(properties.keys().collect::<Vec<_>>(), ["apiVersion", "kind", "metadata", "spec"]);
}

/// One more definition makes no document anew but its own.
#[test]
fn documents_of_what_has_not_changed_are_kept() {
    let names = |plural: &str| json!({"plural": plural, "singular": plural, "kind": "X", "listKind": "XList"});
    let definition = |group: &str| {
        let definition = json!({
            "metadata": {"name": format!("xs.{group}")},
            "spec": {"group": group, "scope": "Namespaced", "names": names("xs"), "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}], "acceptedNames": names("xs")},
        });
        crate::Definition::read(&definition, None)
    };
    let (first, second) = (definition("a.example"), definition("b.example"));
    let one = crate::Catalog::builtin().with(crate::custom_resources([&first]));
    let before = ["apis/apps/v1", "apis/a.example/v1"].map(|path| one.documents().v3(path).expect("served"));
    let both = one.with(crate::custom_resources([&first, &second]));
    let after = ["apis/apps/v1", "apis/a.example/v1"].map(|path| both.documents().v3(path).expect("served"));
    for (before, after) in before.iter().zip(&after) {
        assert!(Arc::ptr_eq(&before.body, &after.body));
    }
    let again = both.with(crate::custom_resources([&definition("a.example"), &second]));
    let made = again.documents().v3("apis/a.example/v1").expect("served");
    assert!(!Arc::ptr_eq(&made.body, &after[1].body), "its definition was read anew");
    assert_eq!(made.hash, after[1].hash);
}
