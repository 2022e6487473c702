//! What containers and pods use, read from their cgroups.

use crate::cgroup;
use crate::disk::{ContainerPhase, ContainerRecord, SandboxRecord};
use crate::node::{Node, now_ns};
use skiff_proto::cri::v1 as pb;
use std::path::Path;

impl Node {
    /// One container's use; a container that does not run uses nothing, and says only who it is.
    pub(crate) fn container_stats(&self, record: &ContainerRecord) -> pb::ContainerStats {
        let runs = record.phase == ContainerPhase::Running;
        let limit = record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
        let limit = limit.map_or(0, |resources| resources.memory_limit_in_bytes);
        pb::ContainerStats {
            attributes: Some(pb::ContainerAttributes {
                id: record.id.clone(),
                metadata: record.config.metadata.clone(),
                labels: record.config.labels.clone(),
                annotations: record.config.annotations.clone(),
            }),
            cpu: runs.then(|| cpu(&record.cgroups_path)).flatten(),
            memory: runs.then(|| memory(&record.cgroups_path, limit)).flatten(),
            writable_layer: None,
            swap: None,
            io: None,
        }
    }

    /// A pod's use: its parent cgroup where the kernel adds up (v1 hierarchies do, v2 does), and its containers'.
    pub(crate) fn sandbox_stats(&self, record: &SandboxRecord) -> pb::PodSandboxStats {
        let containers = self.containers_of(&record.id).into_iter().map(|container| container.record());
        let containers = containers.filter(|container| container.phase == ContainerPhase::Running);
        pb::PodSandboxStats {
            attributes: Some(pb::PodSandboxAttributes {
                id: record.id.clone(),
                metadata: record.config.metadata.clone(),
                labels: record.config.labels.clone(),
                annotations: record.config.annotations.clone(),
            }),
            linux: Some(pb::LinuxPodSandboxStats {
                cpu: cpu(&record.cgroup_parent),
                memory: memory(&record.cgroup_parent, 0),
                network: record.supervisor_pid.and_then(network),
                process: processes(&record.cgroup_parent),
                containers: containers.map(|container| self.container_stats(&container)).collect(),
                io: None,
            }),
            windows: None,
        }
    }
}

fn value(value: u64) -> Option<pb::UInt64Value> {
    Some(pb::UInt64Value { value })
}

fn cpu(cgroup: &str) -> Option<pb::CpuUsage> {
    let v1 = cgroup::read("cpuacct", cgroup, "cpuacct.usage").and_then(|text| text.trim().parse().ok());
    let nanoseconds = v1.or_else(|| {
        let microseconds = field(&cgroup::read("cpu", cgroup, "cpu.stat")?, "usage_usec")?;
        Some(microseconds * 1000)
    })?;
    Some(pb::CpuUsage {
        timestamp: now_ns(),
        usage_core_nano_seconds: value(nanoseconds),
        usage_nano_cores: None,
        psi: None,
    })
}

fn memory(cgroup: &str, limit: i64) -> Option<pb::MemoryUsage> {
    let number = |file: &str| cgroup::read("memory", cgroup, file)?.trim().parse::<u64>().ok();
    let usage = number("memory.usage_in_bytes").or_else(|| number("memory.current"))?;
    let stat = cgroup::read("memory", cgroup, "memory.stat")?;
    let of = |v1: &str, v2: &str| field(&stat, v1).or_else(|| field(&stat, v2));
    // What the kernel can take back without harm does not count: the kubelet evicts by this number.
    let working_set = usage.saturating_sub(of("total_inactive_file", "inactive_file").unwrap_or(0));
    let limit = u64::try_from(limit).ok().filter(|&limit| limit > 0);
    Some(pb::MemoryUsage {
        timestamp: now_ns(),
        working_set_bytes: value(working_set),
        available_bytes: limit.and_then(|limit| value(limit.saturating_sub(working_set))),
        usage_bytes: value(usage),
        rss_bytes: of("total_rss", "anon").and_then(value),
        page_faults: of("total_pgfault", "pgfault").and_then(value),
        major_page_faults: of("total_pgmajfault", "pgmajfault").and_then(value),
        psi: None,
    })
}

/// `name value` lines, as in memory.stat and cpu.stat.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn processes(cgroup: &str) -> Option<pb::ProcessUsage> {
    let count = cgroup::read("pids", cgroup, "pids.current")?.trim().parse().ok()?;
    Some(pb::ProcessUsage { timestamp: now_ns(), process_count: value(count) })
}

/// The interfaces of the pod, as its supervisor sees them (proc(5), /proc/net/dev).
fn network(pid: i32) -> Option<pb::NetworkUsage> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("net/dev")).ok()?;
    let interfaces: Vec<_> = text.lines().skip(2).filter_map(interface).filter(|usage| usage.name != "lo").collect();
    Some(pb::NetworkUsage { timestamp: now_ns(), default_interface: interfaces.first().cloned(), interfaces })
}

fn interface(line: &str) -> Option<pb::NetworkInterfaceUsage> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    Some(pb::NetworkInterfaceUsage {
        name: name.trim().to_owned(),
        rx_bytes: value(*numbers.first()?),
        rx_errors: value(*numbers.get(2)?),
        tx_bytes: value(*numbers.get(8)?),
        tx_errors: value(*numbers.get(10)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cgroup_versions_name_their_fields() {
        let v1 = "cache 5\ninactive_file 1\ntotal_inactive_file 7\n";
        assert_eq!((field(v1, "total_inactive_file"), field(v1, "inactive_file")), (Some(7), Some(1)));
        assert_eq!(field("usage_usec 12\n", "usage"), None);
    }

    #[test]
    fn an_interface_line_has_received_then_sent() {
        let line = "  eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0";
        let usage = interface(line).unwrap();
        let numbers = [usage.rx_bytes, usage.rx_errors, usage.tx_bytes, usage.tx_errors].map(|n| n.unwrap().value);
        assert_eq!((usage.name.as_str(), numbers), ("eth0", [100, 3, 200, 5]));
    }
}
