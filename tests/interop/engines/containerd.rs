//! containerd's `ctr run --runc-binary`.

use crate::arena::{Arena, Said, with_peers};
use crate::{RUNTIME, on_each};
use skiff_harness::eventually;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command};

/// A containerd with private folders.
struct Containerd<'a> {
    arena: &'a Arena,
    programs: PathBuf,
    daemon: Child,
}

/// Runs `test` with the containerd of this name.
fn on(name: &'static str, test: fn(&Containerd<'_>)) {
    let program: &'static str = Box::leak(format!("{name}.d/containerd").into_boxed_str());
    with_peers(&[program], move |arena, peers| {
        let programs = peers[0].path().parent().unwrap().to_owned();
        // With some options ctr forgets the binary that it was told.
        std::fs::create_dir_all(arena.path("bin")).unwrap();
        symlink(RUNTIME, arena.path("bin/runc")).unwrap();
        let (root, state, socket) = (arena.text("root"), arena.text("state"), arena.text("sock"));
        let config = format!(
            "version = 2\nroot = {root:?}\nstate = {state:?}\n\
            disabled_plugins = [\"io.containerd.internal.v1.opt\", \"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\n"
        );
        let config = arena.write("config.toml", &config).display().to_string();
        let mut command = arena.command(programs.join("containerd"), ["--config", &config]);
        command.env("PATH", path(arena, &programs));
        let containerd = Containerd { arena, daemon: arena.start(command, "containerd.log"), programs };
        eventually("containerd answers", || match containerd.call(&["version"]) {
            said if said.code == 0 => Ok(()),
            said => Err(said),
        });
        containerd.import();
        test(&containerd);
        for (verb, noun) in [("tasks", "-f"), ("containers", "")] {
            let all = containerd.call(&[verb, "ls", "-q"]).ok();
            for id in all.lines() {
                let words: Vec<_> = [verb, "rm", noun, id].into_iter().filter(|word| !word.is_empty()).collect();
                containerd.call(&words);
            }
        }
        let left: Vec<_> = std::fs::read_dir(arena.path("runtime/default")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "the runtime remembers {left:?}");
    });
}

fn path(arena: &Arena, programs: &std::path::Path) -> String {
    format!("{}:{}:{}", arena.text("bin"), programs.display(), std::env::var("PATH").unwrap())
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap());
        let _ended_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _reaped = self.daemon.wait();
    }
}

impl Containerd<'_> {
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = self.arena.command(program, words);
        command.env("PATH", path(self.arena, &self.programs)).env("CONTAINERD_ADDRESS", self.arena.text("sock"));
        command
    }

    /// A ctr command.
    fn call(&self, words: &[&str]) -> Said {
        Said::of(self.command("ctr", words))
    }

    fn run_words<'a>(
        &self,
        options: &[&'a str],
        id: &'a str,
        program: &[&'a str],
        own: &'a [String; 2],
    ) -> Vec<&'a str> {
        let fixed =
            ["run", "--runc-binary", RUNTIME, "--runc-root", &own[0], "--snapshotter=native", "--cgroup", &own[1]];
        [&fixed, options, &["localhost/box:latest", id], program].concat()
    }

    /// `run` of container `id`, whose cgroup is its own.
    fn run(&self, options: &[&str], id: &str, program: &[&str]) -> Said {
        let own = self.own(id);
        self.call(&self.run_words(options, id, program, &own))
    }

    fn own(&self, id: &str) -> [String; 2] {
        [self.arena.text("runtime"), format!("{}/{id}", self.arena.cgroup())]
    }

    /// The same at a terminal.
    fn at_terminal(&self, words: &[&str]) -> Said {
        let line: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("stty rows 24 cols 80; exec ctr {}", line.join(" "));
        Said::at_terminal(self.command("script", &["-qec", &line, "/dev/null"]), "")
    }

    fn import(&self) {
        self.call(&["images", "import", "--snapshotter=native", &self.arena.make_layout()]).ok();
    }
}

/// The script, and then some time: ctr throws away what it has not read when it hears of the end.
fn lingering(script: &str) -> String {
    format!("{script}\ncode=$?; sleep 0.5; exit $code")
}

on_each!(containerd_1_6: "containerd-1.6", containerd_1_7: "containerd-1.7"; [
    a_program_runs_and_its_code_is_ctrs,
    options_arrive,
    a_task_lives,
]);

fn a_program_runs_and_its_code_is_ctrs(containerd: &Containerd<'_>) {
    assert_eq!(containerd.run(&["--rm"], "hi", &["sh", "-c", &lingering("echo hi")]).ok(), "hi");
    assert_eq!(containerd.run(&["--rm"], "code", &["sh", "-c", "exit 6"]).code, 6);
    containerd.run(&["--rm"], "absent", &["nonesuch"]).fails(1, "executable file not found in $PATH");
    containerd.run(&["--rm"], "path", &["/nonesuch"]).fails(1, "no such file or directory");
    containerd.run(&["--rm"], "denied", &["/etc/passwd"]).fails(1, "permission denied");
    let own = containerd.own("tty");
    let said = containerd.at_terminal(&containerd.run_words(&["--rm", "-t"], "tty", &["tty"], &own));
    assert!(said.out.contains("/dev/pts/0"), "{said:?}");
}

fn options_arrive(containerd: &Containerd<'_>) {
    let once = |id: &'static str, options: &[&str], script: &str| {
        containerd.run(&[&["--rm"], options].concat(), id, &["sh", "-c", &lingering(script)])
    };
    once("readonly", &["--read-only"], "touch /x").fails(1, "Read-only file system");
    let status = |id, options: &[&str], field: &str| {
        let line = once(id, options, &format!("grep {field}: /proc/self/status")).ok();
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(status("seccomp", &["--seccomp"], "Seccomp"), "2");
    assert_eq!(status("free", &["--allow-new-privs"], "NoNewPrivs"), "0");
    assert_ne!(status("privileged", &["--privileged"], "CapEff"), "0000000000000000");
    assert_eq!(once("cwd", &["--cwd", "/made"], "pwd").ok(), "/made");
    assert!(once("device", &["--device", "/dev/fuse"], "ls -l /dev/fuse").ok().starts_with("crw"));
    containerd.arena.write("data/file", "data\n");
    let bind = format!("type=bind,src={},dst=/v,options=rbind:ro", containerd.arena.text("data"));
    assert_eq!(once("bind", &["--mount", &bind], "cat /v/file; touch /v/x || echo no").ok(), "data\nno");
    let mapped = once("mapped", &["--uidmap=0:100000:1000", "--gidmap=0:100000:1000"], "cat /proc/self/uid_map");
    assert!(mapped.ok().ends_with("100000       1000"));
    assert_eq!(once("hungry", &["--memory-limit=16777216"], "dd if=/dev/zero of=/dev/null bs=64M count=1").code, 137);
}

fn a_task_lives(containerd: &Containerd<'_>) {
    let script = r#"trap "exit 3" TERM; touch /ready; while :; do sleep 0.1; done"#;
    containerd.run(&["-d", "--memory-limit=67108864", "--cpus=0.5"], "long", &["sh", "-c", script]).ok();
    let exec = |id: &str, options: &[&str], program: &[&str]| {
        containerd.call(&[&["task", "exec", "--exec-id", id], options, &["long"], program].concat())
    };
    eventually("it is ready", || match exec("look", &[], &["test", "-e", "/ready"]) {
        said if said.code == 0 => Ok(()),
        said => Err(said),
    });
    let said = exec("one", &[], &["sh", "-c", &lingering("echo e; (exit 4)")]);
    assert_eq!((said.code, said.out.as_str()), (4, "e\n"), "{said:?}");
    assert_eq!(
        exec("two", &["--user", "1000:1000", "--cwd", "/tmp"], &["sh", "-c", &lingering("id -u; pwd")]).ok(),
        "1000\n/tmp"
    );
    exec("three", &[], &["nonesuch"]).fails(1, "executable file not found in $PATH");
    exec("four", &["--cwd", "/nonesuch"], &["true"]).fails(1, "o such file or directory");
    let said = containerd.at_terminal(&["task", "exec", "-t", "--exec-id", "five", "long", "tty"]);
    assert!(said.out.contains("/dev/pts/0"), "{said:?}");
    assert_eq!(containerd.arena.limit("pids", "long", "pids.max"), "max");
    let pids = containerd.call(&["task", "ps", "long"]).ok();
    assert!(pids.lines().count() >= 2, "{pids}");
    let metrics = containerd.call(&["task", "metrics", "long"]).ok();
    assert!(metrics.contains("67108864") || metrics.contains("memory"), "{metrics}");
    let listed = |status: &str| {
        eventually("the task's status changes", || match containerd.call(&["task", "ls"]).ok() {
            out if out.contains(status) => Ok(()),
            out => Err(out),
        });
    };
    containerd.call(&["task", "pause", "long"]).ok();
    listed("PAUSED");
    containerd.call(&["task", "resume", "long"]).ok();
    listed("RUNNING");
    let said = containerd.call(&["task", "checkpoint", "long"]);
    assert!(said.code != 0 && said.err.contains("checkpoint"), "{said:?}");
    containerd.call(&["task", "kill", "-s", "TERM", "long"]).ok();
    listed("STOPPED");
    containerd.call(&["task", "rm", "long"]);
    containerd.call(&["container", "rm", "long"]).ok();
    containerd.run(&["-d", "--with-ns=pid:/proc/self/ns/pid"], "many", &["sh", "-c", "sleep 4713 & sleep 4713"]);
    containerd.call(&["task", "kill", "-a", "-s", "KILL", "many"]);
}
