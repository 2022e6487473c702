//! Cgroups of real containers: every kind of limit as created and as updated, devices, the freezer, events. Whatever layout
//! the host has (version 1, version 2, or both) is looked at, so the same tests say something on all of them.

mod support;

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use support::groups::{Version, find};
use support::{Bundle, Said, skipped, wait_until};

/// Files and what they show.
type Shown = &'static [(&'static str, &'static str)];

/// One kind of limit.
struct Case {
    name: &'static str,
    /// On version 1 and on version 2; empty where there is none.
    controller: [&'static str; 2],
    created: Value,
    updated: Value,
    /// After creation and after the update, on version 1.
    one: [Shown; 2],
    two: [Shown; 2],
}

fn cases() -> Vec<Case> {
    let mut cases = memory_cases();
    cases.extend(cpu_cases());
    cases.extend(other_cases());
    cases
}

fn memory_cases() -> Vec<Case> {
    vec![
        Case {
            name: "memory, raised",
            controller: ["memory"; 2],
            created: json!({"memory": {"limit": 33_554_432, "reservation": 16_777_216}}),
            updated: json!({"memory": {"limit": 67_108_864, "reservation": 8_388_608}}),
            one: [
                &[("memory.limit_in_bytes", "33554432"), ("memory.soft_limit_in_bytes", "16777216")],
                &[("memory.limit_in_bytes", "67108864"), ("memory.soft_limit_in_bytes", "8388608")],
            ],
            two: [
                &[("memory.max", "33554432"), ("memory.low", "16777216")],
                &[("memory.max", "67108864"), ("memory.low", "8388608")],
            ],
        },
        Case {
            name: "memory and swap, both raised",
            controller: ["memory"; 2],
            created: json!({"memory": {"limit": 33_554_432, "swap": 50_331_648}}),
            updated: json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            one: [
                &[("memory.limit_in_bytes", "33554432"), ("memory.memsw.limit_in_bytes", "50331648")],
                &[("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "134217728")],
            ],
            two: [
                &[("memory.max", "33554432"), ("memory.swap.max", "16777216")],
                &[("memory.max", "67108864"), ("memory.swap.max", "67108864")],
            ],
        },
        Case {
            name: "memory and swap, both lowered, then none",
            controller: ["memory"; 2],
            created: json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            updated: json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}}),
            one: [
                &[("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "134217728")],
                &[("memory.limit_in_bytes", "33554432"), ("memory.memsw.limit_in_bytes", "33554432")],
            ],
            two: [
                &[("memory.max", "67108864"), ("memory.swap.max", "67108864")],
                &[("memory.max", "33554432"), ("memory.swap.max", "0")],
            ],
        },
        Case {
            name: "memory without a limit",
            controller: ["memory"; 2],
            created: json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}}),
            updated: json!({"memory": {"limit": -1}}),
            one: [
                &[],
                &[
                    ("memory.limit_in_bytes", "9223372036854771712"),
                    ("memory.memsw.limit_in_bytes", "9223372036854771712"),
                ],
            ],
            two: [&[], &[("memory.max", "max"), ("memory.swap.max", "max")]],
        },
        Case {
            name: "swappiness and the killer",
            controller: ["memory", ""],
            created: json!({"memory": {"limit": 33_554_432, "swappiness": 0, "disableOOMKiller": true, "kernelTCP": 8_388_608}}),
            updated: json!({"memory": {"swappiness": 90}}),
            one: [
                &[
                    ("memory.swappiness", "0"),
                    ("memory.oom_control", "oom_kill_disable 1\nunder_oom 0\noom_kill 0"),
                    ("memory.kmem.tcp.limit_in_bytes", "8388608"),
                ],
                &[("memory.swappiness", "90")],
            ],
            two: [&[], &[]],
        },
    ]
}

fn cpu_cases() -> Vec<Case> {
    vec![
        Case {
            name: "shares, quota, period, burst",
            controller: ["cpu"; 2],
            created: json!({"cpu": {"shares": 512, "quota": 20_000, "period": 50_000, "burst": 1000}}),
            updated: json!({"cpu": {"shares": 2048, "quota": 5000, "period": 10_000, "burst": 0}}),
            one: [
                &[
                    ("cpu.shares", "512"),
                    ("cpu.cfs_quota_us", "20000"),
                    ("cpu.cfs_period_us", "50000"),
                    ("cpu.cfs_burst_us", "1000"),
                ],
                &[
                    ("cpu.shares", "2048"),
                    ("cpu.cfs_quota_us", "5000"),
                    ("cpu.cfs_period_us", "10000"),
                    ("cpu.cfs_burst_us", "0"),
                ],
            ],
            two: [
                &[("cpu.weight", "59"), ("cpu.max", "20000 50000"), ("cpu.max.burst", "1000")],
                &[("cpu.weight", "174"), ("cpu.max", "5000 10000"), ("cpu.max.burst", "0")],
            ],
        },
        Case {
            name: "a burst above the old quota",
            controller: ["cpu"; 2],
            created: json!({"cpu": {"quota": 2000, "period": 10_000}}),
            updated: json!({"cpu": {"quota": 9000, "burst": 8000}}),
            one: [&[("cpu.cfs_burst_us", "0")], &[("cpu.cfs_quota_us", "9000"), ("cpu.cfs_burst_us", "8000")]],
            two: [&[("cpu.max.burst", "0")], &[("cpu.max", "9000 10000"), ("cpu.max.burst", "8000")]],
        },
        Case {
            name: "period alone, no quota",
            controller: ["cpu"; 2],
            created: json!({"cpu": {"quota": 20_000, "period": 50_000}}),
            updated: json!({"cpu": {"period": 40_000}}),
            one: [&[], &[("cpu.cfs_quota_us", "20000"), ("cpu.cfs_period_us", "40000")]],
            two: [&[], &[("cpu.max", "20000 40000")]],
        },
        Case {
            name: "idle, and busy again with other shares",
            controller: ["cpu"; 2],
            created: json!({"cpu": {"idle": 1}}),
            updated: json!({"cpu": {"idle": 0, "shares": 2048}}),
            one: [&[("cpu.idle", "1")], &[("cpu.idle", "0"), ("cpu.shares", "2048")]],
            two: [&[("cpu.idle", "1")], &[("cpu.idle", "0"), ("cpu.weight", "174")]],
        },
        Case {
            name: "processors and memory nodes",
            controller: ["cpuset"; 2],
            created: json!({"cpu": {"cpus": "0", "mems": "0"}}),
            updated: json!({"cpu": {"cpus": "0-1"}}),
            one: [&[("cpuset.cpus", "0"), ("cpuset.mems", "0")], &[("cpuset.cpus", "0-1")]],
            two: [&[("cpuset.cpus", "0"), ("cpuset.mems", "0")], &[("cpuset.cpus", "0-1")]],
        },
    ]
}

fn other_cases() -> Vec<Case> {
    vec![
        Case {
            name: "processes",
            controller: ["pids"; 2],
            created: json!({"pids": {"limit": 20}}),
            updated: json!({"pids": {"limit": -1}}),
            one: [&[("pids.max", "20")], &[("pids.max", "max")]],
            two: [&[("pids.max", "20")], &[("pids.max", "max")]],
        },
        Case {
            name: "huge pages",
            controller: ["hugetlb"; 2],
            created: json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
            updated: json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 2_097_152}]}),
            one: [
                &[("hugetlb.2MB.limit_in_bytes", "4194304"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4194304")],
                &[("hugetlb.2MB.limit_in_bytes", "2097152")],
            ],
            two: [
                &[("hugetlb.2MB.max", "4194304"), ("hugetlb.2MB.rsvd.max", "4194304")],
                &[("hugetlb.2MB.max", "2097152")],
            ],
        },
        Case {
            name: "packets",
            controller: ["net_cls", ""],
            created: json!({"network": {"classID": 1_048_577}}),
            updated: json!({"network": {"classID": 1_048_578}}),
            one: [&[("net_cls.classid", "1048577")], &[("net_cls.classid", "1048578")]],
            two: [&[], &[]],
        },
        Case {
            name: "by the file's name",
            controller: ["", "memory"],
            created: json!({"unified": {"memory.high": "33554432", "memory.min": "4096"}}),
            updated: json!({"unified": {"memory.high": "max"}}),
            one: [&[], &[]],
            two: [&[("memory.high", "33554432"), ("memory.min", "4096")], &[("memory.high", "max")]],
        },
    ]
}

fn sleeping(resources: &Value) -> Bundle {
    Bundle::new("sleep 60", |config| config["linux"]["resources"] = resources.clone())
}

fn update(bundle: &Bundle, resources: &Value) -> Said {
    let file = bundle.path().join("update.json");
    fs::write(&file, resources.to_string()).unwrap();
    bundle.oci(&["update", "--resources", file.to_str().unwrap(), &bundle.id])
}

fn assert_shows(case: &str, bundle: &Bundle, controller: &str, shown: Shown) {
    for (file, expected) in shown {
        let is_swap = file.contains("swap") || file.contains("memsw");
        if is_swap && bundle.shows(controller, file) == "-" {
            skipped(case, "this kernel does not count swap");
            continue;
        }
        assert_eq!(bundle.shows(controller, file), *expected, "{case}: {file}");
    }
}

#[test]
fn limits_are_written_and_changed() {
    for case in cases() {
        let places =
            case.controller.iter().filter(|name| !name.is_empty()).filter_map(|name| find(name).zip(Some(*name)));
        let mut fitting = places.filter(|((version, _), name)| case.controller[*version as usize] == *name);
        let Some(((version, _), controller)) = fitting.next() else {
            skipped(case.name, "its controller is not on this host, or not in this version");
            continue;
        };
        let [created, updated] = if version == Version::One { case.one } else { case.two };
        let bundle = sleeping(&case.created);
        bundle.start();
        assert_shows(case.name, &bundle, controller, created);
        update(&bundle, &case.updated).ok();
        assert_shows(case.name, &bundle, controller, updated);
    }
}

/// The first block device of this host that is not a part of another.
fn block_device() -> Option<String> {
    let mut devices = fs::read_dir("/sys/block").ok()?.flatten().filter(|entry| entry.path().join("queue").exists());
    Some(fs::read_to_string(devices.next()?.path().join("dev")).ok()?.trim().to_owned())
}

#[test]
fn block_devices_are_weighed_and_throttled() {
    let test = "block_devices_are_weighed_and_throttled";
    let (Some(device), Some((version, _))) = (block_device(), find("blkio").or_else(|| find("io"))) else {
        return skipped(test, "no block device, or no controller for them");
    };
    let (major, minor) = device.split_once(':').unwrap();
    let number = |text: &str| text.parse::<i64>().unwrap();
    let rate = |rate: u64| json!([{"major": number(major), "minor": number(minor), "rate": rate}]);
    let resources =
        json!({"blockIO": {"throttleReadBpsDevice": rate(1_048_576), "throttleWriteIOPSDevice": rate(100)}});
    let bundle = sleeping(&resources);
    bundle.start();
    let said = match version {
        Version::One => bundle.shows("blkio", "blkio.throttle.read_bps_device"),
        Version::Two => bundle.shows("io", "io.max"),
    };
    let expected = match version {
        Version::One => format!("{device} 1048576"),
        Version::Two => format!("{device} rbps=1048576 wbps=max riops=max wiops=100"),
    };
    assert_eq!(said, expected);
    update(&bundle, &json!({"blockIO": {"throttleReadBpsDevice": rate(0), "throttleWriteIOPSDevice": rate(0)}})).ok();
    let file = if version == Version::One { ("blkio", "blkio.throttle.read_bps_device") } else { ("io", "io.max") };
    assert_eq!(bundle.shows(file.0, file.1), "");

    let weighed = update(&bundle, &json!({"blockIO": {"weight": 500}}));
    let (controller, files) = match version {
        Version::One => ("blkio", ["blkio.bfq.weight", "blkio.weight"]),
        Version::Two => ("io", ["io.bfq.weight", "io.weight"]),
    };
    match files.iter().find(|file| bundle.shows(controller, file) != "-") {
        Some(file) => {
            weighed.ok();
            let value = if *file == "io.weight" { "4950" } else { "500" };
            assert_eq!(bundle.shows(controller, file).lines().next().unwrap().trim_start_matches("default "), value);
        }
        None => assert!(weighed.err.contains("linux.resources.blockIO.weight: this kernel has no "), "{weighed:?}"),
    }
}

#[test]
fn what_the_kernel_lacks_is_refused_by_path_and_leaves_nothing() {
    for (resources, field) in [
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}), "linux.resources.hugepageLimits[0]: "),
        (json!({"blockIO": {"leafWeight": 100}}), "linux.resources.blockIO.leafWeight: "),
        (json!({"unified": {"nothing.max": "1"}}), "linux.resources.unified.nothing.max: "),
        (json!({"rdma": {"nothing0": {"hcaHandles": 1}}}), "linux.resources.rdma.nothing0"),
        (json!({"pids": {"limit": 20}, "cpu": {"quota": 1}}), "linux.resources.cpu.quota = "),
    ] {
        let bundle = sleeping(&resources);
        let said = bundle.oci(&["create", &bundle.id]);
        assert!(said.code == 1 && said.err.contains(field), "{resources}: {said:?}");
        for controller in ["memory", "pids", "cgroup"] {
            assert!(!bundle.group(controller).is_some_and(|path| path.exists()), "{resources}: {controller}");
        }
    }
}

#[test]
fn options_of_update_are_those_of_runc() {
    let bundle = sleeping(&json!({}));
    bundle.start();
    let id = bundle.id.as_str();
    let options =
        ["--memory", "64m", "--memory-swap=128MB", "--pids-limit", "30", "--cpu-share", "512", "--cpu-quota=5000"];
    bundle.oci(&[&["update"], options.as_slice(), &["--cpu-period", "10000", "--cpuset-cpus", "0", id]].concat()).ok();
    let shown = match find("memory").map(|(version, _)| version) {
        Some(Version::One) => [("memory", "memory.limit_in_bytes", "67108864"), ("cpu", "cpu.cfs_quota_us", "5000")],
        Some(Version::Two) => [("memory", "memory.max", "67108864"), ("cpu", "cpu.max", "5000 10000")],
        None => return skipped("options_of_update_are_those_of_runc", "no memory controller"),
    };
    for (controller, file, value) in shown {
        assert_eq!(bundle.shows(controller, file), value);
    }
    assert_eq!(
        (bundle.shows("pids", "pids.max").as_str(), bundle.shows("cpuset", "cpuset.cpus").as_str()),
        ("30", "0")
    );
    let mut command = bundle.command(&["update", "--resources=-", id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), br#"{"pids": {"limit": 40}}"#).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(bundle.shows("pids", "pids.max"), "40");
    assert!(bundle.oci(&["update", "--memory", "lots", id]).err.contains("invalid value for memory"));
    assert!(bundle.oci(&["update", "--l3-cache-schema", "L3:0=f", id]).err.contains("l3-cache-schema"));
}

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
