//! kill -9 while pods are starting: at moments after the write, and exactly before chosen steps. Nothing runs twice.

use crate::support::{
    apply, cgroup, container_id, deployment, pod, processes, programs_beside, ready_pod, shell, until_none, web,
};
use serde_json::Value;
use skiff_harness::{Follower, NEVER_EVICT, TestNode, eventually, skiff};
use std::process::{Command, Stdio};
use std::time::Duration;

const PODS: usize = 10;
const MOMENTS_MS: [u64; 6] = [0, 20, 50, 100, 200, 500];
/// Steps of the node's own process that come once or more for each pod.
const STEPS: [&str; 7] = [
    "snapshot.prepare:2",
    "sandbox.supervise:2",
    "sandbox.attach:1",
    "net.veth:2",
    "container.bundle:1",
    "container.create:2",
    "container.start:2",
];

/// Every pod is ready, with one process each, and there are no others.
fn each_runs_once(node: &TestNode, killed: &str) {
    let pods = node.ready_pods("app=web", PODS);
    for pod in &pods {
        let (name, running) = (&pod["metadata"]["name"], processes(&container_id(pod, 0)));
        let programs: Vec<_> = running.iter().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm"))).collect();
        assert!(
            matches!(&programs[..], [Ok(one)] if one == "skiff-web\n"),
            "killed {killed}: {name} runs {programs:?}"
        );
    }
    // What nobody wants any more may need a moment to go.
    eventually("no pod runs twice", || match programs_beside(&container_id(&pods[0], 0), "skiff-web") {
        PODS => Ok(()),
        running => Err(format!("killed {killed}: {running} servers run; now {}", now(&pods))),
    });
}

/// What became of pods that were ready: their processes, with state and cgroups.
fn now(before: &[Value]) -> String {
    let of = |pod: &Value| {
        let (name, id) = (pod["metadata"]["name"].as_str().unwrap(), container_id(pod, 0));
        let there = if cgroup("pids", &id).is_some() { processes(&id) } else { Vec::new() };
        let read = |pid: i32, file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let shown = there.iter().map(|pid| format!("{pid}: {} {}", read(*pid, "stat"), read(*pid, "cgroup")));
        format!("{name} {id}: {}\n", shown.collect::<Vec<_>>().join("; "))
    };
    before.iter().map(of).collect()
}

#[test]
fn a_node_killed_at_any_moment_goes_on_where_it_was() {
    let mut node = TestNode::up(&[]);
    let rounds = if std::env::var_os("SKIFF_LONG").is_some() { 10 } else { 1 };
    for moment in MOMENTS_MS.iter().cycle().take(rounds * MOMENTS_MS.len()) {
        apply(&node, &[deployment("web", PODS, web())]);
        std::thread::sleep(Duration::from_millis(*moment));
        node.kill();
        node.start();
        each_runs_once(&node, &format!("after {moment} ms"));
        drop(node.skiff(["delete", "deployment", "web"]).ok());
        until_none(&node, &["pods", "-l", "app=web"]);
    }
    node.down();
}

/// Runs the node's process with a fault that kills it; returns when it is dead.
fn die_at(node: &TestNode, step: &str, while_it_runs: impl FnOnce()) {
    let mut command: Command = skiff();
    command.args(["up", "--isolated", "--api-listen", "127.0.0.1:0", "--node-name", "node", "--data-dir"]);
    command.arg(node.data()).arg("--run-dir").arg(node.run_dir()).args(["--cgroup-root", &format!("/{}", node.mark())]);
    command.args(NEVER_EVICT);
    command.env("SKIFF_FAULT", format!("{step}=kill"));
    let mut dying = Follower::start(command);
    dying.line("Ready", |line| line.contains("is Ready"));
    while_it_runs();
    let status = eventually(&format!("the node dies at {step}"), || match dying.child().try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(other),
    });
    assert_eq!(status.code(), None, "{step}: it was to be killed");
}

#[test]
fn a_node_killed_before_any_step_goes_on_where_it_was() {
    let mut node = TestNode::up(&[]);
    for step in STEPS {
        node.stop();
        die_at(&node, step, || apply(&node, &[deployment("web", PODS, web())]));
        node.start();
        each_runs_once(&node, &format!("at {step}"));
        drop(node.skiff(["delete", "deployment", "web"]).ok());
        until_none(&node, &["pods", "-l", "app=web"]);
    }
    node.down();
}

#[test]
fn a_node_killed_while_pods_are_ending_finishes_it() {
    let mut node = TestNode::up(&[]);
    apply(&node, &[deployment("web", PODS, web()), pod("other", &[shell("exec sleep 1000")])]);
    node.ready_pods("app=web", PODS);
    let other = container_id(&ready_pod(&node, "other"), 0);
    let mut deleting = skiff();
    deleting.args(["delete", "deployment", "web"]).env("KUBECONFIG", node.kubeconfig());
    let mut deleting = deleting.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    node.kill();
    deleting.wait().unwrap();
    node.start();
    // The write may or may not have been committed; asked again, it is.
    drop(node.skiff(["delete", "deployment", "web", "--ignore-not-found"]).ok());
    until_none(&node, &["pods", "-l", "app=web"]);
    eventually("only the other pod runs", || match programs_beside(&other, "skiff-web") {
        0 => Ok(()),
        running => Err(format!("{running} servers run")),
    });
    assert_eq!(processes(&other).len(), 1);
    node.down();
}
