//! What a supervisor costs: every pod has one.
//!
//! Prints its figures with `--nocapture`. `SKIFF_TEST_SUPERVISOR=target/static/skiff-oci` measures the program that is
//! shipped instead of this crate alone.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_supervise::wire::{Reply, Request};
use support::Pod;

/// What is promised, with ten containers that have run and written.
const PRIVATE_KIB_MAX: u64 = 1024;

/// Memory that is this process's alone, in KiB (proc_pid_smaps_rollup in proc(5)).
fn private_kib(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let fields = text.lines().filter(|line| line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:"));
    fields.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_supervisor_takes_less_than_a_mebibyte() {
    // With another one, as on any node: the program's text is in memory once, and no longer this one's alone.
    let (other, pod) = (Pod::start(), Pod::start());
    let _log = other.create("c1", &["/bin/sh", "-c", "echo end; sleep 1000"], |_| {});
    other.start_container("c1");
    println!("private memory without a container: {} KiB", private_kib(pod.pid()));
    for number in 1..=10 {
        let id = format!("c{number}");
        let log = pod.create(&id, &["/bin/sh", "-c", "seq 1 20000; echo end; sleep 1000"], |_| {});
        pod.start_container(&id);
        pod.wait_for_log(&log, "stdout F end");
        if number == 1 {
            println!("with one container: {} KiB", private_kib(pod.pid()));
        }
    }
    let Reply::Containers { containers } = pod.call(&Request::List) else { panic!("expected a list") };
    assert_eq!(containers.len(), 10);
    let private = private_kib(pod.pid());
    println!("with ten containers: {private} KiB");
    assert!(private <= PRIVATE_KIB_MAX, "{private} KiB are private");
}
