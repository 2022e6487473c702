//! docker with `--add-runtime`: what a container is and has.

use crate::arena::{Arena, Said, with_peers};
use crate::engine::Engine;
use crate::{RUNTIME, limits, on_each};
use skiff_harness::eventually;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Child;

/// A daemon with private folders, whose default runtime is ours.
pub(crate) struct Docker<'a> {
    pub(crate) arena: &'a Arena,
    programs: PathBuf,
    daemon: Child,
}

/// Runs `test` with the docker of this release and the runc of this name.
pub(crate) fn on((docker, runc): (&'static str, &'static str), test: fn(&Docker<'_>)) {
    let dockerd: &'static str = Box::leak(format!("{docker}.d/dockerd").into_boxed_str());
    with_peers(&[dockerd, runc], move |arena, peers| {
        let programs = peers[0].path().parent().unwrap().to_owned();
        // BuildKit runs what PATH calls runc.
        std::fs::create_dir_all(arena.path("bin")).unwrap();
        symlink(RUNTIME, arena.path("bin/runc")).unwrap();
        std::fs::create_dir_all(arena.path(".docker/cli-plugins")).unwrap();
        symlink(programs.join("cli-plugins/docker-buildx"), arena.path(".docker/cli-plugins/docker-buildx")).unwrap();
        arena.write("daemon.json", "{}");
        let runc = peers[1].path().display().to_string();
        let docker = Docker { arena, daemon: start(arena, &programs, &runc), programs };
        eventually("dockerd answers", || match docker.call(&["info", "--format", "{{.DefaultRuntime}}"]) {
            said if said.out.trim() == "skiff" => Ok(()),
            said => Err((said, std::fs::read_to_string(arena.path("dockerd.log")).unwrap())),
        });
        docker.call(&["import", &arena.text("image.tar"), "box"]).ok();
        test(&docker);
        let all = docker.call(&["ps", "-aq"]).ok();
        for id in all.lines() {
            docker.call(&["rm", "-f", id]).ok();
        }
        let roots = std::fs::read_dir(arena.path("exec")).unwrap().flatten().map(|entry| entry.path().join("moby"));
        let left: Vec<_> = roots.filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten().collect();
        assert!(left.is_empty(), "the runtime remembers {left:?}");
    });
}

fn start(arena: &Arena, programs: &std::path::Path, runc: &str) -> Child {
    let cgroup = arena.cgroup();
    let runtimes = [format!("skiff={RUNTIME}"), format!("real={runc}")];
    let folders = ["data", "exec", "pid", "daemon.json"].map(|name| arena.text(name));
    let socket = format!("unix://{}", arena.text("sock"));
    let init = programs.join("docker-init").display().to_string();
    #[rustfmt::skip]
    let words = [
        "--data-root", &folders[0], "--exec-root", &folders[1], "--pidfile", &folders[2], "--config-file", &folders[3],
        "--host", &socket, "--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false",
        "--userland-proxy=false", "--storage-driver=overlay2", "--cgroup-parent", &cgroup,
        "--exec-opt", "native.cgroupdriver=cgroupfs", "--init-path", &init,
        "--add-runtime", &runtimes[0], "--add-runtime", &runtimes[1], "--default-runtime=skiff",
    ];
    let mut command = arena.command(programs.join("dockerd"), words);
    command.env("PATH", path(arena, programs));
    arena.start(command, "dockerd.log")
}

fn path(arena: &Arena, programs: &std::path::Path) -> String {
    format!("{}:{}:{}", arena.text("bin"), programs.display(), std::env::var("PATH").unwrap())
}

impl Drop for Docker<'_> {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.daemon.id()).unwrap());
        let _ended_already = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _reaped = self.daemon.wait();
    }
}

impl Docker<'_> {
    fn command(&self, program: &str, words: &[&str]) -> std::process::Command {
        let mut command = self.arena.command(program, words);
        command.env("PATH", path(self.arena, &self.programs));
        command.env("DOCKER_HOST", format!("unix://{}", self.arena.text("sock")));
        command
    }

    /// A docker command with something on standard input.
    pub(crate) fn feed(&self, input: &str, words: &[&str]) -> Said {
        Said::with_input(self.command("docker", words), input)
    }

    /// The same with one more variable in the environment.
    pub(crate) fn call_with(&self, (key, value): (&str, &str), words: &[&str]) -> Said {
        let mut command = self.command("docker", words);
        command.env(key, value);
        Said::of(command)
    }

    /// The same at a terminal of 24 lines and 80 columns; the terminal's line ends are made plain.
    pub(crate) fn at_terminal(&self, input: &str, words: &[&str]) -> Said {
        let line: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("stty rows 24 cols 80; exec docker {}", line.join(" "));
        Said::at_terminal(self.command("script", &["-qec", &line, "/dev/null"]), input)
    }
}

impl Engine for Docker<'_> {
    fn arena(&self) -> &Arena {
        self.arena
    }

    fn call(&self, words: &[&str]) -> Said {
        Said::of(self.command("docker", words))
    }

    fn run(&self, options: &[&str], program: &[&str]) -> Said {
        self.call(&[&["run", "--network=none"], options, &["box"], program].concat())
    }

    fn run_by_runc(&self, options: &[&str], program: &[&str]) -> Said {
        self.run(&[&["--runtime=real"], options].concat(), program)
    }

    fn reason(said: &Said) -> String {
        said.err.lines().filter(|line| line.contains("Error")).collect::<Vec<_>>().join(" ")
    }
}

on_each!(docker_20_10: ("docker-20.10", "runc-1.1.5"), docker_26_1: ("docker-26.1", "runc-1.1.15"); [
    a_program_runs_and_its_code_is_dockers,
    rights_are_what_was_asked,
    limits_reach_the_cgroup,
    files_and_volumes,
    namespaces_and_settings,
]);

fn a_program_runs_and_its_code_is_dockers(docker: &Docker<'_>) {
    assert_eq!(docker.sh(&[], "echo hi"), "hi");
    assert_eq!(docker.once(&[], "exit 7").code, 7);
    assert_eq!(docker.feed("in\n", &["run", "--rm", "-i", "--network=none", "box", "cat"]).ok(), "in");
    let said = docker.at_terminal("", &["run", "--rm", "-t", "--network=none", "box", "tty"]);
    assert!(said.out.contains("/dev/pts/0"), "{said:?}");
    docker.run(&["--rm"], &["nonesuch"]).fails(127, "executable file not found in $PATH");
    docker.run(&["--rm"], &["/nonesuch"]).fails(127, "no such file or directory");
    docker.run(&["--rm"], &["/etc/passwd"]).fails(126, "permission denied");
    assert_eq!(docker.run(&["--rm"], &["/etc"]).code, 126);
    assert_eq!(docker.sh(&["-w", "/made/for/it"], "pwd"), "/made/for/it");
}

fn rights_are_what_was_asked(docker: &Docker<'_>) {
    let status = |options: &[&str], field: &str| {
        let line = docker.sh(options, &format!("grep {field}: /proc/self/status"));
        line.split_whitespace().last().unwrap().to_owned()
    };
    assert_eq!(status(&["--cap-drop", "all"], "CapBnd"), "0000000000000000");
    assert_eq!(status(&["--cap-drop", "all", "--cap-add", "net_admin"], "CapEff"), "0000000000001000");
    assert_eq!(status(&["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(status(&[], "Seccomp"), "2");
    assert_eq!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp"), "0");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    docker.arena.write("profile.json", profile);
    let option = format!("seccomp={}", docker.arena.text("profile.json"));
    docker.once(&["--security-opt", &option], "mkdir /tmp/x").fails(1, "Function not implemented");
    assert_eq!(docker.sh(&["--user", "user", "--group-add", "77"], "id -u; id -g; id -G"), "1000\n1000\n1000 77");
    assert_eq!(docker.sh(&["--ulimit", "nofile=100:200"], "ulimit -n; ulimit -Hn"), "100\n200");
    assert_eq!(docker.sh(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500");
    assert!(docker.sh(&["--device", "/dev/fuse:/dev/f:r"], "ls -l /dev/f").starts_with("crw"));
    // Docker 20.10 asks for capabilities that this host may not have; runc then fails, and we give what there is.
    assert_eq!(status(&["--privileged"], "Seccomp"), "0");
}

fn limits_reach_the_cgroup(docker: &Docker<'_>) {
    limits::reach_the_cgroup(docker);
    docker.run(&[&["--name=eater"], limits::TIGHT].concat(), limits::EATS);
    assert_eq!(docker.call(&["inspect", "--format", "{{.State.OOMKilled}}", "eater"]).ok(), "true");
    if docker.can(&["--oom-kill-disable"]) {
        docker.sh(&["--oom-kill-disable"], "true");
    }
}

fn files_and_volumes(docker: &Docker<'_>) {
    docker.once(&["--read-only"], "touch /x").fails(1, "Read-only file system");
    let mounts = docker.sh(&["--tmpfs", "/t:size=1m"], "grep ' /t ' /proc/self/mounts");
    assert!(mounts.contains("size=1024k") && mounts.contains("noexec"), "{mounts}");
    assert!(docker.sh(&["--shm-size", "1m"], "df -k /dev/shm").contains("1024"));
    docker.arena.write("given/file", "data\n");
    let data = docker.arena.text("given");
    assert_eq!(docker.sh(&["-v", &format!("{data}:/v:z")], "cat /v/file; touch /v/new"), "data");
    docker.once(&["-v", &format!("{data}:/v:ro")], "touch /v/x").fails(1, "Read-only file system");
    docker.sh(&["-v", "kept:/v"], "echo kept >/v/f");
    assert_eq!(docker.sh(&["--mount", "type=volume,src=kept,dst=/v,readonly"], "cat /v/f"), "kept");
    let slave = format!("type=bind,src={data},dst=/v,bind-propagation=rslave");
    if docker.can(&["--mount", &slave]) {
        assert!(docker.sh(&["--mount", &slave], "grep ' /v ' /proc/self/mountinfo").contains("master:"));
    }
    docker.once(&[], "echo 1 >/proc/sys/kernel/panic").fails(1, "Read-only");
    assert_eq!(docker.sh(&[], "wc -c </proc/keys"), "0");
}

fn namespaces_and_settings(docker: &Docker<'_>) {
    let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    for (option, kind) in
        [("--pid=host", "pid"), ("--ipc=host", "ipc"), ("--uts=host", "uts"), ("--cgroupns=host", "cgroup")]
    {
        assert_eq!(docker.sh(&[option], &format!("readlink /proc/self/ns/{kind}")), own(kind), "{option}");
    }
    docker.run(&["-d", "--name=first", "--ipc=shareable"], &["sleep", "1000"]).ok();
    for (kind, option) in [("pid", "--pid"), ("ipc", "--ipc")] {
        let first = docker.call(&["exec", "first", "readlink", &format!("/proc/self/ns/{kind}")]).ok();
        assert_eq!(docker.sh(&[option, "container:first"], &format!("readlink /proc/self/ns/{kind}")), first);
    }
    let first = docker.call(&["exec", "first", "readlink", "/proc/self/ns/net"]).ok();
    let shared = ["run", "--rm", "--network=container:first", "box", "readlink", "/proc/self/ns/net"];
    assert_eq!(docker.call(&shared).ok(), first);
    assert!(docker.sh(&["--cgroupns=private"], "cat /proc/self/cgroup").lines().all(|line| line.ends_with(":/")));
    assert_eq!(
        docker.sh(&["--hostname", "box", "--domainname", "test"], "hostname; cat /proc/sys/kernel/domainname"),
        "box\ntest"
    );
    assert_eq!(docker.sh(&["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward"), "1");
    assert_eq!(docker.sh(&["--init"], "cat /proc/1/comm"), "docker-init");
}
