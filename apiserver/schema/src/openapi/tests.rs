//! The documents hold together: references resolve, kinds are found, patches are described.

use super::*;

fn parsed(path: &str) -> Value {
    serde_json::from_slice(v3(path).unwrap_or_else(|| panic!("{path} is served"))).expect("JSON")
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
    let v2 = v2_json();
    check_references(&v2, "#/definitions/", &|name| v2["definitions"].get(name).is_some());
    for (group, version) in group_versions() {
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
    let index = v3_index();
    let paths = index["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), group_versions().len());
    for (path, entry) in paths {
        let hash = hex::encode_upper(Sha256::digest(v3(path).expect("a document")));
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
    }
    assert_eq!(v3("apis/none/v1"), None);
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
    for (group, version) in group_versions() {
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
    let size = v2_protobuf().len()
        + group_versions()
            .iter()
            .map(|(group, version)| v3(&path(group, version)).map_or(0, <[u8]>::len))
            .sum::<usize>();
    assert!(size < 4 << 20, "{size} bytes are kept");
}
