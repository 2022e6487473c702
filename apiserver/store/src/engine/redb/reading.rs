//! Reading the database: a state of it that stays as it is. Every row is checked, and every panic of the library is an error.

use super::{LEASES, MARKS, MARKS_ALL, POINTS, USERS, name};
use crate::engine::guard::guarded;
use crate::engine::{Batch, EngineError, Mark, Shelf, Snapshot, Visit, Written, damaged, decode, rows};
use crate::record::{Point, Record};
use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::ops::ControlFlow;

/// A state of the database.
pub(crate) struct RedbSnapshot {
    transaction: ReadTransaction,
    records: ReadOnlyTable<(i64, u32), &'static [u8]>,
}

fn failed(operation: &str, error: impl Into<redb::Error>) -> EngineError {
    EngineError(format!("{operation}: {}", error.into()))
}

impl RedbSnapshot {
    pub(super) fn new(transaction: ReadTransaction, records: ReadOnlyTable<(i64, u32), &'static [u8]>) -> Self {
        RedbSnapshot { transaction, records }
    }

    /// Everything else, to be copied.
    pub(crate) fn all_but_records(&self) -> Result<Batch, EngineError> {
        let mut batch = Batch::default();
        batch.leases.extend(self.leases()?.into_iter().map(|(id, ttl_seconds)| (id, Some(ttl_seconds))));
        batch.users.extend(self.users()?.into_iter().map(|(name, value)| (name, Some(value))));
        for mark in MARKS_ALL {
            batch.marks.extend(self.mark(mark)?.map(|value| (mark, value)));
        }
        Ok(batch)
    }

    /// Goes along the keys too: a record that is missing is noticed although nobody asks for it.
    fn scan_unguarded(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        let failed = |error: redb::Error| failed("scan history", error);
        let from = (from.revision, from.sub);
        let points = self.transaction.open_table(POINTS).map_err(|error| failed(error.into()))?;
        let mut points = points.range(from..).map_err(|error| failed(error.into()))?;
        let mut rows = self.records.range(from..).map_err(|error| failed(error.into()))?;
        let mut last = None;
        loop {
            let point = points.next().transpose().map_err(|error| failed(error.into()))?.map(|(key, _)| key.value());
            let Some((key, row)) = rows.next().transpose().map_err(|error| failed(error.into()))? else {
                return point.map_or(Ok(()), |(revision, sub)| Err(damaged(Point { revision, sub })));
            };
            let (revision, sub) = key.value();
            let at = Point { revision, sub };
            if point != Some((revision, sub)) {
                return Err(damaged(at));
            }
            last = in_order(last, at)?;
            if let ControlFlow::Break(()) = visit(at, rows::encoded_record(at, row.value())?) {
                return Ok(());
            }
        }
    }

    fn points_unguarded(&self, visit: &mut dyn FnMut(Written<'_>)) -> Result<(), EngineError> {
        let failed = |error: redb::Error| failed("read the keys", error);
        let points = self.transaction.open_table(POINTS).map_err(|error| failed(error.into()))?;
        let (mut count, mut last) = (0, None);
        for row in points.iter().map_err(|error| failed(error.into()))? {
            let (key, row) = row.map_err(|error| failed(error.into()))?;
            let (revision, sub) = key.value();
            let at = Point { revision, sub };
            last = in_order(last, at)?;
            visit(rows::written(at, row.value())?);
            count += 1;
        }
        let kept = [points.len(), self.records.len()].map(|kept| kept.map_err(|error| failed(error.into())));
        for kept in kept {
            let kept = kept?;
            if kept != count {
                return Err(EngineError(format!("{count} keys of {kept} records can be found: it is damaged")));
            }
        }
        Ok(())
    }
}

/// A page that stands in the place of another has rows that are whole, but not where they belong.
pub(crate) fn in_order(last: Option<Point>, at: Point) -> Result<Option<Point>, EngineError> {
    match last {
        Some(last) if last >= at => Err(damaged(at)),
        _ => Ok(Some(at)),
    }
}

impl Snapshot for RedbSnapshot {
    fn record(&self, at: Point) -> Result<Option<Record>, EngineError> {
        guarded("read a record", || {
            let found = self.records.get((at.revision, at.sub)).map_err(|error| failed("read a record", error))?;
            found.map(|row| decode(at, rows::encoded_record(at, row.value())?)).transpose()
        })
    }

    fn shelve(&self, at: Point, shelf: &mut Shelf) -> Result<Option<Record>, EngineError> {
        guarded("read a record", || {
            let found = self.records.get((at.revision, at.sub)).map_err(|error| failed("read a record", error))?;
            let Some(row) = found else { return Ok(None) };
            let bytes = shelf.copy(rows::encoded_record(at, row.value())?);
            Record::decode(at, &bytes).ok_or_else(|| damaged(at)).map(Some)
        })
    }

    fn scan(&self, from: Point, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        guarded("scan history", || self.scan_unguarded(from, visit))
    }

    fn points(&self, visit: &mut dyn FnMut(Written<'_>)) -> Result<(), EngineError> {
        guarded("read the keys", || self.points_unguarded(visit))
    }

    fn leases(&self) -> Result<Vec<(i64, i64)>, EngineError> {
        let act = || -> Result<Vec<(i64, i64)>, redb::Error> {
            let leases = self.transaction.open_table(LEASES)?;
            let all = leases.iter()?.map(|row| row.map(|(id, ttl)| (id.value(), ttl.value())));
            Ok(all.collect::<Result<_, _>>()?)
        };
        guarded("read leases", || act().map_err(|error| failed("read leases", error)))
    }

    fn users(&self) -> Result<Vec<(Bytes, Bytes)>, EngineError> {
        let act = || -> Result<Vec<(Bytes, Bytes)>, redb::Error> {
            let users = match self.transaction.open_table(USERS) {
                Ok(users) => users,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            let copied = |(name, value): (redb::AccessGuard<'_, &[u8]>, redb::AccessGuard<'_, &[u8]>)| {
                (Bytes::copy_from_slice(name.value()), Bytes::copy_from_slice(value.value()))
            };
            Ok(users.iter()?.map(|row| row.map(copied)).collect::<Result<_, _>>()?)
        };
        guarded("read users", || act().map_err(|error| failed("read users", error)))
    }

    fn mark(&self, mark: Mark) -> Result<Option<i64>, EngineError> {
        let act = || -> Result<Option<i64>, redb::Error> {
            Ok(self.transaction.open_table(MARKS)?.get(name(mark))?.map(|value| value.value()))
        };
        guarded("read a mark", || act().map_err(|error| failed("read a mark", error)))
    }
}
