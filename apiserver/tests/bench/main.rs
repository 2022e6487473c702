//! Our API server beside a real kube-apiserver with etcd, each served over TLS by processes of their own, asked by one driver.
//!
//!     SKIFF_BENCH=1 SKIFF_PEERS=FOLDER SKIFF_KUBE_APISERVER=FILE cargo test --release -p skiff-apiserver --test bench -- --nocapture
//!
//! FOLDER holds `etcd-3.5` (`tests/peers FOLDER` installs it); FILE is a kube-apiserver, which has no Debian package: build it from
//! Kubernetes' public source. Rows are measured by turns, so that what else the machine does falls on both; only the ratios mean
//! something. Parameters, by environment: `SKIFF_BENCH_SECONDS` of a turn (1), `SKIFF_BENCH_TURNS` of each server in a row (3),
//! `SKIFF_BENCH_ROWS` (only the rows whose name contains this), `SKIFF_BENCH_OBJECTS` (10000), `SKIFF_BENCH_WATCHERS` (1000),
//! `SKIFF_BENCH_FOLDER` (on a real disk).
//!
//! `-- --exact access_beside_kube_apiserver` measures callers with tokens, roles, policies, webhooks, quotas, the audit log and a flood.
//!
//!     SKIFF_BENCH=1 cargo test --release -p skiff-apiserver --test bench -- --exact costs_where_there_is_much --nocapture
//!
//! makes a table of costs with up to `SKIFF_BENCH_OBJECTS` (100000) objects, and then up to `SKIFF_BENCH_DEFINITIONS` (1000) definitions of
//! custom resources beside them; of our server alone where no kube-apiserver is named.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]

mod access; // who asks, whether they may, and who else asks
mod costs; // where there is much
mod hooks; // webhooks
mod http; // one client
mod lists; // many objects at once
mod load; // clients in a closed loop
mod objects; // what is asked about
mod server; // the two servers
mod table; // what is printed
mod watchers; // events to many

use costs::Subject;
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
    objects: usize,
    watchers: usize,
    folder: PathBuf,
}

impl Parameters {
    fn read() -> Self {
        Self {
            turn: Duration::from_secs_f64(bench_parameter("SECONDS", 1.0)),
            turns: bench_parameter("TURNS", 3),
            rows: bench_parameter("ROWS", String::new()),
            objects: bench_parameter("OBJECTS", 10_000),
            watchers: bench_parameter("WATCHERS", 1000),
            folder: bench_parameter("FOLDER", PathBuf::from(env!("CARGO_TARGET_TMPDIR"))),
        }
    }

    fn wants(&self, row: &str) -> bool {
        row.contains(&self.rows)
    }
}

/// What is to be measured; `None`, with the reason on stderr, if it was not asked for.
fn measuring() -> Option<Parameters> {
    if std::env::var_os("SKIFF_BENCH").is_none() {
        skiff_harness::skip("a measurement: SKIFF_BENCH=1 runs it");
        return None;
    }
    let parameters = Parameters::read();
    assert!(!skiff_harness::is_in_memory(&parameters.folder), "set SKIFF_BENCH_FOLDER to a folder on a disk");
    Some(parameters)
}

/// The other server; `None`, with the reason on stderr, if something of it is missing.
fn kube() -> Option<Kind> {
    let Some(program) = std::env::var_os("SKIFF_KUBE_APISERVER").map(PathBuf::from) else {
        skiff_harness::skip("SKIFF_KUBE_APISERVER names no kube-apiserver");
        return None;
    };
    let Some(etcd) = skiff_harness::peer("etcd-3.5") else {
        skiff_harness::skip("etcd-3.5 is not installed; tests/peers FOLDER installs it");
        return None;
    };
    Some(Kind::Kube { program, etcd: etcd.path().to_owned() })
}

#[test]
fn beside_kube_apiserver() {
    let Some((parameters, kube)) = measuring().and_then(|parameters| Some((parameters, kube()?))) else { return };
    let folder = tempfile::tempdir_in(&parameters.folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::wanting(4.0);
    runtime.block_on(async {
        let servers = [Server::start(Kind::Ours, folder.path()).await, Server::start(kube, folder.path()).await];
        table.bytes("memory, no objects", servers.each_ref().map(Server::resident_bytes), 0.125);
        objects::measure(&parameters, &servers, &mut table).await;
        lists::measure(&parameters, &servers, &mut table).await;
        watchers::measure(&parameters, &servers, &mut table).await;
    });
    print!("{table}");
}

#[test]
fn access_beside_kube_apiserver() {
    let Some((parameters, kube)) = measuring().and_then(|parameters| Some((parameters, kube()?))) else { return };
    let folder = tempfile::tempdir_in(&parameters.folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut table = Table::wanting(3.0);
    runtime.block_on(access::measure(&parameters, &[Kind::Ours, kube], folder.path(), &mut table));
    print!("{table}");
}

#[test]
fn costs_where_there_is_much() {
    let Some(parameters) = measuring() else { return };
    let folder = tempfile::tempdir_in(&parameters.folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (objects, definitions) = (bench_parameter("OBJECTS", 100_000), bench_parameter("DEFINITIONS", 1000));
    let kinds = [("ours", Some(Kind::Ours)), ("kube-apiserver with etcd", kube())];
    let table = runtime.block_on(async {
        let mut subjects = Vec::new();
        for (name, kind) in kinds.into_iter().filter_map(|(name, kind)| Some((name, kind?))) {
            let server = Some(Server::start(kind.clone(), folder.path()).await);
            subjects.push(Subject { name, kind, folder: folder.path(), server });
        }
        costs::measure(&mut subjects, objects, definitions).await
    });
    print!("{table}");
}

/// Not a test: what the other one starts.
#[test]
fn child_that_serves() {
    server::serve_if_asked();
}

/// Not a test: the other tenant.
#[test]
fn child_that_floods() {
    server::flood_if_asked();
}
