//! docker with `--add-runtime`: what happens to a container.

use crate::docker::{Docker, on};
use crate::engine::Engine;
use crate::on_each;
use skiff_harness::eventually;

on_each!(docker_20_10: ("docker-20.10", "runc-1.1.5"), docker_26_1: ("docker-26.1", "runc-1.1.15"); [
    exec_runs_further_programs,
    pause_update_and_stats,
    ends_and_restarts,
    images_are_built,
]);

/// A container that runs until it is told to end, which it does with code 3.
fn long(docker: &Docker<'_>, options: &[&str]) {
    let script = r#"echo started; trap "exit 3" TERM; while :; do sleep 0.1; done"#;
    docker.run(&[&["-d", "--name=long"], options].concat(), &["sh", "-c", script]).ok();
    eventually("it has started", || match docker.call(&["logs", "long"]).out {
        out if out.contains("started") => Ok(()),
        out => Err(out),
    });
}

fn inspect(docker: &Docker<'_>, name: &str, what: &str) -> String {
    docker.call(&["inspect", "--format", &format!("{{{{.{what}}}}}"), name]).ok()
}

fn exec_runs_further_programs(docker: &Docker<'_>) {
    long(docker, &["--cap-drop=all", "-t"]);
    let exec = |options: &[&str], program: &[&str]| docker.call(&[&["exec"], options, &["long"], program].concat());
    assert_eq!(exec(&["--env", "A=b"], &["sh", "-c", "echo $A"]).ok(), "b");
    assert_eq!(exec(&[], &["sh", "-c", "exit 9"]).code, 9);
    assert_eq!(
        exec(&["--user", "1000:1000", "-w", "/tmp"], &["sh", "-c", "id -u; id -g; pwd"]).ok(),
        "1000\n1000\n/tmp"
    );
    for (program, reason) in [("nonesuch", "executable file not found in $PATH"), ("/etc/passwd", "permission denied")]
    {
        let said = exec(&[], &[program]);
        assert!([126, 127].contains(&said.code) && (said.err + &said.out).contains(reason), "{program}: {reason}");
    }
    assert_eq!(docker.feed("in\n", &["exec", "-i", "long", "cat"]).ok(), "in");
    exec(&["-d"], &["sleep", "4711"]).ok();
    eventually("the detached program runs", || match docker.call(&["top", "long"]).out {
        out if out.contains("sleep 4711") => Ok(()),
        out => Err(out),
    });
    assert!(!exec(&["--privileged"], &["grep", "CapEff", "/proc/self/status"]).ok().ends_with("0000000000000000"));
    let said = docker.at_terminal("", &["exec", "-it", "long", "sh", "-c", "tty; exit 5"]);
    assert_eq!((said.code, said.out.contains("/dev/pts/1")), (5, true), "{said:?}");
    let said = docker.at_terminal("echo $((6*7))\nexit\n", &["exec", "-it", "long", "sh"]);
    assert!(said.out.contains("\n42\n"), "{said:?}");
}

fn pause_update_and_stats(docker: &Docker<'_>) {
    long(docker, &["--memory=64m", "--health-cmd=true", "--health-interval=100ms"]);
    docker.call(&["pause", "long"]).ok();
    assert_eq!(inspect(docker, "long", "State.Status"), "paused");
    docker.call(&["unpause", "long"]).ok();
    assert_eq!(docker.call(&["exec", "long", "echo", "on"]).ok(), "on");
    let id = inspect(docker, "long", "Id");
    docker.call(&["update", "--memory=32m", "--memory-swap=64m", "--cpus=0.25", "--pids-limit=33", "long"]).ok();
    assert_eq!(docker.arena.limit("pids", &id, "pids.max"), "33");
    if std::path::Path::new("/sys/fs/cgroup/memory").is_dir() {
        assert_eq!(docker.arena.limit("memory", &id, "memory.limit_in_bytes"), "33554432");
        assert_eq!(docker.arena.limit("cpu", &id, "cpu.cfs_quota_us"), "25000");
    } else {
        assert_eq!(docker.arena.limit("memory", &id, "memory.max"), "33554432");
    }
    let stats = docker.call(&["stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "long"]).ok();
    assert!(stats.starts_with("long ") && stats.ends_with("/ 32MiB"), "{stats}");
    eventually("it is healthy", || match inspect(docker, "long", "State.Health.Status") {
        status if status == "healthy" => Ok(()),
        status => Err(status),
    });
}

fn ends_and_restarts(docker: &Docker<'_>) {
    long(docker, &[]);
    docker.call(&["stop", "-t", "20", "long"]).ok();
    assert_eq!(inspect(docker, "long", "State.ExitCode"), "3");
    docker.call(&["start", "long"]).ok();
    docker.call(&["restart", "-t", "20", "long"]).ok();
    docker.call(&["kill", "-s", "KILL", "long"]).ok();
    assert_eq!(docker.call(&["wait", "long"]).ok(), "137");
    docker.call(&["rm", "long"]).ok();
    docker.run(&["-d", "--name=many", "--pid=host"], &["sh", "-c", "sleep 4712 & sleep 4712"]).ok();
    docker.call(&["rm", "-f", "many"]).ok();
    docker.run(&["-d", "--name=again", "--restart=on-failure:2"], &["sh", "-c", "exit 4"]).ok();
    eventually("it was restarted twice", || match inspect(docker, "again", "RestartCount").as_str() {
        "2" if inspect(docker, "again", "State.Status") == "exited" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(inspect(docker, "again", "State.ExitCode"), "4");
    docker.run(&["-d", "-i", "--name=asks"], &["sh", "-c", "echo out; echo err >&2; read x; echo got $x; exit 5"]).ok();
    eventually("both streams are in the log", || match docker.call(&["logs", "asks"]) {
        said if said.out == "out\n" && said.err == "err\n" => Ok(()),
        said => Err(said),
    });
    // Docker's client throws away what comes after the end of its input; the log does not.
    assert_eq!(docker.feed("words\n", &["attach", "asks"]).code, 5);
    assert!(docker.call(&["logs", "asks"]).out.ends_with("got words\n"));
}

fn images_are_built(docker: &Docker<'_>) {
    let steps = "FROM box\nRUN echo built >/built && id -u\nUSER user\nRUN id -un\nCMD [\"cat\", \"/built\"]\n";
    docker.arena.write("build/Dockerfile", steps);
    let folder = docker.arena.text("build");
    for (builder, tag) in [("0", "classic"), ("1", "buildkit")] {
        let said = docker.call_with(("DOCKER_BUILDKIT", builder), &["build", "--network=none", "-t", tag, &folder]);
        assert_eq!(said.code, 0, "{tag}: {said:?}");
        assert_eq!(docker.call(&["run", "--rm", "--network=none", tag]).ok(), "built", "{tag}");
    }
}
