//! podman with `--runtime`: what happens to a container.

use crate::engine::Engine;
use crate::on_each;
use crate::podman::{Podman, SIZE, on};
use skiff_harness::{eventually, skip};

on_each!(podman_4_3: ("podman-4.3", "runc-1.1.5"), podman_5_4: ("podman-5.4", "runc-1.1.15"); [
    exec_runs_further_programs,
    exec_at_a_terminal,
    logs_and_attach,
    pause_update_and_stats,
    stop_kill_and_restart,
    health_checks_run,
    restart_policies_hold,
    checkpoint_is_refused,
]);

/// A container that runs until it is told to end, which it does with code 3.
fn long(podman: &Podman<'_>, options: &[&str]) {
    let script = r#"echo started; trap "exit 3" TERM; while :; do sleep 0.1; done"#;
    podman.run(&[&["-d", "--name=long"], options].concat(), &["sh", "-c", script]).ok();
    eventually("it has started", || match podman.call(&["logs", "long"]).out {
        out if out.contains("started") => Ok(()),
        out => Err(out),
    });
}

fn inspect(podman: &Podman<'_>, name: &str, what: &str) -> String {
    podman.call(&["inspect", "--format", &format!("{{{{.{what}}}}}"), name]).ok()
}

fn exec_runs_further_programs(podman: &Podman<'_>) {
    long(podman, &["--cap-drop=all", "--env", "OF=container"]);
    let exec = |options: &[&str], program: &[&str]| podman.call(&[&["exec"], options, &["long"], program].concat());
    assert_eq!(exec(&["--env", "A=b"], &["sh", "-c", "echo $A $OF"]).ok(), "b container");
    assert_eq!(exec(&[], &["sh", "-c", "exit 9"]).code, 9);
    assert_eq!(
        exec(&["--user", "1000:1000", "-w", "/tmp"], &["sh", "-c", "id -u; id -g; pwd"]).ok(),
        "1000\n1000\n/tmp"
    );
    exec(&[], &["nonesuch"]).fails(127, "executable file not found in $PATH");
    exec(&[], &["/etc/passwd"]).fails(126, "permission denied");
    exec(&["-w", "/nonesuch"], &["true"]).fails(127, "o such file or directory");
    assert_eq!(podman.feed("in\n", &["exec", "-i", "long", "cat"]).ok(), "in");
    exec(&["-d"], &["sleep", "4711"]).ok();
    eventually("the detached program runs", || match podman.call(&["top", "long", "args"]).out {
        out if out.contains("sleep 4711") => Ok(()),
        out => Err(out),
    });
    let caps = |options: &[&str]| exec(options, &["grep", "CapEff", "/proc/self/status"]).ok();
    assert!(caps(&[]).ends_with("0000000000000000"));
    let privileged = exec(&["--privileged"], &["grep", "CapEff", "/proc/self/status"]);
    assert!(!privileged.ok().ends_with("0000000000000000"));
    let mut words = vec!["-c", r#"exec "$0" "$@" 3<"$GIVEN""#];
    let kept = podman.arena.text("kept");
    podman.arena.write("kept", "kept\n");
    let command = podman.command_line(&["exec", "--preserve-fds", "1", "long", "sh", "-c", "cat <&3"]);
    words.extend(command.iter().map(String::as_str));
    let mut command = podman.arena.command("sh", words);
    command.env("GIVEN", kept);
    assert_eq!(crate::arena::Said::of(command).ok(), "kept");
}

fn exec_at_a_terminal(podman: &Podman<'_>) {
    long(podman, &[]);
    let said = podman.at_terminal("", &["exec", "-it", "long", "sh", "-c", &format!("tty; {SIZE}; exit 5")]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("/dev/pts/") && said.out.contains("24 80"), "{said:?}");
    let said = podman.at_terminal("echo $((6*7))\nexit\n", &["exec", "-it", "long", "sh"]);
    assert!(said.out.contains("\n42\n"), "{said:?}");
}

fn logs_and_attach(podman: &Podman<'_>) {
    podman.run(&["-d", "-i", "--name=asks"], &["sh", "-c", "echo out; echo err >&2; read x; echo got $x; exit 5"]).ok();
    eventually("both streams are in the log", || match podman.call(&["logs", "asks"]) {
        said if said.out == "out\n" && said.err == "err\n" => Ok(()),
        said => Err(said),
    });
    let said = podman.feed("words\n", &["attach", "asks"]);
    assert!(said.out.contains("got words"), "{said:?}");
    assert!(podman.call(&["logs", "asks"]).out.ends_with("got words\n"));
    assert_eq!(podman.call(&["wait", "asks"]).ok(), "5");
    // With a terminal, and leaving it without ending the program.
    podman.run(&["-d", "-it", "--name=shell"], &["sh"]).ok();
    let said = podman.at_terminal("echo $((6*7))\n\u{10}\u{11}", &["attach", "shell"]);
    assert!(said.out.contains("42"), "{said:?}");
    assert_eq!(inspect(podman, "shell", "State.Status"), "running");
}

fn pause_update_and_stats(podman: &Podman<'_>) {
    long(podman, &["--memory=64m"]);
    podman.call(&["pause", "long"]).ok();
    assert_eq!(inspect(podman, "long", "State.Status"), "paused");
    assert_ne!(podman.call(&["exec", "long", "true"]).code, 0);
    podman.call(&["unpause", "long"]).ok();
    assert_eq!(podman.call(&["exec", "long", "echo", "on"]).ok(), "on");
    let id = inspect(podman, "long", "Id");
    podman.call(&["update", "--memory", "32m", "--cpus", "0.25", "long"]).ok();
    if std::path::Path::new("/sys/fs/cgroup/memory").is_dir() {
        assert_eq!(podman.arena.limit("memory", &id, "memory.limit_in_bytes"), "33554432");
        assert_eq!(podman.arena.limit("cpu", &id, "cpu.cfs_quota_us"), "25000");
    } else {
        assert_eq!(podman.arena.limit("memory", &id, "memory.max"), "33554432");
    }
    let stats = podman.call(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDS}} {{.MemLimit}}", "long"]).ok();
    assert!(stats.starts_with("long ") && !stats.ends_with(" 0"), "{stats}");
    // podman gives up when a process ends while it looks at it, so not of the one that sleeps in programs of a tenth of a second.
    podman.run(&["-d", "--name=still"], &["sleep", "1000"]).ok();
    let top = podman.call(&["top", "still", "pid", "comm"]).ok();
    assert!(top.contains("sleep"), "{top}");
}

fn stop_kill_and_restart(podman: &Podman<'_>) {
    long(podman, &[]);
    podman.call(&["stop", "-t", "20", "long"]).ok();
    assert_eq!(inspect(podman, "long", "State.ExitCode"), "3");
    podman.call(&["start", "long"]).ok();
    podman.call(&["restart", "-t", "20", "long"]).ok();
    podman.call(&["kill", "-s", "KILL", "long"]).ok();
    assert_eq!(podman.call(&["wait", "long"]).ok(), "137");
    // All that share the host's pids are found through the cgroup.
    podman.run(&["-d", "--name=many", "--pid=host"], &["sh", "-c", "sleep 4712 & sleep 4712"]).ok();
    podman.call(&["rm", "-f", "-t", "0", "many"]).ok();
    podman.call(&["pause", "long"]).fails(125, "");
    podman.call(&["rm", "long"]).ok();
    podman.call(&["rm", "--force", "long"]);
}

fn health_checks_run(podman: &Podman<'_>) {
    let options = ["-d", "--name=well", "--health-interval=disable", "--health-retries=1"];
    podman.run(&[&options[..], &["--health-cmd", "test -e /well"]].concat(), &["sleep", "1000"]).ok();
    podman.call(&["exec", "well", "touch", "/well"]).ok();
    podman.call(&["healthcheck", "run", "well"]).ok();
    assert_eq!(inspect(podman, "well", "State.Health.Status"), "healthy");
    podman.call(&["exec", "well", "rm", "/well"]).ok();
    assert_eq!(podman.call(&["healthcheck", "run", "well"]).code, 1);
    assert_eq!(inspect(podman, "well", "State.Health.Status"), "unhealthy");
}

fn restart_policies_hold(podman: &Podman<'_>) {
    podman.run(&["-d", "--name=again", "--restart=on-failure:2"], &["sh", "-c", "exit 4"]).ok();
    eventually("it was restarted twice", || match inspect(podman, "again", "RestartCount").as_str() {
        "2" if inspect(podman, "again", "State.Status") == "exited" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(inspect(podman, "again", "State.ExitCode"), "4");
    podman.run(&["-d", "--name=once", "--restart=on-failure:2"], &["true"]).ok();
    assert_eq!(podman.call(&["wait", "once"]).ok(), "0");
    assert_eq!(inspect(podman, "once", "RestartCount"), "0");
}

fn checkpoint_is_refused(podman: &Podman<'_>) {
    long(podman, &[]);
    let said = podman.call(&["container", "checkpoint", "long"]);
    assert_ne!(said.code, 0);
    if said.err.to_lowercase().contains("criu") {
        return skip(&format!("podman looks for CRIU first: {}", said.err.trim()));
    }
    assert!(said.err.contains("does not support checkpoint"), "{said:?}");
}
