//! A real supervisor over a real OCI runtime: streams, exits, logs, exec, attach, terminals, and what is left behind.

mod support;

use skiff_supervise::wire::{Attach, Exec, Exit, PidNamespace, Reply, Request, StdinPolicy};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use support::{Pod, container};

#[test]
fn a_container_runs_is_logged_and_its_exit_is_kept() {
    let pod = Pod::start();
    let script = "echo out; echo err >&2; printf unfinished; exit 3";
    let log = pod.create("c1", &["/bin/sh", "-c", script], |_| {});
    let mut watch = pod.watch();
    assert!(matches!(pod.call(&Request::Start { container: "c1".into() }), Reply::Started { .. }));
    let (Reply::Exited(exit), _) = watch.next().unwrap() else { panic!("expected an exit") };
    assert_eq!((exit.exit_code, exit.signal, exit.oom_killed), (3, None, false));

    let kept: Exit = serde_json::from_slice(&std::fs::read(pod.dir().join("c1.exit")).unwrap()).unwrap();
    assert_eq!(kept, exit);
    let text = std::fs::read_to_string(log).unwrap();
    let entries: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        entries.iter().filter(|entry| entry.starts_with("stdout")).collect::<Vec<_>>(),
        [&"stdout F out", &"stdout P unfinished"]
    );
    assert!(entries.contains(&"stderr F err"), "{entries:?}");
}

#[test]
fn a_signal_ends_it_and_a_second_start_is_refused() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/sleep", "1000"], |_| {});
    let mut watch = pod.watch();
    pod.call(&Request::Start { container: "c1".into() });
    let Reply::Failed { message } = pod.call(&Request::Start { container: "c1".into() }) else { panic!("refused") };
    assert_eq!(message, "start container c1: it is Running");
    assert_eq!(pod.call(&Request::Signal { container: "c1".into(), signal: 9 }), Reply::Done);
    let (Reply::Exited(exit), _) = watch.next().unwrap() else { panic!("expected an exit") };
    assert_eq!((exit.exit_code, exit.signal), (137, Some(9)));
    assert_eq!(pod.call(&Request::Delete { container: "c1".into() }), Reply::Done);
    assert_eq!(pod.call(&Request::Delete { container: "c1".into() }), Reply::Done);
    assert!(!pod.dir().join("c1.exit").exists());
}

#[test]
fn a_command_that_does_not_exist_is_refused_in_the_runtimes_words() {
    let pod = Pod::start();
    let bundle = pod.bundle("c1", &["/no/such/program"], false);
    let create = Request::Create(container("c1", &bundle, pod.dir()));
    let mut replies = vec![pod.call(&create)];
    if matches!(replies[0], Reply::Created { .. }) {
        replies.push(pod.call(&Request::Start { container: "c1".into() }));
    }
    let Some(Reply::Failed { message }) = replies.last() else { panic!("{replies:?}") };
    assert!(message.contains("/no/such/program"), "{message}");
    assert_eq!(pod.call(&Request::Delete { container: "c1".into() }), Reply::Done);
}

/// A further process in `c1`: with a terminal, or with a pipe for its output.
fn exec(pod: &Pod, args: &[&str], terminal: bool) -> Request {
    let process = pod.process(args, terminal);
    Request::Exec(Exec { container: "c1".into(), process, terminal, stdin: false, stdout: !terminal, stderr: false })
}

#[test]
fn exec_streams_through_the_callers_own_pipes_and_reports_its_end() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/sleep", "1000"], |_| {});
    pod.call(&Request::Start { container: "c1".into() });
    let (mut output, to_output) = std::io::pipe().unwrap();
    let exec = exec(&pod, &["/bin/sh", "-c", "echo $$-hi; exit 7"], false);
    let mut client = pod.client();
    let (reply, _) = client.call(&exec, &[to_output.as_fd()]).unwrap();
    assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    drop(to_output);
    let (Reply::Exited(exit), _) = client.next().unwrap() else { panic!("expected an exit") };
    assert_eq!(exit.exit_code, 7);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("-hi\n"), "{text}");
}

#[test]
fn an_exec_dies_with_its_connection() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/sleep", "1000"], |_| {});
    pod.call(&Request::Start { container: "c1".into() });
    let (mut output, to_output) = std::io::pipe().unwrap();
    let exec = exec(&pod, &["/bin/sleep", "1000"], false);
    let mut client = pod.client();
    client.call(&exec, &[to_output.as_fd()]).unwrap();
    drop((client, to_output));
    // The pipe ends when its last writer, the sleep, is dead.
    assert_eq!(output.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn attach_feeds_input_and_copies_output() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/cat"], |create| create.stdin = StdinPolicy::Once);
    let mut watch = pod.watch();
    pod.call(&Request::Start { container: "c1".into() });
    let ((input, mut to_input), (mut output, to_output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    let attach = Request::Attach(Attach { container: "c1".into(), stdin: true, stdout: true, stderr: false });
    let (reply, _) = pod.client().call(&attach, &[input.as_fd(), to_output.as_fd()]).unwrap();
    assert_eq!(reply, Reply::Attached);
    drop((input, to_output));
    to_input.write_all(b"over and back\n").unwrap();
    drop(to_input);
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!(text, "over and back\n");
    let (Reply::Exited(exit), _) = watch.next().unwrap() else { panic!("expected an exit") };
    assert_eq!(exit.exit_code, 0);
}

#[test]
fn terminals_come_with_the_container_and_with_the_exec() {
    let pod = Pod::start();
    let log = pod.create_with_terminal("c1", &["/bin/sh", "-c", "test -t 0 && test -t 1 && echo terminal; sleep 1000"]);
    pod.call(&Request::Start { container: "c1".into() });
    assert_eq!(pod.call(&Request::Resize { container: "c1".into(), columns: 101, rows: 33 }), Reply::Done);
    let exec = exec(&pod, &["/bin/sh", "-c", "test -t 0 && echo also a terminal"], true);
    let mut client = pod.client();
    let (reply, master) = client.call(&exec, &[]).unwrap();
    assert!(matches!(reply, Reply::ExecStarted { .. }), "{reply:?}");
    let mut text = Vec::new();
    // A terminal's master ends with EIO.
    let _eio = std::fs::File::from(master.unwrap()).read_to_end(&mut text);
    assert_eq!(String::from_utf8_lossy(&text), "also a terminal\r\n");
    pod.wait_for_log(&log, "stdout F terminal\r\n");
}

#[test]
fn containers_share_the_pods_namespaces_and_its_pids_when_asked() {
    let pod = Pod::start();
    let Reply::PodPid { pid } = pod.call(&Request::PodPid) else { panic!("expected a pid") };
    assert_eq!(pod.call(&Request::PodPid), Reply::PodPid { pid });
    pod.create_in_pid_namespace("c1", &["/bin/sh", "-c", "echo $$ $(hostname); sleep 1000 & exit 0"], pid, |create| {
        create.pid_namespace = PidNamespace::Shared;
    });
    let mut watch = pod.watch();
    pod.call(&Request::Start { container: "c1".into() });
    watch.next().unwrap();
    let text = std::fs::read_to_string(pod.dir().join("c1.log")).unwrap();
    let (number, host) = text.trim_end().rsplit_once("stdout F ").unwrap().1.split_once(' ').unwrap();
    assert_ne!(number, "1");
    assert_eq!(host, "pod-name");
    assert_eq!(pod.call(&Request::Delete { container: "c1".into() }), Reply::Done);
}
