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
use super::syscalls::{Finder, Numbers};
use crate::error::{Error, Result};
use crate::spec::config;

/// All that a profile says.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) list: Vec<Rule>,
    /// Those of one way into the kernel that share their announcement follow each other.
    pub(super) tables: Vec<Table>,
}

/// The rules for one way into the kernel.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) architecture: Architecture,
    /// Sorted by number; for one number in the order in which they are asked.
    pub(super) places: Vec<Place>,
    /// The highest number that the profile names, itself or through an old call for many, if what lies above is to be called unknown.
    pub(super) last: Option<u32>,
}

/// A rule holds for a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) number: u32,
    pub(super) has_conditions: bool,
    /// Its place in the list, which is the profile's order.
    pub(super) rule: usize,
}

/// One entry of `syscalls`, without its names.
struct Entry<'a> {
    names: &'a [String],
    answer: u32,
    /// Its alternatives, in the list of rules.
    rules: std::ops::Range<usize>,
    /// Whether the entry has no conditions.
    is_plain: bool,
}

/// `SECCOMP_RET_ERRNO` with EPERM, which an action without a number means.
const EPERM: u32 = libc::EPERM.cast_unsigned();

/// Reads the profile's rules for `architectures`; `default` is the answer to everything else.
///
/// # Errors
/// A rule that cannot be expressed, by field path.
pub(super) fn rules(written: &config::Seccomp, architectures: &[Architecture], default: u32) -> Result<Rules> {
    let hides_unknown = is_strict(default) && written.default_errno_ret != Some(libc::ENOSYS.cast_unsigned());
    // Those with the same announcement together: x86-64, x32, x86.
    let mut architectures = architectures.to_vec();
    architectures.sort_by_key(|architecture| std::cmp::Reverse(architecture.audit()));
    let tables = architectures.into_iter().map(|architecture| Table { architecture, places: Vec::new(), last: None });
    let mut rules = Rules { list: Vec::new(), tables: tables.collect() };
    let mut finder = Finder::default();
    for (index, syscall) in written.syscalls.iter().flatten().enumerate() {
        let entry = rules.enter(index, syscall)?;
        for name in entry.names {
            let call = finder.find(name);
            rules.add(&entry, name, call, default, hides_unknown);
        }
    }
    rules.tables.iter_mut().for_each(|table| table.places.sort_unstable());
    Ok(rules)
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

impl Rules {
    fn enter<'a>(&mut self, index: usize, syscall: &'a config::Syscall) -> Result<Entry<'a>> {
        let field = || format!("linux.seccomp.syscalls[{index}]");
        let answer = answer(|| format!("{}.action", field()), syscall.action, syscall.errno_ret)?;
        let args = syscall.args.as_deref().unwrap_or_default();
        let first = self.list.len();
        let alternatives = alternatives(field, args)?;
        self.list.extend(alternatives.into_iter().map(|conditions| Rule { conditions, answer }));
        Ok(Entry { names: &syscall.names, answer, rules: first..self.list.len(), is_plain: args.is_empty() })
    }

    fn add(&mut self, entry: &Entry<'_>, name: &str, call: Option<&Numbers>, default: u32, hides_unknown: bool) {
        for table in &mut self.tables {
            let number = call.and_then(|call| table.architecture.number(call));
            let multiplexed = table.architecture.multiplexed(name);
            if hides_unknown {
                table.last = table.last.max(number).max(multiplexed.map(|(number, _)| number));
            }
            if entry.answer == default {
                continue;
            }
            if let Some(number) = number {
                let has_conditions = !entry.is_plain;
                table.places.extend(entry.rules.clone().map(|rule| Place { number, has_conditions, rule }));
            }
            // The conditions are on arguments that cannot be seen there: what refuses, refuses all; what allows, allows none.
            if let Some((number, which)) = multiplexed
                && (entry.is_plain || refuses(entry.answer))
            {
                let conditions = vec![Condition { argument: 0, test: Test::Equal(which) }];
                table.places.push(Place { number, has_conditions: true, rule: self.list.len() });
                self.list.push(Rule { conditions, answer: entry.answer });
            }
        }
    }
}

/// The kernel's return value for an action (seccomp(2)).
///
/// # Errors
/// An errno that does not fit, or has no place.
pub(super) fn answer(field: impl FnOnce() -> String, action: config::Action, errno: Option<u32>) -> Result<u32> {
    use config::Action;
    match action {
        Action::Errno | Action::Trace => {
            let errno = errno.unwrap_or(EPERM);
            if errno > libc::SECCOMP_RET_DATA {
                return Err(Error::refused(field(), format!("errno {errno} has more than 16 bits")));
            }
            Ok(action.number() | errno)
        }
        // runtime-spec: an errno for an action that has none is an error.
        _ if errno.is_some_and(|errno| errno != 0) => Err(Error::refused(field(), "this action has no errno")),
        _ => Ok(action.number()),
    }
}

fn alternatives(field: impl Fn() -> String, args: &[config::Arg]) -> Result<Vec<Vec<Condition>>> {
    let mut conditions = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        let argument = u8::try_from(arg.index).ok().filter(|argument| *argument < 6);
        let argument =
            argument.ok_or_else(|| Error::refused(format!("{}.args[{index}].index", field()), "is not 0 to 5"))?;
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
