//! A process that serves the store is killed under load, again and again, on a real disk.
//!
//! The process is this same test program. Clients write to it over a unix socket, each to keys of its own, some keys together; another
//! watches everything. After each kill the next process must have every acknowledged write, each of the others whole or not at all, a
//! revision that is not lower, the leases, and for the watch every revision, once.
//!
//! `SKIFF_KILLS` is how many, `SKIFF_SEED` where chance begins; `SKIFF_KILL_ACKS` how many answers come before a kill, at most.

mod clients; // who write
mod serve; // the process
mod verify; // what the next one must have

use crate::amount::{Progress, amount, chance, first_seed};
use clients::Load;
use rand::Rng;
use serve::Served;
use verify::Known;

/// Kills between two compactions.
const COMPACTED_EVERY: u64 = 7;

#[test]
fn what_was_acknowledged_survives_kills() {
    if serve::is_child() {
        return;
    }
    let Some(folder) = serve::folder_on_a_real_disk() else { return };
    let kills = amount("SKIFF_KILLS", 300, 10_000);
    let acks = amount("SKIFF_KILL_ACKS", 40, 250);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (mut chance, mut known, mut progress) = (chance(first_seed()), Known::default(), Progress::of("kills"));
    for kill in 0..kills {
        if chance.random_range(0..10) == 0 {
            // Killed while it starts: another start finds what it left.
            let mut served = Served::begin(folder.path());
            std::thread::sleep(std::time::Duration::from_micros(chance.random_range(0..12_000)));
            served.kill();
        }
        let acks = chance.random_range(1..=acks);
        let pause_us = [0, 0, 300, 2000][chance.random_range(0..4)];
        runtime.block_on(async {
            let mut served = Served::begin(folder.path());
            let channel = served.connect().await;
            let revision = known.verify(&channel, kill).await;
            let compact = (kill % COMPACTED_EVERY == 3).then_some(revision - 20);
            let load = Load::begin(&served, &known, compact).await;
            load.wait_for(acks).await;
            // Somewhere between two answers.
            tokio::time::sleep(std::time::Duration::from_micros(pause_us)).await;
            served.kill();
            load.end(&mut known).await;
        });
        progress.tell(kill, kills, &known);
    }
    runtime.block_on(async {
        let mut served = Served::begin(folder.path());
        known.verify(&served.connect().await, kills).await;
        served.kill();
    });
    let report = skiff_store::fsck::fsck(&folder.path().join("store")).unwrap();
    assert!(report.is_sound(), "{report}");
    progress.print(kills, kills, &known);
}

#[test]
fn child_that_serves() {
    if serve::is_child() {
        serve::child();
    }
}
