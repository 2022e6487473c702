//! What a container finds: values and files of configmaps and secrets, shared folders, facts about its pod.

use crate::support::{IMAGE, apply, in_pod, logs, pod, ready_pod, shell, with};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually_within};
use std::time::Duration;

fn settings(mode: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
        "data": {"mode": mode, "app.conf": "a=1\n"},
    })
}

fn secret() -> Value {
    let metadata = json!({"name": "keys"});
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": "s3cret"}})
}

fn reader() -> Value {
    let env = json!([
        {"name": "MODE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "mode"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "BOTH", "value": "$(MODE)-$(TOKEN)"},
    ]);
    let mounts = json!([
        {"name": "settings", "mountPath": "/etc/settings"},
        {"name": "keys", "mountPath": "/etc/keys", "readOnly": true},
    ]);
    let container = with(shell("exec sleep 1000"), json!({"env": env, "volumeMounts": mounts}));
    let container = with(container, json!({"envFrom": [{"prefix": "ALL_", "configMapRef": {"name": "settings"}}]}));
    let mut pod = pod("reader", &[container]);
    pod["spec"]["volumes"] = json!([
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 256}},
    ]);
    pod
}

#[test]
fn configmaps_and_secrets_become_values_and_files() {
    let node = TestNode::up(&[]);
    apply(&node, &[settings("fast"), secret(), reader()]);
    let pod = ready_pod(&node, "reader");
    let said = in_pod(&node, "reader", "echo $MODE $TOKEN $POD $IP $BOTH $ALL_mode").ok();
    let ip = pod["status"]["podIP"].as_str().unwrap();
    assert_eq!(said, format!("fast s3cret reader {ip} fast-s3cret fast\n"));
    assert_eq!(in_pod(&node, "reader", "cat /etc/settings/mode /etc/settings/app.conf").ok(), "fasta=1\n");
    assert_eq!(in_pod(&node, "reader", "cat /etc/keys/token; stat -Lc %a /etc/keys/token").ok(), "s3cret400\n");
    assert_ne!(in_pod(&node, "reader", "echo x > /etc/keys/token").code, 0, "a secret can be written");
    apply(&node, &[settings("slow")]);
    // The kubelet looks at mounted configmaps once a period.
    eventually_within(Duration::from_secs(120), "the file changes", || {
        match in_pod(&node, "reader", "cat /etc/settings/mode").ok() {
            text if text == "slow" => Ok(()),
            text => Err(text),
        }
    });
    node.down();
}

#[test]
fn a_pod_waits_for_the_configmap_it_names() {
    let node = TestNode::up(&[]);
    apply(&node, &[secret(), reader()]);
    skiff_harness::eventually("an event says what is missing", || {
        match node.skiff(["describe", "pod", "reader"]).ok() {
            text if text.contains("\"settings\"") && text.contains("not found") => Ok(()),
            text => Err(text),
        }
    });
    apply(&node, &[settings("fast")]);
    eventually_within(Duration::from_secs(120), "the pod starts", || match node.json(&["pod", "reader"]) {
        pod if pod["status"]["phase"] == "Running" => Ok(()),
        pod => Err(pod["status"].to_string()),
    });
    node.down();
}

#[test]
fn two_containers_share_a_folder() {
    let node = TestNode::up(&[]);
    let mounts = json!({"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]});
    let writer = with(shell("echo from writer > /shared/note; exec sleep 1000"), mounts.clone());
    let script = "until [ -s /shared/note ]; do sleep 0.1; done; cat /shared/note; exec sleep 1000";
    let reader = json!({"name": "reader", "image": IMAGE, "command": ["sh", "-c", script]});
    let mut pair = pod("pair", &[writer, with(reader, mounts)]);
    pair["spec"]["volumes"] = json!([{"name": "shared", "emptyDir": {}}]);
    apply(&node, &[pair]);
    ready_pod(&node, "pair");
    skiff_harness::eventually("the note is read", || match node.skiff(["logs", "pair", "-c", "reader"]).ok() {
        text if text == "from writer\n" => Ok(()),
        text => Err(text),
    });
    let said = node.skiff(["logs", "pair"]).refused();
    assert!(said.contains("container"), "which container? {said}");
    // They share a network too, and not their processes.
    let ip = |container: &str| node.skiff(["exec", "pair", "-c", container, "--", "hostname"]).ok();
    assert_eq!(ip("main"), ip("reader"));
    node.down();
}

#[test]
fn a_memory_folder_is_a_tmpfs() {
    let node = TestNode::up(&[]);
    let mount = json!({"volumeMounts": [{"name": "fast", "mountPath": "/fast"}]});
    let mut pod = pod("ram", &[with(shell("stat -fc %T /fast; exec sleep 1000"), mount)]);
    pod["spec"]["volumes"] = json!([{"name": "fast", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    apply(&node, &[pod]);
    ready_pod(&node, "ram");
    skiff_harness::eventually("the kind of file system is told", || match logs(&node, "ram") {
        text if text == "tmpfs\n" => Ok(()),
        text => Err(text),
    });
    assert_ne!(in_pod(&node, "ram", "dd if=/dev/zero of=/fast/x bs=64k count=32 2>/dev/null").code, 0);
    node.down();
}

/// Fault N1: keys of configmaps and the like are links, and so may be what a subPath of a shared folder names; none of them
/// leads out of its volume.
#[test]
fn a_sub_path_follows_links_inside_its_volume_only() {
    let node = TestNode::up(&[]);
    let script =
        "mkdir /v/real; echo linked > /v/real/file; ln -s real /v/in; ln -s /etc /v/abs; ln -s ../../../.. /v/up";
    let init = json!({"name": "init", "image": IMAGE, "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "shared", "mountPath": "/v"}]});
    let mount = |volume: &str, at: &str, path: &str| json!({"name": volume, "mountPath": at, "subPath": path});
    let mounts = json!([
        mount("settings", "/etc/app.conf", "app.conf"),
        mount("keys", "/a/token", "token"),
        mount("all", "/a/all", "deep/token"),
        mount("me", "/a/me", "name"),
        {"name": "shared", "mountPath": "/a/in", "subPathExpr": "$(WHERE)"},
        mount("shared", "/a/new", "new/folder"),
    ]);
    let env = json!([{"name": "WHERE", "value": "in"}]);
    let good = with(shell("exec sleep 1000"), json!({"volumeMounts": mounts, "env": env}));
    let bad = |name: &str| {
        let container = json!({"name": name, "image": IMAGE, "volumeMounts": [mount("shared", "/x", name)]});
        with(container, json!({"command": ["sleep", "1000"]}))
    };
    let mut pod = pod("parts", &[good, bad("abs"), bad("up")]);
    pod["spec"]["initContainers"] = json!([init]);
    let name = json!([{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]);
    let sources = json!([{"secret": {"name": "keys", "items": [{"key": "token", "path": "deep/token"}]}}]);
    pod["spec"]["volumes"] = json!([
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "all", "projected": {"sources": sources}},
        {"name": "me", "downwardAPI": {"items": name}},
        {"name": "shared", "emptyDir": {}},
    ]);
    apply(&node, &[settings("fast"), secret(), pod]);
    let pod = crate::support::until(&node, &["pod", "parts"], "has one container and two that are refused", |pod| {
        let of = |name: &str| {
            let all = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|status| status["name"] == name).unwrap_or_default()["state"].clone()
        };
        of("main")["running"].is_object()
            && ["abs", "up"].iter().all(|name| of(name)["waiting"]["reason"] == "CreateContainerConfigError")
    });
    for status in pod["status"]["containerStatuses"].as_array().unwrap().iter().filter(|one| one["name"] != "main") {
        let name = status["name"].as_str().unwrap();
        let expected = format!(
            "failed to prepare subPath for volumeMount \"shared\" of container \"{name}\": {name} leads out of the volume"
        );
        assert_eq!(status["state"]["waiting"]["message"], expected);
    }
    let script =
        "cat /etc/app.conf /a/token; echo; cat /a/all; echo; cat /a/me; echo; cat /a/in/file; stat -c %a /a/new";
    let said = node.skiff(["exec", "parts", "-c", "main", "--", "sh", "-c", script]).ok();
    assert_eq!(said, "a=1\ns3cret\ns3cret\nparts\nlinked\n777\n");
    node.down();
}
