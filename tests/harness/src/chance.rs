//! Chance for tests that try very many inputs: a seeded generator, what it makes of bytes and trees, and how often to try.
//!
//! `SKIFF_FUZZ_RUNS=N` says how often (20,000 by default, 100,000 by `tests/run`), `SKIFF_FUZZ_SEED=N` where chance begins. A
//! failure prints the seed. Ten million take minutes when optimised: `--profile long`.

use serde_json::{Value, json};
use std::fmt;

const RUNS: u64 = 20_000;

/// How many inputs to try.
#[must_use]
pub fn runs() -> u64 {
    number("SKIFF_FUZZ_RUNS").unwrap_or(RUNS)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A stream of numbers that look random (splitmix64) and are the same for the same seed.
#[derive(Debug)]
pub struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// A stream for the test `name`.
    #[must_use]
    pub fn seeded(name: &str) -> Self {
        let seed = number("SKIFF_FUZZ_SEED").unwrap_or(1);
        let state = name.bytes().fold(seed, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
        Self { seed, state }
    }

    /// The next number.
    #[allow(clippy::should_implement_trait, reason = "a stream without an end is no iterator that a loop may take")]
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` - 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// An index of what has `length` elements, at least one.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).expect("fits"))).expect("fits")
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Any of `list`, which has some.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.index(list.len())]
    }

    /// Changes, drops, repeats or cuts off a few of `bytes`, which may be text or not.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                return bytes.push(self.next() as u8);
            }
            let (at, end) = (self.index(bytes.len()), bytes.len());
            let until = end.min(at + 1 + self.index(8));
            match self.below(7) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = *self.pick(b"{}[]\",:\\\0\xff\x7f\x80-+.eE019tn \n/~%"),
                3 => drop(bytes.drain(at..until)),
                4 => {
                    let piece = bytes[at..until].to_vec();
                    let to = self.index(bytes.len());
                    bytes.splice(to..to, piece);
                }
                5 => bytes.truncate(at),
                _ => bytes.insert(at, self.next() as u8),
            }
        }
    }

    /// Puts a strange value where `tree` has another one, or takes one away.
    pub fn disturb(&mut self, tree: &mut Value) {
        let stop = self.one_in(4);
        match tree {
            Value::Array(list) if !stop && !list.is_empty() => {
                let at = self.index(list.len());
                self.disturb(&mut list[at]);
            }
            Value::Object(fields) if !stop && !fields.is_empty() => {
                let at = self.index(fields.len());
                let key = fields.keys().nth(at).cloned().unwrap_or_default();
                if self.one_in(12) {
                    fields.remove(&key);
                } else if let Some(value) = fields.get_mut(&key) {
                    self.disturb(value);
                }
            }
            place => *place = self.strange(),
        }
    }

    /// A value that is rarely meant.
    pub fn strange(&mut self) -> Value {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(i64::MAX),
            json!(i64::MIN),
            json!(u64::MAX),
            json!(1.5),
            json!(1e300),
            json!(""),
            json!(" "),
            json!("a/b/c"),
            json!("-a"),
            json!("A"),
            json!("*"),
            json!("0"),
            json!("10%"),
            json!("1Gi"),
            json!("-1"),
            json!("999999999999999999999E"),
            json!("2024-02-30T25:61:61Z"),
            json!("::1"),
            json!("0.0.0.0/0"),
            json!("\u{0}"),
            json!("ä😀"),
            json!("x".repeat(300)),
            json!([]),
            json!([null]),
            json!([[]]),
            json!(["a", "a"]),
            json!({}),
            json!({"": ""}),
            json!({"a": {"b": []}}),
            json!("$patch"),
            json!("{"),
        ];
        self.pick(&values).clone()
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIFF_FUZZ_SEED={}", self.seed)
    }
}
