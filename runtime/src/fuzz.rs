//! Inputs by chance: `SKIFF_FUZZ_RUNS=10000000 cargo test --release -p skiff-oci --bin skiff-oci -- fuzz reference` takes minutes.

mod inputs; // config.json and words

pub(crate) use skiff_harness::chance::{Chance, runs};
