//! `update`: other limits for a running container.

use super::Context;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::rdt::Membership;
use crate::spec::{Limits, config, schemata};
use crate::state::{Container, Status};
use serde_json::{Value, json};
use std::io::Read;

const fn value(name: &'static str) -> Opt {
    Opt(name, None, Takes::Value)
}

/// Those of runc.
pub(super) const OPTIONS: &[Opt] = &[
    Opt("resources", Some('r'), Takes::Value),
    value("blkio-weight"),
    value("cpu-period"),
    value("cpu-quota"),
    value("cpu-burst"),
    value("cpu-share"),
    value("cpu-rt-period"),
    value("cpu-rt-runtime"),
    value("cpu-idle"),
    value("cpuset-cpus"),
    value("cpuset-mems"),
    value("kernel-memory"),
    value("kernel-memory-tcp"),
    value("memory"),
    value("memory-reservation"),
    value("memory-swap"),
    value("pids-limit"),
    value("l3-cache-schema"),
    value("mem-bw-schema"),
    super::HELP,
];

/// How an option is written.
enum Kind {
    Number,
    /// `64m`, `1.5GiB`, `-1`.
    Bytes,
    Text,
}

/// Each option's place in `linux.resources`.
const FIELDS: &[(&str, &str, &str, Kind)] = &[
    ("blkio-weight", "blockIO", "weight", Kind::Number),
    ("cpu-period", "cpu", "period", Kind::Number),
    ("cpu-quota", "cpu", "quota", Kind::Number),
    ("cpu-burst", "cpu", "burst", Kind::Number),
    ("cpu-share", "cpu", "shares", Kind::Number),
    ("cpu-rt-period", "cpu", "realtimePeriod", Kind::Number),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", Kind::Number),
    ("cpu-idle", "cpu", "idle", Kind::Number),
    ("cpuset-cpus", "cpu", "cpus", Kind::Text),
    ("cpuset-mems", "cpu", "mems", Kind::Text),
    ("kernel-memory-tcp", "memory", "kernelTCP", Kind::Bytes),
    ("memory", "memory", "limit", Kind::Bytes),
    ("memory-reservation", "memory", "reservation", Kind::Bytes),
    ("memory-swap", "memory", "swap", Kind::Bytes),
    ("pids-limit", "pids", "limit", Kind::Number),
];

/// `update [options] ID`: what is given changes, all else stays. With `--resources` other options are ignored, as runc does.
pub(super) fn update(context: &Context, words: &Words) -> Result<u8> {
    if words.value("kernel-memory").is_some() {
        context.warn("--kernel-memory: ignored, Linux has no such limit any more");
    }
    let (file, bytes) = match words.value("resources") {
        Some("-") => ("standard input", from_stdin()?),
        Some(path) => (path, std::fs::read(path).on("read", path)?),
        None => ("options", options(words)?.to_string().into_bytes()),
    };
    let limits = Limits::check(Some(&config::parse("linux.resources", file, &bytes)?))?;
    let (mut container, acts) = context.container(words)?;
    if container.status()? == Status::Stopped {
        return Err(Error::Said(format!("cannot update container {} that is stopped", container.record.id)));
    }
    if let Some(wider) = container.record.cgroup.widen(&limits)? {
        let before = std::mem::replace(&mut container.record.cgroup, wider.after.clone());
        container.folder.write(&acts, &container.record)?;
        wider.perform(&acts, &before)?;
    }
    // What is refused is refused before any limit has changed.
    let class = class(&container, words)?;
    container.record.cgroup.update(&acts, &limits)?;
    class.map_or(Ok(()), |(class, schemata)| class.write(&acts, &schemata)).map(|()| 0)
}

/// What `--l3-cache-schema` and `--mem-bw-schema` change, also beside `--resources`. A container that has no class gets none:
/// its processes would have to be moved one thread at a time, while they make others.
fn class<'a>(container: &'a Container, words: &Words) -> Result<Option<(&'a Membership, Vec<String>)>> {
    let option = |name| words.value(name).unwrap_or_default();
    let schemata = schemata(option("l3-cache-schema"), option("mem-bw-schema"))?;
    match &container.record.rdt {
        _ if schemata.is_empty() => Ok(None),
        Some(class) => Ok(Some((class, schemata))),
        None => {
            let reason = "was not there at creation, so --l3-cache-schema and --mem-bw-schema have nothing to change";
            Err(Error::refused("linux.intelRdt", reason))
        }
    }
}

fn from_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).on("read", "standard input")?;
    Ok(bytes)
}

/// The options as config.json would have them.
fn options(words: &Words) -> Result<Value> {
    let mut resources = json!({});
    for (option, part, field, kind) in FIELDS {
        let Some(text) = words.value(option).filter(|text| !text.is_empty()) else { continue };
        let wrong = || Error::Usage(format!("invalid value for {option}: `{}`", text.escape_debug()));
        resources[part][field] = match kind {
            Kind::Number => text.parse::<i64>().map_err(|_| wrong())?.into(),
            Kind::Bytes => bytes(text).ok_or_else(wrong)?.into(),
            Kind::Text => text.into(),
        };
    }
    Ok(resources)
}

/// A size as docker's command line has it: powers of 1,024 for `k`, `m`, `g`, `t`, `p` with or without `b` or `ib`.
fn bytes(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let lower = text.trim().to_ascii_lowercase();
    let end = lower.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim_start();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "" if !unit.ends_with("ib") => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = 1024_i64.pow(power);
    match number.parse::<i64>() {
        Ok(number) => number.checked_mul(factor),
        // A fraction of a unit; what fits in the mantissa of a float is as precise as anyone writes.
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        Err(_) => {
            let number = number.parse::<f64>().ok()?;
            let size = number * factor as f64;
            (size < 9e18).then_some(size as i64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::End;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("-1", Some(-1)),
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("64 MiB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("12b", Some(12)),
            ("", None),
            ("-2", None),
            ("m", None),
            ("1ib", None),
            ("1x", None),
            ("9999999p", None),
            ("1.2.3", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn options_become_what_config_json_would_say() {
        let line = ["--memory", "64m", "--cpu-share=512", "--cpuset-cpus", "0-1", "--pids-limit", "-1", "web"];
        let words = Words::sort(&line.map(str::to_owned), OPTIONS, End::Never).unwrap();
        let said = json!({"memory": {"limit": 64 << 20}, "cpu": {"shares": 512, "cpus": "0-1"}, "pids": {"limit": -1}});
        assert_eq!(options(&words).unwrap(), said);
        let words = Words::sort(&["--cpu-quota=x".to_owned()], OPTIONS, End::Never).unwrap();
        assert!(options(&words).unwrap_err().to_string().contains("cpu-quota"));
    }

    proptest! {
        #[test]
        fn no_size_makes_it_panic(text in "[-0-9.a-zA-Z ]{0,24}") {
            let _either_way = bytes(&text);
        }
    }
}
