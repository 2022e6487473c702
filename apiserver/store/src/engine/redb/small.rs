//! The small tables, of leases, numbers, users and roles, and the sum over them all that tells whether they are what was written.

use super::{FORMAT_USERS, LEASES, LEASES_SHARE, MARKS, MARKS_SHARE, SUM, SUM_KEY, USERS, USERS_SHARE, name};
use crate::engine::{Batch, Mark, rows};
use redb::ReadableTable;

/// Writes the small tables and what they add up to.
pub(super) fn write_small(
    transaction: &redb::WriteTransaction,
    batch: &Batch,
    more: &[(Mark, i64)],
) -> Result<(), redb::Error> {
    if batch.leases.is_empty() && batch.marks.is_empty() && batch.users.is_empty() && more.is_empty() {
        return Ok(());
    }
    let (mut leases, mut marks) = (transaction.open_table(LEASES)?, transaction.open_table(MARKS)?);
    let mut kept = transaction.open_table(SUM)?;
    // Missing: both tables are empty.
    let mut sum = kept.get(SUM_KEY)?.map_or(0, |sum| sum.value());
    for (id, ttl_seconds) in &batch.leases {
        let old = match ttl_seconds {
            Some(ttl_seconds) => leases.insert(id, ttl_seconds)?.map(|old| old.value()),
            None => leases.remove(id)?.map(|old| old.value()),
        };
        sum = exchanged(sum, LEASES_SHARE, &id.to_le_bytes(), old, *ttl_seconds);
    }
    let format = (!batch.users.is_empty()).then_some((Mark::Format, FORMAT_USERS));
    let numbers = batch.marks.iter().map(|(&mark, &value)| (mark, value)).chain(more.iter().copied());
    for (mark, value) in numbers.chain(format) {
        let old = marks.insert(name(mark), value)?.map(|old| old.value());
        sum = exchanged(sum, MARKS_SHARE, name(mark).as_bytes(), old, Some(value));
    }
    if !batch.users.is_empty() {
        let mut users = transaction.open_table(USERS)?;
        for (name, value) in &batch.users {
            let old = match value {
                Some(value) => users.insert(&name[..], &value[..])?.map(|old| digest(old.value())),
                None => users.remove(&name[..])?.map(|old| digest(old.value())),
            };
            sum = exchanged(sum, USERS_SHARE, name, old, value.as_ref().map(|value| digest(value)));
        }
    }
    kept.insert(SUM_KEY, sum)?;
    Ok(())
}

/// What stands for a value in the sum.
fn digest(value: &[u8]) -> i64 {
    i64::from(crc32fast::hash(value))
}

/// The sum after a row got another value.
fn exchanged(sum: i64, table: u8, key: &[u8], old: Option<i64>, new: Option<i64>) -> i64 {
    let share = |value: Option<i64>| value.map_or(0, |value| rows::share(table, key, value));
    sum.wrapping_sub(share(old)).wrapping_add(share(new))
}

/// What the small tables add up to.
pub(super) fn sum(
    leases: &impl ReadableTable<i64, i64>,
    marks: &impl ReadableTable<&'static str, i64>,
) -> Result<i64, redb::Error> {
    let mut sum = 0_i64;
    for row in leases.iter()? {
        let (id, ttl_seconds) = row?;
        sum = exchanged(sum, LEASES_SHARE, &id.value().to_le_bytes(), None, Some(ttl_seconds.value()));
    }
    for row in marks.iter()? {
        let (name, value) = row?;
        sum = exchanged(sum, MARKS_SHARE, name.value().as_bytes(), None, Some(value.value()));
    }
    Ok(sum)
}

/// The sum, with that of users and roles.
pub(super) fn users_sum(
    mut sum: i64,
    users: &impl ReadableTable<&'static [u8], &'static [u8]>,
) -> Result<i64, redb::Error> {
    for row in users.iter()? {
        let (name, value) = row?;
        sum = exchanged(sum, USERS_SHARE, name.value(), None, Some(digest(value.value())));
    }
    Ok(sum)
}
