//! Filters in real containers: an agent that answers, what a call gets by each action, and CVE-2026-31431: AF_ALG by every way
//! into the kernel.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use support::call::{self, Way};
use support::{Bundle, skipped, wait_until};

fn with_profile(script: &str, profile: Value) -> Bundle {
    Bundle::new(script, |config| config["linux"]["seccomp"] = profile)
}

/// Takes what the runtime sends to an agent: the state, and the listener.
fn receive(agent: &UnixListener) -> (Value, OwnedFd) {
    let (mut stream, _) = agent.accept().unwrap();
    let mut buffer = [0; 64 * 1024];
    let (count, mut fds) = skiff_sys::pass::recv_with_fds(stream.as_fd(), &mut buffer).unwrap();
    let mut text = buffer[..count].to_vec();
    stream.read_to_end(&mut text).unwrap();
    assert_eq!(fds.len(), 1);
    (serde_json::from_slice(&text).unwrap(), fds.remove(0))
}

fn wait_for_call(listener: &OwnedFd) {
    let mut polled = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(20_000_u16)).unwrap(), 1, "no call came");
}

#[test]
fn an_agent_gets_the_state_and_the_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let agent = UnixListener::bind(&path).unwrap();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "about mkdir",
        "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]});
    let bundle = with_profile("mkdir /tmp/a; mkdir /tmp/b; sleep 60", profile);
    bundle.start();
    let (message, listener) = receive(&agent);
    let pid = bundle.state()["pid"].as_i64().unwrap();
    assert_eq!((message["pid"].as_i64(), message["fds"].clone()), (Some(pid), json!(["seccompFd"])));
    assert_eq!((&message["metadata"], &message["state"]["id"]), (&json!("about mkdir"), &json!(bundle.id)));
    assert_eq!(message["state"]["status"], "creating");
    wait_for_call(&listener);
    // Without a listener the calls do not exist (seccomp_unotify(2)).
    drop(listener);
    let errors = || std::fs::read_to_string(bundle.path().join("err")).unwrap();
    wait_until("both answers", || errors().matches("Function not implemented").count() == 2);

    let exec = bundle.command(&["exec", &bundle.id, "mkdir", "/tmp/c"]).stderr(std::process::Stdio::piped()).spawn();
    let (message, listener) = receive(&agent);
    assert_eq!(message["state"]["status"], "running");
    assert_ne!(message["pid"].as_i64(), Some(pid));
    wait_for_call(&listener);
    drop(listener);
    let said = support::Said::of(exec.unwrap().wait_with_output().unwrap());
    assert!(said.code == 1 && said.err.contains("Function not implemented"), "{said:?}");
}

#[test]
fn the_runtime_needs_none_of_the_calls_that_an_agent_watches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let agent = UnixListener::bind(&path).unwrap();
    let names = json!(["write", "writev", "sendto", "sendmsg", "connect", "futex", "ppoll", "nanosleep"]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]});
    let bundle = with_profile("echo x; true", profile);
    let run = bundle.command(&["run", &bundle.id]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (_, listener) = receive(&agent);
    wait_for_call(&listener);
    drop(listener);
    assert_eq!(support::Said::of(run.wait_with_output().unwrap()).code, 0);
}

#[test]
fn without_an_agent_there_is_no_container() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nowhere/agent.sock",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    let bundle = with_profile("true", profile);
    let said = bundle.oci(&["create", &bundle.id]);
    assert!(said.code == 1 && said.err.contains("connect to seccomp agent /nowhere/agent.sock"), "{said:?}");
    assert_eq!(bundle.oci(&["state", &bundle.id]).code, 1);
}

#[test]
fn each_action_does_what_its_name_says() {
    for (action, errno, expected) in [
        ("SCMP_ACT_ERRNO", Some(28), "No space left on device"),
        ("SCMP_ACT_ERRNO", None, "Operation not permitted"),
        // Nobody traces: the call does not exist (seccomp(2)).
        ("SCMP_ACT_TRACE", None, "Function not implemented"),
        ("SCMP_ACT_KILL", None, "status 159"),
        ("SCMP_ACT_KILL_THREAD", None, "status 159"),
        ("SCMP_ACT_KILL_PROCESS", None, "status 159"),
        ("SCMP_ACT_TRAP", None, "status 159"),
        ("SCMP_ACT_LOG", None, "status 0"),
        ("SCMP_ACT_ALLOW", None, "status 0"),
    ] {
        let mut rule = json!({"names": ["mkdir", "mkdirat", "no_such_call"], "action": action});
        if let Some(errno) = errno {
            rule["errnoRet"] = errno.into();
        }
        let default = if action == "SCMP_ACT_ALLOW" { "SCMP_ACT_LOG" } else { "SCMP_ACT_ALLOW" };
        let bundle =
            with_profile("mkdir /tmp/x 2>&1; echo status $?", json!({"defaultAction": default, "syscalls": [rule]}));
        let said = bundle.run();
        assert!(said.out.contains(expected), "{action}: {said:?}");
    }
}

/// What `skiff-cri` gives to who asks for `RuntimeDefault`, as its tests hold it.
const DEFAULT_PROFILE: &str =
    include_str!("../cri/src/bundle/snapshots/skiff_cri__bundle__tests__the_default_profile.snap");
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
/// A shell's word for who died of SIGSEGV: what `int 0x80` does where the kernel has no 32-bit programs.
const SEGFAULT: i32 = 128 + 11;

/// The ways to a socket of `family`: name, way in, number of the call, and its arguments. The kernel looks at 32 bits of the
/// family, a filter sees 64.
fn doors(family: u32) -> [(&'static str, Way, u32, [u64; 2]); 5] {
    const SOCK_SEQPACKET: u64 = 5;
    const SYS_SOCKET: u64 = 1;
    let plain = [family.into(), SOCK_SEQPACKET];
    [
        ("native", Way::Native, 41, plain),
        ("native-with-more-bits", Way::Native, 41, [plain[0] | 1 << 32, SOCK_SEQPACKET]),
        ("x32", Way::Native, 0x4000_0000 | 41, plain),
        ("old", Way::Old, 359, plain),
        ("socketcall", Way::Old, 102, [SYS_SOCKET, call::MEMORY.into()]),
    ]
}

/// What a container under `profile` gets at each of the doors: an errno, or 0.
fn knock(family: u32, profile: Value) -> BTreeMap<String, i32> {
    let doors = doors(family);
    let names: Vec<_> = doors.iter().map(|(name, ..)| *name).collect();
    let bundle = with_profile(&format!("for door in {}; do /$door; echo $door $?; done", names.join(" ")), profile);
    for (name, way, number, arguments) in doors {
        call::write(&bundle.rootfs().join(name), way, number, arguments, [family, 5, 0, 0]);
    }
    let said = bundle.run().ok();
    let pairs = said.lines().map(|line| line.split_once(' ').unwrap());
    pairs.map(|(name, errno)| (name.to_owned(), errno.parse().unwrap())).collect()
}

#[test]
fn cve_2026_31431_no_way_leads_to_the_kernels_cryptography() {
    let test = "cve_2026_31431_no_way_leads_to_the_kernels_cryptography";
    if !cfg!(target_arch = "x86_64") {
        return skipped(test, "its programs are for x86-64");
    }
    let free = knock(AF_ALG, Value::Null);
    let profile: Value = serde_json::from_str(DEFAULT_PROFILE.splitn(3, "---\n").nth(2).unwrap()).unwrap();
    for family in [AF_ALG, AF_VSOCK] {
        let refused = knock(family, profile.clone());
        let is_refused = |(door, errno): (&String, &i32)| *errno == libc::EPERM || free[door] == SEGFAULT;
        assert!(refused.len() == 5 && refused.iter().all(is_refused), "family {family}: {refused:?}, freely {free:?}");
    }
    if free["native"] == libc::EAFNOSUPPORT {
        return skipped(test, "no control: this kernel has no AF_ALG, only the filter was asked");
    }
    let succeeds = |door: &&str| free[*door] == 0;
    assert!(["native", "native-with-more-bits"].iter().all(succeeds), "{free:?}");
    let is_door = |door: &&str| matches!(free[*door], 0 | SEGFAULT);
    assert!(["old", "socketcall"].iter().all(is_door) && matches!(free["x32"], 0 | libc::ENOSYS), "{free:?}");
}
