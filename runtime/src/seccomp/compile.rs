//! Rules to classic BPF: first the architecture, then a balanced tree over the call's number, then its arguments.
//!
//! The kernel runs the program once for every number when it is installed, to fill its bitmap of calls that are always
//! allowed; a tree makes that, and every call that misses the bitmap, logarithmic.

use super::architecture::{Architecture, X32_BIT};
use super::rules::{Place, Rules, Table};
use skiff_sys::seccomp::Instruction;

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

const KILL_PROCESS: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

/// The program for `rules`; what they do not name gets `default`.
pub(super) fn compile(default: u32, rules: &Rules) -> Vec<Instruction> {
    let mut writer = Writer { backwards: vec![op(RET, KILL_PROCESS)], answers: Vec::new(), default, list: &rules.list };
    for tables in rules.tables.chunk_by(|a, b| a.architecture.audit() == b.architecture.audit()).rev() {
        let end = writer.backwards.len();
        writer.body(tables);
        let distance = writer.backwards.len() - end;
        writer.backwards.push(op(JA, far(distance)));
        writer.backwards.push(jump(JEQ, tables[0].architecture.audit(), 1, 0));
    }
    writer.backwards.push(op(LD_W_ABS, ARCHITECTURE));
    writer.backwards.reverse();
    writer.backwards
}

fn far(distance: usize) -> u32 {
    u32::try_from(distance).unwrap_or(u32::MAX)
}

/// Writes from the program's end to its beginning: a jump is written when it is known how far it goes. An instruction's place
/// is its distance from the end, and what is executed after it has the place before.
struct Writer<'a> {
    backwards: Vec<Instruction>,
    /// The answers given so far, and the nearest place of each: the kernel translates every instruction, so few are better.
    answers: Vec<(u32, usize)>,
    default: u32,
    list: &'a [Rule],
}

/// How far a conditional jump goes, less the two instructions that may come between a decision and the jump.
const NEAR: usize = 253;

impl Writer<'_> {
    /// The part for calls that the kernel announces alike: x86-64's and x32's.
    fn body(&mut self, tables: &[Table]) {
        let mut segments = Segments(vec![Segment { start: 0, code: Code::Answer(self.default) }]);
        for table in tables {
            segments.fill(table, self.list, self.default);
        }
        if segments.0.last().is_some_and(|last| last.start >= X32_BIT) {
            // -1 is a call that a debugger took back.
            segments.push(u32::MAX, Code::Answer(self.default));
        }
        let root = self.tree(&segments.0);
        if root + 1 != self.backwards.len() {
            self.leap(root);
        }
        self.backwards.push(op(LD_W_ABS, NUMBER));
    }

    /// The place where the decision between `segments` begins.
    fn tree(&mut self, segments: &[Segment<'_>]) -> usize {
        if let [only] = segments {
            return match only.code {
                Code::Answer(answer) => self.answer(answer),
                Code::FirstOf(places) => self.rules(places),
            };
        }
        let (below, above) = segments.split_at(segments.len() / 2);
        let (yes, no) = (self.tree(above), self.tree(below));
        let (yes, no) = (self.near(yes), self.near(no));
        let distance = |place: usize| u8::try_from(self.backwards.len() - 1 - place).expect("near() sees to it");
        let decision = jump(JGE, above[0].start, distance(yes), distance(no));
        self.backwards.push(decision);
        self.backwards.len() - 1
    }

    fn answer(&mut self, answer: u32) -> usize {
        let known = self.answers.iter_mut().find(|(known, _)| *known == answer);
        match known {
            Some((_, place)) if self.backwards.len() - *place <= NEAR => *place,
            Some((_, place)) => {
                *place = self.backwards.len();
                self.backwards.push(op(RET, answer));
                *place
            }
            None => {
                self.answers.push((answer, self.backwards.len()));
                self.backwards.push(op(RET, answer));
                self.backwards.len() - 1
            }
        }
    }

    /// A place that does what `place` does and that a conditional jump reaches.
    fn near(&mut self, place: usize) -> usize {
        match self.backwards[place] {
            _ if self.backwards.len() - place <= NEAR => place,
            Instruction { code: RET, k, .. } => self.answer(k),
            _ => self.leap(place),
        }
    }

    fn leap(&mut self, place: usize) -> usize {
        self.backwards.push(op(JA, far(self.backwards.len() - 1 - place)));
        self.backwards.len() - 1
    }

    fn rules(&mut self, places: &[Place]) -> usize {
        let mut code = Vec::new();
        for place in places {
            code.extend(conditional(&self.list[place.rule]));
        }
        code.push(op(RET, self.default));
        self.backwards.extend(code.into_iter().rev());
        self.backwards.len() - 1
    }
}

/// Consecutive numbers with the same code.
struct Segment<'a> {
    start: u32,
    code: Code<'a>,
}

/// What a number gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Code<'a> {
    Answer(u32),
    /// The first that holds of these, which are numbers in the list of rules, or the default.
    FirstOf(&'a [Place]),
}

struct Segments<'a>(Vec<Segment<'a>>);

impl<'a> Segments<'a> {
    /// From `start` on, the answer is `code`.
    fn push(&mut self, start: u32, code: Code<'a>) {
        if self.0.last().is_some_and(|last| last.start == start) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| last.code != code) {
            self.0.push(Segment { start, code });
        }
    }

    fn fill(&mut self, table: &'a Table, list: &[Rule], default: u32) {
        if table.architecture == Architecture::X32 {
            self.push(X32_BIT, Code::Answer(default));
        }
        for places in table.places.chunk_by(|a, b| a.number == b.number) {
            let first = &list[places[0].rule];
            let code = if first.conditions.is_empty() { Code::Answer(first.answer) } else { Code::FirstOf(places) };
            self.push(places[0].number, code);
            self.push(places[0].number + 1, Code::Answer(default));
        }
        if let Some(last) = table.last {
            self.push(last + 1, Code::Answer(UNKNOWN));
        }
        // What x32's calls would be is nobody's, until x32 itself comes and says otherwise.
        if table.architecture == Architecture::X86_64 {
            self.push(X32_BIT, Code::Answer(KILL_PROCESS));
        }
    }
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
