//! What a container may use and see: memory, processors, processes, users, capabilities, its own file system.

use crate::support::{apply, cgroup, container_id, in_pod, pod, ready_pod, shell, until, with};
use serde_json::json;
use skiff_harness::TestNode;
use std::path::Path;

/// A limit, whose file has one name in cgroup v1 and another in v2.
fn limit(controller: &str, v1: &str, v2: &str, id: &str) -> String {
    let group = cgroup(controller, id).unwrap();
    let file = if group.join(v1).exists() { v1 } else { v2 };
    std::fs::read_to_string(group.join(file)).unwrap().trim().to_owned()
}

#[test]
fn limits_stand_in_the_containers_cgroup() {
    let node = TestNode::up(&[]);
    let resources = json!({"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "32Mi", "cpu": "250m"}});
    apply(&node, &[pod("limited", &[with(shell("exec sleep 1000"), json!({"resources": resources}))])]);
    let pod = ready_pod(&node, "limited");
    let id = container_id(&pod, 0);
    assert_eq!(limit("memory", "memory.limit_in_bytes", "memory.max", &id), (64 << 20).to_string());
    let quota = limit("cpu", "cpu.cfs_quota_us", "cpu.max", &id);
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    node.down();
}

#[test]
fn a_container_that_takes_too_much_memory_is_killed() {
    let node = TestNode::up(&[]);
    let resources = json!({"limits": {"memory": "24Mi"}});
    // tail keeps all that has no newline.
    let hungry = with(shell("exec tail /dev/zero"), json!({"resources": resources}));
    let mut greedy = pod("greedy", &[hungry]);
    greedy["spec"]["restartPolicy"] = json!("Never");
    apply(&node, &[greedy]);
    let ended = until(&node, &["pod", "greedy"], "has failed", |pod| pod["status"]["phase"] == "Failed");
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&state["reason"], &state["exitCode"]), (&json!("OOMKilled"), &json!(137)));
    node.down();
}

#[test]
fn a_container_is_who_it_is_told_to_be() {
    let node = TestNode::up(&[]);
    let security = json!({
        "runAsUser": 1234, "runAsGroup": 2345, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    apply(
        &node,
        &[
            pod("plain", &[shell("exec sleep 1000")]),
            pod("strict", &[with(shell("exec sleep 1000"), json!({"securityContext": security}))]),
        ],
    );
    ready_pod(&node, "plain");
    ready_pod(&node, "strict");
    assert_eq!(in_pod(&node, "strict", "id -u; id -g").ok(), "1234\n2345\n");
    let status = in_pod(&node, "strict", "cat /proc/self/status").ok();
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"), "{status}");
    let refused = in_pod(&node, "strict", "touch /x");
    assert!(refused.code != 0 && refused.err.contains("Read-only file system"), "{refused:?}");
    assert_eq!(in_pod(&node, "plain", "id -u; touch /x && echo wrote").ok(), "0\nwrote\n");
    let status = in_pod(&node, "plain", "cat /proc/1/status").ok();
    // The 14 capabilities of a container that asks for none (CRI runtimes' common default).
    assert!(status.contains("CapBnd:\t00000000a80425fb"), "{status}");
    node.down();
}

#[test]
fn a_container_sees_itself_alone() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("alone", &[shell("exec sleep 1000")])]);
    let pod = ready_pod(&node, "alone");
    assert_eq!(in_pod(&node, "alone", "cat /proc/1/cmdline | tr '\\0' ' '").ok().trim(), "sleep 1000");
    let pids = in_pod(&node, "alone", "ls /proc | grep -c '^[0-9]'").ok();
    assert!(pids.trim().parse::<u32>().unwrap() <= 6, "{pids} processes are seen");
    let interfaces = in_pod(&node, "alone", "ls /sys/class/net").ok();
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);
    for file in ["/proc/sys/kernel/panic", "/sys/kernel/uevent_helper", "/proc/sysrq-trigger"] {
        assert_ne!(in_pod(&node, "alone", &format!("echo x > {file}")).code, 0, "{file} can be written");
    }
    let script = "for f in /proc/kcore /proc/keys /proc/timer_list; do [ ! -e $f ] || [ -z \"$(head -c 1 $f)\" ] || echo $f; done";
    assert_eq!(in_pod(&node, "alone", script).ok(), "", "not masked");
    let host = Path::new("/proc/self/ns");
    let pid = crate::support::processes(&container_id(&pod, 0))[0];
    for namespace in ["pid", "net", "mnt", "ipc", "uts"] {
        let of = |folder: &Path| std::fs::read_link(folder.join(namespace)).unwrap();
        assert_ne!(of(host), of(Path::new(&format!("/proc/{pid}/ns"))), "{namespace}");
    }
    node.down();
}
