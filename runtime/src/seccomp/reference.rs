//! The other opinion: what a profile answers to one call, read straight from the profile, and a machine for the compiled
//! program. Both must agree for every profile, every way into the kernel, every number and all arguments.

use super::Filter;
use super::architecture::{Architecture, X32_BIT};
use super::syscalls::{ALL, find};
use crate::fuzz::{Chance, runs};
use crate::spec::config::{self, Action, Operator};
use skiff_sys::seccomp::Instruction;

/// One call as the kernel shows it to a filter (struct seccomp_data).
#[derive(Debug, Clone, Copy)]
struct Call {
    audit: u32,
    number: u32,
    arguments: [u64; 6],
}

/// Runs `program` as the kernel would (linux/filter.h), and counts its steps.
fn execute(program: &[Instruction], call: &Call) -> (u32, usize) {
    let (mut at, mut register, mut steps) = (0, 0_u32, 0);
    loop {
        let Instruction { code, jump_true, jump_false, k } = program[at];
        (at, steps) = (at + 1, steps + 1);
        let holds = match code {
            0x06 => return (k, steps),
            0x20 => {
                register = word(call, k);
                continue;
            }
            0x54 => {
                register &= k;
                continue;
            }
            0x05 => {
                at += usize::try_from(k).unwrap();
                continue;
            }
            0x15 => register == k,
            0x25 => register > k,
            0x35 => register >= k,
            other => panic!("instruction {other:#x}"),
        };
        at += usize::from(if holds { jump_true } else { jump_false });
    }
}

fn word(call: &Call, offset: u32) -> u32 {
    match offset {
        0 => call.number,
        4 => call.audit,
        16.. => {
            let argument = call.arguments[usize::try_from((offset - 16) / 8).unwrap()];
            u32::try_from(if offset.is_multiple_of(8) { argument & 0xffff_ffff } else { argument >> 32 }).unwrap()
        }
        other => panic!("load from {other}"),
    }
}

fn value(action: Action, errno: Option<u32>) -> u32 {
    let data = if matches!(action, Action::Errno | Action::Trace) { errno.unwrap_or(1) } else { 0 };
    action.number() | data
}

fn holds(arg: &config::Arg, arguments: [u64; 6]) -> bool {
    let seen = arguments[usize::try_from(arg.index).unwrap()];
    match arg.op {
        Operator::Ne => seen != arg.value,
        Operator::Lt => seen < arg.value,
        Operator::Le => seen <= arg.value,
        Operator::Eq => seen == arg.value,
        Operator::Ge => seen >= arg.value,
        Operator::Gt => seen > arg.value,
        Operator::MaskedEq => (seen ^ arg.value_two.unwrap_or(0)) & arg.value == 0,
    }
}

/// How a rule stands to a call.
#[derive(PartialEq)]
enum Fit {
    Always,
    Now,
    No,
}

fn fit(rule: &config::Syscall, architecture: Architecture, call: &Call) -> Fit {
    let args = rule.args.as_deref().unwrap_or_default();
    let direct = rule.names.iter().any(|name| number_of(architecture, name) == Some(call.number));
    if direct && args.is_empty() {
        return Fit::Always;
    }
    let once = |arg: &config::Arg| args.iter().filter(|other| other.index == arg.index).count() == 1;
    let all = args.iter().all(once);
    let true_now = |arg: &config::Arg| holds(arg, call.arguments);
    if direct && (if all { args.iter().all(true_now) } else { args.iter().any(true_now) }) {
        return Fit::Now;
    }
    let through = |name: &String| architecture.multiplexed(name) == Some((call.number, call.arguments[0]));
    let refuses = !matches!(rule.action, Action::Allow | Action::Log | Action::Trace | Action::Notify);
    if rule.names.iter().any(through) && (args.is_empty() || refuses) { Fit::Now } else { Fit::No }
}

fn number_of(architecture: Architecture, name: &str) -> Option<u32> {
    find(name).and_then(|call| architecture.number(call))
}

/// Which of the profile's architectures a call comes through.
fn way(profile: &config::Seccomp, call: &Call) -> Option<Architecture> {
    let native = if cfg!(target_arch = "x86_64") { Architecture::X86_64 } else { Architecture::Arm64 };
    let named = |name: &str| profile.architectures.iter().flatten().any(|other| other == name);
    match (native, call.audit, call.number & X32_BIT != 0 || call.number >= 0x8000_0000) {
        (Architecture::X86_64, 0xc000_003e, true) => named("SCMP_ARCH_X32").then_some(Architecture::X32),
        (Architecture::X86_64, 0x4000_0003, _) => named("SCMP_ARCH_X86").then_some(Architecture::X86),
        (_, audit, _) => (audit == native.audit()).then_some(native),
    }
}

fn judge(profile: &config::Seccomp, call: &Call) -> u32 {
    let default = value(profile.default_action, profile.default_errno_ret);
    if call.audit == 0xc000_003e && call.number == u32::MAX {
        return default;
    }
    let Some(architecture) = way(profile, call) else { return libc::SECCOMP_RET_KILL_PROCESS };
    let rules = || profile.syscalls.iter().flatten();
    let speaking = || rules().filter(|rule| value(rule.action, rule.errno_ret) != default);
    let fitting = |wanted: Fit| speaking().find(|rule| fit(rule, architecture, call) == wanted);
    if let Some(rule) = fitting(Fit::Always).or_else(|| fitting(Fit::Now)) {
        return value(rule.action, rule.errno_ret);
    }
    let is_lenient = matches!(profile.default_action, Action::Allow | Action::Log | Action::Trace);
    let through = |name: &String| architecture.multiplexed(name).map(|(number, _)| number);
    let last =
        rules().flat_map(|rule| &rule.names).filter_map(|name| number_of(architecture, name).max(through(name))).max();
    let is_unknown =
        !is_lenient && profile.default_errno_ret != Some(38) && last.is_some_and(|last| call.number > last);
    if is_unknown { libc::SECCOMP_RET_ERRNO | 38 } else { default }
}

const ACTIONS: &[Action] = &[
    Action::Allow,
    Action::Errno,
    Action::KillProcess,
    Action::Kill,
    Action::KillThread,
    Action::Trap,
    Action::Trace,
    Action::Log,
];
const OPERATORS: &[Operator] =
    &[Operator::Ne, Operator::Lt, Operator::Le, Operator::Eq, Operator::Ge, Operator::Gt, Operator::MaskedEq];

/// Few different values, so that rules and calls meet.
fn number(chance: &mut Chance) -> u64 {
    let small = chance.below(4);
    match chance.below(8) {
        0 => small,
        1 => 0xffff_ffff - small,
        2 => (1 << 32) + small,
        3 => u64::MAX - small,
        4 => 1 << chance.below(64),
        5 => (small << 32) | chance.below(4),
        6 => chance.next(),
        _ => 0x7e02_0000,
    }
}

fn rule(chance: &mut Chance) -> config::Syscall {
    let action = if chance.one_in(12) { Action::Notify } else { *chance.pick(ACTIONS) };
    let names = (0..=chance.below(4))
        .map(|_| if chance.one_in(20) { "no_such_call".to_owned() } else { chance.pick(ALL).name.to_owned() });
    let names = names.collect();
    let arg = |chance: &mut Chance| config::Arg {
        index: chance.below(6),
        value: number(chance),
        value_two: (!chance.one_in(4)).then(|| number(chance)),
        op: *chance.pick(OPERATORS),
    };
    let count = if chance.one_in(2) { 0 } else { chance.below(4) };
    let args = (0..count).map(|_| arg(chance)).collect();
    let has_errno = matches!(action, Action::Errno | Action::Trace);
    let errno_ret = (has_errno && chance.one_in(2)).then(|| u32::try_from(chance.below(40)).unwrap());
    config::Syscall { names, action, errno_ret, args: Some(args) }
}

fn profile(chance: &mut Chance) -> config::Seccomp {
    let names = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"];
    let architectures = names.into_iter().filter(|_| chance.one_in(2)).map(str::to_owned).collect();
    let default_action = *chance.pick(ACTIONS);
    let has_errno = matches!(default_action, Action::Errno | Action::Trace);
    config::Seccomp {
        default_action,
        default_errno_ret: (has_errno && chance.one_in(3)).then_some(38),
        architectures: Some(architectures),
        flags: None,
        listener_path: Some("/agent".into()),
        listener_metadata: None,
        syscalls: Some((0..chance.below(12)).map(|_| rule(chance)).collect()),
    }
}

/// Mostly calls that the profile speaks of, with the values it speaks of, and their neighbours.
fn call(chance: &mut Chance, profile: &config::Seccomp) -> Call {
    let ways = [Architecture::X86_64, Architecture::X86, Architecture::X32, Architecture::Arm64];
    let way = *chance.pick(&ways);
    let rules = profile.syscalls.as_deref().unwrap_or_default();
    let spoken = (!rules.is_empty()).then(|| chance.pick(rules));
    let name = match spoken {
        Some(rule) if !chance.one_in(4) => chance.pick(&rule.names).as_str(),
        _ => chance.pick(ALL).name,
    };
    let through = way.multiplexed(name).filter(|_| chance.one_in(2));
    let known = through.map(|(number, _)| number).or_else(|| number_of(way, name));
    let neighbour = u32::try_from(chance.below(3)).unwrap();
    let wild = [u32::MAX, X32_BIT, 0x8000_0000, 470, 1000];
    let number = match known {
        Some(number) if !chance.one_in(8) => number,
        Some(number) => (number + neighbour).wrapping_sub(1),
        None => *chance.pick(&wild),
    };
    let mut arguments = [0; 6].map(|_: u64| self::number(chance));
    for arg in spoken.iter().flat_map(|rule| rule.args.iter().flatten()) {
        if chance.one_in(2) {
            let value = if arg.op == Operator::MaskedEq { arg.value_two.unwrap_or(0) } else { arg.value };
            arguments[usize::try_from(arg.index).unwrap()] = value.wrapping_add(chance.below(3)).wrapping_sub(1);
        }
    }
    if let Some((_, which)) = through {
        arguments[0] = which;
    }
    Call { audit: if chance.one_in(30) { 0x1234_5678 } else { way.audit() }, number, arguments }
}

/// Calls tried for one profile.
const CALLS: u64 = 20;

#[test]
fn the_program_answers_as_the_profile_does() {
    let mut chance = Chance::seeded("seccomp");
    for run in 0..runs() / CALLS {
        let profile = profile(&mut chance);
        let filter = Filter::check(&profile).unwrap();
        for _ in 0..CALLS {
            let call = call(&mut chance, &profile);
            let (answer, _) = execute(&filter.program, &call);
            let expected = judge(&profile, &call);
            assert_eq!(answer, expected, "run {run} of {chance}: {call:?}\n{profile:?}\n{:?}", filter.program);
        }
    }
}

#[test]
fn an_old_call_for_many_is_known_although_its_number_is_above_all_others() {
    let rule = |names: &[&str]| config::Syscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: Action::Allow,
        errno_ret: None,
        args: None,
    };
    let mut chance = Chance::seeded("any");
    let profile = config::Seccomp {
        default_action: Action::Kill,
        default_errno_ret: None,
        architectures: Some(vec!["SCMP_ARCH_X86".to_owned()]),
        syscalls: Some(vec![rule(&["fchmod", "semop"])]),
        ..profile(&mut chance)
    };
    let filter = Filter::check(&profile).unwrap();
    let answer = |number: u32| execute(&filter.program, &Call { audit: 0x4000_0003, number, arguments: [1; 6] }).0;
    let (kill, unknown) = (libc::SECCOMP_RET_KILL_THREAD, libc::SECCOMP_RET_ERRNO | 38);
    assert_eq!([94, 102, 117, 118].map(answer), [libc::SECCOMP_RET_ALLOW, kill, libc::SECCOMP_RET_ALLOW, unknown]);
}

/// Every number of every way, for the profile that engines use most: long lists that allow, some with conditions.
#[test]
fn a_long_profile_is_answered_for_every_number_in_few_steps() {
    let mut chance = Chance::seeded("long profile");
    let names: Vec<String> = ALL.iter().filter(|_| !chance.one_in(6)).map(|call| call.name.to_owned()).collect();
    let mut profile = profile(&mut chance);
    profile.default_action = Action::Errno;
    profile.default_errno_ret = None;
    profile.architectures = Some(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"].map(str::to_owned).to_vec());
    let syscalls = profile.syscalls.get_or_insert_default();
    syscalls.push(config::Syscall { names, action: Action::Allow, errno_ret: None, args: None });
    let filter = Filter::check(&profile).unwrap();
    let ways = [Architecture::X86_64, Architecture::X86, Architecture::X32, Architecture::Arm64];
    let (mut most, mut all, mut count) = (0, 0, 0);
    for way in ways {
        for number in 0..1200 {
            let number = if way == Architecture::X32 { number | X32_BIT } else { number };
            let call = Call { audit: way.audit(), number, arguments: [0; 6].map(|_: u64| self::number(&mut chance)) };
            let (answer, steps) = execute(&filter.program, &call);
            assert_eq!(answer, judge(&profile, &call), "{call:?}");
            (most, all, count) = (most.max(steps), all + steps, count + 1);
        }
    }
    // A tree over some 300 segments is 9 comparisons deep; half of the jumps need a second instruction when they are far.
    assert!(all / count < 20 && most < 100, "{all} steps for {count} calls, at most {most}");
}
