//! System call filters: the profile of config.json as a program for the kernel.
//!
//! ```text
//!  profile ──rules──► numbers and answers, for each way into the kernel ──compile──► classic BPF ──► payload loads it
//! ```
//!
//! A call through a way that `architectures` does not open (32-bit, x32) kills the process, as libseccomp does. Where an
//! answer is left to an agent (`SCMP_ACT_NOTIFY`), the listener's descriptor is handed over by `init::listener`.

mod architecture;
mod compile;
mod rules;
mod syscalls;

#[cfg(test)]
mod reference;

use crate::error::{Error, Result};
use crate::spec::config;
use skiff_sys::seccomp::{INSTRUCTIONS_MAX, Instruction};
use std::path::PathBuf;

/// A filter, ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The program.
    pub(crate) program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_…` bits.
    pub(crate) flags: libc::c_ulong,
    /// Who decides about the calls that are left open.
    pub(crate) agent: Option<Agent>,
}

/// Where the listener goes (runtime-spec config-linux, Seccomp: listenerPath).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agent {
    /// A unix stream socket.
    pub(crate) socket: PathBuf,
    /// Handed to the agent as it is.
    pub(crate) metadata: String,
}

impl Filter {
    /// Compiles `linux.seccomp`.
    ///
    /// # Errors
    /// What cannot be expressed, by field path.
    pub(crate) fn check(written: &config::Seccomp) -> Result<Self> {
        let agent = agent(written)?;
        let field = || "linux.seccomp.defaultAction".to_owned();
        let default = rules::answer(field, written.default_action, written.default_errno_ret)?;
        let architectures = architecture::named(written.architectures.as_deref().unwrap_or_default())?;
        let program = compile::compile(default, &rules::rules(written, &architectures, default)?);
        if program.len() > INSTRUCTIONS_MAX {
            let reason = format!("needs {} instructions, the kernel takes {INSTRUCTIONS_MAX}", program.len());
            return Err(Error::refused("linux.seccomp.syscalls", reason));
        }
        Ok(Self { program, flags: flags(written.flags.as_deref(), agent.is_some()), agent })
    }
}

/// The architectures that this host has, as profiles name them.
pub(crate) fn architectures() -> Vec<String> {
    architecture::here().collect()
}

/// The agent, if a rule asks for one; a path that no rule asks for is ignored (runtime-spec).
fn agent(written: &config::Seccomp) -> Result<Option<Agent>> {
    if written.default_action == config::Action::Notify {
        let reason = "SCMP_ACT_NOTIFY cannot be the default: the agent could not even be told";
        return Err(Error::refused("linux.seccomp.defaultAction", reason));
    }
    let path = written.listener_path.as_ref().filter(|path| !path.as_os_str().is_empty());
    let metadata = written.listener_metadata.clone().unwrap_or_default();
    if path.is_none() && !metadata.is_empty() {
        return Err(Error::refused("linux.seccomp.listenerMetadata", "needs listenerPath"));
    }
    let mut syscalls = written.syscalls.iter().flatten();
    if !syscalls.any(|syscall| syscall.action == config::Action::Notify) {
        return Ok(None);
    }
    match path {
        Some(path) => Ok(Some(Agent { socket: path.clone(), metadata })),
        None => Err(Error::refused("linux.seccomp.listenerPath", "is missing, and SCMP_ACT_NOTIFY needs it")),
    }
}

fn flags(written: Option<&[config::FilterFlag]>, notifies: bool) -> libc::c_ulong {
    use config::FilterFlag as Flag;
    // Linux 5.19; not in libc yet.
    const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;
    let bit = |flag: &Flag| match flag {
        Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // The kernel refuses it where nobody can wait.
        Flag::WaitKillableRecv if notifies => WAIT_KILLABLE_RECV,
        // There is one thread: nothing to synchronize.
        Flag::Tsync | Flag::WaitKillableRecv => 0,
    };
    // As runc: who says nothing about flags gets the processor's speculation, which old kernels took away with a filter.
    let asked = written.unwrap_or(&[Flag::SpecAllow]);
    let listener = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    asked.iter().map(bit).fold(listener, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(json: Value) -> Result<Filter> {
        Filter::check(&serde_json::from_value(json).unwrap())
    }

    fn refusal(json: Value) -> String {
        check(json).unwrap_err().to_string()
    }

    #[test]
    fn notification_needs_somebody_to_notify() {
        let notify = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": notify});
        assert!(refusal(profile.clone()).starts_with("linux.seccomp.listenerPath: is missing"));
        profile["listenerPath"] = "/run/agent".into();
        profile["listenerMetadata"] = "about".into();
        profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let filter = check(profile.clone()).unwrap();
        let agent = Agent { socket: "/run/agent".into(), metadata: "about".to_owned() };
        assert_eq!((filter.agent, filter.flags), (Some(agent), libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | 32));
        profile["syscalls"] = json!([]);
        assert_eq!(check(profile).map(|filter| (filter.agent, filter.flags)).unwrap(), (None, 0));
        assert!(refusal(json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"})).contains("defaultAction"));
        let orphan = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "about"});
        assert!(refusal(orphan).starts_with("linux.seccomp.listenerMetadata: "));
    }

    #[test]
    fn a_default_errno_is_kept() {
        let filter = check(json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38})).unwrap();
        assert!(filter.program.iter().any(|instruction| instruction.k == 0x0005_0000 | 38));
    }

    #[test]
    fn flags_are_the_kernels_bits() {
        let flags = |flags: Value| check(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags})).unwrap().flags;
        assert_eq!(flags(Value::Null), libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW);
        assert_eq!(flags(json!([])), 0);
        assert_eq!(
            flags(json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"])),
            libc::SECCOMP_FILTER_FLAG_LOG
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_path() {
        let rule = |rule: Value| refusal(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        let args = json!([{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]);
        let text = rule(json!({"names": ["read"], "action": "SCMP_ACT_KILL", "args": args}));
        assert!(text.starts_with("linux.seccomp.syscalls[0].args[0].index: "), "{text}");
        let text = rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536}));
        assert!(text.starts_with("linux.seccomp.syscalls[0].action: "), "{text}");
    }
}
