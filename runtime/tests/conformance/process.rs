//! config.md, Process: what the program finds when it starts.

use super::lab::{Bundle, Lab, Outcome, Verdict, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Three capabilities, as bits 0, 5 and 10 (linux/capability.h).
const CAPS: [&str; 3] = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

fn caps(lab: &Lab, caps: &Value, line: &str, bits: &str) -> Outcome {
    lab.shows("grep ^Cap /proc/self/status", &format!("{line}:\t{bits:0>16}\n"), |c| {
        c["process"]["capabilities"] = caps.clone();
    })
}

fn process(change: impl FnOnce(&mut Value)) -> impl FnOnce(&mut Value) {
    move |c| change(&mut c["process"])
}

/// `exec --process` of `script` with `change`, in a container that sleeps.
fn joined(lab: &Lab, script: &str, change: impl FnOnce(&mut Value)) -> Result<String, Verdict> {
    let bundle = lab.bundle("sleep 60", |_| ());
    bundle.start()?;
    let mut json =
        json!({"user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"]});
    change(&mut json);
    fs::write(bundle.path("process.json"), json.to_string()).unwrap();
    bundle.oci(&["exec", "--process", "process.json", &bundle.id]).ok()
}

/// A container with a terminal whose other end nobody reads: enough to ask what it is.
fn with_terminal(lab: &Lab, script: &str, change: impl FnOnce(&mut Value)) -> Result<Bundle, Verdict> {
    let bundle = lab.bundle(script, |c| {
        c["process"]["terminal"] = json!(true);
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .push(json!({"destination": "/out", "type": "bind", "source": "result", "options": ["bind"]}));
        change(c);
    });
    fs::write(bundle.path("result"), "").unwrap();
    let socket = bundle.path("console.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let master = std::thread::spawn(move || {
        use std::os::fd::AsFd;
        let (stream, _) = listener.accept().ok()?;
        let mut buffer = [0; 64];
        skiff_sys::pass::recv_with_fds(stream.as_fd(), &mut buffer).ok()?.1.pop()
    });
    let said = bundle.create_with(&["--console-socket", socket.to_str().unwrap()]);
    must(said.code == 0, || format!("create: {said:?}"))?;
    let master = master.join().unwrap();
    must(master.is_some(), || "no terminal came through the console socket".to_owned())?;
    bundle.oci(&["start", &bundle.id]).ok()?;
    bundle.becomes("stopped")?;
    Ok(bundle)
}

fn has_selinux() -> bool {
    fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs")
}

pub(crate) const ROWS: &[Row] = &[
    row("config, Process: terminal", "true: standard input, output and error are a terminal", |lab| {
        let bundle = with_terminal(lab, "test -t 0 && test -t 1 && test -t 2 && tty > /out", |_| ())?;
        must(bundle.read("result").starts_with("/dev/"), || format!("tty says {:?}", bundle.read("result")))
    }),
    row("config, Process: terminal", "not given: they are the runtime's own", |lab| {
        lab.prints("test -t 0 || echo no", "no\n", |_| ())
    }),
    row("config, Process: consoleSize", "is the terminal's size", |lab| {
        let bundle = with_terminal(lab, "stty size > /out", |c| {
            c["process"]["consoleSize"] = json!({"height": 31, "width": 97})
        })?;
        same("stty size", bundle.read("result").as_str(), "31 97\n")
    }),
    row("config, Process: consoleSize", "is ignored without a terminal", |lab| {
        lab.prints("echo yes", "yes\n", process(|p| p["consoleSize"] = json!({"height": 1, "width": 2})))
    }),
    row("config, Process: cwd", "is where the program starts", |lab| {
        lab.prints("pwd", "/tmp\n", process(|p| p["cwd"] = json!("/tmp")))
    }),
    row("config, Process: cwd", "must be absolute", |lab| lab.refuses(process(|p| p["cwd"] = json!("tmp")))),
    row("config, Process: env", "is the program's environment", |lab| {
        lab.shows("env", "A=b c\n", process(|p| p["env"] = json!(["PATH=/bin", "A=b c"])))
    }),
    row("config, Process: args", "are the program's arguments, unchanged", |lab| {
        lab.prints(
            "",
            "a b|$HOME|*\n",
            process(|p| p["args"] = json!(["/bin/printf", "%s|%s|%s\\n", "a b", "$HOME", "*"])),
        )
    }),
    row("config, Process: args", "the program is found through PATH, as execvp(3) does", |lab| {
        lab.prints("", "found\n", process(|p| p["args"] = json!(["echo", "found"])))
    }),
    row("config, Process: args", "at least one is needed", |lab| lab.refuses(process(|p| p["args"] = json!([])))),
    row("config, Process: rlimits", "soft and hard are what getrlimit(3) gives", |lab| {
        lab.prints("ulimit -n; ulimit -Hn; ulimit -c; ulimit -Hc", "100\n200\n0\n0\n", process(|p| {
            p["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        }))
    }),
    row("config, Process: rlimits", "an unknown type is an error", |lab| {
        lab.refuses(process(|p| p["rlimits"] = json!([{"type": "RLIMIT_FUN", "soft": 1, "hard": 1}])))
    }),
    row("config, Process: rlimits", "the same type twice is an error", |lab| {
        let one = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
        lab.refuses(process(|p| p["rlimits"] = json!([one, one])))
    }),
    row("config, Linux Process: noNewPrivileges", "true and false", |lab| {
        let script = "grep NoNewPrivs /proc/self/status";
        lab.prints(script, "NoNewPrivs:\t1\n", process(|p| p["noNewPrivileges"] = json!(true)))?;
        lab.prints(script, "NoNewPrivs:\t0\n", |_| ())
    }),
    row("config, Linux Process: capabilities", "bounding, permitted, effective, inheritable", |lab| {
        let sets = json!({"bounding": CAPS, "permitted": CAPS[..2], "effective": CAPS[..1], "inheritable": CAPS[..1]});
        caps(lab, &sets, "CapBnd", "421")?;
        caps(lab, &sets, "CapInh", "1")
    }),
    row("config, Linux Process: capabilities", "a user that is not root keeps the ambient ones", |lab| {
        let sets =
            json!({"bounding": CAPS, "permitted": CAPS, "effective": CAPS, "inheritable": CAPS, "ambient": CAPS[1..]});
        for (line, bits) in [("CapAmb", "420"), ("CapPrm", "420"), ("CapEff", "420")] {
            lab.shows("grep ^Cap /proc/self/status", &format!("{line}:\t{bits:0>16}\n"), |c| {
                c["process"]["capabilities"] = sets.clone();
                c["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            })?;
        }
        Ok(())
    }),
    row("config, Linux Process: capabilities", "a name nobody knows does not stop the container", |lab| {
        lab.prints(
            "echo yes",
            "yes\n",
            process(|p| p["capabilities"] = json!({"bounding": ["CAP_FLY"], "permitted": ["CAP_FLY"]})),
        )
    }),
    row("config, Linux Process: capabilities", "and is logged as a warning", |lab| {
        let bundle = lab.bundle("true", process(|p| p["capabilities"] = json!({"bounding": ["CAP_FLY"]})));
        bundle.oci(&["run", &bundle.id]).ok()?;
        must(bundle.read("log").contains("CAP_FLY"), || format!("log: {:?}", bundle.read("log")))
    }),
    row("config, Linux Process: apparmorProfile", "what this kernel cannot do is an error", |lab| {
        if Path::new("/sys/module/apparmor/parameters/enabled").exists() {
            return lab.prints(
                "cat /proc/self/attr/current",
                "unconfined\n",
                process(|p| p["apparmorProfile"] = json!("unconfined")),
            );
        }
        lab.refuses(process(|p| p["apparmorProfile"] = json!("some-profile")))
    }),
    row("config, Linux Process: selinuxLabel", "what this kernel cannot do is an error", |lab| {
        if has_selinux() {
            return Err(Verdict::Skips("this kernel has SELinux".to_owned()));
        }
        lab.refuses(process(|p| p["selinuxLabel"] = json!("system_u:system_r:svirt_lxc_net_t:s0")))
    }),
    row("config, Linux Process: oomScoreAdj", "is set when given", |lab| {
        lab.prints("cat /proc/self/oom_score_adj", "321\n", process(|p| p["oomScoreAdj"] = json!(321)))
    }),
    row("config, Linux Process: oomScoreAdj", "is left alone when not given", |lab| {
        let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
        lab.prints("cat /proc/self/oom_score_adj", &own, |_| ())
    }),
    row("config, Linux Process: scheduler", "policy and nice", |lab| {
        lab.prints(
            "awk '{print $19, $41}' /proc/self/stat",
            "5 3\n",
            process(|p| p["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5})),
        )
    }),
    row("config, Linux Process: scheduler", "an unknown policy is an error", |lab| {
        lab.refuses(process(|p| p["scheduler"] = json!({"policy": "SCHED_SOMETIMES"})))
    }),
    row("config, Linux Process: ioPriority", "class and priority", |lab| {
        lab.shows(
            "ionice",
            "best-effort: prio 3",
            process(|p| p["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 3})),
        )
    }),
    row("config, Linux Process: ioPriority", "an unknown class is an error", |lab| {
        lab.refuses(process(|p| p["ioPriority"] = json!({"class": "IOPRIO_CLASS_X", "priority": 3})))
    }),
    row("config, Linux Process: execCPUAffinity", "final: where a process that joins runs", |lab| {
        let out = joined(lab, "grep Cpus_allowed_list /proc/self/status", |p| {
            p["execCPUAffinity"] = json!({"initial": "0", "final": "0"})
        })?;
        same("processors", out.as_str(), "Cpus_allowed_list:\t0\n")
    }),
    row("config, Linux Process: execCPUAffinity", "does not touch the container's first process", |lab| {
        let all = lab.says("grep Cpus_allowed_list /proc/self/status", |_| ())?;
        lab.prints(
            "grep Cpus_allowed_list /proc/self/status",
            &all,
            process(|p| p["execCPUAffinity"] = json!({"final": "0"})),
        )
    }),
    row("config, POSIX-platform User: uid, gid", "are the program's", |lab| {
        lab.prints("id -u; id -g", "1234\n5678\n", process(|p| p["user"] = json!({"uid": 1234, "gid": 5678})))
    }),
    row("config, POSIX-platform User: umask", "is the program's", |lab| {
        lab.prints("umask", "0027\n", process(|p| p["user"]["umask"] = json!(0o27)))
    }),
    row("config, POSIX-platform User: additionalGids", "are the program's further groups, and no others", |lab| {
        lab.prints(
            "grep Groups /proc/self/status | tr -d ' '",
            "Groups:\t78\n",
            process(|p| p["user"]["additionalGids"] = json!([7, 8])),
        )
        .or_else(|_| {
            lab.shows("grep Groups /proc/self/status", "7 8", process(|p| p["user"]["additionalGids"] = json!([7, 8])))
        })
    }),
];
