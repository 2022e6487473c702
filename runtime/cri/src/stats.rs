//! What containers and pods use, read from their cgroups.

use crate::cgroup;
use crate::disk::{ContainerPhase, ContainerRecord, SandboxRecord};
use crate::error::CriError;
use crate::pace::{Pace, Sample};
use crate::state::{Container, Sandbox, Service, lock, now_ns};
use skiff_proto::cri::v1 as pb;
use std::path::Path;
use std::sync::Mutex;

impl Service {
    /// One container's use; a container that does not run uses nothing but what it wrote. Blocks: what it wrote is counted.
    pub(crate) fn container_stats(&self, container: &Container) -> Result<pb::ContainerStats, CriError> {
        let record = container.record();
        let runs = record.phase == ContainerPhase::Running;
        let cgroup = &record.cgroups_path;
        let cpu = || cpu(cgroup, record.started_at_ns, &container.pace);
        Ok(pb::ContainerStats {
            cpu: runs.then(cpu).flatten(),
            memory: runs.then(|| memory(cgroup, memory_limit(&record))).flatten(),
            writable_layer: self.written(&record)?,
            swap: runs.then(|| swap(cgroup)).flatten(),
            io: runs.then(|| io(cgroup)).flatten(),
            attributes: Some(pb::ContainerAttributes {
                id: record.id,
                metadata: record.config.metadata,
                labels: record.config.labels,
                annotations: record.config.annotations,
            }),
        })
    }

    /// A pod's use: its parent cgroup where the kernel adds up (v1 hierarchies do, v2 does), and its containers'. Blocks as
    /// [`Service::container_stats`] does.
    pub(crate) fn sandbox_stats(&self, sandbox: &Sandbox) -> Result<pb::PodSandboxStats, CriError> {
        let record = sandbox.record();
        let containers = self.containers_of(&record.id);
        let run = containers.iter().filter(|container| container.record().phase == ContainerPhase::Running);
        let containers = run.map(|container| self.container_stats(container)).collect::<Result<_, _>>()?;
        Ok(pb::PodSandboxStats {
            linux: Some(pb::LinuxPodSandboxStats {
                cpu: cpu(&record.cgroup_parent, record.created_at_ns, &sandbox.pace),
                memory: memory(&record.cgroup_parent, pod_memory_limit(&record)),
                network: record.supervisor_pid.and_then(network),
                process: processes(&record.cgroup_parent),
                containers,
                io: io(&record.cgroup_parent),
            }),
            windows: None,
            attributes: Some(pb::PodSandboxAttributes {
                id: record.id,
                metadata: record.config.metadata,
                labels: record.config.labels,
                annotations: record.config.annotations,
            }),
        })
    }

    /// What the container wrote over its image; nothing for one that is being made or taken away.
    fn written(&self, record: &ContainerRecord) -> Result<Option<pb::FilesystemUsage>, CriError> {
        let there = !matches!(record.phase, ContainerPhase::Creating | ContainerPhase::Removing);
        let usage = if there { self.images.written(&record.id)? } else { None };
        Ok(usage.map(|usage| filesystem(&usage)))
    }
}

/// A file system's use in CRI's words.
pub(crate) fn filesystem(usage: &skiff_image::Usage) -> pb::FilesystemUsage {
    pb::FilesystemUsage {
        timestamp: now_ns(),
        fs_id: Some(pb::FilesystemIdentifier { mountpoint: usage.at.to_string_lossy().into_owned() }),
        used_bytes: value(usage.bytes_used),
        inodes_used: value(usage.inodes_used),
    }
}

fn memory_limit(record: &ContainerRecord) -> i64 {
    let resources = record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    resources.map_or(0, |resources| resources.memory_limit_in_bytes)
}

/// The pod's limit as the kubelet announces it (LinuxPodSandboxConfig.resources); the kubelet itself sets it.
fn pod_memory_limit(record: &SandboxRecord) -> i64 {
    let resources = record.config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    resources.map_or(0, |resources| resources.memory_limit_in_bytes)
}

fn value(value: u64) -> Option<pb::UInt64Value> {
    Some(pb::UInt64Value { value })
}

fn cpu(cgroup: &str, began_ns: i64, pace: &Mutex<Pace>) -> Option<pb::CpuUsage> {
    let v1 = cgroup::read("cpuacct", cgroup, "cpuacct.usage").and_then(|text| text.trim().parse().ok());
    let nanoseconds = v1.or_else(|| {
        let microseconds = field(&cgroup::read("cpu", cgroup, "cpu.stat")?, "usage_usec")?;
        Some(microseconds * 1000)
    })?;
    let now = now_ns();
    let nano_cores = lock(pace).at(began_ns, Sample { at_ns: now, used_ns: nanoseconds });
    Some(pb::CpuUsage {
        timestamp: now,
        usage_core_nano_seconds: value(nanoseconds),
        usage_nano_cores: value(nano_cores),
        psi: pressure(cgroup, "cpu.pressure"),
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
        psi: pressure(cgroup, "memory.pressure"),
    })
}

/// Version 1 counts memory and swap together; a kernel that does not account swap has neither file.
fn swap(cgroup: &str) -> Option<pb::SwapUsage> {
    let number = |file: &str| cgroup::read("memory", cgroup, file)?.trim().parse::<u64>().ok();
    let (used, limit) = match number("memory.memsw.usage_in_bytes") {
        Some(both) => (both.saturating_sub(number("memory.usage_in_bytes")?), None),
        None => (number("memory.swap.current")?, number("memory.swap.max")),
    };
    Some(pb::SwapUsage {
        timestamp: now_ns(),
        swap_available_bytes: limit.and_then(|limit| value(limit.saturating_sub(used))),
        swap_usage_bytes: value(used),
    })
}

fn io(cgroup: &str) -> Option<pb::IoUsage> {
    Some(pb::IoUsage { timestamp: now_ns(), psi: Some(pressure(cgroup, "io.pressure")?) })
}

/// Stalls (kernel, accounting/psi.rst); only version 2 counts them by cgroup.
fn pressure(cgroup: &str, file: &str) -> Option<pb::PsiStats> {
    let text = cgroup::read("", cgroup, file)?;
    Some(pb::PsiStats { full: stalls(&text, "full"), some: stalls(&text, "some") })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, the total in microseconds; CRI wants nanoseconds.
fn stalls(text: &str, kind: &str) -> Option<pb::PsiData> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(' '))?;
    let of = |name: &str| line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let average = |name: &str| of(name)?.parse::<f64>().ok();
    Some(pb::PsiData {
        total: of("total")?.parse::<u64>().ok()?.saturating_mul(1000),
        avg10: average("avg10")?,
        avg60: average("avg60")?,
        avg300: average("avg300")?,
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
    fn stalls_are_told_in_nanoseconds() {
        let text = "some avg10=0.00 avg60=1.50 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=3\n";
        let (some, full) = (stalls(text, "some").unwrap(), stalls(text, "full").unwrap());
        assert_eq!((some.total, some.avg60, full.total, full.avg300), (7000, 1.5, 3000, 0.25));
    }

    #[test]
    fn an_interface_line_has_received_then_sent() {
        let line = "  eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0";
        let usage = interface(line).unwrap();
        let numbers = [usage.rx_bytes, usage.rx_errors, usage.tx_bytes, usage.tx_errors].map(|n| n.unwrap().value);
        assert_eq!((usage.name.as_str(), numbers), ("eth0", [100, 3, 200, 5]));
    }
}
