//! A few objects of every kind that the former program knew.

use serde_json::{Value, json};

/// One object: where it is created, its name, and what it says.
pub(crate) struct Written {
    /// The path of its collection.
    pub(crate) collection: String,
    pub(crate) name: &'static str,
    pub(crate) object: Value,
}

impl Written {
    /// The path of the object.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }
}

fn cluster(plural: &str, name: &'static str, object: Value) -> Written {
    Written { collection: format!("/api/v1/{plural}"), name, object }
}

fn namespaced(root: &str, plural: &str, name: &'static str, object: Value) -> Written {
    Written { collection: format!("{root}/namespaces/former/{plural}"), name, object }
}

/// Pods of a workload.
fn template() -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 5});
    let container = json!({"name": "web", "image": "skiff.local/demo", "ports": [{"name": "web", "containerPort": 80}],
        "readinessProbe": probe, "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "map", "key": "a"}}}],
        "resources": {"limits": {"memory": "64Mi"}, "requests": {"cpu": "10m"}}});
    let volumes = json!([{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "map"}}]);
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], "volumes": volumes}})
}

/// All of them, in an order in which they can be created.
pub(crate) fn all() -> Vec<Written> {
    const CORE: &str = "/api/v1";
    let mut pod = template();
    pod["metadata"]["finalizers"] = json!(["example.com/held"]);
    pod["metadata"]["annotations"] = json!({"example.com/note": "é \"quoted\" \u{1f980}"});
    let port = |extra: Value| {
        let mut port = json!({"name": "web", "port": 80, "targetPort": "web"});
        port.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
        json!([port])
    };
    let mut all = vec![
        cluster("namespaces", "former", json!({"metadata": {"labels": {"team": "a"}}})),
        cluster(
            "nodes",
            "n1",
            json!({"metadata": {"labels": {"disk": "ssd"}}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
        ),
        namespaced(CORE, "configmaps", "map", json!({"data": {"a": "b"}, "binaryData": {"c": "AAEC"}})),
        namespaced(CORE, "secrets", "secret", json!({"type": "Opaque", "data": {"k": "c2VjcmV0"}, "immutable": true})),
        namespaced(CORE, "serviceaccounts", "robot", json!({"automountServiceAccountToken": false})),
        namespaced(CORE, "pods", "pod", pod),
        namespaced(CORE, "services", "inside", json!({"spec": {"selector": {"app": "web"}, "ports": port(json!({}))}})),
        namespaced(CORE, "services", "fixed", json!({"spec": {"clusterIP": "10.96.0.77", "ports": port(json!({}))}})),
        namespaced(
            CORE,
            "services",
            "outside",
            json!({"spec": {"type": "NodePort", "ports": port(json!({"nodePort": 30001}))}}),
        ),
        namespaced(CORE, "services", "headless", json!({"spec": {"clusterIP": "None", "ports": port(json!({}))}})),
        namespaced(
            CORE,
            "endpoints",
            "own",
            json!({"subsets": [{"addresses": [{"ip": "192.0.2.9"}], "ports": [{"port": 5432}]}]}),
        ),
        namespaced(
            CORE,
            "events",
            "event",
            json!({"involvedObject": {"kind": "Pod", "namespace": "former", "name": "pod"},
            "reason": "Tested", "message": "An event.", "type": "Normal"}),
        ),
    ];
    all.extend(workloads());
    all
}

/// What is not in the core group.
fn workloads() -> Vec<Written> {
    const APPS: &str = "/apis/apps/v1";
    let selector = json!({"matchLabels": {"app": "web"}});
    let workload = json!({"spec": {"replicas": 2, "selector": selector, "template": template()}});
    let mut job = template();
    job["spec"]["restartPolicy"] = "Never".into();
    vec![
        namespaced(APPS, "deployments", "web", workload.clone()),
        namespaced(APPS, "replicasets", "web-1", workload),
        namespaced("/apis/batch/v1", "jobs", "once", json!({"spec": {"completions": 1, "template": job}})),
        namespaced(
            "/apis/coordination.k8s.io/v1",
            "leases",
            "lease",
            json!({"spec": {"holderIdentity": "me",
            "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.000006Z"}}),
        ),
        namespaced(
            "/apis/discovery.k8s.io/v1",
            "endpointslices",
            "slice",
            json!({"addressType": "IPv4",
            "endpoints": [{"addresses": ["192.0.2.9"]}], "ports": [{"name": "db", "port": 5432}]}),
        ),
    ]
}
