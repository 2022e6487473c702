//! Pods with users of their own: root inside is nobody on the host, volumes belong to whom they belong, and no two pods share an id.

use crate::support::{apply, container_id, in_pod, pod, processes, ready_pod, shell, with};
use serde_json::{Value, json};
use skiff_harness::TestNode;
use std::os::unix::fs::MetadataExt;

/// Who the first process of a pod's container is on the host.
fn on_host(node: &TestNode, name: &str) -> u32 {
    let id = container_id(&ready_pod(node, name), 0);
    std::fs::metadata(format!("/proc/{}", processes(&id)[0])).unwrap().uid()
}

fn own(name: &str, container: Value) -> Value {
    let mut pod = pod(name, &[container]);
    pod["spec"]["hostUsers"] = json!(false);
    pod
}

const WAIT: &str = "exec sleep 1000";

#[test]
fn root_of_a_pod_is_nobody_on_the_host_and_its_volumes_are_its_own() {
    let node = TestNode::up(&[]);
    let mounts = json!([
        {"name": "scratch", "mountPath": "/scratch"}, {"name": "memory", "mountPath": "/memory"},
        {"name": "config", "mountPath": "/config"},
    ]);
    let mut first = own("first", with(shell(WAIT), json!({"volumeMounts": mounts})));
    first["spec"]["securityContext"] = json!({"fsGroup": 1234});
    first["spec"]["volumes"] = json!([
        {"name": "scratch", "emptyDir": {}}, {"name": "memory", "emptyDir": {"medium": "Memory"}},
        {"name": "config", "configMap": {"name": "c"}},
    ]);
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"key": "value"}});
    let mut shared = own("shared", shell(WAIT));
    shared["spec"]["shareProcessNamespace"] = json!(true);
    apply(&node, &[config, first, shared, pod("control", &[shell(WAIT)])]);

    let ids = ["first", "shared", "control"].map(|name| on_host(&node, name));
    assert!(ids[0] >= 65_536 && ids[1] >= 65_536 && ids[0] != ids[1] && ids[2] == 0, "{ids:?}");
    let map = in_pod(&node, "first", "id -u; cat /proc/self/uid_map").ok();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "0", &ids[0].to_string(), "65536"]);
    let script = "for d in scratch memory; do echo x > /$d/f && stat -c %u:%g /$d /$d/f; done; cat /config/key; echo x >> /etc/hosts; \
                  echo y > /made; stat -c %u /made /etc/passwd";
    let expected = "0:1234\n0:1234\n0:1234\n0:1234\nvalue0\n0\n";
    assert_eq!(in_pod(&node, "first", script).ok(), expected);
    // Of the other pod's processes it sees none, and of its own pod's those that it shares.
    assert!(
        in_pod(&node, "shared", "cat /proc/1/status > /dev/null; ls /proc/1/ > /dev/null; echo seen")
            .ok()
            .contains("seen")
    );
    node.down();
}

/// What an operator chooses for pods that do not say, and that could not have it.
#[test]
fn a_node_may_give_users_of_their_own_to_all_who_can_have_them() {
    let node = TestNode::up(&["--pod-users", "pod"]);
    let mut on_network = pod("network", &[shell(WAIT)]);
    on_network["spec"]["hostNetwork"] = json!(true);
    let mut host = pod("host", &[shell(WAIT)]);
    host["spec"]["hostUsers"] = json!(true);
    apply(&node, &[pod("plain", &[shell(WAIT)]), on_network, host]);
    assert!(on_host(&node, "plain") >= 65_536);
    assert_eq!(["network", "host"].map(|name| on_host(&node, name)), [0, 0]);
    node.down();
}
