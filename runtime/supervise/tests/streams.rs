//! Spectators and logs: several clients, slow ones, terminals that change size, rotation under load.

#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests")]

mod support;

use skiff_supervise::wire::{Attach, Reply, Request, StdinPolicy};
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use support::{Pod, eventually};

/// A spectator of the container's output.
fn spectator(pod: &Pod) -> PipeReader {
    let (output, to_output) = std::io::pipe().unwrap();
    let attach = Request::Attach(Attach { container: "c1".into(), stdin: false, stdout: true, stderr: false });
    assert_eq!(pod.client().call(&attach, &[to_output.as_fd()]).unwrap().0, Reply::Attached);
    output
}

fn text_of(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| format!("{}\n", line.split_once("Z stdout F ").unwrap().1)).collect()
}

#[test]
fn each_spectator_sees_all_and_one_that_sleeps_holds_up_nobody() {
    const LINES: usize = 300_000;
    let pod = Pod::start();
    let script = format!("read go; seq 1 {LINES}; exit 5");
    let log = pod.create("c1", &["/bin/sh", "-c", &script], |create| create.stdin = StdinPolicy::Open);
    let mut watch = pod.watch();
    pod.start_container("c1");
    let (input, mut to_input) = std::io::pipe().unwrap();
    let attach = Request::Attach(Attach { container: "c1".into(), stdin: true, stdout: false, stderr: false });
    pod.client().call(&attach, &[input.as_fd()]).unwrap();
    let asleep = spectator(&pod);
    drop(spectator(&pod));
    let awake = [spectator(&pod), spectator(&pod)].map(|mut output| {
        std::thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).unwrap();
            text
        })
    });
    to_input.write_all(b"\n").unwrap();
    assert_eq!(Pod::wait_for_exit(&mut watch).exit_code, 5, "two megabytes went past a reader that sleeps");
    let all: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    assert!(text_of(&log) == all, "the log has every line");
    for reader in awake {
        assert!(reader.join().unwrap() == all, "who reads sees every line");
    }
    // What it did not take in time is cut off, and it sees an end rather than silence.
    let mut late = Vec::new();
    { asleep }.read_to_end(&mut late).unwrap();
    assert!(all.as_bytes().starts_with(&late), "what came is the beginning");
}

#[test]
fn input_of_several_clients_arrives_whole_and_one_may_leave() {
    let pod = Pod::start();
    pod.create("c1", &["/bin/cat"], |create| create.stdin = StdinPolicy::Open);
    pod.start_container("c1");
    let mut output = BufReader::new(spectator(&pod));
    for word in ["one", "two", "three"] {
        let (input, mut to_input) = std::io::pipe().unwrap();
        let attach = Request::Attach(Attach { container: "c1".into(), stdin: true, stdout: false, stderr: false });
        pod.client().call(&attach, &[input.as_fd()]).unwrap();
        drop(input);
        writeln!(to_input, "{word}").unwrap();
        drop(to_input);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{word}\n"));
    }
}

#[test]
fn a_terminal_takes_the_size_it_is_told() {
    let pod = Pod::start();
    let script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done";
    let log = pod.create_with_terminal("c1", &["/bin/sh", "-c", script]);
    pod.start_container("c1");
    pod.wait_for_log(&log, "ready");
    for (columns, rows) in [(101, 33), (80, 24), (500, 7)] {
        assert_eq!(pod.call(&Request::Resize { container: "c1".into(), columns, rows }), Reply::Done);
        pod.wait_for_log(&log, &format!("stdout F {rows} {columns}\r\n"));
    }
    let Reply::Failed { message } = pod.call(&Request::Resize { container: "c2".into(), columns: 1, rows: 1 }) else {
        panic!("refused")
    };
    assert_eq!(message, "resize the terminal of container c2: it has none");
}

#[test]
fn rotation_under_load_loses_nothing() {
    let pod = Pod::start();
    // It writes until the last rotation is over, however long that takes.
    let script = "n=0; while ! test -e /stop; do seq $((n + 1)) $((n + 5000)); n=$((n + 5000)); done; echo $n >/lines";
    let log = pod.create("c1", &["/bin/sh", "-c", script], |_| {});
    let mut watch = pod.watch();
    pod.start_container("c1");
    let mut rotated = Vec::new();
    for number in 0..5 {
        eventually("something in the log", || std::fs::metadata(&log).unwrap().len() > 0);
        let name = log.with_extension(format!("log.{number}"));
        std::fs::rename(&log, &name).unwrap();
        assert_eq!(pod.call(&Request::ReopenLog { container: "c1".into() }), Reply::Done);
        rotated.push(name);
    }
    let root = pod.dir().join("bundle-c1/rootfs");
    std::fs::write(root.join("stop"), "").unwrap();
    Pod::wait_for_exit(&mut watch);
    let lines: usize = std::fs::read_to_string(root.join("lines")).unwrap().trim().parse().unwrap();
    let text: String = rotated.iter().chain([&log]).map(|file| text_of(file)).collect();
    assert!(text == (1..=lines).map(|number| format!("{number}\n")).collect::<String>(), "every line, once, in order");
}
