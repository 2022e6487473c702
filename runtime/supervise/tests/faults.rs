//! What a supervisor survives: signals, clients that misbehave, a full disk, no descriptors.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use skiff_supervise::client::connect;
use skiff_supervise::wire::{Phase, Reply, Request};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use support::{Pod, eventually};

/// Its containers, by phase.
fn phases(pod: &Pod) -> Vec<Phase> {
    let Reply::Containers { containers } = pod.call(&Request::List) else { panic!("expected a list") };
    containers.iter().map(|container| container.phase).collect()
}

#[test]
fn only_sigkill_ends_it_and_its_containers_get_signals_as_ever() {
    let pod = Pod::start();
    let named = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGPIPE, libc::SIGUSR1, libc::SIGTSTP];
    for signal in named.into_iter().chain([libc::SIGALRM, libc::SIGXFSZ, libc::SIGRTMIN(), libc::SIGRTMAX()]) {
        skiff_sys::reap::kill(pod.pid(), signal).unwrap();
        assert_eq!(phases(&pod), [], "after signal {signal}");
    }
    let log = pod.create("c1", &["/bin/sh", "-c", "cat /proc/self/status; kill -STOP $$; sleep 1000"], |_| {});
    pod.start_container("c1");
    pod.wait_for_log(&log, "SigCgt");
    let text = std::fs::read_to_string(log).unwrap();
    for mask in ["SigBlk", "SigIgn", "SigCgt"] {
        let line = text.lines().find(|line| line.contains(mask)).unwrap();
        let signals = u64::from_str_radix(line.rsplit_once('\t').unwrap().1, 16).unwrap();
        // Bits 31 and 32 are the C library's own, which whoever started this test may have left ignored.
        assert_eq!(signals & !(3 << 31), 0, "{line}");
    }
    skiff_sys::reap::kill(pod.pid(), libc::SIGTERM).unwrap();
    assert_eq!(phases(&pod), [Phase::Running]);
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/sleep", "1000"], |_| {});
    pod.start_container("c1");
    let mut runner = TestRunner::new(ProptestConfig { cases: 200, ..ProptestConfig::default() });
    let words = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..200),
        // Nearly right.
        "\\{\"request\":\"[a-z_]{0,8}\"(,\"container\":(\"c1\"|[0-9]{1,3}|null|\\[\\[))?\\}?\n?"
            .prop_map(String::into_bytes),
        // No end of a line, and nesting that a parser must not follow.
        (1usize..100_000).prop_map(|depth| [vec![b'['; depth], vec![b'\n']].concat()),
    ];
    runner
        .run(&words, |bytes| {
            let mut stream = connect(pod.dir()).unwrap();
            // It may hang up while we are still talking.
            let _cut = stream.write_all(&bytes);
            drop(stream);
            Ok(())
        })
        .unwrap();
    assert_eq!(phases(&pod), [Phase::Running]);
}

#[test]
fn a_request_without_end_and_descriptors_without_request_are_cut_off() {
    let pod = Pod::start();
    let mut endless = connect(pod.dir()).unwrap();
    let block = vec![b'x'; 1 << 20];
    let cut = (0..16).any(|_| endless.write_all(&block).is_err());
    assert!(cut, "16 MiB without a newline were taken");

    let generous = connect(pod.dir()).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    for _ in 0..20 {
        let _cut = skiff_sys::pass::send_with_fds(generous.as_fd(), b" ", &[null.as_fd(); 3]);
    }
    assert_eq!((&generous).read(&mut [0; 1]).unwrap_or(0), 0, "the connection is closed");
    assert_eq!(phases(&pod), []);
    let held = std::fs::read_dir(format!("/proc/{}/fd", pod.pid())).unwrap().count();
    assert!(held < 16, "{held} descriptors are open");
}

#[test]
fn clients_that_go_or_never_listen_hold_nobody_up() {
    let pod = Pod::start();
    for _ in 0..300 {
        drop(pod.watch());
    }
    let _deaf: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = connect(pod.dir()).unwrap();
            stream.set_nonblocking(true).unwrap();
            // Many questions, and no answer is read.
            let questions = b"{\"request\":\"list\"}\n".repeat(20_000);
            let _full = stream.write(&questions);
            stream
        })
        .collect();
    pod.create("c1", &["/bin/sh", "-c", "exit 4"], |_| {});
    let mut watch = pod.watch();
    pod.start_container("c1");
    assert_eq!(Pod::wait_for_exit(&mut watch).exit_code, 4);
}

#[test]
fn without_descriptors_clients_wait_and_logs_go_on() {
    let pod = Pod::start();
    let log = pod.create("c1", &["/bin/sh", "-c", "cat; sleep 1000"], |create| {
        create.stdin = skiff_supervise::wire::StdinPolicy::Open;
    });
    pod.start_container("c1");
    let (input, mut to_input) = std::io::pipe().unwrap();
    let attach = skiff_supervise::wire::Attach { container: "c1".into(), stdin: true, stdout: false, stderr: false };
    assert_eq!(pod.client().call(&Request::Attach(attach), &[input.as_fd()]).unwrap().0, Reply::Attached);
    let held = std::fs::read_dir(format!("/proc/{}/fd", pod.pid())).unwrap().count() as u64;
    skiff_sys::process::set_limit(pod.pid(), nix::sys::resource::Resource::RLIMIT_NOFILE as i32, held + 3, held + 100)
        .unwrap();
    let crowd: Vec<_> = (0..30).map(|_| connect(pod.dir()).unwrap()).collect();
    eventually("a word about it", || pod.words().contains("accept a client"));
    to_input.write_all(b"still here\n").unwrap();
    pod.wait_for_log(&log, "stdout F still here");
    drop(crowd);
    // It says so once, however long it lasts.
    assert_eq!(phases(&pod), [Phase::Running]);
    assert_eq!(pod.words().matches("accept a client").count(), 1, "{}", pod.words());
}

/// A small file system for logs.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir(at).unwrap();
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=256k")).unwrap();
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_costs_whole_lines_and_holds_up_nobody() {
    let pod = Pod::start();
    let disk = SmallDisk::mount(&pod.dir().join("logs"));
    let log = disk.0.join("c1.log");
    let script = "seq 1 50000; echo >/done; while ! test -e /go; do sleep 0.05; done; seq 50001 50100; exit 6";
    pod.create("c1", &["/bin/sh", "-c", script], |create| create.log = Some(log.clone()));
    let mut watch = pod.watch();
    pod.start_container("c1");
    eventually("a word about it", || pod.words().contains("No space left on device"));
    let kept = disk.0.join("kept.log");
    std::fs::rename(&log, &kept).unwrap();
    let done = pod.dir().join("bundle-c1/rootfs/done");
    eventually("the end of the first lines", || done.exists());
    // While an entry that does not fit is being taken back, half of it may be seen. Nothing at all fits when the first
    // bytes came in one large piece.
    let mut first = String::new();
    eventually("whole entries", || {
        first = std::fs::read_to_string(&kept).unwrap();
        first.is_empty() || first.ends_with('\n')
    });
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(pod.call(&Request::ReopenLog { container: "c1".into() }), Reply::Done);
    std::fs::write(pod.dir().join("bundle-c1/rootfs/go"), "").unwrap();
    let exit = Pod::wait_for_exit(&mut watch);
    assert_eq!(exit.exit_code, 6, "the container was not held up");

    let second = std::fs::read_to_string(&log).unwrap();
    let mut last = 0;
    for line in first.lines().chain(second.lines()) {
        let number: u32 = line.split_once("Z stdout F ").unwrap_or_else(|| panic!("torn: {line:?}")).1.parse().unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
    assert!(second.ends_with(" 50100\n"), "{second}");
    let words = pod.words();
    // A small piece may fit where a large one did not, so the disk can be full more than once; it is said once each time.
    let (begun, over) = ("output is dropped until it works again", "bytes of output were dropped");
    let said: Vec<_> = words.lines().filter(|line| line.contains(begun) || line.contains(over)).collect();
    assert!(!said.is_empty() && said.len().is_multiple_of(2), "{words}");
    for pair in said.chunks(2) {
        assert!(pair[0].contains(begun) && pair[1].contains(over), "{words}");
    }
}
