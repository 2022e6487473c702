//! Proves that a store's state equals its history: reads everything, believes nothing, changes nothing.
//!
//! The database is opened over an [`Overlay`], so what opening repairs is repaired in memory and the files stay as they are.
//! History is then replayed by the plain rules below, and compared with the index that a server would have built from it.
//! What each record must be is in `replay.rs`.

mod overlay; // a file that only seems to be written to
mod replay; // what history must look like

use crate::engine::logged::LoggedEngine;
use crate::engine::redb::RedbEngine;
use crate::engine::{Engine, EngineError, Mark, Snapshot};
use crate::folder::Folder;
use crate::keys::KeyRange;
use crate::{Names, Options, Revision, StoreError, open};
use std::fmt;
use std::path::Path;

pub use overlay::Overlay;
use replay::Replay;

/// Findings that are told one by one; a store with more is not read by hand.
const FINDINGS_MAX: usize = 100;

/// What [`fsck`] saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The newest revision.
    pub revision: Revision,
    /// What history was compacted to; -1: never.
    pub compacted: Revision,
    /// Records in history.
    pub records: u64,
    /// Their bytes.
    pub record_bytes: u64,
    /// Keys that exist at the newest revision.
    pub keys: u64,
    /// Leases.
    pub leases: u64,
    /// What is wrong, a sentence each; empty: nothing. At most 100, then how many more.
    pub findings: Vec<String>,
}

impl Report {
    /// Whether the state equals its history.
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(out, "{finding}")?;
        }
        write!(
            out,
            "revision {}, compacted to {}: {} records of {} bytes, {} keys, {} leases: {}",
            self.revision,
            self.compacted,
            self.records,
            self.record_bytes,
            self.keys,
            self.leases,
            if self.is_sound() { "sound" } else { "DAMAGED" }
        )
    }
}

/// Checks the store in `folder`, which nobody may be serving meanwhile. An error: there is nothing that can be read as a store.
pub fn fsck(folder: &Path) -> Result<Report, StoreError> {
    let folder = Folder::look(folder)?;
    let names = Names::of(&folder);
    let (database, log) = names.overlaid()?;
    examine_disks(database, log, &names)
}

/// The same for disks as [`crate::Store::open_disks`] takes them, which are thrown away afterwards: opening them may change them.
pub fn fsck_disks(database: impl redb::StorageBackend, log: impl redb::StorageBackend) -> Result<Report, StoreError> {
    examine_disks(database, log, &Names::given())
}

fn examine_disks(
    database: impl redb::StorageBackend,
    log: impl redb::StorageBackend,
    names: &Names,
) -> Result<Report, StoreError> {
    let options = Options::default();
    let mut report = Report::default();
    let mut findings = Findings::default();
    let database = RedbEngine::open(database, options.cache_bytes).map_err(|error| names.blame(error))?;
    match database.verify() {
        Ok(true) => (),
        Ok(false) => findings
            .add("pages of the database do not match their checksums, or its map of free pages is wrong".to_owned()),
        Err(error) => findings.add(error.0),
    }
    let engine = LoggedEngine::open(database, Box::new(log), None, &options).map_err(|error| names.blame(error))?;
    let looked = examine(engine, &mut report, &mut findings);
    if let Err(error) = looked {
        findings.add(error.0);
    }
    report.findings = findings.into_sentences();
    Ok(report)
}

/// Sentences, not too many of them.
#[derive(Debug, Default)]
struct Findings {
    told: Vec<String>,
    untold: usize,
}

impl Findings {
    fn add(&mut self, finding: String) {
        if self.told.len() < FINDINGS_MAX {
            self.told.push(finding);
        } else {
            self.untold += 1;
        }
    }

    fn into_sentences(mut self) -> Vec<String> {
        if self.untold > 0 {
            self.told.push(format!("and {} more findings", self.untold));
        }
        self.told
    }
}

fn examine(engine: LoggedEngine, report: &mut Report, findings: &mut Findings) -> Result<(), EngineError> {
    let replay = {
        let snapshot = engine.snapshot()?;
        let marks = marks(&*snapshot, findings)?;
        let leases = snapshot.leases()?;
        report.compacted = marks;
        report.leases = leases.len() as u64;
        let replay = Replay::of(&*snapshot, marks, findings)?;
        check_leases(&leases, &replay, findings);
        replay
    };
    report.revision = replay.newest().max(report.compacted).max(1);
    report.records = replay.records;
    report.record_bytes = replay.bytes;
    report.keys = replay.live().count() as u64;
    compare_with_index(engine, &replay, report, findings)
}

/// Checks the numbers kept by name; returns the one compacted to.
fn marks(snapshot: &dyn Snapshot, findings: &mut Findings) -> Result<Revision, EngineError> {
    let ids = [(snapshot.mark(Mark::Cluster)?, "cluster"), (snapshot.mark(Mark::Member)?, "member")];
    // A store made of a snapshot draws both when it is first opened.
    let is_new = ids.iter().all(|(id, _)| id.is_none());
    for (id, name) in ids {
        match id {
            None | Some(0) if !is_new => findings.add(format!("the {name} id is missing")),
            _ => (),
        }
    }
    let compacted = snapshot.mark(Mark::Compacted)?.unwrap_or(open::NEVER_COMPACTED);
    if compacted < open::NEVER_COMPACTED {
        findings.add(format!("history is compacted to {compacted}, which is no revision"));
    }
    match snapshot.mark(Mark::NoSpace)? {
        None | Some(0 | 1) => (),
        Some(other) => findings.add(format!("the space alarm is {other}, neither raised nor lowered")),
    }
    Ok(compacted)
}

fn check_leases(leases: &[(i64, i64)], replay: &Replay, findings: &mut Findings) {
    for &(id, ttl_seconds) in leases {
        let allowed = crate::lease::TTL_SECONDS_MIN..=crate::lease::TTL_SECONDS_MAX;
        if id == 0 || !allowed.contains(&ttl_seconds) {
            findings.add(format!("lease {id:x} of {ttl_seconds} s cannot have been granted"));
        }
    }
    for (key, last) in replay.live() {
        if last.lease != 0 && leases.binary_search_by_key(&last.lease, |(id, _)| *id).is_err() {
            let key = key.escape_ascii();
            findings.add(format!("key {key} lives by lease {:x}, which does not exist", last.lease));
        }
    }
}

/// A server that opens this store must see what the replay sees.
fn compare_with_index(
    engine: LoggedEngine,
    replay: &Replay,
    report: &Report,
    findings: &mut Findings,
) -> Result<(), EngineError> {
    let (core, _) = open::open(Box::new(engine), Options::default())?;
    let view = core.view();
    if (view.durable, view.compacted, view.history_bytes) != (report.revision, report.compacted, report.record_bytes) {
        findings.add("a server opens the store at another revision, mark or size than its history has".to_owned());
    }
    let everything = KeyRange::everything();
    let mut indexed = view.index.range(&everything, crate::index::LATEST);
    for (key, last) in replay.live() {
        if indexed.next() != Some((&key[..], last.at)) {
            findings.add(format!("the index of a server disagrees with history at key {}", key.escape_ascii()));
            return Ok(());
        }
    }
    if let Some((key, _)) = indexed.next() {
        findings.add(format!("the index of a server has key {}, which history has not", key.escape_ascii()));
    }
    Ok(())
}
