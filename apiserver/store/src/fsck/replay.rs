//! The plain rules of history: which record may follow which.
//!
//! Above the mark that history was compacted to nothing is missing: revisions follow one another without a gap, and so do the
//! writes inside each. Below it only what the mark's revision shows must be there, and a removal may be half done.

use super::Findings;
use crate::Revision;
use crate::engine::{EngineError, Snapshot, decode};
use crate::record::{Point, Record};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// The last write of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Last {
    pub at: Point,
    pub created: Revision,
    pub version: i64,
    pub lease: i64,
}

/// History, as far as it was read.
#[derive(Debug)]
pub(super) struct Replay {
    compacted: Revision,
    last_point: Option<Point>,
    keys: BTreeMap<Bytes, Last>,
    pub records: u64,
    pub bytes: u64,
}

impl Replay {
    /// Reads all of it.
    pub(super) fn of(
        snapshot: &dyn Snapshot,
        compacted: Revision,
        findings: &mut Findings,
    ) -> Result<Self, EngineError> {
        let mut replay = Replay { compacted, last_point: None, keys: BTreeMap::new(), records: 0, bytes: 0 };
        let first = Point { revision: Revision::MIN, sub: 0 };
        snapshot.scan(first, &mut |point, bytes| {
            match decode(point, bytes) {
                Ok(record) => replay.add(&record, findings),
                Err(error) => findings.add(error.0),
            }
            ControlFlow::Continue(())
        })?;
        if compacted > replay.newest().max(1) {
            let newest = replay.newest();
            findings.add(format!("history is compacted to {compacted}, but its newest revision is {newest}"));
        }
        Ok(replay)
    }

    /// The newest revision; 0: nothing was ever written.
    pub(super) fn newest(&self) -> Revision {
        self.last_point.map_or(0, |point| point.revision)
    }

    /// The keys that exist, in order.
    pub(super) fn live(&self) -> impl Iterator<Item = (&Bytes, &Last)> {
        self.keys.iter().filter(|(_, last)| last.version > 0)
    }

    fn add(&mut self, record: &Record, findings: &mut Findings) {
        self.records += 1;
        self.bytes += record.size_bytes() as u64;
        let at = record.at;
        let mut wrong = |what: String| findings.add(format!("the record at {}.{} {what}", at.revision, at.sub));
        if let Some(what) = self.misplaced(at) {
            wrong(what);
        }
        if let Some(what) = malformed(record) {
            wrong(what.to_owned());
        }
        if let Some(what) = self.follows_badly(record) {
            wrong(format!("of key {} {what}", record.key.escape_ascii()));
        }
        self.last_point = Some(at);
        let last = Last { at, created: record.created, version: record.version, lease: record.lease };
        self.keys.insert(record.key.clone(), last);
    }

    /// Whether a place in history before `at` is empty.
    fn misplaced(&self, at: Point) -> Option<String> {
        // A fresh store is at revision 1; the first write is 2.
        let before = self.last_point.unwrap_or(Point { revision: 1, sub: 0 });
        if at.revision < 2 {
            return Some("is older than the first revision".to_owned());
        }
        if at <= before {
            return Some(format!("comes after {}.{}", before.revision, before.sub));
        }
        if at.revision <= self.compacted {
            return None;
        }
        let next_sub = Point { revision: before.revision, sub: before.sub + 1 };
        // From the mark on, everything: the first revision after it may follow nothing at all.
        let next_revision = Point::start_of(before.revision.max(self.compacted).max(1) + 1);
        let follows = at == next_revision || (before.revision > self.compacted && at == next_sub);
        (!follows).then(|| format!("follows {}.{}: what was between them is missing", before.revision, before.sub))
    }

    fn follows_badly(&self, record: &Record) -> Option<String> {
        let kept_whole = record.at.revision > self.compacted;
        match self.keys.get(&record.key) {
            _ if !kept_whole => None,
            Some(last) if record.is_tombstone() && last.version == 0 => Some("deletes what was deleted".to_owned()),
            None if record.is_tombstone() => Some("deletes what was never written".to_owned()),
            _ if record.is_tombstone() => None,
            Some(last) if last.version > 0 => {
                let wanted = (last.created, last.version + 1);
                let found = (record.created, record.version);
                (found != wanted).then(|| {
                    format!("is version {} since {}, and should be {} since {}", found.1, found.0, wanted.1, wanted.0)
                })
            }
            _ => {
                let first = record.version == 1 && record.created == record.at.revision;
                (!first).then(|| format!("is version {} of a key that did not exist", record.version))
            }
        }
    }
}

/// What is wrong with a record, whatever came before it.
fn malformed(record: &Record) -> Option<&'static str> {
    if record.key.is_empty() {
        Some("has no key")
    } else if record.is_tombstone() {
        let empty = record.created == 0 && record.lease == 0 && record.value.is_empty();
        (!empty).then_some("deletes its key and writes it, too")
    } else if record.version < 1 || record.version > record.at.revision {
        Some("has an impossible version")
    } else if record.created < 2 || record.created > record.at.revision {
        Some("was made in its future")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(revision: Revision, key: &'static str, created: Revision, version: i64) -> Record {
        let at = Point::start_of(revision);
        Record { at, key: key.into(), value: "v".into(), created, version, lease: 0 }
    }

    fn findings(compacted: Revision, records: &[Record]) -> Vec<String> {
        let mut findings = Findings::default();
        let mut replay = Replay { compacted, last_point: None, keys: BTreeMap::new(), records: 0, bytes: 0 };
        records.iter().for_each(|record| replay.add(record, &mut findings));
        findings.into_sentences()
    }

    #[test]
    fn whole_history_is_sound() {
        let gone = Record::tombstone(Point::start_of(4), "a".into());
        let history = [record(2, "a", 2, 1), record(3, "a", 2, 2), gone, record(5, "a", 5, 1)];
        assert_eq!(findings(-1, &history), Vec::<String>::new());
        assert_eq!(findings(4, &history[2..]), Vec::<String>::new(), "a compacted history begins anywhere");
    }

    #[test]
    fn a_gap_is_found() {
        let history = [record(2, "a", 2, 1), record(4, "b", 4, 1)];
        assert_eq!(findings(-1, &history), ["the record at 4.0 follows 2.0: what was between them is missing"]);
        assert_eq!(findings(4, &history), Vec::<String>::new());
    }

    #[test]
    fn a_lost_version_is_found() {
        let history = [record(2, "a", 2, 1), record(3, "a", 2, 3)];
        let wanted = "the record at 3.0 of key a is version 3 since 2, and should be 2 since 2";
        assert_eq!(findings(-1, &history), [wanted]);
    }
}
