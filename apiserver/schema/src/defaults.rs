//! What an author may leave out: the values Kubernetes fills in, per resource.
//!
//! These are the defaults of the API types. What depends on other objects or on the server (service addresses, job selectors,
//! service accounts, priorities, uids) is set by the API server.

pub(crate) mod core;
pub(crate) mod pod;
pub(crate) mod workload;

use crate::Resource;
use crate::view::object_mut;
use serde_json::Value;

/// Fills in the defaults of `resource` in `object`; doing it twice changes nothing more.
pub fn apply_defaults(resource: &Resource, object: &mut Value) {
    (resource.rules.defaults)(object);
}

/// Fills in what is missing in `spec`.
pub(crate) fn with_spec(object: &mut Value, fill: fn(&mut Value)) {
    if let Some(spec) = object_mut(object, "spec") {
        fill(spec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find_kind;
    use serde_json::json;

    fn defaulted(api_version: &str, kind: &str, mut object: Value) -> Value {
        let resource = find_kind(api_version, kind).expect("the kind exists");
        apply_defaults(resource, &mut object);
        let once = object.clone();
        apply_defaults(resource, &mut object);
        assert_eq!(object, once, "defaulting {kind} twice changes it");
        object
    }

    #[test]
    fn a_pod_gets_what_kubernetes_gives() {
        let pod = defaulted(
            "v1",
            "Pod",
            json!({"spec": {
            "containers": [{"name": "c", "image": "web:1", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"memory": "1Gi"}}, "livenessProbe": {"httpGet": {"port": 80}}}],
            "volumes": [{"name": "v", "configMap": {"name": "x"}}, {"name": "e"}]}}),
        );
        insta::assert_json_snapshot!(pod);
    }

    #[test]
    fn the_pull_policy_follows_the_tag() {
        let policy = |image: &str| {
            let pod = defaulted("v1", "Pod", json!({"spec": {"containers": [{"image": image}]}}));
            pod["spec"]["containers"][0]["imagePullPolicy"].as_str().map(str::to_owned)
        };
        for (image, expected) in [
            ("web", "Always"),
            ("web:latest", "Always"),
            ("host:5000/web", "Always"),
            ("web:1", "IfNotPresent"),
            ("web@sha256:0000000000000000000000000000000000000000000000000000000000000000", "IfNotPresent"),
        ] {
            assert_eq!(policy(image).as_deref(), Some(expected), "{image}");
        }
    }

    #[test]
    fn workloads_and_services_get_what_kubernetes_gives() {
        let template =
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
        let object = json!({"spec": {"template": template}});
        insta::assert_json_snapshot!("deployment", defaulted("apps/v1", "Deployment", object.clone()));
        insta::assert_json_snapshot!("job", defaulted("batch/v1", "Job", object));
        let service = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        insta::assert_json_snapshot!("service", defaulted("v1", "Service", service));
    }

    #[test]
    fn a_service_drops_what_its_former_type_had() {
        let ports = json!([{"port": 80}]);
        let former = json!({"spec": {"type": "ClusterIP", "externalTrafficPolicy": "Cluster", "ports": ports,
            "sessionAffinity": "None", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}});
        let now = defaulted("v1", "Service", former);
        assert_eq!(now["spec"].get("externalTrafficPolicy"), None);
        assert_eq!(now["spec"].get("sessionAffinityConfig"), None);
        let sticky = defaulted("v1", "Service", json!({"spec": {"sessionAffinity": "ClientIP", "ports": ports}}));
        assert_eq!(sticky["spec"]["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }

    #[test]
    fn string_data_becomes_data() {
        let secret = defaulted("v1", "Secret", json!({"data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "y"}}));
        assert_eq!(secret, json!({"type": "Opaque", "data": {"a": "eQ==", "b": "eA=="}}));
    }

    #[test]
    fn a_namespace_on_its_way_out_keeps_its_finalizers_off() {
        let fresh = defaulted("v1", "Namespace", json!({"metadata": {"name": "n"}}));
        assert_eq!(fresh["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(fresh["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "n"}));
        let leaving = json!({"metadata": {"name": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}});
        assert_eq!(defaulted("v1", "Namespace", leaving)["spec"], json!({}));
    }

    #[test]
    fn wrong_shapes_are_left_alone() {
        for resource in crate::resources() {
            for wrong in [
                json!([]),
                json!("x"),
                json!({"spec": 1}),
                json!({"spec": {"template": 1, "containers": "x", "ports": [1]}}),
            ] {
                let mut object = wrong.clone();
                apply_defaults(resource, &mut object);
            }
        }
    }
}
