//! Hooks that talk too much, do not listen, or leave children behind; and what they find around them.

#![allow(clippy::unwrap_used)] // what may fail here fails the test

mod support;

use serde_json::{Value, json};
use std::fs;
use support::{Bundle, Said, wait_until};

/// More than a pipe holds (64 KiB, pipe(7)).
const FLOOD_BYTES: usize = 70_000;

fn hook(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
}

fn with(kind: &str, hook: &Value, change: impl FnOnce(&mut Value)) -> Bundle {
    Bundle::new("echo $COLOUR; env", |c| {
        c["hooks"] = json!({kind: [hook]});
        change(c);
    })
}

/// `run` in a process that the test waits for with patience: a hang is a failure, not a test that never ends.
fn run(bundle: &Bundle) -> Said {
    said(bundle, &["run", &bundle.id])
}

/// The same of any command; what it says goes to files, because a pipe would stay open for as long as a container lives.
fn said(bundle: &Bundle, words: &[&str]) -> Said {
    let (out, err) = (bundle.path().join("said"), bundle.path().join("erred"));
    let mut command = bundle.command(words);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap()).env("COLOUR", "callers");
    let mut running = command.spawn().unwrap();
    wait_until("end of the command", || running.try_wait().unwrap().is_some());
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    Said { code: running.wait().unwrap().code().unwrap_or(-1), out: read(out), err: read(err) }
}

/// Fault O3: what a hook says is taken from it, however much it is, and the end of it is quoted when it fails.
#[test]
fn a_hook_may_say_more_than_a_pipe_holds() {
    let flood = format!(
        "i=0; while [ $i -lt {} ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+40)); done",
        FLOOD_BYTES
    );
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        let said = run(&with(kind, &hook(&flood), |_| ()));
        assert_eq!(said.code, 0, "{kind}: {said:?}");
    }
    let said = run(&with("createContainer", &hook(&format!("{flood}; echo the end >&2; exit 3")), |_| ()));
    assert!(said.code == 1 && said.err.contains("the end") && said.err.len() < FLOOD_BYTES, "{said:?}");
}

/// Fault O3: the time limit holds while the state waits to be read.
#[test]
fn a_hook_that_does_not_read_a_long_state_is_ended_in_time() {
    let annotations = |c: &mut Value| c["annotations"] = json!({"org.example.long": "x".repeat(FLOOD_BYTES)});
    let mut slow = hook("exec sleep 1000");
    slow["timeout"] = json!(1);
    let said = run(&with("createRuntime", &slow, annotations));
    assert!(said.code == 1 && said.err.contains("took longer than 1 s"), "{said:?}");
    let said = run(&with("createRuntime", &hook("exit 0"), annotations));
    assert_eq!(said.code, 0, "{said:?}");
}

/// Fault O3: a hook has ended when it has ended, whoever else holds its standard error.
#[test]
fn a_child_that_a_hook_leaves_behind_holds_nothing_up() {
    let bundle = Bundle::new("true", |_| ());
    let pid = bundle.path().join("pid");
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
    let script = format!("sleep 1000 & echo $! > {}; echo wrong >&2; exit 4", pid.display());
    config["hooks"] = json!({"createRuntime": [hook(&script)]});
    fs::write(bundle.config(), config.to_string()).unwrap();
    let said = run(&bundle);
    let left: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(said.code == 1 && said.err.contains("wrong"), "{said:?}");
}

/// Fault O10: without `env` a hook has its parent's environment, with an empty one none, and startContainer the container's.
#[test]
fn a_hook_without_an_environment_has_the_callers() {
    let fails_with_colour = |env: Option<Value>| {
        let mut hook = hook("echo colour ${COLOUR-none} >&2; exit 1");
        if let Some(env) = env {
            hook["env"] = env;
        }
        hook
    };
    for (kind, env, colour) in [
        ("createRuntime", None, "callers"),
        ("createContainer", None, "callers"),
        ("startContainer", None, "containers"),
        ("createRuntime", Some(json!([])), "none"),
        ("startContainer", Some(json!(["COLOUR=own"])), "own"),
    ] {
        let said = run(&with(kind, &fails_with_colour(env), |c| {
            c["process"]["env"] = json!(["PATH=/bin", "COLOUR=containers"]);
        }));
        assert!(said.err.contains(&format!("colour {colour}")), "{kind}: {said:?}");
    }
}

/// What is not there is named, with its list, by the command whose part it is. What fails in `start` ends the container, and no
/// poststart hook hears of it (runtime-spec, Lifecycle 8: "continue at step 12"; runc does not wait, reports success and calls them).
#[test]
fn a_hook_that_is_not_there_is_named_by_the_command_that_wants_it() {
    let absent = json!({"path": "/no/such/hook"});
    for (kind, create, start) in [
        ("prestart", 1, 1),
        ("createRuntime", 1, 1),
        ("createContainer", 1, 1),
        ("startContainer", 0, 1),
        ("poststart", 0, 1),
        ("poststop", 0, 0),
    ] {
        let bundle = with(kind, &absent, |c| {
            if kind == "startContainer" {
                c["hooks"]["poststart"] = json!([hook("echo heard of it >&2; exit 1")]);
            }
        });
        let created = said(&bundle, &["create", &bundle.id]);
        let started = said(&bundle, &["start", &bundle.id]);
        let deleted = said(&bundle, &["delete", "--force", &bundle.id]);
        assert_eq!((created.code, started.code, deleted.code), (create, start, 0), "{kind}: {created:?} {started:?}");
        let by = if create == 1 {
            &created
        } else if start == 1 {
            &started
        } else {
            &deleted
        };
        let name = format!("hook.run {kind}[0] /no/such/hook: execute /no/such/hook: No such file or directory");
        assert!(by.err.contains(&name), "{kind}: {by:?}");
        assert!(!started.err.contains("heard of it"), "{kind}: {started:?}");
    }
}
