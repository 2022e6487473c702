//! Which values reach which files, on paper: no cgroup is touched. The values are those that runc writes.

use super::*;
use crate::spec::config;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A group made of text.
pub(crate) struct Paper {
    version: Option<Version>,
    controllers: Vec<&'static str>,
    files: BTreeMap<(String, String), String>,
}

impl Paper {
    fn new(version: Version, controllers: &[&'static str]) -> Self {
        Self { version: Some(version), controllers: controllers.to_vec(), files: BTreeMap::new() }
    }

    pub(crate) fn version_1() -> Self {
        let all = ["cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "hugetlb", "rdma", "net_cls", "net_prio"];
        Self::new(Version::One, &all)
    }

    pub(crate) fn version_2() -> Self {
        Self::new(Version::Two, &["cgroup", "cpu", "cpuset", "memory", "io", "pids", "hugetlb", "rdma"])
    }

    pub(crate) fn with(mut self, controller: &str, file: &str, text: &str) -> Self {
        self.files.insert((controller.to_owned(), file.to_owned()), text.to_owned());
        self
    }
}

impl Group for Paper {
    fn version(&self, controller: &str) -> Option<Version> {
        self.version.filter(|_| self.controllers.contains(&controller))
    }

    fn read(&self, controller: &str, file: &str) -> Option<String> {
        self.files.get(&(controller.to_owned(), file.to_owned())).cloned()
    }
}

fn limits(json: &Value) -> Limits {
    let written: config::Resources = serde_json::from_value(json.clone()).unwrap();
    Limits::check(Some(&written)).unwrap()
}

/// `file = value` of each write, `;` after each knot.
fn shown(json: &Value, group: &Paper) -> Vec<String> {
    let knots = plan(&limits(json), group).unwrap();
    let line = |write: &Write| format!("{} = {}", write.file, write.value);
    knots.iter().map(|knot| knot.0.iter().map(line).collect::<Vec<_>>().join(", ")).collect()
}

fn refusal(json: &Value, group: &Paper) -> String {
    plan(&limits(json), group).unwrap_err().to_string()
}

#[test]
fn memory() {
    let full = json!({"memory": {"limit": 100, "swap": 300, "reservation": 50, "swappiness": 60}});
    assert_eq!(
        shown(&full, &Paper::version_1()),
        [
            "memory.limit_in_bytes = 100, memory.memsw.limit_in_bytes = 300",
            "memory.soft_limit_in_bytes = 50",
            "memory.swappiness = 60"
        ]
    );
    let without_swappiness = json!({"memory": {"limit": 100, "swap": 300, "reservation": 50}});
    let two = || Paper::version_2().with("memory", "memory.swap.max", "max\n");
    assert_eq!(shown(&without_swappiness, &two()), ["memory.swap.max = 200", "memory.max = 100", "memory.low = 50"]);
    assert!(refusal(&full, &two()).starts_with("linux.resources.memory.swappiness: "));
    let killer = json!({"memory": {"disableOOMKiller": true}});
    assert_eq!(shown(&killer, &Paper::version_1()), ["memory.oom_control = 1"]);
    assert!(refusal(&killer, &two()).starts_with("linux.resources.memory.disableOOMKiller: "));
}

#[test]
fn memory_without_a_limit_lifts_the_one_on_swap() {
    let lifted = json!({"memory": {"limit": -1}});
    let one = Paper::version_1().with("memory", "memory.memsw.limit_in_bytes", "5");
    assert_eq!(shown(&lifted, &one), ["memory.limit_in_bytes = -1, memory.memsw.limit_in_bytes = -1"]);
    assert_eq!(shown(&lifted, &Paper::version_1()), ["memory.limit_in_bytes = -1"], "no swap accounting");
    let two = Paper::version_2().with("memory", "memory.swap.max", "5");
    assert_eq!(shown(&lifted, &two), ["memory.swap.max = max", "memory.max = max"]);
    assert_eq!(shown(&lifted, &Paper::version_2()), ["memory.max = max"], "no swap accounting");
}

#[test]
fn swap_alone_is_told_from_memory_plus_swap() {
    let two =
        |max: &str| Paper::version_2().with("memory", "memory.swap.max", "max\n").with("memory", "memory.max", max);
    let same = json!({"memory": {"limit": 100, "swap": 100}});
    assert_eq!(shown(&same, &two("max\n")), ["memory.swap.max = 0", "memory.max = 100"]);
    let later = json!({"memory": {"swap": 150}});
    assert_eq!(shown(&later, &two("100\n")), ["memory.swap.max = 50"], "the limit that is in force counts");
    assert!(refusal(&later, &two("max\n")).starts_with("linux.resources.memory.swap: "));
    assert!(refusal(&json!({"memory": {"limit": 200, "swap": 150}}), &two("max\n")).contains("less than"));
}

#[test]
fn a_limit_below_what_is_used_can_be_asked_to_be_refused() {
    let group = || Paper::version_2().with("memory", "memory.current", "500\n");
    let checked = json!({"memory": {"limit": 500, "checkBeforeUpdate": true}});
    assert!(refusal(&checked, &group()).contains("not above the 500 bytes in use"));
    assert_eq!(shown(&json!({"memory": {"limit": 500}}), &group()), ["memory.max = 500"]);
    assert_eq!(shown(&json!({"memory": {"limit": 501, "checkBeforeUpdate": true}}), &group()), ["memory.max = 501"]);
}

#[test]
fn cpu() {
    let full = json!({"cpu": {"shares": 1024, "quota": 5000, "period": 10_000, "burst": 0, "idle": 1,
        "realtimePeriod": 1000, "realtimeRuntime": 500, "cpus": "0-1", "mems": "0"}});
    assert_eq!(
        shown(&full, &Paper::version_1().with("cpu", "cpu.rt_period_us", "1")),
        [
            "cpu.shares = 1024, cpu.idle = 1",
            "cpu.cfs_period_us = 10000, cpu.cfs_burst_us = 0, cpu.cfs_quota_us = 5000",
            "cpu.rt_period_us = 1000, cpu.rt_runtime_us = 500",
            "cpuset.cpus = 0-1",
            "cpuset.mems = 0"
        ]
    );
    assert!(refusal(&full, &Paper::version_2()).starts_with("linux.resources.cpu.realtimePeriod: "));
    assert!(refusal(&full, &Paper::version_1()).contains("no realtime groups"));
    let two = Paper::version_2;
    let plain = json!({"cpu": {"shares": 1024, "quota": 5000, "period": 10_000, "burst": 9}});
    assert_eq!(shown(&plain, &two()), ["cpu.weight = 100", "cpu.max.burst = 9, cpu.max = 5000 10000"]);
    assert_eq!(shown(&json!({"cpu": {"quota": -1}}), &two()), ["cpu.max = max 100000"]);
    let now = || two().with("cpu", "cpu.max", "7000 50000\n");
    assert_eq!(shown(&json!({"cpu": {"quota": 20_000}}), &now()), ["cpu.max = 20000 50000"]);
    assert_eq!(shown(&json!({"cpu": {"period": 20_000}}), &now()), ["cpu.max = 7000 20000"]);
}

#[test]
fn block_devices() {
    let full = json!({"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 100}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}});
    let one = Paper::version_1().with("blkio", "blkio.bfq.weight", "100\n");
    assert_eq!(
        shown(&full, &one),
        [
            "blkio.bfq.weight = 500",
            "blkio.bfq.weight_device = 8:0 100",
            "blkio.throttle.read_bps_device = 8:0 1024",
            "blkio.throttle.write_iops_device = 8:16 0"
        ]
    );
    let rates = ["io.max = 8:0 rbps=1024", "io.max = 8:16 wiops=max"];
    let plain = [&["io.weight = 4950", "io.weight = 8:0 910"], rates.as_slice()].concat();
    assert_eq!(shown(&full, &Paper::version_2()), plain);
    let bfq = Paper::version_2().with("io", "io.bfq.weight", "default 100\n");
    assert_eq!(shown(&full, &bfq), [&["io.bfq.weight = 500", "io.bfq.weight = 8:0 100"], rates.as_slice()].concat());
    let leaf = json!({"blockIO": {"leafWeight": 10}});
    assert_eq!(shown(&leaf, &Paper::version_1()), ["blkio.leaf_weight = 10"]);
    assert!(refusal(&leaf, &Paper::version_2()).starts_with("linux.resources.blockIO.leafWeight: "));
}

#[test]
fn processes_pages_remote_memory_and_packets() {
    let rest = json!({"pids": {"limit": -1}, "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "rdma": {"mlx": {"hcaHandles": 2, "hcaObjects": 3}}});
    let one = Paper::version_1().with("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "1");
    let both = ["hugetlb.2MB.limit_in_bytes = 4096", "hugetlb.2MB.rsvd.limit_in_bytes = 4096"];
    let remote = ["rdma.max = mlx hca_handle=2 hca_object=3"];
    assert_eq!(shown(&rest, &one), [&["pids.max = max"], both.as_slice(), &remote].concat());
    assert_eq!(
        shown(&rest, &Paper::version_2()),
        [&["pids.max = max", "hugetlb.2MB.max = 4096"], remote.as_slice()].concat()
    );
    let packets = json!({"network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}]}});
    assert_eq!(shown(&packets, &Paper::version_1()), ["net_cls.classid = 1048577", "net_prio.ifpriomap = eth0 5"]);
    assert!(refusal(&packets, &Paper::version_2()).starts_with("linux.resources.network.classID: "));
}

#[test]
fn files_of_version_2_by_name() {
    let unified = json!({"unified": {"memory.high": "1", "io.max": "8:0 rbps=1\n8:16 wbps=2"}});
    let lines = ["io.max = 8:0 rbps=1", "io.max = 8:16 wbps=2", "memory.high = 1"];
    assert_eq!(shown(&unified, &Paper::version_2()), lines);
    let said = refusal(&json!({"unified": {"misc.max": "1"}}), &Paper::version_2());
    assert!(said.starts_with("linux.resources.unified.misc.max: ") && said.contains("misc controller"), "{said}");
    assert!(refusal(&unified, &Paper::version_1()).contains("io controller"));
    assert!(refusal(&json!({"unified": {"memory.high": "1"}}), &Paper::version_1()).contains("version 1"));
    assert!(refusal(&json!({"unified": {"nodot": "1"}}), &Paper::version_2()).contains("CONTROLLER.PARAMETER"));
}

/// A value for each number in config.json, few enough that combinations occur.
fn any_resources() -> impl Strategy<Value = Value> {
    let number = || prop_oneof![Just(None), (10..1000_i64).prop_map(Some)];
    let memory = (number(), number(), number());
    let cpu = (number(), number(), number(), number());
    (memory, cpu, number(), number(), any::<bool>()).prop_map(|(memory, cpu, pids, weight, pages)| {
        let pages = if pages { json!([{"pageSize": "2MB", "limit": 1}]) } else { json!([]) };
        json!({
            "memory": {"limit": memory.0, "swap": memory.0.zip(memory.1).map(|(a, b)| a + b), "reservation": memory.2},
            "cpu": {"shares": cpu.0, "quota": cpu.1, "period": cpu.2, "burst": cpu.3},
            "pids": {"limit": pids}, "blockIO": {"weight": weight}, "hugepageLimits": pages,
        })
    })
}

proptest! {
    #[test]
    fn every_write_is_asked_for_and_goes_to_a_file_of_its_controller(json in any_resources()) {
        for group in [Paper::version_1(), Paper::version_2()] {
            for Knot(writes) in plan(&limits(&json), &group).unwrap() {
                prop_assert!(!writes.is_empty());
                for write in writes {
                    prop_assert!(group.version(&write.controller).is_some());
                    let own = write.file.split('.').next().unwrap();
                    prop_assert!(own == write.controller, "{} {}", own, write.controller);
                    let pointer = format!("/{}", write.field.replace(['.', '['], "/").replace(']', ""));
                    prop_assert!(!json.pointer(&pointer).unwrap().is_null(), "{}", pointer);
                }
            }
        }
    }

    #[test]
    fn a_missing_controller_is_named_with_the_field(json in any_resources(), missing in 0..5_usize) {
        let names = ["memory", "cpu", "pids", "blkio", "hugetlb"];
        let mut group = Paper::version_1();
        group.controllers.retain(|name| *name != names[missing]);
        let needs = plan(&limits(&json), &Paper::version_1()).unwrap();
        let needs_it = needs.iter().flat_map(|knot| &knot.0).any(|write| write.controller == names[missing]);
        match plan(&limits(&json), &group) {
            Ok(_) => prop_assert!(!needs_it),
            Err(error) => {
                let said = error.to_string();
                prop_assert!(needs_it && said.starts_with("linux.resources.") && said.contains(names[missing]), "{}", said);
            }
        }
    }
}
