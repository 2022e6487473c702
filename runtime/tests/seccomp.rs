//! Filters in real containers: an agent that answers, and what a call gets by each action.

// Helpers of tests may fail like tests.
#![allow(clippy::unwrap_used)]

mod support;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use support::{Bundle, wait_until};

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
