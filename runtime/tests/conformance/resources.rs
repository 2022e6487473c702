//! config-linux.md: control groups, read from the kernel's files of whatever version has the controller.

use super::lab::{Lab, Outcome, Verdict, hierarchy, must, same};
use super::{Row, row};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A file of version 1 or of version 2, and what it must say.
type File = (&'static str, &'static str);

/// In place of version 2's files: a runtime may refuse the limit there or leave it.
const VERSION_1_ONLY: &[File] = &[];

/// With `resources`, the container's file says so: `v1` where the controller is of version 1, `v2` elsewhere.
fn limits(lab: &Lab, controller: &str, resources: Value, v1: &[File], v2: &[File]) -> Outcome {
    let hierarchy = hierarchy(controller)?;
    let bundle = lab.bundle("sleep 60", |c| c["linux"]["resources"] = resources);
    let folder = hierarchy.join(bundle.cgroup().trim_start_matches('/'));
    let files = if hierarchy.ends_with(controller) { v1 } else { v2 };
    if files == VERSION_1_ONLY {
        return Err(Verdict::Skips("cgroup version 2 has no such limit".to_owned()));
    }
    bundle.start()?;
    for (file, wanted) in files {
        let path = folder.join(file);
        if !hierarchy.join(file).exists() && !path.exists() {
            return Err(Verdict::Skips(format!("this kernel has no {file}")));
        }
        let said = fs::read_to_string(&path).unwrap_or_default();
        must(said.trim() == *wanted || said.contains(&format!("{wanted}\n")), || {
            format!("{file}: {said:?} instead of {wanted:?}")
        })?;
    }
    Ok(())
}

/// Whether any disk could be scheduled by weight.
fn has_weights() -> bool {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks.into_iter().any(|disk| {
        let offered = fs::read_to_string(disk.path().join("queue/scheduler"));
        offered.is_ok_and(|offered| offered.contains("bfq"))
    })
}

fn resources(value: Value) -> impl FnOnce(&mut Value) {
    move |c| c["linux"]["resources"] = value
}

pub(crate) const ROWS: &[Row] = &[
    row("config-linux, Cgroups Path", "an absolute path is below each hierarchy's root", |lab| {
        let hierarchy = hierarchy("pids")?;
        let bundle = lab.bundle("sleep 60", |_| ());
        bundle.start()?;
        let procs = hierarchy.join(bundle.cgroup().trim_start_matches('/')).join("cgroup.procs");
        let pid = bundle.state()?["pid"].to_string();
        must(fs::read_to_string(&procs).is_ok_and(|list| list.lines().any(|line| line == pid)), || {
            format!("{} has no {pid}", procs.display())
        })
    }),
    row("config-linux, Cgroups Path", "the same value is the same place again", |lab| {
        let hierarchy = hierarchy("pids")?;
        let path = format!("/skiff-test-same-{}", std::process::id());
        for _ in 0..2 {
            let bundle = lab.bundle("sleep 60", |c| c["linux"]["cgroupsPath"] = json!(path));
            bundle.start()?;
            must(hierarchy.join(&path[1..]).is_dir(), || format!("{path} is not there"))?;
        }
        Ok(())
    }),
    row("config-linux, Cgroups Path", "the cgroup goes with the container", |lab| {
        let hierarchy = hierarchy("pids")?;
        let bundle = lab.bundle("true", |_| ());
        bundle.start()?;
        bundle.becomes("stopped")?;
        bundle.oci(&["delete", &bundle.id]).ok()?;
        must(!hierarchy.join(&bundle.cgroup()[1..]).exists(), || "it is still there".to_owned())
    }),
    row("config-linux, Memory: limit", "bytes", |lab| {
        limits(
            lab,
            "memory",
            json!({"memory": {"limit": 67_108_864}}),
            &[("memory.limit_in_bytes", "67108864")],
            &[("memory.max", "67108864")],
        )
    }),
    row("config-linux, Memory: reservation", "bytes", |lab| {
        limits(
            lab,
            "memory",
            json!({"memory": {"reservation": 33_554_432}}),
            &[("memory.soft_limit_in_bytes", "33554432")],
            &[("memory.low", "33554432")],
        )
    }),
    row("config-linux, Memory: swap", "memory and swap together", |lab| {
        let memory = json!({"memory": {"limit": 67_108_864, "swap": 134_217_728}});
        limits(
            lab,
            "memory",
            memory,
            &[("memory.memsw.limit_in_bytes", "134217728")],
            &[("memory.swap.max", "67108864")],
        )
    }),
    row("config-linux, Memory: swappiness", "0 to 100", |lab| {
        limits(lab, "memory", json!({"memory": {"swappiness": 40}}), &[("memory.swappiness", "40")], VERSION_1_ONLY)
    }),
    row("config-linux, Memory: disableOOMKiller", "true", |lab| {
        let memory = json!({"memory": {"limit": 67_108_864, "disableOOMKiller": true}});
        limits(lab, "memory", memory, &[("memory.oom_control", "oom_kill_disable 1")], VERSION_1_ONLY)
    }),
    row("config-linux, CPU: shares", "relative weight", |lab| {
        limits(lab, "cpu", json!({"cpu": {"shares": 512}}), &[("cpu.shares", "512")], &[("cpu.weight", "59")]).or_else(
            |_| limits(lab, "cpu", json!({"cpu": {"shares": 512}}), &[("cpu.shares", "512")], &[("cpu.weight", "20")]),
        )
    }),
    row("config-linux, CPU: quota, period", "microseconds", |lab| {
        let cpu = json!({"cpu": {"quota": 40_000, "period": 80_000}});
        limits(
            lab,
            "cpu",
            cpu,
            &[("cpu.cfs_quota_us", "40000"), ("cpu.cfs_period_us", "80000")],
            &[("cpu.max", "40000 80000")],
        )
    }),
    row("config-linux, CPU: burst", "microseconds", |lab| {
        let cpu = json!({"cpu": {"quota": 40_000, "period": 80_000, "burst": 20_000}});
        limits(lab, "cpu", cpu, &[("cpu.cfs_burst_us", "20000")], &[("cpu.max.burst", "20000")])
    }),
    row("config-linux, CPU: idle", "1: only when nobody else runs", |lab| {
        limits(lab, "cpu", json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")], &[("cpu.idle", "1")])
    }),
    row("config-linux, CPU: cpus, mems", "lists", |lab| {
        let cpu = json!({"cpu": {"cpus": "0", "mems": "0"}});
        limits(
            lab,
            "cpuset",
            cpu,
            &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
            &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
        )
    }),
    row("config-linux, PIDs: limit", "how many tasks", |lab| {
        limits(lab, "pids", json!({"pids": {"limit": 77}}), &[("pids.max", "77")], &[("pids.max", "77")])
    }),
    row("config-linux, PIDs: limit", "-1: no limit", |lab| {
        limits(lab, "pids", json!({"pids": {"limit": -1}}), &[("pids.max", "max")], &[("pids.max", "max")])
    }),
    row("config-linux, Block IO: weight", "10 to 1,000", |lab| {
        if !has_weights() {
            return Err(Verdict::Skips("the kernel's scheduler bfq, which knows weights, is not there".to_owned()));
        }
        limits(
            lab,
            "blkio",
            json!({"blockIO": {"weight": 300}}),
            &[("blkio.bfq.weight", "300")],
            &[("io.bfq.weight", "default 300")],
        )
    }),
    row("config-linux, Huge page limits", "bytes by page size", |lab| {
        let huge = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]});
        limits(lab, "hugetlb", huge, &[("hugetlb.2MB.limit_in_bytes", "4194304")], &[("hugetlb.2MB.max", "4194304")])
    }),
    row("config-linux, Network: classID", "a mark on packets", |lab| {
        limits(
            lab,
            "net_cls",
            json!({"network": {"classID": 1_048_577}}),
            &[("net_cls.classid", "1048577")],
            &[("no.classid", "")],
        )
    }),
    row("config-linux, RDMA", "handles and objects by device", |lab| {
        hierarchy("rdma")?;
        if !Path::new("/sys/class/infiniband").is_dir() {
            return Err(Verdict::Skips("no RDMA device".to_owned()));
        }
        limits(
            lab,
            "rdma",
            json!({"rdma": {"mlx5_0": {"hcaHandles": 3}}}),
            &[("rdma.max", "mlx5_0 hca_handle=3")],
            &[("rdma.max", "mlx5_0 hca_handle=3")],
        )
    }),
    row("config-linux, Unified", "files of version 2 are written as they are", |lab| {
        if hierarchy("memory")?.ends_with("memory") {
            return Err(Verdict::Skips("the controllers are of version 1 here".to_owned()));
        }
        limits(lab, "memory", json!({"unified": {"memory.high": "50331648"}}), &[], &[("memory.high", "50331648")])
    }),
    row("config-linux, Allowed Device list", "denied: cannot be opened", |lab| {
        if hierarchy("devices").is_err() && hierarchy("pids")?.ends_with("pids") {
            return Err(Verdict::Skips("no devices controller".to_owned()));
        }
        let devices = json!({"devices": [{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]});
        lab.prints(
            "echo x > /dev/null && echo null; (head -c 1 /dev/kmsg-like > /dev/null) 2>/dev/null || echo no",
            "null\nno\n",
            |c| {
                c["linux"]["resources"] = devices;
                c["linux"]["devices"] = json!([{"path": "/dev/kmsg-like", "type": "c", "major": 1, "minor": 11}]);
            },
        )
    }),
    row("config-linux, Allowed Device list", "entries count in the listed order", |lab| {
        let devices = json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}, {"allow": false, "access": "rwm"}]});
        if hierarchy("devices").is_err() && hierarchy("pids")?.ends_with("pids") {
            return Err(Verdict::Skips("no devices controller".to_owned()));
        }
        lab.prints("(head -c 1 /dev/kmsg-like > /tmp/x) 2>/dev/null || echo no", "no\n", |c| {
            c["linux"]["resources"] = devices;
            c["linux"]["devices"] = json!([{"path": "/dev/kmsg-like", "type": "c", "major": 1, "minor": 11}]);
        })
    }),
    row("runtime, Errors", "cgroups of a refused container are gone", |lab| {
        let hierarchy = hierarchy("pids")?;
        let bundle = lab.bundle("true", |c| c["root"]["path"] = json!("nothing"));
        must(bundle.create().code != 0, || "create succeeds".to_owned())?;
        must(!hierarchy.join(&bundle.cgroup()[1..]).exists(), || "the cgroup is still there".to_owned())
    }),
    row("runc update", "changes the limits of a running container", |lab| {
        let hierarchy = hierarchy("pids")?;
        let bundle = lab.bundle("sleep 60", resources(json!({"pids": {"limit": 50}})));
        bundle.start()?;
        fs::write(bundle.path("new.json"), json!({"pids": {"limit": 60}}).to_string()).unwrap();
        bundle.oci(&["update", "--resources", "new.json", &bundle.id]).ok()?;
        same(
            "pids.max",
            fs::read_to_string(hierarchy.join(&bundle.cgroup()[1..]).join("pids.max")).unwrap().trim(),
            "60",
        )
    }),
];
