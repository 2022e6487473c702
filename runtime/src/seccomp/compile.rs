//! Rules to classic BPF: a balanced tree over the call's number, then its arguments.
//!
//! The kernel runs the program once for every number when it is installed, to fill its bitmap of calls that are always
//! allowed; a tree makes that, and every call that misses the bitmap, logarithmic.

use skiff_sys::seccomp::Instruction;
use std::collections::BTreeMap;

/// What is asked of one argument, as an unsigned 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual { mask: u64, value: u64 },
}

/// A test and the argument it is for (0 to 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) argument: u8,
    pub(super) test: Test,
}

/// If all conditions hold, the answer is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: u32,
}

// linux/bpf_common.h
const LD_W_ABS: u16 = 0x20;
const JA: u16 = 0x05;
const JEQ: u16 = 0x15;
const JGT: u16 = 0x25;
const JGE: u16 = 0x35;
const AND: u16 = 0x54;
const RET: u16 = 0x06;

// struct seccomp_data: number, architecture, instruction pointer, arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;
/// Numbers from here on are x32's on x86-64, and nobody's elsewhere.
const FOREIGN_NUMBERS: u32 = 0x4000_0000;

const KILL_PROCESS: u32 = 0x8000_0000;
const TRACE: u32 = 0x7ff0_0000;
const ACTION_MASK: u32 = 0xffff_0000;

/// The program for `rules` by number; everything else gets `default`.
pub(super) fn compile(default: u32, rules: &BTreeMap<u32, Vec<Rule>>) -> Vec<Instruction> {
    // From TRACE up (trace, log, allow) the call may happen, and a foreign one would be judged by wrong numbers.
    let is_lenient = default & ACTION_MASK >= TRACE && default & ACTION_MASK < KILL_PROCESS;
    let foreign = if is_lenient { KILL_PROCESS } else { default };
    let mut program = vec![
        op(LD_W_ABS, ARCHITECTURE),
        jump(JEQ, NATIVE, 1, 0),
        op(RET, foreign),
        op(LD_W_ABS, NUMBER),
        jump(JGE, FOREIGN_NUMBERS, 0, 1),
        op(RET, foreign),
    ];
    program.extend(tree(&segments(default, rules)));
    program
}

/// Consecutive numbers with the same code.
struct Segment {
    start: u32,
    code: Vec<Instruction>,
}

fn segments(default: u32, rules: &BTreeMap<u32, Vec<Rule>>) -> Vec<Segment> {
    let mut segments = vec![Segment { start: 0, code: vec![op(RET, default)] }];
    let mut push = |start: u32, code: Vec<Instruction>| {
        if segments.last().is_some_and(|last| last.start == start) {
            segments.pop();
        }
        if segments.last().is_none_or(|last| last.code != code) {
            segments.push(Segment { start, code });
        }
    };
    for (number, rules) in rules {
        push(*number, leaf(default, rules));
        push(number + 1, vec![op(RET, default)]);
    }
    segments
}

fn tree(segments: &[Segment]) -> Vec<Instruction> {
    if let [only] = segments {
        return only.code.clone();
    }
    let (below, above) = segments.split_at(segments.len() / 2);
    let (below, start) = (tree(below), above[0].start);
    let mut code = match u8::try_from(below.len()) {
        Ok(distance) => vec![jump(JGE, start, distance, 0)],
        // Conditional jumps reach 255 instructions; beyond, jump to a jump.
        Err(_) => vec![jump(JGE, start, 0, 1), op(JA, u32::try_from(below.len()).unwrap_or(u32::MAX))],
    };
    code.extend(below);
    code.extend(tree(above));
    code
}

fn leaf(default: u32, rules: &[Rule]) -> Vec<Instruction> {
    let mut code = Vec::new();
    for rule in rules {
        code.extend(conditional(rule));
        if rule.conditions.is_empty() {
            return code;
        }
    }
    code.push(op(RET, default));
    code
}

/// Where a comparison goes on.
#[derive(Clone, Copy)]
enum To {
    Next,
    /// Behind this condition.
    Pass,
    /// Behind this rule.
    Fail,
}

type Draft = (u16, u32, To, To);

fn conditional(rule: &Rule) -> Vec<Instruction> {
    let drafts: Vec<Vec<Draft>> = rule.conditions.iter().map(draft).collect();
    let end = drafts.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(end);
    let mut pass = 0;
    for condition in &drafts {
        pass += condition.len();
        for (kind, k, yes, no) in condition {
            let here = code.len() + 1;
            let distance = |to: To| match to {
                To::Next => 0,
                To::Pass => u8::try_from(pass - here).expect("a condition has few instructions"),
                To::Fail => u8::try_from(end - here).expect("six conditions have few instructions"),
            };
            code.push(Instruction { code: *kind, jump_true: distance(*yes), jump_false: distance(*no), k: *k });
        }
    }
    code.push(op(RET, rule.answer));
    code
}

/// A 64-bit comparison in two halves, the upper one first.
fn draft(condition: &Condition) -> Vec<Draft> {
    let offset = ARGUMENTS + 8 * u32::from(condition.argument);
    let (load_low, load_high) = ((LD_W_ABS, offset, To::Next, To::Next), (LD_W_ABS, offset + 4, To::Next, To::Next));
    // Whichever half decides: `above` and `below` by the upper, `last` by the lower.
    let ordered = |value: u64, (above, below): (To, To), (kind, yes, no): (u16, To, To)| {
        let (high, low) = halves(value);
        vec![load_high, (JGT, high, above, To::Next), (JEQ, high, To::Next, below), load_low, (kind, low, yes, no)]
    };
    let (pass, fail) = (To::Pass, To::Fail);
    match condition.test {
        Test::Greater(value) => ordered(value, (pass, fail), (JGT, pass, fail)),
        Test::GreaterOrEqual(value) => ordered(value, (pass, fail), (JGE, pass, fail)),
        Test::Less(value) => ordered(value, (fail, pass), (JGE, fail, pass)),
        Test::LessOrEqual(value) => ordered(value, (fail, pass), (JGT, fail, pass)),
        Test::NotEqual(value) => {
            let (high, low) = halves(value);
            vec![load_high, (JEQ, high, To::Next, pass), load_low, (JEQ, low, fail, pass)]
        }
        Test::Equal(value) => {
            let (high, low) = halves(value);
            vec![load_high, (JEQ, high, To::Next, fail), load_low, (JEQ, low, pass, fail)]
        }
        Test::MaskedEqual { mask, value } => {
            let ((mask_high, mask_low), (high, low)) = (halves(mask), halves(value));
            let (and_high, and_low) = ((AND, mask_high, To::Next, To::Next), (AND, mask_low, To::Next, To::Next));
            vec![load_high, and_high, (JEQ, high, To::Next, fail), load_low, and_low, (JEQ, low, pass, fail)]
        }
    }
}

const fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, (value & 0xffff_ffff) as u32)
}

const fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, k }
}

const fn jump(code: u16, k: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, k }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel would do, for the few instructions we use.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut register) = (0, 0);
        loop {
            let instruction = program[at];
            at += 1;
            let holds = match instruction.code {
                RET => return instruction.k,
                LD_W_ABS => {
                    register = match instruction.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => {
                            let (high, low) = halves(arguments[usize::try_from((offset - ARGUMENTS) / 8).unwrap()]);
                            if offset % 8 == 0 { low } else { high }
                        }
                    };
                    continue;
                }
                AND => {
                    register &= instruction.k;
                    continue;
                }
                JA => {
                    at += usize::try_from(instruction.k).unwrap();
                    continue;
                }
                JEQ => register == instruction.k,
                JGT => register > instruction.k,
                JGE => register >= instruction.k,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { instruction.jump_true } else { instruction.jump_false });
        }
    }

    fn holds(condition: &Condition, arguments: [u64; 6]) -> bool {
        let argument = arguments[usize::from(condition.argument)];
        match condition.test {
            Test::NotEqual(value) => argument != value,
            Test::Less(value) => argument < value,
            Test::LessOrEqual(value) => argument <= value,
            Test::Equal(value) => argument == value,
            Test::GreaterOrEqual(value) => argument >= value,
            Test::Greater(value) => argument > value,
            Test::MaskedEqual { mask, value } => argument & mask == value,
        }
    }

    fn reference(default: u32, rules: &BTreeMap<u32, Vec<Rule>>, number: u32, arguments: [u64; 6]) -> u32 {
        let first = rules.get(&number).into_iter().flatten();
        let mut holding = first.filter(|rule| rule.conditions.iter().all(|condition| holds(condition, arguments)));
        holding.next().map_or(default, |rule| rule.answer)
    }

    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![
            0_u64..4,
            Just(0xffff_ffff),
            Just(1 << 32),
            (0_u64..4).prop_map(|low| (1 << 32) + low),
            any::<u64>()
        ]
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let test = (0..7, value(), value()).prop_map(|(kind, value, mask)| match kind {
            0 => Test::NotEqual(value),
            1 => Test::Less(value),
            2 => Test::LessOrEqual(value),
            3 => Test::Equal(value),
            4 => Test::GreaterOrEqual(value),
            5 => Test::Greater(value),
            _ => Test::MaskedEqual { mask, value },
        });
        (0_u8..6, test).prop_map(|(argument, test)| Condition { argument, test })
    }

    fn rule() -> impl Strategy<Value = Rule> {
        let answer = prop_oneof![Just(0x7fff_0000_u32), Just(0x0005_0001), Just(KILL_PROCESS)];
        (proptest::collection::vec(condition(), 0..4), answer)
            .prop_map(|(conditions, answer)| Rule { conditions, answer })
    }

    proptest! {
        #[test]
        fn the_program_answers_as_the_rules_do(
            rules in proptest::collection::btree_map(0_u32..470, proptest::collection::vec(rule(), 1..4), 0..60),
            numbers in proptest::collection::vec(0_u32..480, 20),
            arguments in proptest::array::uniform6(value()),
        ) {
            let default = 0x0005_0026;
            let program = compile(default, &rules);
            for number in numbers.into_iter().chain(rules.keys().copied()) {
                prop_assert_eq!(run(&program, NATIVE, number, arguments), reference(default, &rules, number, arguments));
            }
        }
    }

    #[test]
    fn foreign_entries_are_refused_even_by_a_lenient_default() {
        let program = compile(0x7fff_0000, &BTreeMap::new());
        assert_eq!(run(&program, NATIVE ^ 1, 0, [0; 6]), KILL_PROCESS);
        assert_eq!(run(&program, NATIVE, FOREIGN_NUMBERS + 1, [0; 6]), KILL_PROCESS);
        assert_eq!(run(&program, NATIVE, 1, [0; 6]), 0x7fff_0000);
    }
}
