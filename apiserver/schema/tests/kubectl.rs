//! Real kubectl binaries against the documents of this crate, served over plain HTTP on loopback.
//!
//! The server here is a test's: it answers discovery, OpenAPI and a few lists, and remembers what it was asked. Binaries come from
//! `tests/peers` (`kubectl-1.20` and `kubectl-1.32`); without them the tests are skipped.

#[path = "kubectl/server.rs"]
mod server;

use server::Server;
use std::path::PathBuf;
use std::process::{Command, Output};

const VERSIONS: [&str; 2] = ["kubectl-1.20", "kubectl-1.32"];

fn binary(name: &str) -> Option<PathBuf> {
    skiff_harness::peer(name).map(|peer| peer.path().to_owned())
}

/// Runs a kubectl of a version; `None`, with a word, when it is not there.
fn kubectl(version: &str, server: &Server, arguments: &[&str], stdin: &str) -> Option<Output> {
    use std::io::Write;
    let Some(path) = binary(version) else {
        skiff_harness::skip(&format!("{version} is not installed"));
        return None;
    };
    let home = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(path)
        .args(["--server", &server.url(), "--request-timeout=20s", "--kubeconfig=/dev/null"])
        .args(arguments)
        .env("HOME", home.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("kubectl reads its input");
    Some(child.wait_with_output().expect("kubectl ends"))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn api_resources_lists_the_table() {
    let server = Server::start();
    for version in VERSIONS {
        let Some(output) = kubectl(version, &server, &["api-resources"], "") else { continue };
        let text = text(&output);
        assert!(output.status.success(), "{version}: {text}");
        for resource in skiff_schema::resources() {
            assert!(text.contains(&*resource.plural), "{version} does not list {}:\n{text}", resource.plural);
        }
        assert!(text.contains("deploy") && text.contains("apps/v1"), "{version}: {text}");
    }
}

#[test]
fn explain_reads_the_schemas() {
    let server = Server::start();
    for version in VERSIONS {
        for (what, expected) in [
            ("pod.spec.containers", "imagePullPolicy"),
            ("pod", "Standard object's metadata"),
            ("deployment.spec.strategy.rollingUpdate", "maxSurge"),
            ("service.spec.ports", "targetPort"),
            ("job.spec", "backoffLimit"),
            ("endpointslice", "addressType"),
            ("lease.spec", "holderIdentity"),
        ] {
            let Some(output) = kubectl(version, &server, &["explain", what], "") else { continue };
            let text = text(&output);
            assert!(output.status.success() && text.contains(expected), "{version} explain {what}:\n{text}");
        }
        let Some(output) = kubectl(version, &server, &["explain", "pod", "--recursive"], "") else { continue };
        assert!(text(&output).contains("terminationGracePeriodSeconds"), "{version}: {}", text(&output));
    }
}

const POD: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": "web"}}}]}}"#;

#[test]
fn apply_validates_against_the_schemas() {
    let server = Server::start();
    for version in VERSIONS {
        let apply = ["apply", "--dry-run=client", "-f", "-"];
        let Some(output) = kubectl(version, &server, &apply, POD) else { continue };
        assert!(output.status.success(), "{version}: {}", text(&output));
        assert!(text(&output).contains("pod/p created (dry run)"), "{version}: {}", text(&output));
    }
    // 1.20 checks by itself; 1.32 sees in the documents that the server does, and asks it to.
    let wrong = POD.replace("\"image\"", "\"imag\"");
    if let Some(output) = kubectl("kubectl-1.20", &server, &["apply", "--dry-run=client", "-f", "-"], &wrong) {
        let text = text(&output);
        assert!(!output.status.success() && text.contains("unknown field \"imag\""), "{text}");
    }
    let server = Server::start();
    if let Some(output) = kubectl("kubectl-1.32", &server, &["apply", "-f", "-"], &wrong) {
        let text = text(&output);
        assert!(!output.status.success() && text.contains("unknown field \"spec.containers[0].imag\""), "{text}");
        assert!(server.asked("fieldValidation=Strict"), "{:#?}", server.requests());
        assert!(!server.asked("/openapi/v2"), "1.32 needed version 2 as well: {:#?}", server.requests());
    }
}

/// One of each kind that people write, with the forms that schemas get wrong: numbers as quantities, percents, names of ports.
const EVERYTHING: &str = r#"{"apiVersion": "v1", "kind": "List", "items": [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}, "binaryData": {"x": "eA=="}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}},
    {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}, "imagePullSecrets": [{"name": "s"}]},
    {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "w"},
        "spec": {"selector": {"app": "w"}, "ports": [{"port": 80, "targetPort": "web", "name": "web"}]}},
    {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "e"}, "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 80}]},
    {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
        "spec": {"renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 40}},
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"app": "w"}},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "w"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": "25%"}},
            "template": {"metadata": {"labels": {"app": "w"}}, "spec": {
                "volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
                    {"name": "t", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}],
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": 0.5, "memory": "64Mi"}},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
                    "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}],
                    "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "periodSeconds": 1}}]}}}},
    {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": ["true"]}]}}}}
]}"#;

#[test]
fn every_kind_passes_the_client_and_the_server() {
    let server = Server::start();
    for version in VERSIONS {
        let Some(output) = kubectl(version, &server, &["apply", "--dry-run=client", "-f", "-"], EVERYTHING) else {
            continue;
        };
        assert!(output.status.success(), "{version}: {}", text(&output));
    }
    let list: serde_json::Value = serde_json::from_str(EVERYTHING).expect("JSON");
    for item in list["items"].as_array().expect("items") {
        let (version, kind) = (item["apiVersion"].as_str().expect("a version"), item["kind"].as_str().expect("a kind"));
        let resource = skiff_schema::find_kind(version, kind).expect("the kind exists");
        let body = item.to_string();
        let decoded = skiff_schema::decode(resource, body.as_bytes(), skiff_schema::FieldValidation::Strict);
        let mut object = decoded.unwrap_or_else(|error| panic!("{kind}: {error}")).object;
        skiff_schema::apply_defaults(resource, &mut object);
        // What the server itself writes: a job's selector, say, which no author has to.
        object["metadata"]["uid"] = "00000000-0000-4000-8000-000000000001".into();
        resource.complete(&mut object, None);
        assert_eq!(skiff_schema::validate_create(resource, &object), [], "{kind}");
    }
}

#[test]
fn apply_patches_with_the_merge_keys() {
    for version in VERSIONS {
        let server = Server::start();
        let apply = ["apply", "-f", "-"];
        let Some(output) = kubectl(version, &server, &apply, POD) else { continue };
        assert!(output.status.success(), "{version}: {}", text(&output));
        let changed = POD.replace("i:1", "i:2");
        let output = kubectl(version, &server, &apply, &changed).expect("it was there a moment ago");
        assert!(text(&output).contains("pod/p configured"), "{version}: {}\n{:#?}", text(&output), server.requests());
        let patches: Vec<_> = server.requests().into_iter().filter(|request| request.starts_with("PATCH")).collect();
        assert_eq!(patches.len(), 1, "{version}: {patches:#?}");
        assert!(patches[0].contains("$setElementOrder/containers"), "{version}: {patches:#?}");
        assert_eq!(server.pod()["spec"]["containers"][0]["image"], "i:2", "{version}");
        let output = kubectl(version, &server, &apply, &changed).expect("it was there a moment ago");
        assert!(text(&output).contains("pod/p unchanged"), "{version}: {}", text(&output));
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        let output =
            kubectl(version, &server, &dry, &changed.replace("i:2", "i:3")).expect("it was there a moment ago");
        assert!(text(&output).contains("server dry run"), "{version}: {}", text(&output));
    }
}

#[test]
fn get_prints_the_tables() {
    for version in VERSIONS {
        let server = Server::start();
        let Some(output) = kubectl(version, &server, &["apply", "-f", "-"], POD) else { continue };
        assert!(output.status.success(), "{version}: {}", text(&output));
        let output = kubectl(version, &server, &["get", "pods"], "").expect("it was there a moment ago");
        let text = text(&output);
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        assert_eq!(lines.next().expect("a head"), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"], "{version}");
        assert_eq!(lines.next().expect("a pod")[..4], ["p", "0/1", "Pending", "0"], "{version}: {text}");
    }
}

/// kubectl 1.32 sends its imperative commands as protobuf, and takes no refusal.
#[test]
fn imperative_commands_come_as_protobuf() {
    let server = Server::start();
    let commands: [&[&str]; 8] = [
        &["create", "namespace", "n"],
        &["create", "configmap", "c", "--from-literal=a=b"],
        &["create", "secret", "generic", "s", "--from-literal=a=b"],
        &["create", "deployment", "d", "--image=i:1", "--replicas=0", "--port=80"],
        &["create", "job", "j", "--image=i:1", "--", "sh", "-c", "exit"],
        &["create", "service", "nodeport", "w", "--tcp=80:web", "--node-port=30080"],
        &["create", "service", "clusterip", "h", "--clusterip=None"],
        &["create", "serviceaccount", "a"],
    ];
    for command in commands {
        let Some(output) = kubectl("kubectl-1.32", &server, command, "") else { return };
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    }
    insta::assert_json_snapshot!(server.created());
}
