//! Fault O5: whatever the caller has made of signals, umask, limits and descriptors, the runtime does the same, and the
//! container begins with what its configuration says.

#![allow(clippy::unwrap_used)] // what may fail here fails the test

mod support;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use support::{Bundle, Said, skipped, wait_until};

/// What a process has inherited, as it sees it itself.
const LOOK: &str = "grep -E 'Sig(Blk|Ign)' /proc/self/status; umask; ls /proc/self/fd | grep -c .";
const NOTHING: &str = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n0022\n4\n";

/// A bundle whose runtime is started by a shell that has run `before`.
fn after(before: &str, change: impl FnOnce(&mut Value)) -> Bundle {
    Bundle::new(LOOK, change).through(&["sh", "-c", &format!("{before}; exec \"$@\""), "sh"])
}

/// `run`, which must end, with `exec` in a second one.
fn look(before: &str) -> [Said; 2] {
    let bundle = after(before, |_| ());
    let mut running =
        bundle.command(&["run", &bundle.id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("end of run", || running.try_wait().unwrap().is_some());
    let ran = Said::of(running.wait_with_output().unwrap());
    let waiting = after(before, |c| c["process"]["args"] = json!(["sleep", "60"]));
    waiting.start();
    let mut command = waiting.command(&["exec", &waiting.id, "sh", "-c", LOOK]);
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("end of exec", || running.try_wait().unwrap().is_some());
    [ran, Said::of(running.wait_with_output().unwrap())]
}

#[test]
fn ignored_signals_are_not() {
    for said in look("trap '' CHLD HUP INT TERM USR1 WINCH PIPE") {
        assert_eq!((said.code, said.out.as_str()), (0, NOTHING), "{said:?}");
    }
}

#[test]
fn blocked_signals_are_not() {
    let can = Command::new("env").args(["--block-signal", "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return skipped("blocked_signals_are_not", "env(1) cannot block signals here");
    }
    let through = ["env", "--block-signal", "--ignore-signal=RTMIN"];
    let bundle = Bundle::new(LOOK, |_| ()).through(&through);
    let said = bundle.run();
    assert_eq!((said.code, said.out.as_str()), (0, NOTHING), "{said:?}");
    // A signal for the runtime reaches the container, also one that is blocked.
    let waiting = Bundle::new("trap 'exit 7' TERM; echo up > /tmp/up; while :; do sleep 0.05; done", |_| ());
    let waiting = waiting.through(&through);
    let mut run = waiting.command(&["run", &waiting.id]).spawn().unwrap();
    wait_until("trap", || waiting.rootfs().join("tmp/up").exists());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(run.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(7));
}

#[test]
fn the_umask_is_ours() {
    for said in look("umask 777") {
        assert_eq!((said.code, said.out.as_str()), (0, NOTHING), "{said:?}");
    }
    let bundle = after("umask 0", |c| c["process"]["args"] = json!(["sleep", "60"]));
    let pid_file = bundle.path().join("pid");
    let words = ["run", "--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id];
    assert!(bundle.command(&words).stdout(Stdio::null()).status().unwrap().success());
    assert_eq!(fs::metadata(&pid_file).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn closed_descriptors_are_none_of_ours() {
    let bundle = after("exec 0<&- 1>&- 2>&-", |c| {
        c["process"]["args"] =
            json!(["sh", "-c", "for fd in 0 1 2; do readlink /proc/$$/fd/$fd; done 3>&1 > /tmp/fds"]);
    });
    assert!(bundle.command(&["run", &bundle.id]).status().unwrap().success());
    let fds = fs::read_to_string(bundle.rootfs().join("tmp/fds")).unwrap();
    assert_eq!(fds.matches("/dev/null").count(), 2, "{fds}");
}

/// The runtime works within them, and the container has them where its configuration says nothing, as with every peer.
#[test]
fn narrow_limits_are_the_containers() {
    let mounts = |c: &mut Value| {
        for number in 0..12 {
            let mount = json!({"destination": format!("/m{number}"), "source": "/tmp", "options": ["bind"]});
            c["mounts"].as_array_mut().unwrap().push(mount);
        }
        c["process"]["args"] = json!(["sh", "-c", "ulimit -n; ulimit -Hn; ulimit -f"]);
    };
    // A hard limit may be raised by who has CAP_SYS_RESOURCE, which not every root has.
    let narrow = "ulimit -Sn 10; ulimit -Hn 3000; ulimit -Sf 0";
    assert_eq!(after(narrow, mounts).run().ok(), "10\n3000\n0\n");
    let asked = after(narrow, |c| {
        mounts(c);
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 2000}]);
    });
    assert_eq!(asked.run().ok(), "5\n2000\n0\n");
}
