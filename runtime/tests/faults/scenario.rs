//! Containers that ask for as many steps as they can, and the commands on them.

use crate::support::{Bundle, Said, wait_until};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use skiff_step::Line;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A step, and the how-manieth time it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) step: String,
    pub(crate) count: usize,
}

/// A creation whose first process also starts.
pub(crate) const STARTED: &str = "create; start";

/// A container, and what stands beside it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) bundle: Bundle,
    /// A folder of the host, of which the container gets a part.
    pub(crate) outside: tempfile::TempDir,
    console: Option<UnixListener>,
    /// Keeps a network namespace that the container joins.
    network: Option<Child>,
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if let Some(keeper) = &mut self.network {
            keeper.kill().unwrap();
            keeper.wait().unwrap();
        }
    }
}

impl Scenario {
    fn new(name: &'static str, change: impl FnOnce(&mut Value)) -> Self {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir(outside.path().join("shared")).unwrap();
        let bundle = Bundle::new("", change);
        let script = format!("trap 'exit 0' TERM; for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done; : {}", bundle.id);
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
        config["process"]["args"] = json!(["sh", "-c", script]);
        fs::write(bundle.config(), config.to_string()).unwrap();
        fs::write(bundle.path().join("resources.json"), json!({"pids": {"limit": 40}}).to_string()).unwrap();
        for file in ["pid", "trace", "said", "erred"] {
            fs::write(bundle.path().join(file), "").unwrap();
        }
        fs::create_dir(bundle.root()).unwrap();
        let scenario = Self { name, bundle, outside, console: None, network: None };
        fs::write(scenario.canary(), "alive").unwrap();
        scenario
    }

    /// Most features in one container.
    pub(crate) fn with_everything() -> Self {
        let scenario = Self::new("everything", everything);
        let source = scenario.outside.path().join("shared");
        scenario.change(|config| {
            config["mounts"]
                .as_array_mut()
                .unwrap()
                .push(json!({"destination": "/shared", "type": "bind", "source": source, "options": ["rbind", "ro"]}));
        });
        scenario
    }

    /// A new user namespace, and a network that exists: the first process is cloned by a helper.
    pub(crate) fn with_users() -> Self {
        let mut keeper = Command::new("unshare").args(["--net", "sleep", "100000"]).spawn().unwrap();
        let path = format!("/proc/{}/ns/net", keeper.id());
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        wait_until("a network namespace", || fs::read_link(&path).is_ok_and(|link| link != own));
        assert!(keeper.try_wait().unwrap().is_none());
        let mut scenario = Self::new("users", |config| {
            let maps = json!([{"containerID": 0, "hostID": 300_000, "size": 1000}]);
            config["linux"]["uidMappings"] = maps.clone();
            config["linux"]["gidMappings"] = maps;
            config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"},
                {"type": "user"}, {"type": "cgroup"}, {"type": "network", "path": path}]);
            config["linux"]["resources"] = json!({"pids": {"limit": 30}});
        });
        scenario.network = Some(keeper);
        scenario
    }

    /// A terminal whose master somebody takes.
    pub(crate) fn with_terminal() -> Self {
        let mut scenario = Self::new("terminal", |config| {
            config["process"]["terminal"] = true.into();
            config["process"]["consoleSize"] = json!({"height": 24, "width": 80});
        });
        scenario.console = Some(UnixListener::bind(scenario.console_path()).unwrap());
        scenario
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut config: Value = serde_json::from_slice(&fs::read(self.bundle.config()).unwrap()).unwrap();
        change(&mut config);
        fs::write(self.bundle.config(), config.to_string()).unwrap();
    }

    fn console_path(&self) -> PathBuf {
        self.bundle.path().join("console.sock")
    }

    /// A file of the host that nothing may touch.
    pub(crate) fn canary(&self) -> PathBuf {
        self.outside.path().join("canary")
    }

    /// Gives this thread, and what it starts, mounts of its own: then every change of them is the runtime's.
    pub(crate) fn isolate_mounts(&self) {
        use nix::mount::{MsFlags, mount};
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    }

    fn words(&self, command: &str) -> Vec<String> {
        let id = self.bundle.id.as_str();
        let (pid_file, console) = (self.bundle.path().join("pid"), self.console_path());
        let mut words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        if matches!(command, "create" | "run" | "exec") {
            words.extend(["--pid-file".to_owned(), pid_file.display().to_string()]);
            if self.console.is_some() {
                words.extend(["--console-socket".to_owned(), console.display().to_string()]);
            }
        }
        if self.console.is_some() && command == "exec" {
            words.push("--tty".to_owned());
        }
        if command == "run" || command == "exec" {
            words.push("--detach".to_owned());
        }
        if command == "update" {
            words.extend(["--resources".to_owned(), self.bundle.path().join("resources.json").display().to_string()]);
        }
        words.push(id.to_owned());
        match command {
            "exec" => words.extend(["sleep", "5"].map(str::to_owned)),
            "kill" => words.push("KILL".to_owned()),
            _ => (),
        }
        words
    }

    /// Runs `command` with `variables`, to its end. What the first process does after its start it does with the variables
    /// of its creation: [`STARTED`] creates with them and starts without.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn run(&self, command: &str, variables: &[(&str, &str)], patience: Duration) -> Result<Said, String> {
        if command != STARTED {
            return self.run_one(command, variables, patience);
        }
        match self.run_one("create", variables, patience)? {
            said if said.code == 0 => self.run_one("start", &[], patience),
            said => Ok(said),
        }
    }

    fn run_one(&self, command: &str, variables: &[(&str, &str)], patience: Duration) -> Result<Said, String> {
        let words = self.words(command);
        let path = |name: &str| self.bundle.path().join(name);
        let (out, err) = (fs::File::create(path("said")).unwrap(), fs::File::create(path("erred")).unwrap());
        let mut command = self.bundle.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(out).stderr(err);
        let mut child = command.spawn().unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                return Err("does not end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        self.take_terminals();
        let text = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
        Ok(Said { code: status.code().unwrap_or(-1), out: text("said"), err: text("erred") })
    }

    /// Terminals that came stay open no longer than their command.
    fn take_terminals(&self) {
        if let Some(console) = &self.console {
            console.set_nonblocking(true).unwrap();
            while console.accept().is_ok() {}
        }
    }

    /// Runs `command`, which must succeed, and waits until it has had its effect.
    pub(crate) fn do_well(&self, command: &str) {
        let said = self.run(command, &[], Duration::from_secs(30)).unwrap();
        assert_eq!(said.code, 0, "{}: {command}: {said:?}", self.name);
        if command == "kill" {
            wait_until("the container's end", || self.bundle.status() == "stopped");
        }
    }

    /// The steps of `command`.
    pub(crate) fn trace(&self, command: &str) -> Vec<Spot> {
        let trace = self.bundle.path().join("trace");
        fs::write(&trace, "").unwrap();
        let said = self.run(command, &[("SKIFF_TRACE", trace.to_str().unwrap())], Duration::from_secs(30)).unwrap();
        assert_eq!(said.code, 0, "{}: {command}: {said:?}", self.name);
        if command == STARTED || command == "run" || command == "exec" {
            let is_there = || fs::read_to_string(&trace).unwrap().contains("exec.payload");
            wait_until("the program's start", is_there);
        }
        let text = fs::read_to_string(&trace).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut spots = spots(&lines);
        if matches!(command, "create" | "run" | "exec") {
            // It leaves no line behind: it executes the program anew.
            spots.push(Spot { step: "self.seal".to_owned(), count: 1 });
        }
        spots
    }

    /// Forgets a container that could not be deleted, so that the next case has a chance.
    pub(crate) fn clear(&self) {
        let _reported_already = self.run("delete --force", &[], Duration::from_secs(30));
        let _reported_already = fs::remove_dir_all(self.bundle.root().join(&self.bundle.id));
    }
}

/// A cloned process goes on counting where its parent was when it cloned.
fn spots(lines: &[Line]) -> Vec<Spot> {
    let mut counts: BTreeMap<u32, BTreeMap<String, usize>> = BTreeMap::new();
    let mut spots = std::collections::BTreeSet::new();
    let mut at_clone: Vec<BTreeMap<String, usize>> = Vec::new();
    let mut pids: Vec<u32> = Vec::new();
    for line in lines {
        if !pids.contains(&line.pid) {
            pids.push(line.pid);
        }
    }
    for pid in pids {
        let own: Vec<_> = lines.iter().filter(|line| line.pid == pid).collect();
        let mut own = own.into_iter().peekable();
        if own.peek().is_some_and(|line| line.step == "ns.clone")
            && let Some(inherited) = at_clone.pop()
        {
            counts.insert(pid, inherited);
            own.next();
        }
        let mine = counts.entry(pid).or_default();
        for line in own {
            *mine.entry(line.step.clone()).or_default() += 1;
            spots.insert(Spot { step: line.step.clone(), count: mine[&line.step] });
            if line.step == "ns.clone" {
                at_clone.push(mine.clone());
            }
        }
    }
    spots.into_iter().collect()
}

fn everything(config: &mut Value) {
    let hook = json!([{"path": "/bin/true"}]);
    let in_container = json!([{"path": "/bin/true", "args": ["true"]}]);
    config["hooks"] = json!({"prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": in_container, "poststart": hook, "poststop": hook});
    config["root"]["readonly"] = true.into();
    config["domainname"] = "inside".into();
    config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [5]});
    config["process"]["oomScoreAdj"] = 100.into();
    config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    config["process"]["capabilities"] =
        json!({"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]});
    config["mounts"].as_array_mut().unwrap().extend([
        json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "nosuid"]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}),
    ]);
    let linux = &mut config["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
    linux["maskedPaths"] = json!(["/proc/keys", "/proc/acpi", "/proc/scsi"]);
    linux["readonlyPaths"] = json!(["/proc/sys", "/proc/bus"]);
    linux["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "80", "kernel.msgmax": "9000"});
    linux["devices"] = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    linux["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]});
    linux["resources"] = json!({"memory": {"limit": 67_108_864, "swap": 67_108_864}, "pids": {"limit": 30},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0"},
        "devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}]});
}
