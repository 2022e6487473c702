//! Each rule, with the text a user reads.

use super::*;
use crate::{apply_defaults, find_kind};
use serde_json::{Value, json};

fn texts(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(FieldError::to_string).collect()
}

fn create(api_version: &str, kind: &str, mut object: Value) -> Vec<String> {
    let resource = find_kind(api_version, kind).expect("the kind exists");
    if object.get("metadata").is_none() {
        object["metadata"] = json!({"name": "x"});
    }
    apply_defaults(resource, &mut object);
    resource.complete(&mut object, None);
    texts(validate_create(resource, &object))
}

fn update(api_version: &str, kind: &str, new: &Value, old: &Value) -> Vec<String> {
    let resource = find_kind(api_version, kind).expect("the kind exists");
    let ready = |object: &Value| {
        let mut object = object.clone();
        if object.get("metadata").is_none() {
            object["metadata"] = json!({"name": "x"});
        }
        apply_defaults(resource, &mut object);
        resource.complete(&mut object, None);
        object
    };
    texts(validate_update(resource, &ready(new), &ready(old), None))
}

/// A pod with one sound container, changed by `change`.
fn pod(change: impl FnOnce(&mut Value)) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    change(&mut spec);
    json!({"spec": spec})
}

fn container(change: Value) -> Value {
    pod(|spec| {
        for (key, value) in change.as_object().expect("fields") {
            spec["containers"][0][key] = value.clone();
        }
    })
}

#[test]
fn sound_objects_pass() {
    assert_eq!(create("v1", "Pod", pod(|_| ())), Vec::<String>::new());
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod(|_| ())["spec"]});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    assert_eq!(create("apps/v1", "Deployment", json!({"spec": spec})), Vec::<String>::new());
    assert_eq!(create("apps/v1", "ReplicaSet", json!({"spec": spec})), Vec::<String>::new());
    let job = json!({"template": {"spec": pod(|spec| spec["restartPolicy"] = "Never".into())["spec"]}});
    assert_eq!(create("batch/v1", "Job", json!({"spec": job})), Vec::<String>::new());
    assert_eq!(create("v1", "Service", json!({"spec": {"ports": [{"port": 80}]}})), Vec::<String>::new());
    for (version, kind) in
        [("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Namespace"), ("v1", "Node"), ("v1", "ServiceAccount")]
    {
        assert_eq!(create(version, kind, json!({})), Vec::<String>::new(), "{kind}");
    }
}

#[test]
fn containers_are_checked() {
    let cases = [
        (pod(|spec| spec["containers"] = json!([])), "spec.containers: Required value"),
        (container(json!({"image": ""})), "spec.containers[0].image: Required value"),
        (
            container(json!({"image": " i"})),
            "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace",
        ),
        (
            container(json!({"ports": [{"containerPort": 70_000}]})),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"imagePullPolicy": "Sometimes"})),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            container(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            container(json!({"resources": {"limits": {"memory": "-1"}}})),
            "spec.containers[0].resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            container(json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]})),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (container(json!({"env": [{"name": ""}]})), "spec.containers[0].env[0].name: Required value"),
        (
            container(json!({"livenessProbe": {}})),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            container(json!({"readinessProbe": {"tcpSocket": {"port": 0}}})),
            "spec.containers[0].readinessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            container(json!({"securityContext": {"runAsUser": -1}})),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            pod(|spec| spec["initContainers"] = json!([{"name": "c", "image": "i"}])),
            "spec.initContainers[0].name: Duplicate value: \"c\"",
        ),
    ];
    for (object, expected) in cases {
        let found = create("v1", "Pod", object);
        assert!(found.iter().any(|text| text == expected), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn pods_are_checked() {
    let with = |field: &str, value: Value| pod(|spec| spec[field] = value);
    let cases = [
        (
            with("restartPolicy", json!("Maybe")),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
        (with("volumes", json!([{"name": "a"}, {"name": "a"}])), "spec.volumes[1].name: Duplicate value: \"a\""),
        (
            with("volumes", json!([{"name": "a", "persistentVolumeClaim": {}}])),
            "spec.volumes[0].persistentVolumeClaim.claimName: Required value",
        ),
        (
            with("volumes", json!([{"name": "a", "csi": {"nodePublishSecretRef": {}}}])),
            "spec.volumes[0].csi.driver: Required value",
        ),
        (
            with("volumes", json!([{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}])),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            with("terminationGracePeriodSeconds", json!(-1)),
            "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            with("dnsPolicy", json!("None")),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            with("resourceClaims", json!([{"name": "gpu"}])),
            "spec.resourceClaims[0]: Invalid value: {\"name\":\"gpu\"}: must specify one of: `resourceClaimName`, \
             `resourceClaimTemplateName`",
        ),
        (
            with("ephemeralContainers", json!([{"name": "d"}])),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
    ];
    for (object, expected) in cases {
        let found = create("v1", "Pod", object);
        assert!(found.iter().any(|text| text == expected), "{expected}\nnot in {found:#?}");
    }
}

#[test]
fn metadata_is_checked() {
    let named = |metadata: Value| create("v1", "ConfigMap", json!({"metadata": metadata}));
    assert_eq!(named(json!({})), ["metadata.name: Required value: name or generateName is required"]);
    assert_eq!(named(json!({"generateName": "a-"})), Vec::<String>::new());
    let upper = named(json!({"name": "Upper"}));
    assert!(
        upper[0].starts_with("metadata.name: Invalid value: \"Upper\": a lowercase RFC 1123 subdomain must"),
        "{upper:?}"
    );
    let digit = create("v1", "Service", json!({"metadata": {"name": "1a"}, "spec": {"ports": [{"port": 1}]}}));
    assert_eq!(digit, Vec::<String>::new(), "RelaxedServiceNameValidation is on in Kubernetes 1.36");
    let label = named(json!({"name": "a", "labels": {"a": "-"}}));
    assert!(label[0].starts_with("metadata.labels: Invalid value: \"-\": a valid label must"), "{label:?}");
    let large = named(json!({"name": "a", "annotations": {"a": "x".repeat(300 << 10)}}));
    assert_eq!(large, ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    let placed = create("v1", "Node", json!({"metadata": {"name": "n", "namespace": "d"}}));
    assert_eq!(placed, ["metadata.namespace: Forbidden: not allowed on this type"]);
}

#[test]
fn services_are_checked() {
    let service = |spec: Value| create("v1", "Service", json!({"spec": spec}));
    assert_eq!(service(json!({})), ["spec.ports: Required value"]);
    assert_eq!(
        service(json!({"ports": [{"port": 70_000, "targetPort": 1}]})),
        ["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"]
    );
    assert_eq!(
        service(json!({"ports": [{"port": 1, "nodePort": 30_000}]})),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
    assert_eq!(
        service(json!({"ports": [{"port": 1, "name": "a"}, {"port": 1}]})),
        ["spec.ports[1].name: Required value", "spec.ports[1]: Duplicate value: {\"port\":1,\"protocol\":\"TCP\"}"]
    );
    assert_eq!(service(json!({"clusterIP": "None"})), Vec::<String>::new());
    assert_eq!(service(json!({"type": "ExternalName"})), ["spec.externalName: Required value"]);
    let classed = |kind: &str, class: &str| json!({"type": kind, "loadBalancerClass": class, "ports": [{"port": 1}]});
    assert_eq!(service(classed("LoadBalancer", "example.com/a")), Vec::<String>::new());
    assert_eq!(
        service(classed("ClusterIP", "example.com/a")),
        ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]
    );
    let spec = |class: &str| json!({ "spec": classed("LoadBalancer", class) });
    assert_eq!(
        update("v1", "Service", &spec("b"), &spec("a")),
        ["spec.loadBalancerClass: Invalid value: \"b\": may not change once set"]
    );
}

#[test]
fn workloads_are_checked() {
    let template = |labels: Value| json!({"metadata": {"labels": labels}, "spec": pod(|_| ())["spec"]});
    let deployment = |spec: Value| create("apps/v1", "Deployment", json!({"spec": spec}));
    assert_eq!(
        deployment(json!({"template": template(json!({}))})),
        [
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: {}: `selector` does not match template `labels`"
        ]
    );
    assert_eq!(
        deployment(json!({"selector": {"matchLabels": {"a": "b"}}, "template": template(json!({"a": "c"}))})),
        ["spec.template.metadata.labels: Invalid value: {\"a\":\"c\"}: `selector` does not match template `labels`"]
    );
    let job = create("batch/v1", "Job", json!({"spec": {"template": template(json!({}))}}));
    assert_eq!(job, ["spec.template.spec.restartPolicy: Required value: valid values: \"Never\", \"OnFailure\""]);
}

#[test]
fn what_is_fixed_may_not_change() {
    let old = pod(|_| ());
    assert_eq!(update("v1", "Pod", &container(json!({"image": "i:2"})), &old), Vec::<String>::new());
    let moved = update("v1", "Pod", &pod(|spec| spec["nodeName"] = "n".into()), &old);
    assert!(moved[0].starts_with("spec: Forbidden: pod updates may not change fields other than"), "{moved:?}");
    assert!(moved[0].ends_with("changed: spec.nodeName"), "{moved:?}");
    let service = |address: &str| json!({"spec": {"clusterIP": address, "ports": [{"port": 1}]}});
    assert_eq!(
        update("v1", "Service", &service("10.96.0.8"), &service("10.96.0.7")),
        ["spec.clusterIP: Invalid value: \"10.96.0.8\": may not change once set"]
    );
    let map = |value: &str| json!({"immutable": true, "data": {"a": value}});
    assert_eq!(
        update("v1", "ConfigMap", &map("2"), &map("1")),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    assert_eq!(
        update("v1", "Secret", &json!({"type": "b"}), &json!({"type": "a"})),
        ["type: Invalid value: \"b\": field is immutable"]
    );
    let renamed = json!({"metadata": {"name": "y"}});
    assert_eq!(
        update("v1", "ConfigMap", &renamed, &json!({"metadata": {"name": "x"}})),
        ["metadata.name: Invalid value: \"y\": field is immutable"]
    );
}

/// Fault N29: names of kernel parameters are checked when the pod is made, not when it starts.
#[test]
fn kernel_parameters_are_checked() {
    let names = |names: &[&str]| {
        let sysctls: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        create("v1", "Pod", pod(|spec| spec["securityContext"] = json!({"sysctls": sysctls})))
    };
    assert_eq!(names(&["kernel.shmmax", "net/ipv4/ip_forward", "net.ipv4.conf.eth0.x_y-z"]), Vec::<String>::new());
    for wrong in ["foo-", "bar..", "A", "/a", "a b", &"a".repeat(254)] {
        let errors = names(&[wrong]);
        let rule = "must have at most 253 characters and match regex ([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*";
        assert!(errors.len() == 1 && errors[0].contains(rule), "{wrong}: {errors:?}");
        assert!(errors[0].starts_with("spec.securityContext.sysctls[0].name: Invalid value"), "{errors:?}");
    }
    assert_eq!(names(&["a", "a"]), ["spec.securityContext.sysctls[1].name: Duplicate value: \"a\""]);
    let of_host = pod(|spec| {
        spec["hostNetwork"] = true.into();
        spec["securityContext"] = json!({"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]});
    });
    let error = "spec.securityContext.sysctls[0].name: Invalid value: \"net.ipv4.ip_forward\": may not be specified when \
                 'hostNetwork' is true";
    assert_eq!(create("v1", "Pod", of_host), [error]);
}

/// Fault N29: a port of the host's loopback is as good as any.
#[test]
fn host_ports_may_be_at_any_address() {
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1"}]});
    assert_eq!(create("v1", "Pod", container(port)), Vec::<String>::new());
}

/// Fault N29: pods of an indexed job are hosts, so its name must leave room for an index.
#[test]
fn an_indexed_job_leaves_room_for_host_names() {
    let job = |name: &str| {
        let template = json!({"spec": pod(|spec| spec["restartPolicy"] = "Never".into())["spec"]});
        let spec = json!({"template": template, "completionMode": "Indexed", "completions": 11, "parallelism": 1});
        create("batch/v1", "Job", json!({"metadata": {"name": name}, "spec": spec}))
    };
    assert_eq!(job(&"j".repeat(60)), Vec::<String>::new());
    let errors = job(&"j".repeat(61));
    assert!(
        errors.iter().any(|error| error.contains("will not able to create pod with invalid DNS label")),
        "{errors:?}"
    );
}

/// Fault N5: endpoints lead somewhere, and where that is means the same from everywhere.
#[test]
fn endpoints_are_checked() {
    let cases = [
        (
            json!([{"ports": [{"port": 1}]}]),
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
        ),
        (
            json!([{"addresses": [{"ip": "x"}]}]),
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!([{"addresses": [{"ip": "127.0.0.1"}]}]),
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            json!([{"notReadyAddresses": [{"ip": "169.254.1.1"}]}]),
            "subsets[0].notReadyAddresses[0].ip: Invalid value: \"169.254.1.1\": may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1, "name": "a"}, {"port": 2}]}]),
            "subsets[0].ports[1].name: Required value",
        ),
        (
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{}]}]),
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
    ];
    for (subsets, error) in cases {
        assert_eq!(create("v1", "Endpoints", json!({"subsets": subsets})), [error]);
    }
    let sound = json!([{"addresses": [{"ip": "10.0.0.1", "hostname": "a"}], "notReadyAddresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]);
    assert_eq!(create("v1", "Endpoints", json!({"subsets": sound})), Vec::<String>::new());
}
