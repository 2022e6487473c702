//! Ends as they were: real-time signals, and memory that ran out, with the cgroup as witness.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use nix::libc;
use skiff_supervise::wire::{PidNamespace, Reply, Request};
use support::Pod;

#[test]
fn a_real_time_signal_is_sent_and_reported_by_its_number() {
    let pod = Pod::start();
    let Reply::PodPid { pid } = pod.call(&Request::PodPid) else { panic!("expected a pid") };
    // Not the first process of its namespace, which would ignore it (pid_namespaces(7)).
    let args = ["/bin/sh", "-c", "echo up; exec /bin/sleep 1000"];
    let log = pod.create_in_pid_namespace("c1", &args, pid, |create| {
        create.pid_namespace = PidNamespace::Shared;
    });
    let mut watch = pod.watch();
    pod.start_container("c1");
    // Until it executes the program, the first process of runc is a Go program, which swallows real-time signals.
    pod.wait_for_log(&log, "up");
    let signal = libc::SIGRTMIN() + 3;
    assert_eq!(pod.call(&Request::Signal { container: "c1".into(), signal }), Reply::Done);
    let exit = Pod::wait_for_exit(&mut watch);
    assert_eq!((exit.exit_code, exit.signal), (128 + signal, Some(signal)));
    let Reply::Failed { message } = pod.call(&Request::Signal { container: "c2".into(), signal }) else {
        panic!("refused")
    };
    assert_eq!(message, "signal container c2: no such container");
}

/// Needs 64 MiB of memory at once, which is touched.
const HOG: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";
const LIMIT_BYTES: u64 = 16 << 20;

fn ends(pod: &Pod, id: &str, args: &[&str]) -> (i32, bool) {
    pod.create_limited(id, args, LIMIT_BYTES);
    let mut watch = pod.watch();
    pod.start_container(id);
    let exit = Pod::wait_for_exit(&mut watch);
    let kept: skiff_supervise::wire::Exit =
        serde_json::from_slice(&std::fs::read(pod.dir().join(format!("{id}.exit"))).unwrap()).unwrap();
    assert_eq!(kept, exit);
    (exit.exit_code, exit.oom_killed)
}

#[test]
fn the_kernels_counter_decides_whether_memory_ran_out() {
    let pod = Pod::start();
    let hog: Vec<&str> = std::iter::once("/bin/dd").chain(HOG.split(' ').skip(1)).collect();
    assert_eq!(ends(&pod, "first", &hog), (137, true), "the first process is the victim");
    let child = format!("{HOG}; exit 137");
    assert_eq!(ends(&pod, "child", &["/bin/sh", "-c", &child]), (137, true), "another process is the victim");
    let unmoved = format!("{HOG}; exit 0");
    assert_eq!(ends(&pod, "unmoved", &["/bin/sh", "-c", &unmoved]), (0, true), "and the first one does not mind");
    assert_eq!(ends(&pod, "liar", &["/bin/sh", "-c", "exit 137"]), (137, false), "a code alone is no evidence");
}
