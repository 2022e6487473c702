//! Random requests to our server and to a real etcd beside it: every answer, every refusal and every watched event must be equal.
//!
//! Both begin empty, so even revisions are equal; only ids of cluster and member and raft's term are not compared. Left out is what
//! kills etcd: an unknown sort target, and a transaction that deletes from a key on and puts with `ignore_value`.
//! So are unknown numbers of enumerations, which etcd 3.5 takes for something and we refuse (`tests/both/enums.rs`).
//! `SKIFF_OPERATIONS` says how many requests are sent, `SKIFF_SEED` which ones.

#![allow(clippy::unwrap_used)]

#[path = "../peers/mod.rs"]
mod peers;
mod random; // what is asked
mod send; // asking it of one server
mod watches; // what both tell of it

use peers::{ours_over, peer, real_etcd_with};
use rand::SeedableRng;
use rand::rngs::StdRng;
use random::Random;
use redb::backends::InMemoryBackend;
use send::Server;
use skiff_store::{Options, Store};

/// Requests of one round; then what was watched is compared and the watches are made anew.
const ROUND: usize = 250;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_answers_alike() {
    let Some(program) = peer("etcd-3.5", "/nonexistent") else { return };
    let long = std::env::var_os("SKIFF_LONG").is_some();
    let operations = number("SKIFF_OPERATIONS", if long { 200_000 } else { 2_000 });
    let seed = number("SKIFF_SEED", 1);
    let etcd = real_etcd_with(&program, &["--unsafe-no-fsync"]).await;
    let store = Store::open_disk(InMemoryBackend::new(), Options::default()).unwrap();
    let ours = ours_over(tempfile::tempdir().unwrap(), store).await;
    let (mut theirs, mut mine) = (Server::connect(&etcd.url).await, Server::connect(&ours.url).await);
    let mut random = Random::new(StdRng::seed_from_u64(seed));
    let mut events = 0;
    for round in 0..operations.div_ceil(ROUND as u64) {
        let state = theirs.everything().await;
        let mut watched = watches::Watched::begin(&etcd.url, &ours.url, state, &mut random).await;
        for step in 0..ROUND {
            let request = random.request();
            let (wanted, got) = tokio::join!(theirs.send(&request), mine.send(&request));
            assert_eq!(
                got, wanted,
                "ours, then etcd's answer to {request:?} (seed {seed}, round {round}, step {step})"
            );
            random.learn(&wanted);
            if step % 50 == 25 {
                watched.add(&mut random).await;
            }
        }
        events += watched.compare(random.revision, random.compacted).await;
    }
    eprintln!("compared {operations} answers and {events} events");
}
