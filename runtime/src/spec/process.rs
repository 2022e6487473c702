//! The process as meant: user, capabilities, limits, program; how it is treated is in [`super::treatment`].

use super::config;
use super::ids;
use super::treatment::Treatment;
use crate::error::{Error, Result};
use crate::inherited::Limit;
use caps::{Capability, CapsHashSet};
use nix::sys::resource::Resource;
use std::collections::{BTreeSet, HashSet};
use std::ffi::CString;
use std::path::PathBuf;

/// The program of a container, or one that joins it.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// Its terminal's columns and rows, if it gets one.
    pub(crate) terminal: Option<(u16, u16)>,
    /// Program and arguments; empty only where there is no process.
    pub(crate) args: Vec<CString>,
    /// Environment.
    pub(crate) env: Vec<CString>,
    /// Working directory inside the container, absolute.
    pub(crate) cwd: PathBuf,
    /// User id inside the container.
    pub(crate) uid: u32,
    /// Group id inside the container.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) additional_gids: Vec<u32>,
    /// File mode creation mask; kept as it is when not given.
    pub(crate) umask: Option<u32>,
    /// Capability sets.
    pub(crate) caps: Caps,
    /// Limits: resource, soft, hard.
    pub(crate) rlimits: Vec<Limit>,
    /// Whether execve(2) may no longer give privileges.
    pub(crate) no_new_privileges: bool,
    /// Adjustment of the out-of-memory killer's choice.
    pub(crate) oom_score_adj: Option<i32>,
    /// Scheduling, placement, labels.
    pub(crate) treatment: Treatment,
    /// What is not honoured and not refused either, because runc and every engine count on that.
    pub(crate) warnings: Vec<String>,
}

/// Capability sets (capabilities(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caps {
    pub(crate) bounding: CapsHashSet,
    pub(crate) effective: CapsHashSet,
    pub(crate) permitted: CapsHashSet,
    pub(crate) inheritable: CapsHashSet,
    pub(crate) ambient: CapsHashSet,
}

impl Process {
    /// Of a container that has none: root with nothing to do.
    ///
    /// # Errors
    /// As for [`Process::check`], of what `linux` says.
    pub(crate) fn none(linux: &config::Linux) -> Result<Self> {
        let written =
            config::Process { cwd: "/".into(), args: Some(vec![String::new()]), ..config::Process::default() };
        Ok(Self { args: Vec::new(), ..Self::check("process", &written, Some(linux))? })
    }

    /// Reads `written`, which stands at `field`, and what `linux` says of all the container's processes.
    ///
    /// # Errors
    /// What is missing or cannot be honoured, by field path.
    pub(crate) fn check(field: &str, written: &config::Process, linux: Option<&config::Linux>) -> Result<Self> {
        let at = |name: &str| format!("{field}.{name}");
        let args = strings(&at("args"), written.args.as_deref().unwrap_or_default())?;
        if args.is_empty() {
            return Err(Error::refused(at("args"), "is empty: there is nothing to execute"));
        }
        if !written.cwd.is_absolute() {
            return Err(Error::refused(at("cwd"), "is not an absolute path"));
        }
        let user = &written.user;
        let mut warnings = Vec::new();
        Ok(Self {
            terminal: written.terminal.unwrap_or(false).then(|| written.console_size.map_or((0, 0), columns_and_rows)),
            args,
            env: last_of_each(strings(&at("env"), written.env.as_deref().unwrap_or_default())?),
            cwd: written.cwd.clone(),
            uid: ids::checked(|| at("user.uid"), user.uid)?,
            gid: ids::checked(|| at("user.gid"), user.gid)?,
            additional_gids: ids::all_checked(
                &at("user.additionalGids"),
                user.additional_gids.as_deref().unwrap_or_default(),
            )?,
            umask: user.umask,
            caps: Caps::read(&at("capabilities"), written.capabilities.as_ref(), &mut warnings),
            rlimits: rlimits(&at("rlimits"), written.rlimits.as_deref().unwrap_or_default())?,
            no_new_privileges: written.no_new_privileges.unwrap_or(false),
            oom_score_adj: written.oom_score_adj,
            treatment: Treatment::check(field, written, linux)?,
            warnings,
        })
    }
}

impl Process {
    /// Adds `limits` of resources that it has none of.
    pub(crate) fn add_limits(&mut self, limits: Vec<Limit>) {
        let is_new = |(resource, ..): &Limit| self.rlimits.iter().all(|(own, ..)| own != resource);
        let new: Vec<_> = limits.into_iter().filter(is_new).collect();
        self.rlimits.extend(new);
    }

    /// Adds `pairs` to the environment, in the place of what has their names.
    pub(crate) fn add_env(&mut self, pairs: impl IntoIterator<Item = CString>) {
        self.env.extend(pairs);
        self.env = last_of_each(std::mem::take(&mut self.env));
    }
}

/// Of several pairs with one name the last one counts, as with runc: programs disagree about which they would read.
fn last_of_each(env: Vec<CString>) -> Vec<CString> {
    let name = |pair: &CString| pair.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default().to_owned();
    let mut seen = HashSet::new();
    let mut kept: Vec<_> = env.into_iter().rev().filter(|pair| seen.insert(name(pair))).collect();
    kept.reverse();
    kept
}

impl Caps {
    /// A name that no kernel of ours knows is skipped with a warning in runc's words: profiles name what newer kernels have.
    fn read(field: &str, written: Option<&config::Capabilities>, warnings: &mut Vec<String>) -> Self {
        let Some(written) = written else { return Self::default() };
        let mut unknown = BTreeSet::new();
        let mut set = |caps: &Option<Vec<String>>| {
            let mut known = CapsHashSet::new();
            for cap in caps.iter().flatten() {
                match cap.parse::<Capability>() {
                    Ok(cap) => drop(known.insert(cap)),
                    Err(_) => drop(unknown.insert(cap.escape_debug().to_string())),
                }
            }
            known
        };
        let mut sets = Self {
            bounding: set(&written.bounding),
            effective: set(&written.effective),
            permitted: set(&written.permitted),
            inheritable: set(&written.inheritable),
            ambient: set(&written.ambient),
        };
        if !unknown.is_empty() {
            let names = unknown.into_iter().collect::<Vec<_>>().join(" ");
            warnings.push(format!("{field}: ignoring unknown or unavailable capabilities: [{names}]"));
        }
        // capabilities(7): the kernel keeps a capability ambient only while it is both.
        let both: CapsHashSet = sets.permitted.intersection(&sets.inheritable).copied().collect();
        for cap in sets.ambient.difference(&both) {
            warnings.push(format!("{field}.ambient: {cap} is not both permitted and inheritable, and so not ambient"));
        }
        sets.ambient.retain(|cap| both.contains(cap));
        sets
    }
}

fn columns_and_rows(size: config::ConsoleSize) -> (u16, u16) {
    let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
    (cells(size.width), cells(size.height))
}

fn strings(field: &str, words: &[String]) -> Result<Vec<CString>> {
    let text = |(index, word): (usize, &String)| {
        CString::new(word.as_str()).map_err(|_| Error::refused(format!("{field}[{index}]"), "has a NUL character"))
    };
    words.iter().enumerate().map(text).collect()
}

fn rlimits(field: &str, written: &[config::Rlimit]) -> Result<Vec<Limit>> {
    let mut limits: Vec<Limit> = Vec::with_capacity(written.len());
    for (index, limit) in written.iter().enumerate() {
        let resource = resource(&limit.kind)
            .ok_or_else(|| Error::refused(format!("{field}[{index}].type"), format!("`{}` is unknown", limit.kind)))?;
        if limits.iter().any(|(seen, ..)| *seen == resource) {
            return Err(Error::refused(format!("{field}[{index}].type"), "appears twice"));
        }
        if limit.soft > limit.hard {
            let reason = format!("{} is more than the hard limit, {}", limit.soft, limit.hard);
            return Err(Error::refused(format!("{field}[{index}].soft"), reason));
        }
        limits.push((resource, limit.soft, limit.hard));
    }
    Ok(limits)
}

fn resource(written: &str) -> Option<Resource> {
    Some(match written {
        "RLIMIT_CPU" => Resource::RLIMIT_CPU,
        "RLIMIT_FSIZE" => Resource::RLIMIT_FSIZE,
        "RLIMIT_DATA" => Resource::RLIMIT_DATA,
        "RLIMIT_STACK" => Resource::RLIMIT_STACK,
        "RLIMIT_CORE" => Resource::RLIMIT_CORE,
        "RLIMIT_RSS" => Resource::RLIMIT_RSS,
        "RLIMIT_NPROC" => Resource::RLIMIT_NPROC,
        "RLIMIT_NOFILE" => Resource::RLIMIT_NOFILE,
        "RLIMIT_MEMLOCK" => Resource::RLIMIT_MEMLOCK,
        "RLIMIT_AS" => Resource::RLIMIT_AS,
        "RLIMIT_LOCKS" => Resource::RLIMIT_LOCKS,
        "RLIMIT_SIGPENDING" => Resource::RLIMIT_SIGPENDING,
        "RLIMIT_MSGQUEUE" => Resource::RLIMIT_MSGQUEUE,
        "RLIMIT_NICE" => Resource::RLIMIT_NICE,
        "RLIMIT_RTPRIO" => Resource::RLIMIT_RTPRIO,
        "RLIMIT_RTTIME" => Resource::RLIMIT_RTTIME,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(changes: serde_json::Value) -> Result<Process> {
        let mut json = serde_json::json!({"user": {"uid": 1, "gid": 2}, "args": ["true"], "cwd": "/"});
        for (key, value) in changes.as_object().unwrap() {
            json[key] = value.clone();
        }
        Process::check("process", &serde_json::from_value(json).unwrap(), None)
    }

    #[test]
    fn every_capability_of_the_specification_is_known() {
        for name in ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_BPF", "CAP_PERFMON", "CAP_AUDIT_READ", "CAP_SYS_ADMIN"]
        {
            let process = check(serde_json::json!({"capabilities": {"bounding": [name]}})).unwrap();
            assert_eq!(process.caps.bounding.iter().map(ToString::to_string).collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn what_cannot_be_had_is_left_out_with_a_warning() {
        let caps = serde_json::json!({"permitted": ["CAP_KILL", "CAP_FLY"], "ambient": ["CAP_KILL"]});
        let process = check(serde_json::json!({"capabilities": caps})).unwrap();
        assert!(process.caps.ambient.is_empty());
        let warnings = process.warnings.join("\n");
        assert!(
            warnings.contains("process.capabilities: ignoring unknown or unavailable capabilities: [CAP_FLY]"),
            "{warnings}"
        );
        assert!(warnings.contains("process.capabilities.ambient: CAP_KILL is not both"), "{warnings}");
    }

    /// Fault O4.
    #[test]
    fn no_change_is_nobodys_id() {
        for (user, field) in [
            (serde_json::json!({"uid": u32::MAX}), "process.user.uid: "),
            (serde_json::json!({"gid": u32::MAX}), "process.user.gid: "),
            (serde_json::json!({"additionalGids": [5, u32::MAX]}), "process.user.additionalGids[1]: "),
            (serde_json::json!({"additionalGids": vec![5; 100_000]}), "process.user.additionalGids: has 100000 groups"),
        ] {
            let text = check(serde_json::json!({"user": user})).unwrap_err().to_string();
            assert!(text.starts_with(field), "{text}");
        }
        assert_eq!(check(serde_json::json!({"user": {"uid": u32::MAX - 1}})).unwrap().uid, u32::MAX - 1);
    }

    /// Fault O11.
    #[test]
    fn of_one_name_the_last_pair_counts() {
        let mut process = check(serde_json::json!({"env": ["A=1", "B=2", "AB=3", "A=4", "C", "A", "B="]})).unwrap();
        let env =
            |process: &Process| process.env.iter().map(|pair| pair.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(env(&process), ["AB=3", "C", "A", "B="]);
        process.add_env([c"AB=5".to_owned()]);
        assert_eq!(env(&process), ["C", "A", "B=", "AB=5"]);
    }

    #[test]
    fn mistakes_are_named_by_field() {
        let text = |changes| check(changes).unwrap_err().to_string();
        assert!(text(serde_json::json!({"args": []})).starts_with("process.args: "));
        assert!(text(serde_json::json!({"cwd": "x"})).starts_with("process.cwd: "));
        assert!(text(serde_json::json!({"env": ["A=\u{0}"]})).starts_with("process.env[0]: "));
        let twice = serde_json::json!([{"type": "RLIMIT_CORE", "hard": 1, "soft": 1}, {"type": "RLIMIT_CORE", "hard": 1, "soft": 1}]);
        assert!(text(serde_json::json!({"rlimits": twice})).starts_with("process.rlimits[1].type: "));
        let above = serde_json::json!([{"type": "RLIMIT_CORE", "hard": 1, "soft": 2}]);
        assert_eq!(
            text(serde_json::json!({"rlimits": above})),
            "process.rlimits[0].soft: 2 is more than the hard limit, 1"
        );
    }
}
