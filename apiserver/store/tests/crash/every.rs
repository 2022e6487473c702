//! Every durable operation goes wrong: the n-th write, sync or change of length, for every n until a life has no n-th any more.
//!
//! After a failure the store acknowledges nothing on that handle and says why; what is then on the disk, after a kill or a power
//! failure, opens and holds what was acknowledged. `SKIFF_FAULT_SEEDS` is how many lives.

use crate::amount::{Progress, amount, chance, first_seed};
use crate::check::check;
use crate::machine::{Fault, Image, Machine};
use crate::model::Model;
use crate::power::Walk;
use crate::workload::{Life, Restarts, end, open};

/// Without `NoSpace`, which is no end: see [`crate::full`].
const FAULTS: [Fault; 4] = [Fault::CrashBefore, Fault::CrashAfter, Fault::Io, Fault::Short];
const COMMANDS: usize = 10;
/// Power failures tried after each fault.
const POWER_FAILURES: usize = 2;

#[test]
fn every_durable_operation_may_fail() {
    let seeds = amount("SKIFF_FAULT_SEEDS", 1, 20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut progress = Progress::of("faults");
    for seed in first_seed()..first_seed() + seeds {
        for fault in FAULTS {
            let mut point = 0;
            while runtime.block_on(fails_at(seed, point, fault)) {
                point += 1;
                progress.tell(seed, seeds, &format!(" lives: {fault:?} at point {point}"));
            }
            assert!(point > 50, "the disk is hardly used: {point} points");
            // Every n up to the one that was not reached was hit: points seen and points hit are the same.
            eprintln!("faults: seed {seed}, {fault:?}: {point} points seen, {point} hit (100 %)");
        }
    }
    progress.print(seeds, seeds, &" lives");
}

/// A life whose `point`-th operation goes wrong; `false`: it has none.
async fn fails_at(seed: u64, point: usize, fault: Fault) -> bool {
    let again =
        format!("{fault:?} at {point}; again: SKIFF_SEED={seed} cargo test -p skiff-store --test crash every_durable");
    let mut chance = chance(seed);
    let machine = Machine::default();
    machine.fail_at(point, fault);
    let mut life = Life::begin(machine.clone(), Model::new());
    let lived = life.live(&mut chance, COMMANDS, Restarts::Some).await;
    machine.wait_until_free();
    let (seen, hit) = machine.seen();
    if !hit {
        assert!(seen <= point && lived.is_ok() && life.refused.is_none(), "{again}: {lived:?} {:?}", life.refused);
        return false;
    }
    if let Err(error) = lived {
        assert!(error.to_string().contains("the given disk"), "{again}: does not say what failed: {error}");
    }
    if life.opened_at == 0 && life.sent.is_empty() {
        // It was never made: its file has no name yet (see `folder.rs`).
        return true;
    }
    holds(machine.files(), &life, seed, &format!("killed after {again}")).await;
    let (base, log) = life.log();
    let mut walk = Walk::along(base, &log);
    walk.advance(log.len());
    for _ in 0..POWER_FAILURES {
        holds(walk.power_fails(&mut chance), &life, seed, &format!("power lost after {again}")).await;
    }
    true
}

async fn holds(image: Image, life: &Life, seed: u64, what: &str) {
    let machine = Machine::started_with(image);
    let store = open(&machine, &mut chance(seed)).unwrap_or_else(|error| panic!("{what}: refused: {error}"));
    let position = life.machine.position();
    let checked = check(&store, &life.model, &life.possible(position), &mut chance(seed)).await;
    checked.unwrap_or_else(|trouble| panic!("{what}: {trouble}"));
    let written = store.grant(0, 100).await;
    written.unwrap_or_else(|refusal| panic!("{what}: it opens, and then refuses to write: {refusal}"));
    end(store, &machine, true).await;
}
