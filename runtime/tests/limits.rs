//! Limits of real containers: every kind, as created and as updated. Whatever cgroup layout the host has (version 1, version
//! 2, or both) is looked at, so the same tests say something on all of them.

// A helper of tests may fail like a test.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::process::Stdio;
use support::groups::{Version, find, sleeping, update};
use support::{Bundle, skipped};

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
    cases.extend(memory_extra_cases());
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
    ]
}

fn memory_extra_cases() -> Vec<Case> {
    vec![
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

fn assert_shows(case: &str, bundle: &Bundle, controller: &str, shown: &[(&str, &str)]) {
    for (file, expected) in shown {
        let is_swap = file.contains("swap") || file.contains("memsw");
        if is_swap && bundle.shows(controller, file) == "-" {
            skipped(case, "this kernel does not count swap");
            continue;
        }
        assert_eq!(bundle.shows(controller, file), *expected, "{case}: {file}");
    }
}

/// Where the files of `case` are on this host.
fn place(case: &Case) -> Option<(Version, &'static str)> {
    case.controller.iter().filter(|name| !name.is_empty()).find_map(|name| {
        let (version, _) = find(name)?;
        (case.controller[version as usize] == *name).then_some((version, *name))
    })
}

#[test]
fn limits_are_written_and_changed() {
    for case in cases() {
        let Some((version, controller)) = place(&case) else {
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

/// Fields that runc ignores.
const OURS_ALONE: &[&str] = &["memory.kmem.tcp.limit_in_bytes"];

#[test]
fn runc_writes_the_same() {
    if sleeping(&json!({})).by_peer("runc-1.3").is_none() {
        return skipped("runc_writes_the_same", "no runc-1.3 in SKIFF_PEERS");
    }
    for case in cases() {
        let Some((version, controller)) = place(&case) else { continue };
        let Some(peer) = sleeping(&case.created).by_peer("runc-1.3") else { continue };
        let created = if version == Version::One { case.one[0] } else { case.two[0] };
        let out = fs::File::create(peer.path().join("out")).unwrap();
        let said = peer.command(&["create", &peer.id]).stdout(out.try_clone().unwrap()).stderr(out).status().unwrap();
        if !said.success()
            && version == Version::Two
            && find("memory").is_some_and(|(version, _)| version == Version::One)
        {
            skipped(case.name, "runc knows only controllers of version 1 on a host with both");
            continue;
        }
        assert!(said.success(), "{}: {}", case.name, peer.output());
        let shared: Vec<_> = created.iter().filter(|(file, _)| !OURS_ALONE.contains(file)).copied().collect();
        assert_shows(case.name, &peer, controller, &shared);
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
