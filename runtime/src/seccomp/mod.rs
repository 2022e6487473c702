//! System call filters: the profile of config.json as a program for the kernel.
//!
//! A call made through another architecture's entry (32-bit, x32) is answered like a forbidden one: with the default action
//! if that refuses, else by killing the process. `architectures` therefore changes nothing. Names that this architecture
//! does not have are skipped, because profiles list the calls of all of them (runtime-spec leaves this open; so does runc).
//! Where several rules name a call, the first whose conditions hold decides.

mod compile;
mod syscalls;

use crate::error::{Error, Result};
use crate::spec::config;
use compile::{Condition, Rule, Test};
use skiff_sys::seccomp::{INSTRUCTIONS_MAX, Instruction};
use std::collections::BTreeMap;

/// A filter, ready to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// The program.
    pub(crate) program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_…` bits.
    pub(crate) flags: libc::c_ulong,
}

/// `SECCOMP_RET_ERRNO` with EPERM, which an action without a number means.
const EPERM: u32 = libc::EPERM.cast_unsigned();

impl Filter {
    /// Compiles `linux.seccomp`.
    ///
    /// # Errors
    /// Notification, and what cannot be expressed, by field path.
    pub(crate) fn check(written: &config::Seccomp) -> Result<Self> {
        if written.listener_path.is_some() {
            return Err(Error::refused("linux.seccomp.listenerPath", "notification is not implemented"));
        }
        let default = answer("linux.seccomp.defaultAction", written.default_action, written.default_errno_ret)?;
        let rules = rules(written.syscalls.as_deref().unwrap_or_default())?;
        let program = compile::compile(default, &rules);
        if program.len() > INSTRUCTIONS_MAX {
            let reason = format!("needs {} instructions, the kernel takes {INSTRUCTIONS_MAX}", program.len());
            return Err(Error::refused("linux.seccomp.syscalls", reason));
        }
        Ok(Self { program, flags: flags(written.flags.as_deref().unwrap_or_default()) })
    }
}

fn rules(written: &[config::Syscall]) -> Result<BTreeMap<u32, Vec<Rule>>> {
    let numbers = syscalls::numbers();
    let mut rules: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
    for (index, syscall) in written.iter().enumerate() {
        let field = format!("linux.seccomp.syscalls[{index}]");
        let answer = answer(&format!("{field}.action"), syscall.action, syscall.errno_ret)?;
        let alternatives = alternatives(&field, syscall.args.as_deref().unwrap_or_default())?;
        for number in syscall.names.iter().filter_map(|name| numbers.get(name.as_str())) {
            let one = |conditions: &Vec<Condition>| Rule { conditions: conditions.clone(), answer };
            rules.entry(*number).or_default().extend(alternatives.iter().map(one));
        }
    }
    Ok(rules)
}

/// Conditions hold together, unless one argument appears twice: then each is an alternative. The specification says so by
/// having been written after libseccomp, which cannot compare an argument twice in one rule.
fn alternatives(field: &str, args: &[config::Arg]) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        let argument = u8::try_from(arg.index).ok().filter(|argument| *argument < 6);
        let argument =
            argument.ok_or_else(|| Error::refused(format!("{field}.args[{index}].index"), "is not 0 to 5"))?;
        conditions.push(Condition { argument, test: test(arg) });
    }
    let is_repeated =
        |condition: &Condition| conditions.iter().filter(|other| other.argument == condition.argument).count() > 1;
    if conditions.iter().any(is_repeated) {
        Ok(conditions.into_iter().map(|condition| vec![condition]).collect())
    } else {
        Ok(vec![conditions])
    }
}

fn test(arg: &config::Arg) -> Test {
    use config::Operator;
    let value = arg.value;
    match arg.op {
        Operator::Ne => Test::NotEqual(value),
        Operator::Lt => Test::Less(value),
        Operator::Le => Test::LessOrEqual(value),
        Operator::Eq => Test::Equal(value),
        Operator::Ge => Test::GreaterOrEqual(value),
        Operator::Gt => Test::Greater(value),
        Operator::MaskedEq => Test::MaskedEqual { mask: value, value: arg.value_two.unwrap_or(0) },
    }
}

/// The kernel's return value for an action (seccomp(2)).
fn answer(field: &str, action: config::Action, errno: Option<u32>) -> Result<u32> {
    use config::Action;
    match action {
        Action::Notify => Err(Error::refused(field, "notification is not implemented")),
        Action::Errno | Action::Trace => {
            let errno = errno.unwrap_or(EPERM);
            if errno > 0xffff {
                return Err(Error::refused(field, format!("errno {errno} has more than 16 bits")));
            }
            Ok(action.number() | errno)
        }
        _ => Ok(action.number()),
    }
}

fn flags(written: &[config::FilterFlag]) -> libc::c_ulong {
    use config::FilterFlag as Flag;
    let bit = |flag: &Flag| match flag {
        Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // One thread has nothing to synchronize, and without a listener nobody waits.
        Flag::Tsync | Flag::WaitKillableRecv => 0,
    };
    written.iter().map(bit).fold(0, |bits, bit| bits | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: serde_json::Value) -> Result<Filter> {
        Filter::check(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn notification_is_refused_by_path() {
        let notify = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
        assert!(check(notify).unwrap_err().to_string().starts_with("linux.seccomp.syscalls[0].action: "));
    }

    #[test]
    fn a_default_errno_is_kept() {
        let filter = check(serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38})).unwrap();
        assert!(filter.program.iter().any(|instruction| instruction.k == 0x0005_0000 | 38));
    }

    #[test]
    fn known_names_have_the_kernels_numbers() {
        let numbers = syscalls::numbers();
        assert_eq!(numbers["execve"], u32::try_from(libc::SYS_execve).unwrap());
        assert!(numbers.len() > 290);
    }
}
