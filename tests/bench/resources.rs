//! What a node takes while nothing happens: memory, processor, disk; and how large the programs are.

use crate::Figure;
use serde_json::json;
use skiff_harness::TestNode;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(30);
/// After the start, informers and leases settle.
const SETTLE: Duration = Duration::from_secs(10);
const PODS: usize = 10;
/// Clock ticks a second, as the kernel reports times (proc_pid_stat(5)); 100 on every Linux port that we know.
const TICKS: f64 = 100.0;

fn mib(kib: u64) -> String {
    format!("{}.{} MiB", kib / 1024, kib % 1024 * 10 / 1024)
}

/// A field of /proc/PID/smaps_rollup, in KiB.
fn memory(pid: i32, field: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// User and system time in ticks.
fn ticks(pid: i32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u32>().ok()).sum()
}

/// Bytes that were sent to the disk.
fn written(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

fn processor_and_disk(pid: i32, when: &str) -> Vec<Figure> {
    std::thread::sleep(SETTLE);
    let before = (ticks(pid), written(pid));
    std::thread::sleep(IDLE);
    let percent = f64::from(ticks(pid) - before.0) / TICKS / IDLE.as_secs_f64() * 100.0;
    let bytes = (written(pid) - before.1) / IDLE.as_secs();
    vec![
        Figure::new(format!("processor, {when}"), format!("{percent:.2} % of one core")),
        Figure::new(format!("disk writes, {when}"), format!("{bytes} B/s")),
    ]
}

/// What the node's process takes.
fn node_memory(node: &TestNode, when: &str) -> Vec<Figure> {
    let figure = |name: &str, field: &str| {
        Figure::new(format!("memory of `skiff up`, {when}, {name}"), mib(memory(node.pid(), field)))
    };
    vec![figure("PSS", "Pss"), figure("RSS", "Rss")]
}

/// Memory, processor and disk of a node without pods.
pub(crate) fn idle(node: &TestNode) -> Vec<Figure> {
    let mut figures = processor_and_disk(node.pid(), "idle, no pods");
    figures.extend(node_memory(node, "no pods"));
    figures
}

/// Memory that stays with a node after all pods of a burst are gone.
pub(crate) fn after_burst(node: &TestNode) -> Vec<Figure> {
    std::thread::sleep(SETTLE);
    node_memory(node, "after the bursts")
}

/// Supervisors of this node: they are started from its run folder, where the programs of its data folder are shown read-only.
fn supervisors(node: &TestNode) -> Vec<i32> {
    let program = node.run_dir().join("bin/skiff-oci");
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path == program)).collect()
}

/// The same with pods, and what their supervisors take.
pub(crate) fn with_pods(node: &TestNode) -> Vec<Figure> {
    let container = json!({"name": "web", "image": "skiff.local/demo"});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle"},
        "spec": {
            "replicas": PODS, "selector": {"matchLabels": {"app": "idle"}},
            "template": {"metadata": {"labels": {"app": "idle"}}, "spec": {"containers": [container]}},
        },
    });
    node.apply(&deployment.to_string());
    node.ready_pods("app=idle", PODS);
    let mut figures = processor_and_disk(node.pid(), &format!("{PODS} pods"));
    let all = supervisors(node);
    let sum = |field: &str| all.iter().map(|pid| memory(*pid, field)).sum::<u64>();
    let number = u64::try_from(all.len().max(1)).unwrap();
    figures.extend(node_memory(node, &format!("{PODS} pods")));
    for (name, fields) in [("PSS", &["Pss"][..]), ("RSS", &["Rss"]), ("private", &["Private_Clean", "Private_Dirty"])] {
        let each = fields.iter().map(|field| sum(field)).sum::<u64>() / number;
        figures.push(Figure::new(format!("memory of one of {} supervisors, {name}", all.len()), format!("{each} KiB")));
    }
    figures
}

/// Sizes of the programs.
pub(crate) fn sizes(node: &TestNode) -> Vec<Figure> {
    let size = |path: &std::path::Path| mib(std::fs::metadata(path).unwrap().len() / 1024);
    let skiff = skiff_harness::skiff();
    vec![
        Figure::new("size of skiff", size(std::path::Path::new(skiff.get_program()))),
        Figure::new("size of skiff-oci", size(&node.data().join("bin/skiff-oci"))),
    ]
}
