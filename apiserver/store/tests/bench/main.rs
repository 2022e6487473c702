//! Our store beside etcd 3.5, both served over TCP in processes of their own, with a folder on the same disk and fsync on.
//!
//!     SKIFF_BENCH=1 SKIFF_PEERS=FOLDER cargo test --release -p skiff-store --test bench -- --nocapture
//!
//! Prints the table of `docs/promises.md`. Rows are measured by turns, some seconds of one server and then of the other, so that what
//! else the machine does falls on both; only the ratios mean something. Parameters, by environment:
//! `SKIFF_BENCH_SECONDS` of a turn (0.7), `SKIFF_BENCH_TURNS` of each server in a row (3), `SKIFF_BENCH_ROWS` (only the rows whose name
//! contains this), `SKIFF_BENCH_KEYS` (100000), `SKIFF_BENCH_UPDATES` (200000), `SKIFF_BENCH_SIZES` (10000,100000,1000000),
//! `SKIFF_BENCH_FOLDER` (on a real disk).

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

mod bystanders; // who waits, and costs nothing
mod kv; // puts, swaps, gets, lists, leases
mod load; // clients in a closed loop
mod server; // the two servers
mod sizes; // little and much
mod table; // what is printed
mod watch; // events to many
mod whole; // memory, restart, disk

use server::{Kind, Server};
use skiff_harness::bench_parameter;
use std::path::PathBuf;
use std::time::Duration;
use table::Table;

/// See the module.
struct Parameters {
    turn: Duration,
    turns: usize,
    rows: String,
    keys: usize,
    updates: usize,
    sizes: String,
    folder: PathBuf,
}

impl Parameters {
    fn read() -> Self {
        Parameters {
            turn: Duration::from_secs_f64(bench_parameter("SECONDS", 0.7)),
            turns: bench_parameter("TURNS", 3),
            rows: bench_parameter("ROWS", String::new()),
            keys: bench_parameter("KEYS", 100_000),
            updates: bench_parameter("UPDATES", 200_000),
            sizes: bench_parameter("SIZES", "10000,100000,1000000".to_owned()),
            folder: bench_parameter("FOLDER", PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
        }
    }

    fn wants(&self, row: &str) -> bool {
        row.contains(&self.rows)
    }
}

#[test]
fn beside_etcd() {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        return;
    }
    let parameters = Parameters::read();
    server::refuse_memory(&parameters.folder);
    let Some(etcd) = skiff_harness::peer("etcd-3.5") else {
        skiff_harness::skip("etcd-3.5 is not installed; tests/peers FOLDER installs it");
        return;
    };
    let folder = tempfile::tempdir_in(&parameters.folder).unwrap();
    let start = |name: &str| {
        let folder = folder.path().join(name);
        [Server::start(Kind::Ours, &folder), Server::start(Kind::Etcd(etcd.path().to_owned()), &folder)]
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::default();
    {
        let servers = start("rows");
        runtime.block_on(kv::measure(&parameters, &servers, &mut table));
        runtime.block_on(watch::measure(&parameters, &servers, &mut table));
    }
    {
        let servers = start("bystanders");
        runtime.block_on(bystanders::measure(&parameters, &servers, &mut table));
    }
    {
        let servers = start("sizes");
        runtime.block_on(sizes::measure(&parameters, &servers, &mut table));
    }
    whole::measure(&runtime, &parameters, start, &mut table);
    print!("{table}");
}

/// Not a test: what the other one starts.
#[test]
fn child_that_serves() {
    server::serve_if_asked();
}
