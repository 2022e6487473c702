//! What the node and its containers use at the moment, for metrics and the summary.

use crate::agent::Agent;
use crate::board::Posted;
use crate::pod::observed::{Life, moment};
use jiff::Timestamp;
use serde_json::{Value, json};
use skiff_proto::cri::v1::{ContainerStats, UInt64Value};
use std::path::Path;

/// The node.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct NodeUsage {
    /// All processors together, since the node's start.
    pub(super) cpu_ns: Option<u64>,
    /// Memory that cannot be had back at once.
    pub(super) working_set: Option<u64>,
    pub(super) available: Option<u64>,
    /// Bytes of the filesystem of pods: all, used, available.
    pub(super) disk: Option<[u64; 3]>,
}

/// One pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PodUsage {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) started: Option<Timestamp>,
    pub(super) containers: Vec<ContainerUsage>,
}

/// One of its containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ContainerUsage {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) image: String,
    pub(super) started: Option<Timestamp>,
    pub(super) at: Option<Timestamp>,
    pub(super) cpu_ns: Option<u64>,
    pub(super) nano_cores: Option<u64>,
    pub(super) working_set: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) rss: Option<u64>,
    /// Bytes of its writable layer.
    pub(super) layer: Option<u64>,
}

impl PodUsage {
    /// The sum over those containers that it is known of.
    pub(super) fn sum(&self, value: impl Fn(&ContainerUsage) -> Option<u64>) -> Option<u64> {
        self.containers.iter().filter_map(value).reduce(u64::saturating_add)
    }
}

/// Asks the runtime and the kernel.
pub(super) async fn read(agent: &Agent) -> Result<(NodeUsage, Vec<PodUsage>), tonic::Status> {
    let stats = agent.cri.container_stats().await?;
    let pods = agent.board.all().iter().map(|posted| pod(posted, &stats)).collect();
    Ok((node(&agent.root_dir), pods))
}

fn number(value: Option<&UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

fn pod(posted: &Posted, stats: &[ContainerStats]) -> PodUsage {
    let meta = &posted.pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let containers = stats.iter().filter_map(|stats| {
        let instance = posted.seen.containers.get(&stats.attributes.as_ref()?.id)?;
        let Life::Running { started_at } = instance.life else { return None };
        let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
        Some(ContainerUsage {
            name: instance.name.clone(),
            id: instance.id.clone(),
            image: instance.image.clone(),
            started: Some(started_at),
            at: Some(moment(cpu.timestamp)).filter(|at| *at != Timestamp::UNIX_EPOCH),
            cpu_ns: number(cpu.usage_core_nano_seconds.as_ref()),
            nano_cores: number(cpu.usage_nano_cores.as_ref()),
            working_set: number(memory.working_set_bytes.as_ref()),
            memory: number(memory.usage_bytes.as_ref()),
            rss: number(memory.rss_bytes.as_ref()),
            layer: stats.writable_layer.as_ref().and_then(|layer| number(layer.used_bytes.as_ref())),
        })
    });
    PodUsage {
        name: text(&meta.name),
        namespace: text(&meta.namespace),
        uid: text(&meta.uid),
        started: posted.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|at| at.0),
        containers: containers.collect(),
    }
}

fn node(root: &Path) -> NodeUsage {
    // What cannot be read is not told.
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0);
    let (total, available) = (kibibytes(&memory, "MemTotal:"), kibibytes(&memory, "MemAvailable:"));
    let disk = nix::sys::statvfs::statvfs(root).ok().map(|at| {
        let bytes = |blocks: u64| blocks.saturating_mul(at.fragment_size());
        [bytes(at.blocks()), bytes(at.blocks().saturating_sub(at.blocks_free())), bytes(at.blocks_available())]
    });
    NodeUsage {
        cpu_ns: busy_ticks(&stat).zip(ticks).map(|(busy, ticks)| busy.saturating_mul(1_000_000_000 / ticks)),
        working_set: total.zip(available).map(|(total, available)| total.saturating_sub(available)),
        available,
        disk,
    }
}

/// What all processors did but idle and wait for disks, in clock ticks (proc_stat(5)). Time of guests is in that of users.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7];
    Some(busy.into_iter().filter_map(|index| numbers.get(index)).sum())
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// `/stats/summary`, the part that the metrics server, `kubectl` and autoscalers read; `levels` are what is left and what there is of each signal of
/// eviction.
pub(super) fn summary(
    name: &str,
    node: &NodeUsage,
    pods: &[PodUsage],
    levels: &[(&str, i64, i64)],
    now: Timestamp,
) -> Value {
    let memory = |working_set: Option<u64>, usage: Option<u64>, rss: Option<u64>| json!({"time": now, "workingSetBytes": working_set, "usageBytes": usage, "rssBytes": rss});
    let container = |one: &ContainerUsage| {
        json!({
            "name": one.name, "startTime": one.started,
            "cpu": {"time": one.at.unwrap_or(now), "usageCoreNanoSeconds": one.cpu_ns, "usageNanoCores": one.nano_cores},
            "memory": memory(one.working_set, one.memory, one.rss),
            "rootfs": {"time": now, "usedBytes": one.layer},
        })
    };
    let pod = |pod: &PodUsage| {
        json!({
            "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}, "startTime": pod.started,
            "cpu": {"time": now, "usageCoreNanoSeconds": pod.sum(|one| one.cpu_ns), "usageNanoCores": pod.sum(|one| one.nano_cores)},
            "memory": memory(pod.sum(|one| one.working_set), pod.sum(|one| one.memory), pod.sum(|one| one.rss)),
            "containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
        })
    };
    let level = |name: &str| levels.iter().find(|(signal, ..)| *signal == name).map(|(_, left, all)| (*left, *all));
    let (left, all) = (|name| level(name).map(|(left, _)| left), |name| level(name).map(|(_, all)| all));
    let [capacity, used, available] = node.disk.map_or([None; 3], |disk| disk.map(Some));
    json!({
        "node": {
            "nodeName": name,
            "cpu": {"time": now, "usageCoreNanoSeconds": node.cpu_ns},
            "memory": {"time": now, "workingSetBytes": node.working_set, "availableBytes": node.available},
            "fs": {"time": now, "capacityBytes": capacity, "usedBytes": used, "availableBytes": available,
                "inodesFree": left("nodefs.inodesFree"), "inodes": all("nodefs.inodesFree")},
            "runtime": {"imageFs": {"time": now, "availableBytes": left("imagefs.available"), "capacityBytes": all("imagefs.available"),
                "inodesFree": left("imagefs.inodesFree"), "inodes": all("imagefs.inodesFree")}},
            "rlimit": {"time": now, "maxpid": all("pid.available"), "curproc": level("pid.available").map(|(left, all)| all - left)},
        },
        "pods": pods.iter().map(pod).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_figures_are_read() {
        let stat = "cpu  10 20 30 1000 50 6 7 8 9 10\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), Some(10 + 20 + 30 + 6 + 7 + 8));
        assert_eq!(kibibytes("MemTotal:       2048 kB\n", "MemTotal:"), Some(2048 * 1024));
        assert_eq!((busy_ticks(""), kibibytes("", "MemTotal:")), (None, None));
    }

    #[test]
    fn a_pod_is_the_sum_of_its_containers() {
        let container = |cpu_ns| ContainerUsage { cpu_ns, ..ContainerUsage::default() };
        let pod = PodUsage {
            containers: vec![container(Some(1)), container(None), container(Some(2))],
            ..PodUsage::default()
        };
        assert_eq!((pod.sum(|one| one.cpu_ns), pod.sum(|one| one.memory)), (Some(3), None));
        let all = summary("n", &NodeUsage::default(), &[pod], &[], Timestamp::UNIX_EPOCH);
        assert_eq!(all["pods"][0]["cpu"]["usageCoreNanoSeconds"], 3);
    }
}
