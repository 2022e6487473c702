//! Cgroups of real containers: devices, the freezer, ends, events. Whatever cgroup layout the host has (version 1, version 2,
//! or both) is looked at, so the same tests say something on all of them.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use support::groups::{Version, find, sleeping, update};
use support::{Bundle, skipped, wait_until};

/// Reads /dev/null, which every container may, and /dev/kmsg, which it may not, and writes a letter for each outcome.
const OPENING: &str =
    "while true; do true < /dev/null || echo n; if true < /dev/kmsg; then echo k; else echo .; fi; sleep 0.01; done";

fn opening() -> Bundle {
    Bundle::new(OPENING, |config| {
        let node = json!({"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o666});
        config["linux"]["devices"] = json!([node]);
        // Without it the log's own rule would keep it out.
        let caps = json!(["CAP_SYSLOG"]);
        config["process"]["capabilities"] = json!({"bounding": caps, "permitted": caps, "effective": caps});
        config["linux"]["resources"] = closed(false);
    })
}

/// Nothing, or nothing but the kernel's log.
fn closed(but_log: bool) -> Value {
    let log = json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"});
    let nothing = json!({"allow": false, "access": "rwm"});
    json!({"devices": if but_log { json!([nothing, log]) } else { json!([nothing]) }})
}

fn devices_are_guarded(bundle: &Bundle) {
    let said_since = |at: usize| bundle.output()[at..].to_owned();
    wait_until("it is kept out", || bundle.output().contains('.'));
    for round in 0..5 {
        let at = bundle.output().len();
        update(bundle, &closed(true)).ok();
        wait_until("it is let in", || said_since(at).contains('k'));
        update(bundle, &closed(false)).ok();
        let after = bundle.output().len();
        wait_until("it is kept out again", || said_since(after).ends_with(".\n.\n.\n"));
        assert!(!bundle.output().contains('n'), "round {round}: for a moment nothing was allowed");
    }
}

#[test]
fn devices_are_guarded_at_every_moment() {
    let bundle = opening();
    bundle.start();
    devices_are_guarded(&bundle);
}

/// A command in a mount namespace of its own, in which version 1 has no devices controller: the runtime then takes version 2.
#[test]
fn a_program_guards_devices_where_version_1_does_not() {
    let test = "a_program_guards_devices_where_version_1_does_not";
    let (Some((Version::One, root)), Some((_, unified))) = (find("devices"), find("cgroup")) else {
        return skipped(test, "this host has no devices controller of version 1 beside version 2: see the test above");
    };
    let hiding = format!("umount {} && exec \"$@\"", root.display());
    let bundle = opening().through(&["unshare", "--mount", "--propagation", "private", "sh", "-c", &hiding, "sh"]);
    bundle.start();
    let group = unified.join(bundle.cgroup().trim_start_matches('/'));
    assert!(group.is_dir() && !root.join(bundle.cgroup().trim_start_matches('/')).exists());
    devices_are_guarded(&bundle);
    let group = fs::File::open(&group).unwrap();
    let attached = skiff_sys::bpf::attached(std::os::fd::AsFd::as_fd(&group), c"skiff_devices").unwrap();
    assert!(attached.is_some(), "a program is attached under our name");
}

#[test]
fn a_paused_container_stands_still_and_can_be_changed() {
    let bundle = Bundle::new("while :; do echo x; sleep 0.01; done", |_| ());
    bundle.start();
    wait_until("output", || !bundle.output().is_empty());
    bundle.oci(&["pause", &bundle.id]).ok();
    let before = bundle.output().len();
    assert_eq!((bundle.status().as_str(), bundle.oci(&["pause", &bundle.id]).code), ("paused", 1));
    update(&bundle, &json!({"pids": {"limit": 33}, "memory": {"limit": 67_108_864}, "cpu": {"shares": 100}})).ok();
    assert_eq!((bundle.shows("pids", "pids.max").as_str(), bundle.status().as_str()), ("33", "paused"));
    assert_eq!(bundle.output().len(), before);
    bundle.oci(&["resume", &bundle.id]).ok();
    wait_until("more output", || bundle.output().len() > before);
    bundle.oci(&["pause", &bundle.id]).ok();
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    wait_until("its end", || bundle.status() == "stopped");
}

/// Moves the container's processes to the roots and removes its groups, as a mistaken administrator may.
fn take_groups_away(bundle: &Bundle) {
    let pid = bundle.state()["pid"].to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots = mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    for root in roots {
        let group = Path::new(root).join(bundle.cgroup().trim_start_matches('/'));
        if group.exists() {
            fs::write(Path::new(root).join("cgroup.procs"), &pid).unwrap();
            wait_until("the group is empty", || fs::remove_dir(&group).is_ok());
        }
    }
}

#[test]
fn a_container_without_its_groups_is_said_to_be_so() {
    let bundle = Bundle::new("exec sleep 60", |_| ());
    bundle.start();
    wait_until("one process", || bundle.oci(&["ps", "--format", "json", &bundle.id]).out.matches(',').count() == 0);
    take_groups_away(&bundle);
    let id = bundle.id.as_str();
    assert_eq!(bundle.status(), "running");
    let updated = update(&bundle, &json!({"pids": {"limit": 3}}));
    assert!(updated.code == 1 && updated.err.contains("linux.resources.pids.limit: the cgroup "), "{updated:?}");
    let paused = bundle.oci(&["pause", id]);
    assert!(paused.code == 1 && paused.err.contains(" is gone"), "{paused:?}");
    assert_eq!(bundle.oci(&["ps", "--format", "json", id]).ok(), "[]\n");
    let stats: Value = serde_json::from_str(&bundle.oci(&["events", "--stats", id]).ok()).unwrap();
    assert_eq!(stats["data"]["pids"], json!({}));
    bundle.oci(&["kill", id, "9"]).ok();
    wait_until("its end", || bundle.status() == "stopped");
}

#[test]
fn what_forks_for_ever_is_ended() {
    let bundle = Bundle::new("fork() { while :; do sleep 30 & done; }; fork & fork & fork", |config| {
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
        config["linux"]["resources"] = json!({"pids": {"limit": 150}});
    });
    bundle.start();
    let count = || bundle.oci(&["ps", "--format", "json", &bundle.id]).out.matches(',').count();
    wait_until("many", || count() > 20);
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn statistics_have_the_shape_of_runc() {
    let bundle = sleeping(&json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 50}}));
    bundle.start();
    let line = bundle.oci(&["events", "--stats", &bundle.id]).ok();
    assert_eq!(line.lines().count(), 1);
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(bundle.id)));
    let data = event["data"].as_object().unwrap();
    let parts = ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
    assert_eq!(data.keys().collect::<Vec<_>>(), parts);
    assert_eq!(data["pids"], json!({"current": 1, "limit": 50}));
    assert_eq!(data["memory"]["usage"]["limit"], json!(67_108_864));
    assert!(
        data["cpu"]["usage"]["total"].as_u64().unwrap() > 0 && data["memory"]["usage"]["usage"].as_u64().unwrap() > 0
    );
    assert_eq!(bundle.oci(&["events", "--interval", "5", &bundle.id]).code, 1, "a time has a unit");
}

#[test]
fn events_tell_of_missing_memory_and_end_with_the_container() {
    let script = "sleep 0.5; busybox dd if=/dev/zero of=/dev/filled bs=1M count=64; echo $?";
    let bundle = Bundle::new(script, |config| {
        config["linux"]["resources"] = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
    });
    bundle.create();
    let out = fs::File::create(bundle.path().join("events")).unwrap();
    let mut watching = bundle.command(&["events", "--interval", "50ms", &bundle.id]).stdout(out).spawn().unwrap();
    let events = || fs::read_to_string(bundle.path().join("events")).unwrap();
    wait_until("statistics", || events().contains("\"stats\""));
    bundle.oci(&["start", &bundle.id]).ok();
    wait_until("its end", || watching.try_wait().unwrap().is_some());
    assert!(watching.wait().unwrap().success() && bundle.status() == "stopped");
    let types: Vec<_> =
        events().lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
    assert!(types.contains(&json!("oom")) && types.contains(&json!("stats")), "{types:?} {}", bundle.output());
    assert!(bundle.output().contains("137"), "dd was killed: {}", bundle.output());
}

#[test]
fn lists_and_tables_show_owner_and_processes() {
    let bundle = sleeping(&json!({}));
    bundle.start();
    let id = bundle.id.as_str();
    let listed: Value = serde_json::from_str(&bundle.oci(&["list", "-f", "json"]).ok()).unwrap();
    assert_eq!((&listed[0]["id"], &listed[0]["owner"]), (&json!(id), &json!("root")));
    assert_eq!(bundle.oci(&["list", "-q"]).ok(), format!("{id}\n"));
    assert!(bundle.oci(&["list"]).ok().lines().next().unwrap().ends_with("OWNER"));
    let pid = bundle.state()["pid"].to_string();
    assert!(bundle.oci(&["ps", id]).ok().contains(&pid));
    let table = bundle.oci(&["ps", id, "-o", "pid,args"]);
    match table.code {
        0 => assert!(table.out.lines().nth(1).unwrap().ends_with(&format!("{pid} sleep 60")), "{table:?}"),
        _ => skipped("ps with arguments", "this host's ps has no -o"),
    }
}

/// Controllers that only a container with such a limit is put under: the first one may come while it runs, and paused.
#[test]
fn the_first_limit_of_a_rare_controller_may_come_by_update() {
    let cases = [
        ("hugetlb", json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}), "hugetlb.2MB.limit_in_bytes"),
        ("net_cls", json!({"network": {"classID": 1_048_577}}), "net_cls.classid"),
        ("net_prio", json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}}), "net_prio.ifpriomap"),
    ];
    for (controller, limit, file) in cases {
        let Some((version, _)) = find(controller) else {
            skipped("the_first_limit_of_a_rare_controller_may_come_by_update", &format!("{controller} is not here"));
            continue;
        };
        let file = if version == Version::One { file } else { "hugetlb.2MB.max" };
        let bundle = Bundle::new("sleep 60 & sleep 60 & wait", |config| config["linux"]["resources"] = json!({}));
        bundle.start();
        let ours = || bundle.oci(&["ps", "--format", "json", &bundle.id]).ok().trim().to_owned();
        wait_until("three processes", || ours().split(',').count() == 3);
        bundle.oci(&["pause", &bundle.id]).ok();
        update(&bundle, &limit).ok();
        assert_eq!(bundle.status(), "paused");
        bundle.oci(&["resume", &bundle.id]).ok();
        let shown = bundle.shows(controller, file);
        assert!(shown.contains("4194304") || shown.contains("1048577") || shown.contains("lo 5"), "{file}: {shown}");
        let there = || {
            let members = bundle.shows(controller, "cgroup.procs");
            let mut members: Vec<u32> = members.lines().map(|line| line.parse().unwrap()).collect();
            members.sort_unstable();
            serde_json::to_string(&members).unwrap()
        };
        assert_eq!(there(), ours());
        // It would keep a pipe of ours open for as long as it lives.
        let mut exec = bundle.command(&["exec", "--detach", &bundle.id, "sleep", "60"]);
        assert!(exec.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        assert_eq!((there(), ours().split(',').count()), (ours(), 4), "and who joins later is there too");
        update(&bundle, &limit).ok();
        assert_eq!(there(), ours());
    }
}

/// Groups of this test, removed when dropped.
struct Below(String);

impl Below {
    fn places(&self) -> Vec<std::path::PathBuf> {
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
        hierarchies.chain(["/sys/fs/cgroup".into()]).map(|place| place.join(&self.0)).collect()
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        for place in self.places() {
            wait_until("an empty group", || !place.exists() || fs::remove_dir(&place).is_ok());
        }
    }
}

/// Fault O9: in a cgroup namespace the host's mounts are seen from below their root.
#[test]
fn a_runtime_in_a_cgroup_namespace_finds_the_controllers() {
    if !support::has_program("unshare") {
        return skipped("a_runtime_in_a_cgroup_namespace_finds_the_controllers", "there is no unshare(1)");
    }
    // cgroups(7), nsdelegate: a process in a cgroup namespace reaches no group outside of it, whatever paths it sees.
    let delegated = std::fs::read_to_string("/proc/mounts").unwrap().contains("nsdelegate");
    if support::is_unified() && delegated {
        let why =
            "cgroup version 2 is mounted with nsdelegate: the kernel lets no process leave its namespace's groups";
        return skipped("a_runtime_in_a_cgroup_namespace_finds_the_controllers", why);
    }
    let below = Below(format!("skiff-below-{}", std::process::id()));
    let script = format!(
        "for group in /sys/fs/cgroup/*/ /sys/fs/cgroup/; do [ -e $group/cgroup.procs ] && mkdir -p $group/{0} && \
        echo $$ > $group/{0}/cgroup.procs; done 2>/dev/null; exec unshare -C \"$@\"",
        below.0
    );
    let bundle = Bundle::new("sleep 60", |c| c["linux"]["resources"] = json!({"memory": {"limit": 33_554_432}}));
    let bundle = bundle.through(&["sh", "-c", &script, "sh"]);
    bundle.start();
    assert!(below.places().iter().any(|place| place.exists()), "the runtime was in a group of its own");
    let file = if support::is_unified() { "memory.max" } else { "memory.limit_in_bytes" };
    assert_eq!(bundle.cgroup_file("memory", file), "33554432\n");
}
