//! runtime.md: state, the operations, and their errors.

use super::lab::{Verdict, eventually, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;

pub(crate) const ROWS: &[Row] = &[
    row("runtime, State", "version, id, status, pid, bundle", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let state = bundle.state()?;
        must(state["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), || state.to_string())?;
        same("id", state["id"].as_str(), Some(bundle.id.as_str()))?;
        same(
            "bundle",
            state["bundle"].as_str().map(std::path::PathBuf::from),
            Some(bundle.path("").components().as_path().to_owned()),
        )?;
        let pid = state["pid"].as_i64().unwrap_or(0);
        let command = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        eventually("the process of the state is the program", || command().contains("sleep"))
    }),
    row("runtime, State: status", "created, running, stopped", |lab| {
        let bundle = lab.bundle("cat /tmp/go 2>/dev/null || sleep 60", |_| ());
        bundle.create().ok()?;
        same("after create", bundle.status().as_str(), "created")?;
        bundle.oci(&["start", &bundle.id]).ok()?;
        same("after start", bundle.status().as_str(), "running")?;
        bundle.oci(&["kill", &bundle.id, "KILL"]).ok()?;
        bundle.becomes("stopped")
    }),
    row("runtime, Query State", "of a container that does not exist is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        must(bundle.oci(&["state", &bundle.id]).code != 0, || "it succeeds".to_owned())
    }),
    row("runtime, Query State", "without an id is an error", |lab| {
        must(lab.bundle("true", |_| ()).oci(&["state"]).code != 0, || "it succeeds".to_owned())
    }),
    row("runtime, Create", "does not run the program", |lab| {
        let bundle = lab.bundle("touch /ran", |_| ());
        bundle.create().ok()?;
        must(!bundle.path("rootfs/ran").exists(), || "it ran".to_owned())?;
        bundle.oci(&["start", &bundle.id]).ok()?;
        eventually("the program runs", || bundle.path("rootfs/ran").exists())
    }),
    row("runtime, Create", "an id that is taken is an error and changes nothing", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        must(bundle.create().code != 0, || "it succeeds".to_owned())?;
        same("status", bundle.status().as_str(), "running")
    }),
    row("runtime, Create", "an id that is a path is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        ["../x", "a/b", "", "."]
            .iter()
            .try_for_each(|id| must(bundle.oci(&["create", id]).code != 0, || format!("{id:?} succeeds")))
    }),
    row("runtime, Create", "without a config.json is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        fs::remove_file(bundle.path("config.json")).unwrap();
        must(bundle.create().code != 0, || "it succeeds".to_owned())
    }),
    row("runtime, Create", "a config.json that is no JSON is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        fs::write(bundle.path("config.json"), "{").unwrap();
        must(bundle.create().code != 0, || "it succeeds".to_owned())
    }),
    row("runtime, Create", "the path of the bundle can be given", |lab| {
        let bundle = lab.bundle("echo yes", |_| ());
        let folder = bundle.path("");
        let output = bundle
            .command(&["run", "--bundle", folder.to_str().unwrap(), &bundle.id])
            .current_dir("/")
            .output()
            .unwrap();
        same("output", String::from_utf8_lossy(&output.stdout).as_ref(), "yes\n")
    }),
    row("runtime, Lifecycle 2", "changes of config.json after create have no effect", |lab| {
        let bundle = lab.bundle("echo old", |_| ());
        bundle.create().ok()?;
        let mut config: Value = serde_json::from_str(&bundle.read("config.json")).unwrap();
        config["process"]["args"] = json!(["/bin/echo", "new"]);
        fs::write(bundle.path("config.json"), config.to_string()).unwrap();
        bundle.oci(&["start", &bundle.id]).ok()?;
        bundle.becomes("stopped")?;
        same("output", bundle.read("out").as_str(), "old\n")
    }),
    row("runtime, Start", "of a container that is not created is an error, without effect", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        must(bundle.oci(&["start", &bundle.id]).code != 0, || "starts what does not exist".to_owned())?;
        bundle.start()?;
        must(bundle.oci(&["start", &bundle.id]).code != 0, || "starts what runs".to_owned())?;
        same("status", bundle.status().as_str(), "running")?;
        bundle.oci(&["kill", &bundle.id, "KILL"]).ok()?;
        bundle.becomes("stopped")?;
        must(bundle.oci(&["start", &bundle.id]).code != 0, || "starts what is stopped".to_owned())
    }),
    row("runtime, Start", "runs the program with its own exit code", |lab| {
        let bundle = lab.bundle("exit 42", |_| ());
        same("exit code of run", bundle.oci(&["run", &bundle.id]).code, 42)
    }),
    row("runtime, Start", "without a process is an error", |lab| {
        let bundle = lab.bundle("true", |c| drop(c.as_object_mut().unwrap().remove("process")));
        must(bundle.create().code != 0 || bundle.oci(&["start", &bundle.id]).code != 0, || "it starts".to_owned())
    }),
    row("runtime, Kill", "sends the signal to the container's process", |lab| {
        let bundle = lab.bundle("trap 'echo got; exit' USR1; echo up; while true; do sleep 0.05; done", |_| ());
        bundle.start()?;
        eventually("the program is up", || bundle.read("out") == "up\n")?;
        bundle.oci(&["kill", &bundle.id, "USR1"]).ok()?;
        bundle.becomes("stopped")?;
        same("output", bundle.read("out").as_str(), "up\ngot\n")
    }),
    row("runtime, Kill", "names with and without SIG, numbers; TERM when none is given", |lab| {
        for signal in [&["SIGKILL"][..], &["KILL"], &["9"]] {
            let bundle = lab.bundle("sleep 60", |_| ());
            bundle.start()?;
            bundle.oci(&[&["kill", bundle.id.as_str()], signal].concat()).ok()?;
            bundle.becomes("stopped")?;
        }
        let bundle = lab.bundle("trap 'exit' TERM; echo up; while true; do sleep 0.05; done", |_| ());
        bundle.start()?;
        eventually("the program is up", || bundle.read("out") == "up\n")?;
        bundle.oci(&["kill", &bundle.id]).ok()?;
        bundle.becomes("stopped")
    }),
    row("runtime, Kill", "reaches a created container", |lab| {
        let bundle = lab.bundle("true", |_| ());
        bundle.create().ok()?;
        bundle.oci(&["kill", &bundle.id, "KILL"]).ok()?;
        bundle.becomes("stopped")
    }),
    row("runtime, Kill", "of a stopped or missing container is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        must(bundle.oci(&["kill", &bundle.id, "KILL"]).code != 0, || "kills what does not exist".to_owned())?;
        bundle.start()?;
        bundle.becomes("stopped")?;
        must(bundle.oci(&["kill", &bundle.id, "KILL"]).code != 0, || "kills what is stopped".to_owned())
    }),
    row("runtime, Delete", "of a running container is an error, without effect", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        must(bundle.oci(&["delete", &bundle.id]).code != 0, || "it succeeds".to_owned())?;
        same("status", bundle.status().as_str(), "running")
    }),
    row("runtime, Delete", "of a missing container is an error", |lab| {
        let bundle = lab.bundle("true", |_| ());
        must(bundle.oci(&["delete", &bundle.id]).code != 0, || "it succeeds".to_owned())
    }),
    row("runtime, Delete", "forgets the container: its id is free", |lab| {
        let bundle = lab.bundle("true", |_| ());
        for _ in 0..2 {
            bundle.start()?;
            bundle.becomes("stopped")?;
            bundle.oci(&["delete", &bundle.id]).ok()?;
            must(bundle.oci(&["state", &bundle.id]).code != 0, || "it still has a state".to_owned())?;
        }
        Ok(())
    }),
    row("runtime, Delete", "does not delete what the container did not make", |lab| {
        let bundle = lab.bundle("touch /made", |_| ());
        bundle.start()?;
        bundle.becomes("stopped")?;
        bundle.oci(&["delete", &bundle.id]).ok()?;
        must(bundle.path("rootfs/made").exists(), || "the root's files are gone".to_owned())
    }),
    row("runc create: --pid-file", "holds the pid of the state", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        let said = bundle.create_with(&["--pid-file", "pid"]);
        must(said.code == 0, || format!("{said:?}"))?;
        same("pid file", bundle.read("pid"), bundle.state()?["pid"].to_string())
    }),
    row("runc exec", "runs a further program, with its exit code", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let said = bundle.oci(&["exec", &bundle.id, "sh", "-c", "readlink /proc/self/ns/net; exit 7"]);
        let pid = bundle.state()?["pid"].to_string();
        let theirs = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
        same("exec", (said.code, said.out.trim()), (7, theirs.as_str()))
    }),
    row("runc exec: --user, --env, --cwd, --additional-gids", "change the process", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let words = [
            "exec",
            "-u",
            "5:6",
            "-g",
            "7",
            "-e",
            "A=b",
            "--cwd",
            "/tmp",
            &bundle.id,
            "sh",
            "-c",
            "id -u; id -g; echo $A; pwd; id -G",
        ];
        must(bundle.oci(&words).ok()?.starts_with("5\n6\nb\n/tmp\n6 7"), || format!("{:?}", bundle.oci(&words)))
    }),
    row("runc exec: --user", "what is no number, or too large, is an error", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        ["root", "-1", "1:", "4294967296", "4294967295", "4294968296", "1:99999999999", "0x0"].iter().try_for_each(
            |user| {
                let said = bundle.oci(&["exec", "--user", user, &bundle.id, "id", "-u"]);
                must(said.code != 0, || format!("{user}: {said:?}"))
            },
        )
    }),
    row("runc exec: --preserve-fds", "a descriptor that is not open is an error", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        must(bundle.oci(&["exec", "--preserve-fds", "5", &bundle.id, "true"]).code != 0, || "it succeeds".to_owned())
    }),
    row("runc exec: --pidfd-socket", "gets the process's descriptor", |lab| {
        use std::os::fd::AsFd;
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let socket = bundle.path("pidfd.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let said = bundle.oci(&["exec", "--pidfd-socket", socket.to_str().unwrap(), &bundle.id, "true"]);
        must(said.code == 0, || format!("{said:?}"))?;
        let (stream, _) = listener.accept().unwrap();
        let fds = skiff_sys::pass::recv_with_fds(stream.as_fd(), &mut [0; 64]).unwrap().1;
        let link = fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]))).unwrap();
        must(link.to_string_lossy().contains("pidfd"), || format!("{link:?}"))
    }),
    row("runc exec: --cgroup", "runs in a directory below the container's own", |lab| {
        let hierarchy = super::lab::hierarchy("pids")?;
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let below = hierarchy.join(&bundle.cgroup()[1..]).join("below");
        fs::create_dir(&below).unwrap();
        let word = if hierarchy.ends_with("pids") { "pids:below" } else { "below" };
        let out = bundle.oci(&["exec", "--cgroup", word, &bundle.id, "cat", "/proc/self/cgroup"]).ok();
        fs::remove_dir(&below).unwrap();
        let wanted = format!("{}/below", bundle.cgroup());
        must(out.as_ref().is_ok_and(|out| out.contains(&wanted)), || format!("{out:?}"))
    }),
    row("runc pause, resume", "and the state between says paused", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        bundle.oci(&["pause", &bundle.id]).ok()?;
        let paused = bundle.status();
        bundle.oci(&["resume", &bundle.id]).ok()?;
        same("status", (paused.as_str(), bundle.status().as_str()), ("paused", "running"))
    }),
    row("runc exec: --ignore-paused", "exec in a paused container is an error without it", |lab| {
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        bundle.oci(&["pause", &bundle.id]).ok()?;
        let code = bundle.oci(&["exec", &bundle.id, "true"]).code;
        bundle.oci(&["resume", &bundle.id]).ok()?;
        must(code != 0, || "it succeeds".to_owned())
    }),
    row("runc start: NOTIFY_SOCKET", "the service manager hears that the program is ready, and its pid", |lab| {
        use std::os::unix::net::UnixDatagram;
        let bundle =
            lab.bundle("while ! test -S $NOTIFY_SOCKET; do sleep 0.05; done; echo $NOTIFY_SOCKET; sleep 60", |_| ());
        let manager = UnixDatagram::bind(bundle.path("manager.sock")).unwrap();
        manager.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let with_manager = |words: &[&str]| {
            let mut command = bundle.command(words);
            command.env("NOTIFY_SOCKET", bundle.path("manager.sock"));
            command
        };
        let output = fs::File::create(bundle.path("out")).unwrap();
        let created = with_manager(&["create", &bundle.id]).stdout(output).status().unwrap();
        must(created.success(), || "create fails".to_owned())?;
        let mut start = with_manager(&["start", &bundle.id]);
        let start = std::thread::spawn(move || start.status().unwrap().success());
        eventually("the program sees its socket", || bundle.read("out") == "/run/notify/notify.sock\n")?;
        // The program's own end of it: the same file, seen from outside.
        let path = bundle.path("state").join(&bundle.id).join("notify/notify.sock");
        UnixDatagram::unbound().unwrap().send_to(b"READY=1\n", path).unwrap();
        let mut buffer = [0; 256];
        let mut heard = String::new();
        // What comes with the barrier, which older runtimes do not send, is dropped at once and so lets the runtime go on.
        for part in ["READY", "MAINPID", "BARRIER"] {
            let message = skiff_sys::pass::recv_with_fds(std::os::fd::AsFd::as_fd(&manager), &mut buffer);
            match message {
                Ok((count, _fds)) => heard.push_str(std::str::from_utf8(&buffer[..count]).unwrap()),
                Err(_) if part == "BARRIER" => (),
                Err(_) => return Err(Verdict::Breaks(format!("the manager only heard {heard:?}"))),
            }
            manager.set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        }
        must(start.join().unwrap(), || "start fails".to_owned())?;
        must(heard.contains("READY=1\n") && heard.contains(&format!("MAINPID={}", bundle.state()?["pid"])), || heard)
    }),
];
