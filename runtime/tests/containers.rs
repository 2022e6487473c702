//! Real containers on this host: what is in them, how they live, and that nothing of them is left.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use support::{Bundle, is_unified, wait_until};

fn plain(script: &str) -> Bundle {
    Bundle::new(script, |_| ())
}

#[test]
fn the_programs_exit_code_is_runs() {
    assert_eq!(plain("exit 7").run().code, 7);
    assert_eq!(plain("kill -9 $$").run().code, 0, "the first process of a pid namespace ignores its own signals");
    let shared = Bundle::new("kill -9 $$", |c| {
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
    });
    assert_eq!(shared.run().code, 128 + 9);
}

#[test]
fn standard_streams_are_the_callers() {
    let said = plain("echo out; echo err >&2").run();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn namespaces_are_its_own_and_the_hosts_stay() {
    let host = |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    let out = plain("for n in mnt pid net ipc uts user; do readlink /proc/self/ns/$n; done; hostname").run().ok();
    let lines: Vec<_> = out.lines().collect();
    for (index, kind) in ["mnt", "pid", "net", "ipc", "uts"].iter().enumerate() {
        assert_ne!(lines[index], host(kind));
    }
    assert_eq!((lines[5], lines[6]), (host("user").as_str(), "box"));
}

#[test]
fn a_namespace_with_a_path_is_entered() {
    let own = fs::read_link("/proc/self/ns/ipc").unwrap().display().to_string();
    let other = plain("sleep 60");
    other.start();
    let pid = other.state()["pid"].as_i64().unwrap();
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    let pid_ns = fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap().display().to_string();
    let bundle = Bundle::new("for n in net pid ipc; do readlink /proc/self/ns/$n; done", |c| {
        c["linux"]["namespaces"] = json!([
            {"type": "mount"}, {"type": "uts"}, {"type": "network", "path": format!("/proc/{pid}/ns/net")},
            {"type": "pid", "path": format!("/proc/{pid}/ns/pid")}]);
    });
    assert_eq!(bundle.run().ok().lines().collect::<Vec<_>>(), [net, pid_ns, own]);
}

#[test]
fn a_user_namespace_maps_ids_and_others_can_be_entered_with_it() {
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 1000}]);
    let users = |c: &mut Value| {
        c["linux"]["uidMappings"] = maps.clone();
        c["linux"]["gidMappings"] = maps.clone();
        c["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    };
    let first = Bundle::new("id -u; cat /proc/self/uid_map; echo x > /dev/null && echo wrote; sleep 60", users);
    first.start();
    wait_until("output", || first.output().contains("wrote"));
    let words: Vec<_> = first.output().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["0", "0", "200000", "1000", "wrote"]);
    let pid = first.state()["pid"].as_i64().unwrap();
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 200_000);
    assert_eq!(first.oci(&["exec", &first.id, "id", "-u"]).ok(), "0\n");

    let second = Bundle::new("readlink /proc/self/ns/user; readlink /proc/self/ns/net; id -u", |c| {
        c["linux"]["uidMappings"] = maps.clone();
        c["linux"]["gidMappings"] = maps.clone();
        let path = |kind: &str| format!("/proc/{pid}/ns/{kind}");
        c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts", "path": path("uts")},
            {"type": "user", "path": path("user")}, {"type": "network", "path": path("net")}]);
        c.as_object_mut().unwrap().remove("hostname");
    });
    let theirs = |kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string();
    assert_eq!(second.run().ok().lines().collect::<Vec<_>>(), [theirs("user"), theirs("net"), "0".to_owned()]);
}

#[test]
fn masked_and_readonly_paths_hold() {
    let script = "cat /proc/keys | wc -c; ls /proc/acpi | wc -l; echo 1 2>/dev/null > /proc/sys/kernel/ctrl-alt-del || echo no; \
                  stat -c %t:%T /proc/keys";
    let bundle = Bundle::new(&script.replace("wc -c", "cat").replace("| wc -l", ""), |c| {
        c["linux"]["maskedPaths"] = json!(["/proc/keys", "/proc/acpi", "/nowhere"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    });
    assert_eq!(bundle.run().out, "no\n1:3\n");
}

#[test]
fn a_null_device_of_the_image_does_not_unmask() {
    let bundle = Bundle::new("cat /proc/timer_list; echo $?", |c| {
        c["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
        c["linux"]["maskedPaths"] = json!(["/proc/timer_list"]);
    });
    symlink("/proc/kallsyms", bundle.rootfs().join("dev/null")).unwrap();
    assert_eq!(bundle.run().out, "0\n");
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let bundle = Bundle::new("true", |c| {
        c["mounts"].as_array_mut().unwrap().push(json!(
            {"destination": "/data/made/here", "type": "tmpfs", "source": "tmpfs", "options": []}));
    });
    let outside = bundle.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, bundle.rootfs().join("data")).unwrap();
    bundle.run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn nothing_stands_in_for_procfs() {
    let bundle =
        Bundle::new("true", |c| c["mounts"][0] = json!({"destination": "/proc", "type": "tmpfs", "source": "t"}));
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("procfs"), "{said:?}");
}

#[test]
fn capabilities_limits_and_identity_are_what_was_asked() {
    let script = "id -u; id -g; id -G; umask; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -n; ulimit -Hn; echo $HOME";
    let bundle = Bundle::new(script, |c| {
        let caps = json!(["CAP_KILL", "CAP_NET_BIND_SERVICE"]);
        c["process"]["user"] = json!({"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 63});
        c["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps, "inheritable": caps, "ambient": ["CAP_KILL"]});
        c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    });
    fs::write(bundle.rootfs().join("etc/passwd"), "web:x:1000:1001::/srv/web:/bin/sh\n").unwrap();
    let out = bundle.run().ok();
    for line in [
        "1000\n1001\n1001 7 8\n0077\n",
        "CapInh:\t0000000000000420",
        "CapPrm:\t0000000000000020",
        "CapAmb:\t0000000000000020",
        "CapBnd:\t0000000000000420",
        "NoNewPrivs:\t1",
        "Seccomp:\t0",
        "100\n200\n/srv/web\n",
    ] {
        assert!(out.contains(line), "{line:?} in {out}");
    }
}

#[test]
fn no_descriptor_leaks_in() {
    let leak = fs::File::open("/etc/passwd").unwrap();
    nix::fcntl::fcntl(&leak, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    assert_eq!(plain("ls /proc/1/fd; true").run().ok(), "0\n1\n2\n");
}

#[test]
fn a_filter_answers_as_the_profile_says() {
    let bundle =
        Bundle::new("mkdir /tmp/x; echo; grep Seccomp: /proc/self/status; touch /tmp/y && echo touched", |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
        });
    let said = bundle.run();
    assert!(said.err.contains("No space left on device"), "{said:?}");
    assert!(said.out.contains("Seccomp:\t2") && said.out.contains("touched"), "{said:?}");
}

#[test]
fn limits_reach_the_controllers() {
    let bundle = Bundle::new("sleep 60", |c| {
        c["linux"]["resources"] = json!({
            "memory": {"limit": 33_554_432}, "pids": {"limit": 20}, "cpu": {"shares": 512, "quota": 20_000, "period": 50_000},
            "devices": [{"allow": false, "access": "rwm"}]});
    });
    bundle.start();
    let read = |controller: &str, file: &str| bundle.cgroup_file(controller, file);
    let memory = if is_unified() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(read("memory", memory), "33554432\n");
    assert_eq!(read("pids", "pids.max"), "20\n");
    if is_unified() {
        assert_eq!(read("cpu", "cpu.max"), "20000 50000\n");
        let weight: u32 = read("cpu", "cpu.weight").trim().parse().unwrap();
        assert!(weight < 100, "half of the default's shares is less than the default's weight: {weight}");
    } else {
        assert_eq!(read("cpu", "cpu.shares"), "512\n");
        assert_eq!(read("cpu", "cpu.cfs_quota_us"), "20000\n");
        let devices = read("devices", "devices.list");
        assert!(devices.contains("c 1:3 rwm") && !devices.contains("a *:*"), "{devices}");
    }
    let pid = bundle.state()["pid"].to_string();
    assert!(read("memory", "cgroup.procs").lines().any(|line| line == pid));
    fs::write(bundle.path().join("new.json"), r#"{"memory": {"limit": 67108864}, "pids": {"limit": 30}}"#).unwrap();
    bundle.oci(&["update", "--resources", "new.json", &bundle.id]).ok();
    assert_eq!((read("memory", memory), read("pids", "pids.max")), ("67108864\n".to_owned(), "30\n".to_owned()));
}

#[test]
fn a_life_from_created_to_gone() {
    let bundle = plain("trap 'echo bye; exit 3' TERM; echo up; while true; do sleep 0.05; done");
    let pid_file = bundle.path().join("pid");
    let out = fs::File::create(bundle.path().join("out")).unwrap();
    let mut create = bundle.command(&["create", "--pid-file", pid_file.to_str().unwrap(), &bundle.id]);
    assert!(create.stdout(out.try_clone().unwrap()).stderr(out).status().unwrap().success());
    assert_eq!((bundle.status().as_str(), bundle.output().as_str()), ("created", ""));
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.state()["pid"].to_string());
    assert_eq!(bundle.oci(&["create", &bundle.id]).code, 1, "the id is taken");

    bundle.oci(&["start", &bundle.id]).ok();
    wait_until("start", || bundle.output() == "up\n");
    assert_eq!(bundle.status(), "running");
    assert_eq!(bundle.oci(&["start", &bundle.id]).code, 1);
    assert_eq!(bundle.oci(&["delete", &bundle.id]).code, 1, "it runs");

    bundle.oci(&["pause", &bundle.id]).ok();
    assert_eq!(bundle.status(), "paused");
    bundle.oci(&["resume", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "TERM"]).ok();
    wait_until("end", || bundle.status() == "stopped");
    assert_eq!(bundle.output(), "up\nbye\n");
    let late = bundle.oci(&["kill", &bundle.id, "9"]);
    assert!(late.code == 1 && late.err.contains("not running"), "{late:?}");
    bundle.oci(&["delete", &bundle.id]).ok();
    assert_eq!(bundle.oci(&["delete", &bundle.id]).code, 1);
    assert_eq!(bundle.oci(&["delete", "--force", &bundle.id]).err, "");
}

#[test]
fn force_deletes_what_is_frozen_and_what_shares_the_hosts_pids() {
    let bundle =
        Bundle::new("sleep 61 & sleep 62", |c| c["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]));
    bundle.start();
    wait_until("both sleep", || bundle.oci(&["ps", "--format", "json", &bundle.id]).out.contains(','));
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn exec_joins_with_its_own_code_user_and_environment() {
    let bundle = plain("sleep 60");
    bundle.start();
    let id = bundle.id.as_str();
    let said = bundle.oci(&[
        "exec",
        "-u",
        "5:6",
        "-e",
        "A=b c",
        "--cwd",
        "/tmp",
        id,
        "sh",
        "-c",
        "id -u; id -g; echo $A; pwd; hostname; exit 9",
    ]);
    assert_eq!((said.code, said.out.as_str()), (9, "5\n6\nb c\n/tmp\nbox\n"), "{said:?}");
    let missing = bundle.oci(&["exec", id, "nope"]);
    assert!(missing.code == 255 && missing.err.contains("executable file not found in $PATH"), "{missing:?}");
    let process =
        json!({"user": {"uid": 0, "gid": 0}, "args": ["/bin/cat", "/proc/self/cgroup"], "cwd": "/", "env": []});
    fs::write(bundle.path().join("process.json"), process.to_string()).unwrap();
    let cgroups = bundle.oci(&["exec", "--process", "process.json", id]).ok();
    let hierarchy = if is_unified() { "0::" } else { "memory:" };
    assert!(cgroups.contains(&format!("{hierarchy}{}", bundle.cgroup())), "{cgroups}");
}

#[test]
fn a_terminals_master_goes_to_the_console_socket() {
    let bundle = Bundle::new("tty; stat -c %t /dev/console", |c| {
        c["process"]["terminal"] = json!(true);
        c["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    });
    let socket = bundle.path().join("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.oci(&["create", "--console-socket", socket.to_str().unwrap(), &bundle.id]).ok();
    let (stream, _) = listener.accept().unwrap();
    let mut name = [0; 64];
    let (_, mut fds) = skiff_sys::pass::recv_with_fds(stream.as_fd(), &mut name).unwrap();
    let master = fs::File::from(fds.remove(0));
    assert_eq!(skiff_sys::terminal::window_size(master.as_fd()).unwrap(), (99, 33));
    bundle.oci(&["start", &bundle.id]).ok();
    let mut text = String::new();
    // The end of a terminal is EIO, after everything that was written.
    let _end = std::io::Read::read_to_string(&mut &master, &mut text);
    assert_eq!(text, "/dev/pts/0\r\n88\r\n");
}

#[test]
fn hooks_run_in_order_with_the_state_on_their_input() {
    let bundle = plain("true");
    let log = bundle.path().join("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(grep -o '\"status\":\"[a-z]*\"') >> {}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "timeout": 10}])
    };
    let mut config: Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
    config["hooks"] = json!({});
    for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        config["hooks"][name] = hook(name);
    }
    fs::write(bundle.config(), config.to_string()).unwrap();
    bundle.run().ok();
    let order: Vec<_> = fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(order.len(), 5, "{order:?}");
    assert!(order[0].starts_with("prestart \"status\":\"creating\""), "{order:?}");
    assert!(
        order[2].starts_with("createContainer") && order[4].starts_with("poststop \"status\":\"stopped\""),
        "{order:?}"
    );
}

#[test]
fn a_failing_hook_stops_the_creation_and_leaves_nothing() {
    let bundle = Bundle::new("true", |c| {
        c["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo sorry >&2; exit 4"]}]});
    });
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("createRuntime[0]") && said.err.contains("sorry"), "{said:?}");
}

#[test]
fn mistakes_are_sentences_with_the_path() {
    let bundle = plain("true");
    fs::rename(bundle.config(), bundle.path().join("away")).unwrap();
    let said = bundle.run();
    let sentence = format!("read {}: No such file or directory", bundle.config().display());
    assert!(said.code == 1 && said.err.ends_with(&format!(" level=error msg=\"{sentence}\"\n")), "{said:?}");
    let log = bundle.path().join("log");
    let log_words = ["--log", log.to_str().unwrap(), "--log-format=json", "state", "nobody"];
    assert_eq!(bundle.oci(&log_words).code, 1);
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["msg"].as_str()),
        (Some("error"), Some("container does not exist: nobody"))
    );
    let missing = Bundle::new("true", |c| c["process"]["args"] = json!(["/nope"]));
    assert!(missing.run().err.contains("no such file or directory"));
}

#[test]
fn tmpfs_starts_with_what_it_covers_when_asked() {
    let bundle = Bundle::new("cat /data/deep/file; touch /data/new; ls /data", |c| {
        c["mounts"].as_array_mut().unwrap().push(json!(
            {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    });
    fs::create_dir_all(bundle.rootfs().join("data/deep")).unwrap();
    fs::write(bundle.rootfs().join("data/deep/file"), "kept\n").unwrap();
    assert_eq!(bundle.run().ok(), "kept\ndeep\nnew\n");
    assert!(!bundle.rootfs().join("data/new").exists());
}

#[test]
fn readonly_means_readonly() {
    let bundle = Bundle::new("touch /x || echo root; touch /in/x || echo bind; touch /dev/x && echo dev", |c| {
        c["root"]["readonly"] = json!(true);
        c["mounts"].as_array_mut().unwrap().push(json!(
            {"destination": "/in", "source": "/tmp", "options": ["rbind", "ro"]}));
    });
    assert_eq!(bundle.run().out, "root\nbind\ndev\n");
}

#[test]
fn a_readonly_tmpfs_still_gets_what_belongs_into_it() {
    // podman's first container of a pod.
    let bundle = Bundle::new("ls /dev/pts /dev/null; touch /dev/x", |c| {
        c["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]);
    });
    let said = bundle.run();
    assert!(said.out.contains("/dev/null") && said.out.contains("ptmx"), "{said:?}");
    assert!(said.err.contains("/dev/x: Read-only file system"), "{said:?}");
}

#[test]
fn every_injected_fault_leaves_nothing_behind() {
    let bundle = plain("true");
    let trace = bundle.path().join("trace");
    let run = |fault: &str| bundle.command(&["run", &bundle.id]).env("SKIFF_FAULT", fault).output().unwrap();
    let traced = bundle.command(&["run", &bundle.id]).env("SKIFF_TRACE", &trace).output().unwrap();
    assert!(traced.status.success());
    let lines = fs::read_to_string(&trace).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut steps: Vec<_> = lines.map(|line| line["step"].as_str().unwrap().to_owned()).collect();
    steps.sort();
    steps.dedup();
    assert!(steps.len() >= 20, "{steps:?}");
    for step in steps {
        let output = run(&format!("{step}:1=error(5)"));
        assert!(!output.status.success(), "{step} failed, and run did not");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(&step), "{step}: {text}");
        let cleaned = bundle.oci(&["delete", "--force", &bundle.id]);
        assert_eq!((cleaned.code, cleaned.err.as_str()), (0, ""), "{step}");
    }
}

#[test]
fn a_hook_after_the_start_kills_when_it_fails_and_one_after_the_end_does_not() {
    let failing = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 1"]}]);
    let after_start = Bundle::new("sleep 60", |c| c["hooks"] = json!({"poststart": failing.clone()}));
    after_start.create();
    assert_eq!(after_start.oci(&["start", &after_start.id]).code, 1);
    wait_until("end", || after_start.status() == "stopped");

    let after_end = Bundle::new("exit 5", |c| c["hooks"] = json!({"poststop": failing}));
    let log = after_end.path().join("log");
    let said = after_end.oci(&["--log", log.to_str().unwrap(), "run", &after_end.id]);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(fs::read_to_string(&log).unwrap().contains("level=warning"), "the failure is logged");
}

#[test]
fn the_programs_own_file_cannot_be_overwritten_from_inside() {
    let bundle = plain("sleep 60");
    bundle.start();
    // The interpreter is whoever executes the script: the runtime itself, in the container.
    fs::write(bundle.rootfs().join("bin/again"), "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(bundle.rootfs().join("bin/again"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let before = fs::read(env!("CARGO_BIN_EXE_skiff-oci")).unwrap();
    bundle.oci(&["exec", &bundle.id, "again"]);
    assert!(fs::read(env!("CARGO_BIN_EXE_skiff-oci")).unwrap() == before);
    let created = plain("true");
    created.create();
    let exe = format!("/proc/{}/exe", created.state()["pid"]);
    let refused = fs::OpenOptions::new().write(true).open(exe).unwrap_err().raw_os_error();
    assert!(
        [Some(nix::errno::Errno::EROFS as i32), Some(nix::errno::Errno::ETXTBSY as i32)].contains(&refused),
        "{refused:?}"
    );
    let flags = nix::sys::statvfs::statvfs(format!("/proc/{}/exe", created.state()["pid"]).as_str()).unwrap().flags();
    assert!(flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY));
}

/// Fault O8: what has no process can be created and deleted, not started.
#[test]
fn a_container_without_a_process_cannot_be_started() {
    let bundle = Bundle::new("", |c| drop(c.as_object_mut().unwrap().remove("process")));
    bundle.create();
    assert_eq!(bundle.status(), "created");
    let said = bundle.oci(&["start", &bundle.id]);
    assert!(said.code == 1 && said.err.contains("process: is missing: there is nothing to start"), "{said:?}");
    assert_eq!(bundle.status(), "created");
    bundle.oci(&["delete", &bundle.id]).ok();
    let said = bundle.run();
    assert!(said.code == 1 && said.err.contains("process: is missing"), "{said:?}");
}

/// Who hears that a start has failed finds the container stopped, and can delete it.
#[test]
fn a_container_whose_start_failed_has_stopped() {
    let failing = json!([{"path": "/bin/sh", "args": ["sh", "-c", "exit 1"]}]);
    for _ in 0..5 {
        let bundle = Bundle::new("sleep 60", |c| c["hooks"] = json!({"startContainer": failing.clone()}));
        bundle.create();
        assert_eq!(bundle.oci(&["start", &bundle.id]).code, 1);
        bundle.oci(&["delete", &bundle.id]).ok();
    }
}
