//! Semantic versions.

use super::dispatch::Body;
use crate::eval::Outcome;
use crate::fault::Fault;
use crate::value::Value;
use std::cmp::Ordering;
use std::sync::Arc;

/// A semantic version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

impl Version {
    /// A version in the form of semver.org, whole.
    pub(crate) fn read(text: &str) -> Option<Self> {
        parse(text).ok()
    }

    /// The order of precedence; builds do not count.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => pre_order(&self.pre, &other.pre),
        })
    }

    pub(crate) fn text(&self) -> String {
        let [major, minor, patch] = self.numbers;
        let mut text = format!("{major}.{minor}.{patch}");
        if !self.pre.is_empty() {
            text = format!("{text}-{}", self.pre.join("."));
        }
        if !self.build.is_empty() {
            text = format!("{text}+{}", self.build.join("."));
        }
        text
    }
}

fn pre_order(left: &[String], right: &[String]) -> Ordering {
    for (a, b) in left.iter().zip(right) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

pub(super) fn body(id: &'static str) -> Option<Body> {
    Some(match id {
        "string_to_semver" => |args| read(args, false),
        "string_bool_to_semver" => |args| read(args, args[1].as_bool().ok_or_else(Fault::no_overload)?),
        "is_semver_string" => |args| Ok(Value::Bool(read(args, false).is_ok())),
        "is_semver_string_bool" => {
            |args| Ok(Value::Bool(read(args, args[1].as_bool().ok_or_else(Fault::no_overload)?).is_ok()))
        }
        "semver_is_greater_than" => |args| Ok(Value::Bool(order(args)? == Ordering::Greater)),
        "semver_is_less_than" => |args| Ok(Value::Bool(order(args)? == Ordering::Less)),
        "semver_compare_to" => |args| Ok(Value::Int(order(args)? as i64)),
        "semver_major" => |args| number(&args[0], 0),
        "semver_minor" => |args| number(&args[0], 1),
        "semver_patch" => |args| number(&args[0], 2),
        _ => return None,
    })
}

fn of<'v>(value: &'v Value<'_>) -> Result<&'v Version, Fault> {
    match value {
        Value::Semver(version) => Ok(version),
        _ => Err(Fault::no_overload()),
    }
}

fn order(args: &[Value<'_>]) -> Result<Ordering, Fault> {
    Ok(of(&args[0])?.compare(of(&args[1])?))
}

#[expect(clippy::cast_possible_wrap, reason = "as upstream converts")]
fn number<'a>(value: &Value<'a>, at: usize) -> Outcome<'a> {
    Ok(Value::Int(of(value)?.numbers[at] as i64))
}

fn read<'a>(args: &[Value<'a>], normalize: bool) -> Outcome<'a> {
    let text = args[0].as_str().ok_or_else(Fault::no_overload)?;
    let version = if normalize { parse(&normalized(text)?) } else { parse(text) };
    version.map(|version| Value::Semver(Arc::new(version))).map_err(Fault::new)
}

/// `v1.02` is `1.2.0`.
fn normalized(text: &str) -> Result<String, Fault> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
    for part in &mut parts {
        if part.len() > 1 {
            let trimmed = part.trim_start_matches('0');
            let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            *part = if digit { trimmed.to_owned() } else { format!("0{trimmed}") };
        }
    }
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err(Fault::new("short version cannot contain PreRelease/Build meta data"));
        }
        parts.resize(3, "0".to_owned());
    }
    Ok(parts.join("."))
}

fn parse(text: &str) -> Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".to_owned());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts[..] else {
        return Err("No Major.Minor.Patch elements found".to_owned());
    };
    let major = numeric("Major", major)?;
    let minor = numeric("Minor", minor)?;
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, build.split('.').map(str::to_owned).collect()),
        None => (rest, Vec::new()),
    };
    let (patch, pre) = match rest.split_once('-') {
        Some((patch, pre)) => (patch, pre.split('.').map(str::to_owned).collect()),
        None => (rest, Vec::new()),
    };
    let patch = numeric("Patch", patch)?;
    for part in &pre {
        pre_release(part)?;
    }
    for part in &build {
        if part.is_empty() {
            return Err("Build meta data is empty".to_owned());
        }
        if !identifier(part) {
            return Err(format!("Invalid character(s) found in build meta data {part:?}"));
        }
    }
    Ok(Version { numbers: [major, minor, patch], pre, build })
}

fn identifier(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn pre_release(part: &str) -> Result<(), String> {
    if part.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if part.bytes().all(|byte| byte.is_ascii_digit()) {
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
        }
        return part.parse::<u64>().map(|_| ()).map_err(|_| out_of_range(part));
    }
    if identifier(part) { Ok(()) } else { Err(format!("Invalid character(s) found in prerelease {part:?}")) }
}

fn out_of_range(text: &str) -> String {
    format!("strconv.ParseUint: parsing {text:?}: value out of range")
}

fn numeric(name: &str, text: &str) -> Result<u64, String> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {} number {text:?}", name.to_lowercase()));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{name} number must not contain leading zeroes {text:?}"));
    }
    if text.is_empty() {
        return Err("strconv.ParseUint: parsing \"\": invalid syntax".to_owned());
    }
    text.parse().map_err(|_| out_of_range(text))
}
