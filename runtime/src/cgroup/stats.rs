//! What a container has used, in the shape that `runc events` prints (its `types/events.go`): numbers that are zero are left
//! out where runc leaves them out, and units are those of version 1 (nanoseconds, bytes, memory plus swap).

mod cpu;
mod io;
mod memory;

use super::hierarchy::Version;
use super::plan::Group;
use serde_json::{Map, Value, json};

/// Everything, read from the group's files as they are now. What the group does not count is missing.
pub(crate) fn stats(group: &dyn Group) -> Value {
    json!({
        "cpu": cpu::time(group),
        "cpuset": cpu::sets(group),
        "memory": memory::stats(group),
        "pids": pids(group),
        "blkio": io::stats(group),
        "hugetlb": huge_pages(group),
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

/// An object without the numbers that are zero.
fn without_zeros<const N: usize>(fields: [(&str, u64); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .filter(|(_, number)| *number != 0)
        .map(|(name, number)| (name.to_owned(), number.into()))
        .collect()
}

/// The number in a file; `max` is the largest, as runc has it. 0 where there is none.
fn number(group: &dyn Group, controller: &str, file: &str) -> u64 {
    group.read(controller, file).map_or(0, |text| parse(&text))
}

fn parse(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// The number after `key` in a file of lines `key number`.
pub(super) fn keyed(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key).map_or(0, |(_, number)| parse(number))
}

fn pids(group: &dyn Group) -> Map<String, Value> {
    // For runc, 0 is no limit.
    let limit = match number(group, "pids", "pids.max") {
        u64::MAX => 0,
        limit => limit,
    };
    without_zeros([("current", number(group, "pids", "pids.current")), ("limit", limit)])
}

fn huge_pages(group: &dyn Group) -> Map<String, Value> {
    let Some(version) = group.version("hugetlb") else { return Map::new() };
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let sizes = sizes.filter_map(|entry| size_name(entry.file_name().to_str()?));
    let of = |size: String| {
        let read = |end: &str| number(group, "hugetlb", &format!("hugetlb.{size}{end}"));
        let (used, most, failed) = match version {
            Version::One => (read(".rsvd.usage_in_bytes"), read(".rsvd.max_usage_in_bytes"), read(".rsvd.failcnt")),
            Version::Two => {
                let events = group.read("hugetlb", &format!("hugetlb.{size}.events")).unwrap_or_default();
                (read(".rsvd.current"), 0, keyed(&events, "max"))
            }
        };
        let mut entry = without_zeros([("usage", used), ("max", most)]);
        entry.insert("failcnt".to_owned(), failed.into());
        (size, Value::from(entry))
    };
    sizes.map(of).collect()
}

/// `hugepages-2048kB` as the controller's files name it: `2MB`.
fn size_name(folder: &str) -> Option<String> {
    let kib: u64 = folder.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kib {
        kib if kib % (1 << 20) == 0 => format!("{}GB", kib >> 20),
        kib if kib % (1 << 10) == 0 => format!("{}MB", kib >> 10),
        kib => format!("{kib}KB"),
    })
}

/// Pressure (kernel accounting/psi): `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`; version 2 only.
fn pressure(group: &dyn Group, file: &str) -> Option<Value> {
    let text = group.read("cgroup", file)?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let number = |(key, value): (&str, &str)| {
            let value = match key {
                "total" => Value::from(value.parse::<u64>().ok()?),
                _ => Value::from(value.parse::<f64>().ok()?),
            };
            Some((key.to_owned(), value))
        };
        let numbers: Map<_, _> = words.filter_map(|word| number(word.split_once('=')?)).collect();
        Some((name, Value::from(numbers)))
    };
    Some(text.lines().filter_map(line).collect::<Map<_, _>>().into())
}

#[cfg(test)]
mod tests {
    use super::super::plan::Paper;
    use super::*;

    #[test]
    fn version_1_in_the_shape_of_runc() {
        let group = Paper::version_1()
            .with("cpuacct", "cpuacct.usage", "3000\n")
            .with("cpuacct", "cpuacct.stat", "user 1\nsystem 2\n")
            .with("cpuacct", "cpuacct.usage_all", "cpu user system\n0 10 20\n1 30 40\n")
            .with("cpuacct", "cpuacct.usage_percpu", "30 70 \n")
            .with("cpu", "cpu.stat", "nr_periods 5\nnr_throttled 0\nthrottled_time 7\n")
            .with("memory", "memory.usage_in_bytes", "100\n")
            .with("memory", "memory.max_usage_in_bytes", "200\n")
            .with("memory", "memory.failcnt", "0\n")
            .with("memory", "memory.limit_in_bytes", "9223372036854771712\n")
            .with("memory", "memory.stat", "cache 40\nrss 60\n")
            .with("pids", "pids.current", "3\n")
            .with("pids", "pids.max", "max\n")
            .with("blkio", "blkio.throttle.io_serviced_recursive", "8:0 Read 4\n8:0 Total 4\nTotal 4\n");
        let stats = stats(&group);
        assert_eq!(
            stats["cpu"],
            json!({"usage": {"total": 3000, "percpu": [30, 70], "percpu_kernel": [20, 40], "percpu_user": [10, 30],
                             "kernel": 20_000_000, "user": 10_000_000},
                   "throttling": {"periods": 5, "throttledTime": 7}})
        );
        assert_eq!(stats["pids"], json!({"current": 3}));
        assert_eq!(
            stats["memory"]["usage"],
            json!({"limit": 9_223_372_036_854_771_712_u64, "usage": 100, "max": 200, "failcnt": 0})
        );
        assert_eq!((&stats["memory"]["cache"], &stats["memory"]["raw"]["rss"]), (&json!(40), &json!(60)));
        let read = json!({"major": 8, "op": "Read", "value": 4});
        assert_eq!(stats["blkio"]["ioServicedRecursive"], json!([read, {"major": 8, "op": "Total", "value": 4}]));
    }

    #[test]
    fn version_2_in_the_units_of_version_1() {
        let group = Paper::version_2()
            .with("cgroup", "cpu.stat", "usage_usec 3\nuser_usec 1\nsystem_usec 2\nnr_periods 0\n")
            .with("cgroup", "cpu.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n")
            .with("memory", "memory.current", "100\n")
            .with("memory", "memory.max", "max\n")
            .with("memory", "memory.swap.current", "10\n")
            .with("memory", "memory.swap.max", "50\n")
            .with("memory", "memory.stat", "anon 60\nfile 40\n")
            .with("io", "io.stat", "8:0 rbytes=512 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n");
        let stats = stats(&group);
        assert_eq!(stats["cpu"]["usage"], json!({"total": 3000, "kernel": 2000, "user": 1000}));
        assert_eq!(stats["cpu"]["psi"], json!({"some": {"avg10": 0.5, "avg60": 0.0, "avg300": 0.0, "total": 9}}));
        assert_eq!(stats["memory"]["usage"], json!({"limit": u64::MAX, "usage": 100, "failcnt": 0}));
        assert_eq!(stats["memory"]["swap"]["usage"], json!(110), "with memory, as version 1 counts");
        assert_eq!(stats["memory"]["cache"], json!(40));
        assert_eq!(stats["blkio"]["ioServiceBytesRecursive"][0], json!({"major": 8, "op": "Read", "value": 512}));
    }

    #[test]
    fn sizes_of_huge_pages_are_named_as_the_files_are() {
        let names = ["hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB"].map(|name| size_name(name).unwrap());
        assert_eq!(names, ["64KB", "2MB", "1GB"]);
    }
}
