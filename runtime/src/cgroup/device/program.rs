//! Version 2: rules as a program that the kernel runs at every access (`BPF_PROG_TYPE_CGROUP_DEVICE`).
//!
//! ```text
//! r2 = type   r3 = access asked   r4 = major   r5 = minor   r6 = access granted = 0
//! for each rule:  if it fits (r2, r4, r5):  r6 |= its access, or r6 &= !its access
//! return r3 & !r6 == 0
//! ```

use crate::spec::{DeviceKind, DeviceRule};
use skiff_sys::bpf::Instruction;

/// Of `struct bpf_cgroup_dev_ctx` (linux/bpf.h): access in the upper and type in the lower half, then the numbers.
const ACCESS_TYPE: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;

/// Registers (kernel bpf/standardization/instruction-set): the result, the context, and ours.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR_IS: u8 = 4;
const MINOR_IS: u8 = 5;
const GRANTED: u8 = 6;

/// Operations on 32 bits, which do not extend a sign: a number with the highest bit set stays itself.
mod op {
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const MOVE: u8 = 0xb4;
    pub(super) const COPY: u8 = 0xbc;
    pub(super) const OR: u8 = 0x44;
    pub(super) const AND: u8 = 0x54;
    pub(super) const AND_REGISTER: u8 = 0x5c;
    pub(super) const XOR: u8 = 0xa4;
    pub(super) const SHIFT_RIGHT: u8 = 0x74;
    pub(super) const JUMP_IF_EQUAL: u8 = 0x16;
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x56;
    pub(super) const EXIT: u8 = 0x95;
}

/// The program that says what `rules` say.
pub(in crate::cgroup) fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, ACCESS_TYPE),
        Instruction::new(op::COPY, ASKED, KIND, 0, 0),
        with(op::AND, KIND, 0xffff),
        with(op::SHIFT_RIGHT, ASKED, 16),
        load(MAJOR_IS, MAJOR),
        load(MINOR_IS, MINOR),
        with(op::MOVE, GRANTED, 0),
    ];
    rules.iter().for_each(|rule| append(&mut program, rule));
    program.extend([
        with(op::XOR, GRANTED, -1),
        Instruction::new(op::AND_REGISTER, ASKED, GRANTED, 0, 0),
        with(op::MOVE, RESULT, 1),
        Instruction::new(op::JUMP_IF_EQUAL, ASKED, 0, 1, 0),
        with(op::MOVE, RESULT, 0),
        Instruction::new(op::EXIT, 0, 0, 0, 0),
    ]);
    program
}

fn append(program: &mut Vec<Instruction>, rule: &DeviceRule) {
    let mut conditions = Vec::new();
    if let Some(pattern) = &rule.pattern {
        // BPF_DEVCG_DEV_BLOCK and _CHAR.
        conditions.push((KIND, if pattern.kind == DeviceKind::Block { 1 } else { 2 }));
        conditions.extend(pattern.major.map(|major| (MAJOR_IS, major.cast_signed())));
        conditions.extend(pattern.minor.map(|minor| (MINOR_IS, minor.cast_signed())));
    }
    // At most three, so each jumps over at most two others and the change itself.
    for (left, (register, number)) in (1..=3_i16).rev().skip(3 - conditions.len()).zip(conditions) {
        program.push(Instruction::new(op::JUMP_UNLESS_EQUAL, register, 0, left, number));
    }
    let access = i32::from(rule.access.0);
    program.push(if rule.allow { with(op::OR, GRANTED, access) } else { with(op::AND, GRANTED, !access) });
}

const fn load(register: u8, offset: i16) -> Instruction {
    Instruction::new(op::LOAD, register, CONTEXT, offset, 0)
}

const fn with(code: u8, register: u8, number: i32) -> Instruction {
    Instruction::new(code, register, 0, 0, number)
}

#[cfg(test)]
mod tests {
    use super::super::{allows, complete, samples};
    use super::*;
    use crate::spec::{Access, DeviceKind};
    use proptest::prelude::*;

    /// A machine for the operations above.
    fn run(program: &[Instruction], kind: DeviceKind, major: u32, minor: u32, access: Access) -> bool {
        let context = [u32::from(access.0) << 16 | if kind == DeviceKind::Block { 1 } else { 2 }, major, minor];
        let (mut registers, mut at) = ([0_u32; 11], 0);
        loop {
            let Instruction { code, registers: both, offset, immediate } = program[at];
            let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
            let number = immediate.cast_unsigned();
            let jump = match code {
                op::JUMP_IF_EQUAL => registers[to] == number,
                op::JUMP_UNLESS_EQUAL => registers[to] != number,
                _ => false,
            };
            at += 1 + if jump { usize::try_from(offset).unwrap() } else { 0 };
            registers[to] = match code {
                op::LOAD => context[usize::try_from(offset).unwrap() / 4],
                op::MOVE => number,
                op::COPY => registers[from],
                op::OR => registers[to] | number,
                op::AND => registers[to] & number,
                op::AND_REGISTER => registers[to] & registers[from],
                op::XOR => registers[to] ^ number,
                op::SHIFT_RIGHT => registers[to] >> number,
                op::EXIT => return registers[usize::from(RESULT)] == 1,
                _ => registers[to],
            };
        }
    }

    proptest! {
        #[test]
        fn the_program_says_what_the_rules_say(
            rules in proptest::collection::vec(samples::rule(), 0..8), kind in samples::kind(),
            major in prop_oneof![0..4_u32, Just(u32::MAX)], minor in prop_oneof![0..4_u32, Just(u32::MAX)],
        ) {
            for access in 1..8 {
                let said = run(&compile(&rules), kind, major, minor, Access(access));
                prop_assert_eq!(said, allows(&rules, kind, major, minor, Access(access)));
            }
        }
    }

    #[test]
    fn no_rule_allows_nothing_but_what_every_container_has() {
        let program = compile(&complete(&[]));
        assert!(run(&program, DeviceKind::Character, 1, 3, Access::ALL));
        assert!(!run(&program, DeviceKind::Character, 1, 1, Access(2)));
    }
}
