//! Chance for tests that try very many inputs: a seeded generator, and how often to try.
//!
//! `SKIFF_FUZZ_RUNS=N` says how often (20,000 by default, 100,000 by `tests/run`), `SKIFF_FUZZ_SEED=N` where chance begins. A
//! failure prints the seed. Ten million take minutes when optimized: `SKIFF_FUZZ_RUNS=10000000 cargo test --release -p skiff-oci
//! --bin skiff-oci -- fuzz reference`.

mod inputs; // config.json and words

use std::fmt;

const RUNS: u64 = 20_000;

/// How many inputs to try.
pub(crate) fn runs() -> u64 {
    number("SKIFF_FUZZ_RUNS").unwrap_or(RUNS)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// A stream of numbers that look random (splitmix64) and are the same for the same seed.
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// A stream for the test `name`.
    pub(crate) fn seeded(name: &str) -> Self {
        let seed = number("SKIFF_FUZZ_SEED").unwrap_or(1);
        let state = name.bytes().fold(seed, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
        Self { seed, state }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True once in `count` times.
    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// Any of `list`, which has some.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let index = self.below(u64::try_from(list.len()).expect("fits"));
        &list[usize::try_from(index).expect("fits")]
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SKIFF_FUZZ_SEED={}", self.seed)
    }
}
