//! What a profile means: for each way into the kernel the rules by number, with nothing left to look up.
//!
//! The meaning is libseccomp's, as engines expect it, where the specification leaves it open:
//!
//! - names that an architecture does not have are skipped, because profiles list the calls of all of them;
//! - a rule that answers as the default does says nothing;
//! - a rule without conditions decides, wherever it stands; else the first whose conditions hold;
//! - conditions hold together, unless one argument appears twice: then each is an alternative.
//!
//! And it is runc's where libseccomp says nothing: calls newer than every call that the profile knows do not exist
//! (`ENOSYS`) instead of being forbidden, because programs then fall back to older ones.

use super::architecture::Architecture;
use super::compile::{Condition, Rule, Test};
use crate::error::{Error, Result};
use crate::spec::config;
use std::collections::BTreeMap;

/// The rules for one way into the kernel.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) architecture: Architecture,
    pub(super) rules: BTreeMap<u32, Vec<Rule>>,
    /// The highest number that the profile names, if what lies above is to be called unknown.
    pub(super) last: Option<u32>,
}

/// One entry of `syscalls`, without its names.
struct Entry<'a> {
    names: &'a [String],
    answer: u32,
    alternatives: Vec<Vec<Condition>>,
}

/// `SECCOMP_RET_ERRNO` with EPERM, which an action without a number means.
const EPERM: u32 = libc::EPERM.cast_unsigned();

/// Reads the profile's rules for `architectures`; `default` is the answer to everything else.
///
/// # Errors
/// A rule that cannot be expressed, by field path.
pub(super) fn tables(written: &config::Seccomp, architectures: &[Architecture], default: u32) -> Result<Vec<Table>> {
    let syscalls = written.syscalls.as_deref().unwrap_or_default();
    let entries = syscalls.iter().enumerate().map(|(index, syscall)| entry(index, syscall));
    let entries = entries.collect::<Result<Vec<_>>>()?;
    let hides_unknown = is_strict(default) && written.default_errno_ret != Some(libc::ENOSYS.cast_unsigned());
    Ok(architectures.iter().map(|architecture| table(*architecture, &entries, default, hides_unknown)).collect())
}

/// From TRACE up (trace, log, allow) a call may happen.
const fn is_strict(default: u32) -> bool {
    let action = default & libc::SECCOMP_RET_ACTION_FULL;
    action < libc::SECCOMP_RET_TRACE || action >= libc::SECCOMP_RET_KILL_PROCESS
}

/// Whether the call does not happen, and nobody else can decide that it does.
const fn refuses(answer: u32) -> bool {
    let action = answer & libc::SECCOMP_RET_ACTION_FULL;
    action < libc::SECCOMP_RET_USER_NOTIF || action >= libc::SECCOMP_RET_KILL_PROCESS
}

fn table(architecture: Architecture, entries: &[Entry<'_>], default: u32, hides_unknown: bool) -> Table {
    let mut table = Table { architecture, rules: BTreeMap::new(), last: None };
    for entry in entries {
        for name in entry.names {
            let number = architecture.number(name);
            if hides_unknown {
                table.last = table.last.max(number);
            }
            if entry.answer == default {
                continue;
            }
            if let Some(number) = number {
                table.add(number, entry.answer, &entry.alternatives);
            }
            if let Some((number, which)) = architecture.multiplexed(name) {
                table.add_multiplexed(number, which, entry);
            }
        }
    }
    for rules in table.rules.values_mut() {
        // Stable: among those with conditions the order is the profile's.
        rules.sort_by_key(|rule| !rule.conditions.is_empty());
    }
    table
}

impl Table {
    fn add(&mut self, number: u32, answer: u32, alternatives: &[Vec<Condition>]) {
        let rules = alternatives.iter().map(|conditions| Rule { conditions: conditions.clone(), answer });
        self.rules.entry(number).or_default().extend(rules);
    }

    /// The conditions are on arguments that cannot be seen here: what refuses, refuses all; what allows, allows none.
    fn add_multiplexed(&mut self, number: u32, which: u64, entry: &Entry<'_>) {
        let is_unconditional = entry.alternatives.iter().any(Vec::is_empty);
        if is_unconditional || refuses(entry.answer) {
            self.add(number, entry.answer, &[vec![Condition { argument: 0, test: Test::Equal(which) }]]);
        }
    }
}

fn entry(index: usize, syscall: &config::Syscall) -> Result<Entry<'_>> {
    let field = format!("linux.seccomp.syscalls[{index}]");
    Ok(Entry {
        names: &syscall.names,
        answer: answer(&format!("{field}.action"), syscall.action, syscall.errno_ret)?,
        alternatives: alternatives(&field, syscall.args.as_deref().unwrap_or_default())?,
    })
}

/// The kernel's return value for an action (seccomp(2)).
///
/// # Errors
/// An errno that does not fit, or has no place.
pub(super) fn answer(field: &str, action: config::Action, errno: Option<u32>) -> Result<u32> {
    use config::Action;
    match action {
        Action::Errno | Action::Trace => {
            let errno = errno.unwrap_or(EPERM);
            if errno > libc::SECCOMP_RET_DATA {
                return Err(Error::refused(field, format!("errno {errno} has more than 16 bits")));
            }
            Ok(action.number() | errno)
        }
        // runtime-spec: an errno for an action that has none is an error.
        _ if errno.is_some_and(|errno| errno != 0) => Err(Error::refused(field, "this action has no errno")),
        _ => Ok(action.number()),
    }
}

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
        // Bits of the value outside the mask are left out of the comparison, as libseccomp does.
        Operator::MaskedEq => Test::MaskedEqual { mask: value, value: arg.value_two.unwrap_or(0) & value },
    }
}
