//! Whatever somebody writes into config.json or on the command line is accepted or refused: never a panic.

use super::{Chance, runs};
use crate::plan::{Plan, Rights};
use crate::spec::Spec;
use crate::spec::config::{self, Config};
use serde_json::{Map, Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// A configuration that is accepted, with `value` at `key`.
fn part(key: &str, value: Value) -> Value {
    let mut config = json!({"ociVersion": "1.2.0", "root": {"path": "r"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["a"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "network"}, {"type": "uts"}]}});
    match key.strip_prefix("linux.") {
        Some(key) => config["linux"][key] = value,
        None => config[key] = value,
    }
    config
}

/// Configurations that are accepted, each about something else, so that one run is short.
fn bases() -> Vec<Value> {
    let mut bases = small();
    bases.extend(large());
    bases
}

/// Those that have lists of much in them: users that are mapped, a whole process, mounts of every sort, resources, filters. A change in one
/// of them meets a rule about what stands beside it.
fn large() -> Vec<Value> {
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 10, "hostID": 5000, "size": 1}]);
    let mut users = part("linux.uidMappings", maps.clone());
    users["linux"]["gidMappings"] = maps.clone();
    users["linux"]["namespaces"] =
        json!([{"type": "user"}, {"type": "mount"}, {"type": "time"}, {"type": "pid", "path": "/p"}]);
    users["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1, "nanosecs": 2}});
    vec![
        part(
            "process",
            json!({"user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}, "args": ["a"], "cwd": "/",
            "env": ["A=b", "PATH=/bin"], "terminal": true, "consoleSize": {"height": 1, "width": 2}, "oomScoreAdj": 7,
            "capabilities": {"bounding": ["CAP_KILL"], "ambient": []}, "noNewPrivileges": true,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}],
            "scheduler": {"policy": "SCHED_OTHER", "nice": 3, "flags": []}, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
            "execCPUAffinity": {"initial": "0-1", "final": "1"}}),
        ),
        part(
            "mounts",
            json!([
            {"destination": "/a", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k", "tmpcopyup"]},
            {"destination": "/b", "type": "bind", "source": "/x", "options": ["rbind", "rro", "rprivate", "idmap"],
             "uidMappings": maps, "gidMappings": maps},
            {"destination": "/c", "type": "devpts", "source": "devpts", "options": ["newinstance", "gid=5", "ro", "nodev"]}]),
        ),
        part(
            "linux.resources",
            json!({
            "memory": {"limit": 1_000_000, "swap": 2_000_000, "reservation": 1, "swappiness": 60, "disableOOMKiller": false},
            "cpu": {"shares": 512, "quota": 1, "period": 100_000, "cpus": "0-3,7", "mems": "0", "burst": 5, "idle": 1},
            "pids": {"limit": 7}, "unified": {"memory.high": "1"}, "network": {"classID": 1, "priorities": [{"name": "a", "priority": 1}]},
            "blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 5}], "rdma": {"m": {"hcaHandles": 1}}}),
        ),
        part(
            "linux.resources",
            json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}, {"allow": true, "type": "b", "major": -1, "access": "m"}]}),
        ),
        part(
            "linux.devices",
            json!([{"path": "/dev/a", "type": "c", "major": 1, "minor": 2, "fileMode": 438, "uid": 0, "gid": 0}]),
        ),
        users,
        part("linux.sysctl", json!({"kernel.msgmax": "1", "net/ipv4/conf/eth0.1/forwarding": "1"})),
        part(
            "linux.seccomp",
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["read", "socket"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}]}]}),
        ),
    ]
}

/// Those about one setting each, so that a change by chance is likely to meet it: in a large one it would meet it once in a hundred times.
fn small() -> Vec<Value> {
    vec![
        part("linux.maskedPaths", json!(["/proc/kcore", "/a/b"])),
        part("linux.cgroupsPath", json!("system.slice:skiff:a")),
        part("linux.rootfsPropagation", json!("rslave")),
        part("linux.personality", json!({"domain": "LINUX32"})),
        part("linux.memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0-1", "flags": []})),
        part("linux.netDevices", json!({"eth7": {"name": "eth0"}})),
        part("hooks", json!({"poststop": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 3}]})),
        part("hostname", json!("box")),
        part("annotations", json!({"a": "b"})),
    ]
}

/// Words that mean something somewhere.
const WORDS: &[&str] = &[
    "",
    "/",
    "..",
    "/../x",
    "a/../b",
    "//",
    "\u{0}",
    "a\u{0}b",
    "\u{fc}\u{1f6f6}",
    "-1",
    "0",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "rro",
    "bind",
    "mode=",
    "mode=9",
    "size=-1",
    "idmap=uids=0-1-2#3-4-5;gids=x",
    "ridmap",
    "=",
    "lowerdir=a:b,upperdir=c",
    "0-",
    "-3",
    "3-1",
    "0-99999999999",
    "0,,1",
    "CAP_",
    "CAP_ALL",
    "SCMP_ACT_NOTIFY",
    "SCHED_DEADLINE",
    "RLIMIT_X",
    "a:b:c",
    ":::",
    "system.slice:a",
    "kernel.msgmax",
    "net.",
    "user",
    "time",
    "L3:0=zz",
    "c",
    "b",
    "p",
    "rwm",
    "rwmx",
    "*",
    "2MB",
    "1024PB",
    "shared",
    "tmpfs",
    "overlay",
    "cgroup",
    "proc",
];

/// A value that is no list and no object: extremes of numbers, words that mean something elsewhere, paths that lead out, nothing.
fn scalar(chance: &mut Chance) -> Value {
    const NUMBERS: &[i64] = &[0, 1, -1, 2, 7, 64, 255, 256, 4095, 65_535, 65_536, 1 << 31, 1 << 32, i64::MAX, i64::MIN];
    match chance.below(8) {
        0 => Value::Null,
        1 => json!(chance.one_in(2)),
        2 | 3 => json!(chance.pick(NUMBERS)),
        4 => json!(chance.next()),
        5 => json!("x".repeat(usize::try_from(chance.below(300)).unwrap())),
        6 => json!(1.5),
        _ => json!(chance.pick(WORDS)),
    }
}

/// Walks to a random place and changes what is there.
fn change(value: &mut Value, chance: &mut Chance) {
    let stops = chance.one_in(4);
    match value {
        Value::Object(map) if !map.is_empty() && !stops => {
            let keys: Vec<String> = map.keys().cloned().collect();
            change(&mut map[chance.pick(&keys)], chance);
        }
        Value::Array(list) if !list.is_empty() && !stops => {
            let at = usize::try_from(chance.below(list.len() as u64)).unwrap();
            change(&mut list[at], chance);
        }
        Value::Object(map) => change_object(map, chance),
        Value::Array(list) => match chance.below(3) {
            0 => list.push(scalar(chance)),
            1 => list.extend(list.clone()),
            _ => drop(list.pop()),
        },
        Value::String(text) if chance.one_in(2) => change_text(text, chance),
        other => {
            *other = if chance.one_in(6) { json!([scalar(chance), {"a": scalar(chance)}]) } else { scalar(chance) }
        }
    }
}

/// Takes a field away, gives it another name or a value from elsewhere. Names that are known somewhere are likelier to be read than such as
/// are known nowhere.
fn change_object(map: &mut Map<String, Value>, chance: &mut Chance) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = if keys.is_empty() { "a".to_owned() } else { chance.pick(&keys).clone() };
    match chance.below(3) {
        0 => drop(map.remove(&key)),
        1 => drop(map.insert((*chance.pick(WORDS)).to_owned(), scalar(chance))),
        _ => drop(map.insert(key, scalar(chance))),
    }
}

/// Cuts a text off, repeats it, or puts signs into it that separate something: slashes, colons, commas, null bytes.
fn change_text(text: &mut String, chance: &mut Chance) {
    let mut letters: Vec<char> = text.chars().collect();
    let at = usize::try_from(chance.below(letters.len() as u64 + 1)).unwrap();
    match chance.below(4) {
        0 => letters.truncate(at),
        1 => letters.insert(at, *chance.pick(&['=', ':', ',', '-', '/', '.', '0', '9', '\0', '\u{fc}', '#', ';', ' '])),
        2 => letters.extend(chance.pick(WORDS).chars()),
        _ => drop(letters.pop()),
    }
    *text = letters.into_iter().collect();
}

/// All that a command does with a config.json before it acts.
fn digest(bytes: &[u8]) -> bool {
    let Ok(written) = config::parse::<Config>("", "config.json", bytes) else { return false };
    let Ok(spec) = Spec::check("fuzz", Path::new("/bundle"), &written) else { return false };
    crate::cgroup::on_paper(&spec.limits);
    // Both, for an ordinary user is refused more.
    [Rights::Host, Rights::Ordinary].map(|rights| Plan::of(&spec, rights)).iter().any(std::result::Result::is_ok)
}

/// What `act` makes of an input.
///
/// # Panics
/// When `act` does, with the input and the seed that leads to it once more.
fn survives<T>(input: impl Fn() -> String, chance: &Chance, act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| panic!("{chance} panicked on {}", input()))
}

/// And one in twenty is accepted at least, or the changes would be so coarse that nothing behind the first check is ever reached.
#[test]
fn no_config_makes_the_runtime_panic() {
    let (bases, mut chance) = (bases(), Chance::seeded("config"));
    let refused: Vec<_> = bases.iter().filter(|base| !digest(base.to_string().as_bytes())).collect();
    assert!(refused.is_empty(), "refused as they are: {refused:#?}");
    let mut accepted = 0_u64;
    for _ in 0..runs() {
        let mut value = chance.pick(&bases).clone();
        for _ in 0..=chance.below(3) {
            change(&mut value, &mut chance);
        }
        let mut bytes = value.to_string().into_bytes();
        if chance.one_in(10) {
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            bytes[at] = chance.next().to_le_bytes()[0];
        }
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        accepted += u64::from(survives(text, &chance, || digest(&bytes)));
    }
    // Mutations that nearly always break something would test the first check only.
    assert!(accepted > runs() / 20, "{accepted} of {} are accepted", runs());
}

/// Options may be known or not, have a value or none, and stand before or behind the command.
#[test]
fn no_word_makes_the_command_line_panic() {
    const MORE: &[&str] = &[
        "exec",
        "create",
        "run",
        "kill",
        "delete",
        "update",
        "events",
        "ps",
        "list",
        "spec",
        "--user",
        "-u",
        "--user=1:2",
        "1:2",
        "-e",
        "--env=A",
        "--cap",
        "CAP_KILL",
        "-d",
        "--",
        "-",
        "--root",
        "--log-format=json",
        "--preserve-fds",
        "--bundle=",
        "id",
        "-dt",
        "--force=false",
        "--additional-gids",
        "KILL",
        "SIGRTMIN+3",
        "RTMAX-99",
        "-9",
        "--tty=maybe",
        "--interval",
        "5s",
    ];
    let mut chance = Chance::seeded("words");
    for _ in 0..runs() {
        let words: Vec<String> = (0..chance.below(9))
            .map(|_| {
                let list = if chance.one_in(3) { WORDS } else { MORE };
                let mut word = (*chance.pick(list)).to_owned();
                if chance.one_in(4) {
                    change_text(&mut word, &mut chance);
                }
                word
            })
            .collect();
        survives(|| format!("{words:?}"), &chance, || crate::cmd::on_paper(&words));
    }
}
