//! One pod's life: crashes, probes, init containers, hooks, grace.

use crate::support::{apply, container_id, in_pod, logs, pod, processes, ready_pod, shell, until, web, with};
use serde_json::{Value, json};
use skiff_harness::{TestNode, eventually, eventually_within, peer, skip};
use std::time::Duration;

fn status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

#[test]
fn a_pod_that_crashes_is_restarted_with_back_off() {
    let node = TestNode::up(&[]);
    apply(&node, &[pod("crash", &[shell("echo trying; exit 3")])]);
    let waiting = until(&node, &["pod", "crash"], "waits before it is tried again", |pod| {
        status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(status(&waiting)["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(waiting["status"]["phase"], "Running");
    eventually_within(Duration::from_secs(60), "the restart count grows", || {
        let pod = node.json(&["pod", "crash"]);
        if status(&pod)["restartCount"].as_i64() >= Some(2) { Ok(()) } else { Err(pod["status"].to_string()) }
    });
    assert_eq!(node.skiff(["logs", "--previous", "crash"]).ok(), "trying\n");
    drop(node.skiff(["delete", "pod", "crash"]).ok());
    node.down();
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let node = TestNode::up(&[]);
    apply(
        &node,
        &[pod("lost", &[json!({"name": "main", "image": "skiff.local/demo", "command": ["/no/such/program"]})])],
    );
    let lost = until(&node, &["pod", "lost"], "says what is wrong", |pod| {
        let text = status(pod).to_string();
        text.contains("/no/such/program") && text.contains("o such file")
    });
    assert_eq!(status(&lost)["ready"], false);
    node.down();
}

#[test]
fn policies_decide_what_follows_an_exit() {
    let node = TestNode::up(&[]);
    let with_policy = |name: &str, policy: &str, script: &str| {
        let mut pod = pod(name, &[shell(script)]);
        pod["spec"]["restartPolicy"] = json!(policy);
        pod
    };
    apply(
        &node,
        &[
            with_policy("done", "Never", "exit 0"),
            with_policy("failed", "Never", "exit 5"),
            with_policy("calm", "OnFailure", "exit 0"),
        ],
    );
    for (name, phase) in [("done", "Succeeded"), ("failed", "Failed"), ("calm", "Succeeded")] {
        let ended = until(&node, &["pod", name], phase, |pod| pod["status"]["phase"] == phase);
        assert_eq!(status(&ended)["restartCount"], 0, "{name}");
    }
    assert_eq!(status(&node.json(&["pod", "failed"]))["state"]["terminated"]["exitCode"], 5);
    assert_eq!(
        node.json(&["pod", "done"])["status"]["containerStatuses"][0]["state"]["terminated"]["reason"],
        "Completed"
    );
    node.down();
}

#[test]
fn a_container_that_fails_its_liveness_probe_is_restarted() {
    let node = TestNode::up(&[]);
    let probe = json!({"exec": {"command": ["cat", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1});
    let container = with(
        shell("touch /tmp/alive; exec sleep 1000"),
        json!({"livenessProbe": with(probe, json!({"initialDelaySeconds": 1}))}),
    );
    apply(&node, &[pod("alive", &[container])]);
    let before = container_id(&ready_pod(&node, "alive"), 0);
    drop(in_pod(&node, "alive", "rm /tmp/alive").ok());
    let after = until(&node, &["pod", "alive"], "was restarted", |pod| {
        status(pod)["restartCount"].as_i64() >= Some(1) && status(pod)["ready"] == true
    });
    assert_ne!(container_id(&after, 0), before);
    eventually("an event tells of the probe", || match node.skiff(["describe", "pod", "alive"]).ok() {
        text if text.contains("Unhealthy") => Ok(()),
        text => Err(text),
    });
    node.down();
}

#[test]
fn readiness_decides_who_is_asked() {
    let node = TestNode::up(&[]);
    let probe = json!({"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1});
    let mut slow = pod("slow", &[with(web(), json!({"readinessProbe": probe}))]);
    slow["metadata"]["labels"]["tier"] = json!("web");
    let ports = json!([{"port": 80, "targetPort": "http"}]);
    let mut service = crate::support::service("web", "slow", ports);
    service["spec"]["selector"] = json!({"tier": "web"});
    apply(&node, &[slow, service]);
    until(&node, &["pod", "slow"], "runs", |pod| !status(pod)["state"]["running"].is_null());
    let ready = |list: &Value| list["items"][0]["endpoints"][0]["conditions"]["ready"].clone();
    let words = ["endpointslices", "-l", "kubernetes.io/service-name=web"];
    until(&node, &words, "has nobody", |list| ready(list) == false);
    drop(in_pod(&node, "slow", "touch /tmp/ready").ok());
    until(&node, &words, "has one", |list| ready(list) == true);
    let url = format!("http://{}/", crate::support::cluster_ip(&node, "web"));
    eventually("the service answers", || crate::support::fetch(&node, &url));
    drop(in_pod(&node, "slow", "rm /tmp/ready").ok());
    until(&node, &words, "has nobody again", |list| ready(list) == false);
    eventually("the service refuses", || match crate::support::fetch(&node, &url) {
        Err(_) => Ok(()),
        Ok(answer) => Err(answer),
    });
    node.down();
}

#[test]
fn init_containers_run_one_after_the_other() {
    let node = TestNode::up(&[]);
    let write = |name: &str| {
        let script = format!("date +%s%N >> /work/{name}; echo {name} >> /work/order; sleep 0.3");
        with(shell(&script), json!({"name": name, "volumeMounts": [{"name": "work", "mountPath": "/work"}]}))
    };
    let mounts = json!({"volumeMounts": [{"name": "work", "mountPath": "/work"}]});
    let mut ordered = pod("ordered", &[with(shell("cat /work/order; exec sleep 1000"), mounts)]);
    ordered["spec"]["initContainers"] = json!([write("first"), write("second"), write("third")]);
    ordered["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    apply(&node, &[ordered]);
    let pod = ready_pod(&node, "ordered");
    eventually("the order is told", || match logs(&node, "ordered") {
        text if text == "first\nsecond\nthird\n" => Ok(()),
        text => Err(text),
    });
    let inits = pod["status"]["initContainerStatuses"].as_array().unwrap();
    assert!(inits.iter().all(|one| one["state"]["terminated"]["exitCode"] == 0), "{inits:?}");
    node.down();
}

#[test]
fn a_failing_init_container_holds_the_pod_back() {
    let node = TestNode::up(&[]);
    let mut held = pod("held", &[web()]);
    held["spec"]["initContainers"] = json!([with(shell("exit 4"), json!({"name": "init"}))]);
    apply(&node, &[held]);
    let held = until(&node, &["pod", "held"], "was tried again", |pod| {
        pod["status"]["initContainerStatuses"][0]["restartCount"].as_i64() >= Some(1)
    });
    assert_eq!(held["status"]["phase"], "Pending");
    assert!(status(&held)["state"]["running"].is_null(), "{}", held["status"]);
    node.down();
}

#[test]
fn a_pod_gets_its_grace_and_no_more() {
    let node = TestNode::up(&[]);
    let mount = json!({"volumeMounts": [{"name": "host", "mountPath": "/host"}]});
    let volume = json!([{"name": "host", "hostPath": {"path": node.scratch(), "type": "Directory"}}]);
    let polite = "trap 'echo bye > /host/polite; exit 0' TERM; while :; do sleep 0.1; done";
    let rude = "trap 'echo no > /host/rude' TERM; while :; do sleep 0.1; done";
    for (name, script, grace) in [("polite", polite, 30), ("rude", rude, 2)] {
        let mut pod = pod(name, &[with(shell(script), mount.clone())]);
        pod["spec"]["volumes"] = volume.clone();
        pod["spec"]["terminationGracePeriodSeconds"] = json!(grace);
        apply(&node, &[pod]);
    }
    let (_, rude) = (ready_pod(&node, "polite"), ready_pod(&node, "rude"));
    let pids = processes(&container_id(&rude, 0));
    drop(node.skiff(["delete", "pods", "polite", "rude"]).ok());
    let read = |name: &str| std::fs::read_to_string(node.scratch().join(name)).unwrap();
    assert_eq!((read("polite").as_str(), read("rude").as_str()), ("bye\n", "no\n"));
    assert!(pids.iter().all(|pid| crate::support::start_ticks(*pid).is_none()), "{pids:?} still run");
    node.down();
}

/// Found by conformance: a pod with such a probe was turned away. A real etcd speaks the health protocol, and knows no service but its
/// whole self.
#[test]
fn a_probe_over_grpc_makes_ready_and_restarts() {
    let Some(etcd) = peer("etcd-3.5") else { return skip("there is no etcd-3.5") };
    let node = TestNode::up(&[]);
    let (add, data) = (format!("{}:/etcd", etcd.path().display()), node.data().display().to_string());
    let build = ["image", "from-host", "--tag", "skiff.local/etcd:1", &add, "--data-dir", &data, "--", "/etcd"];
    drop(node.skiff(build).ok());
    let container = |probes: Value| {
        let urls = ["--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://127.0.0.1:2379"];
        let args = [&urls[..], &["--data-dir=/data"]].concat();
        with(json!({"name": "etcd", "image": "skiff.local/etcd:1", "args": args}), probes)
    };
    let probe =
        |service: &str| json!({"grpc": {"port": 2379, "service": service}, "periodSeconds": 1, "failureThreshold": 2});
    apply(
        &node,
        &[
            pod("sound", &[container(json!({"readinessProbe": probe(""), "livenessProbe": probe("")}))]),
            pod("sick", &[container(json!({"livenessProbe": probe("nobody")}))]),
        ],
    );
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_i64();
    until(&node, &["pod", "sick"], "is restarted", |pod| restarts(pod) >= Some(1));
    assert_eq!(restarts(&ready_pod(&node, "sound")), Some(0));
    let told = node.skiff(["describe", "pod", "sick"]).ok();
    assert!(told.contains("Liveness probe failed: error: health rpc probe failed: "), "{told}");
    node.down();
}
