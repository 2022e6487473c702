//! What an engine's options of limits become in the container's cgroup: one table for podman and docker.

use crate::arena::Said;
use crate::engine::Engine;
use std::path::Path;

/// An option, and where its value arrives: controller, file and content on version 1 and on version 2.
struct Limit {
    option: &'static str,
    one: (&'static str, &'static str, &'static str),
    two: (&'static str, &'static str, &'static str),
}

const fn limit(
    option: &'static str,
    one: (&'static str, &'static str, &'static str),
    two: (&'static str, &'static str, &'static str),
) -> Limit {
    Limit { option, one, two }
}

/// Without a file of its own.
const NOWHERE: (&str, &str, &str) = ("", "", "");
/// Those that every engine gives on every host.
const PLAIN: &[Limit] = &[
    limit("--memory=64m", ("memory", "memory.limit_in_bytes", "67108864"), ("memory", "memory.max", "67108864")),
    limit("--memory-swap=128m", NOWHERE, NOWHERE),
    limit(
        "--memory-reservation=32m",
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.low", "33554432"),
    ),
    limit("--cpus=0.5", ("cpu", "cpu.cfs_quota_us", "50000"), ("cpu", "cpu.max", "50000 100000")),
    limit("--cpu-shares=512", ("cpu", "cpu.shares", "512"), NOWHERE),
    limit("--cpuset-cpus=0", ("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.cpus", "0")),
    limit("--pids-limit=50", ("pids", "pids.max", "50"), ("pids", "pids.max", "50")),
];
/// Those that an engine may leave out, or say otherwise: their files must be what they are with runc.
const RARE: &[Limit] = &[
    limit("--device-read-bps=/dev/vda:1mb", ("blkio", "blkio.throttle.read_bps_device", ""), ("io", "io.max", "")),
    limit("--blkio-weight=300", ("blkio", "blkio.bfq.weight", ""), ("io", "io.bfq.weight", "")),
    limit("--memory-swappiness=10", ("memory", "memory.swappiness", ""), NOWHERE),
];

/// What a container may not eat, and what eats it: dd wants a buffer that the group may not have.
pub(crate) const TIGHT: &[&str] = &["--memory=16m", "--memory-swap=16m"];
pub(crate) const EATS: &[&str] = &["dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
/// What the kernel's killer leaves of it.
pub(crate) const EATEN: i32 = 137;

/// Starts containers with the options and looks at their files.
pub(crate) fn reach_the_cgroup(engine: &impl Engine) {
    let options: Vec<_> = PLAIN.iter().map(|limit| limit.option).collect();
    let run = |options: &[&str]| engine.run(options, &["sleep", "1000"]);
    for (limit, shown) in PLAIN.iter().zip(shown(engine, run, &options, PLAIN)) {
        let (_, file, content) = limit.place();
        assert_eq!(shown.as_deref().unwrap_or_default(), content, "{}: {file}", limit.option);
    }
    for limit in RARE.iter().filter(|limit| engine.can(&[limit.option])) {
        let limits = std::slice::from_ref(limit);
        let ours = shown(engine, run, &[limit.option], limits);
        let by_runc = |options: &[&str]| engine.run_by_runc(options, &["sleep", "1000"]);
        assert_eq!(ours, shown(engine, by_runc, &[limit.option], limits), "{}", limit.option);
        println!("{}: {ours:?}", limit.option);
    }
    let said = engine.run(&[&["--rm"], TIGHT].concat(), EATS);
    assert_eq!(said.code, EATEN, "{said:?}");
}

/// What the files of `limits` show of a container that `run` starts with `options`; none where this kernel has no such file.
fn shown(
    engine: &impl Engine,
    run: impl Fn(&[&str]) -> Said,
    options: &[&str],
    limits: &[Limit],
) -> Vec<Option<String>> {
    run(&[&["-d", "--name=tight"], options].concat()).ok();
    let id = engine.call(&["inspect", "--format", "{{.Id}}", "tight"]).ok();
    let files = limits.iter().map(|limit| match limit.place() {
        NOWHERE => None,
        (controller, file, _) => engine.arena().limit_if_any(controller, &id, file),
    });
    let files = files.collect();
    engine.call(&["kill", "tight"]).ok();
    engine.call(&["rm", "-f", "tight"]).ok();
    files
}

impl Limit {
    /// Where it arrives on this host.
    fn place(&self) -> (&'static str, &'static str, &'static str) {
        if Path::new("/sys/fs/cgroup/memory").is_dir() { self.one } else { self.two }
    }
}
