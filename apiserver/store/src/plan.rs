//! Decides a transaction before anything is written: which branches it takes, and whether every step can be done.
//!
//! All conditions are read from the state before the transaction, nested ones too, as etcd does.

use crate::engine::EngineError;
use crate::record::Record;
use crate::request::{Compare, Op, Put, Refusal, Relation, Target, Txn};
use crate::{Revision, seeded};

/// The branch that a transaction takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// Whether its condition held.
    pub succeeded: bool,
    /// The branches of the transactions inside the branch, in order.
    pub inside: Vec<Path>,
}

/// What a plan looks at.
pub(crate) trait Present {
    /// The records of a comparison's keys.
    fn records(&self, compare: &Compare) -> Result<Vec<Record>, EngineError>;
    /// Whether the key exists.
    fn exists(&self, key: &[u8]) -> bool;
    /// Whether the lease exists.
    fn has_lease(&self, lease: i64) -> bool;
    /// The newest revision and the one compacted to.
    fn bounds(&self) -> (Revision, Revision);
}

/// Which branches `txn` takes.
pub(crate) fn decide(txn: &Txn, present: &impl Present) -> Result<Path, EngineError> {
    let mut succeeded = true;
    for compare in &txn.compares {
        succeeded = succeeded && holds(compare, &present.records(compare)?);
    }
    let inside = branch(txn, succeeded).iter().filter_map(|op| match op {
        Op::Txn(txn) => Some(decide(txn, present)),
        _ => None,
    });
    Ok(Path { inside: inside.collect::<Result<_, _>>()?, succeeded })
}

/// The steps of one branch.
pub(crate) fn branch(txn: &Txn, succeeded: bool) -> &[Op] {
    if succeeded { &txn.success } else { &txn.failure }
}

/// Whether every step on the path can be done; refusing later would leave half of it done.
pub(crate) fn check(txn: &Txn, path: &Path, present: &impl Present) -> Result<(), Refusal> {
    // Puts first: of two reasons to refuse, etcd names the one that it meets first.
    check_each(txn, path, &|op| match op {
        Op::Put(put) => check_put(put, present),
        _ => Ok(()),
    })?;
    check_each(txn, path, &|op| match op {
        Op::Range(range) => check_revision(range.revision, present),
        _ => Ok(()),
    })
}

fn check_each(txn: &Txn, path: &Path, check: &dyn Fn(&Op) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let mut inside = path.inside.iter();
    for op in branch(txn, path.succeeded) {
        match op {
            Op::Txn(txn) => {
                let path = inside.next().expect("decide made a path for each transaction inside");
                check_each(txn, path, check)?;
            }
            op => check(op)?,
        }
    }
    Ok(())
}

fn check_put(put: &Put, present: &impl Present) -> Result<(), Refusal> {
    let keeps_something = put.value.is_none() || put.lease.is_none();
    match put.lease {
        _ if keeps_something && !present.exists(&put.key) => Err(Refusal::KeyNotFound),
        Some(lease) if lease != 0 && !present.has_lease(lease) => Err(Refusal::LeaseNotFound),
        _ => Ok(()),
    }
}

fn check_revision(asked: Revision, present: &impl Present) -> Result<(), Refusal> {
    match present.bounds() {
        // A plain range takes every negative revision for the present; a step of a transaction does not, in etcd.
        _ if asked == 0 => Ok(()),
        (newest, _) if asked > newest => Err(Refusal::Future { newest }),
        (_, oldest) if asked < oldest && !seeded::is("compacted-read-in-transaction") => {
            Err(Refusal::Compacted { oldest })
        }
        _ => Ok(()),
    }
}

fn holds(compare: &Compare, records: &[Record]) -> bool {
    match (&compare.target, records) {
        // An absent key has no value, not even an empty one; all its numbers are 0.
        (Target::Value(_), []) => false,
        (target, []) => related(numbers_of_nothing(target), compare.relation),
        (_, records) => records.iter().all(|record| related(order(&compare.target, record), compare.relation)),
    }
}

fn numbers_of_nothing(target: &Target) -> std::cmp::Ordering {
    match target {
        Target::Version(given) | Target::Created(given) | Target::Modified(given) | Target::Lease(given) => {
            0.cmp(given)
        }
        Target::Value(given) => [][..].cmp(&given[..]),
    }
}

fn order(target: &Target, record: &Record) -> std::cmp::Ordering {
    match target {
        Target::Version(given) => record.version.cmp(given),
        Target::Created(given) => record.created.cmp(given),
        Target::Modified(given) => record.at.revision.cmp(given),
        Target::Value(given) => record.value.cmp(given),
        Target::Lease(given) => record.lease.cmp(given),
    }
}

fn related(order: std::cmp::Ordering, relation: Relation) -> bool {
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::Greater => order.is_gt(),
        Relation::Less => order.is_lt(),
        Relation::NotEqual => order.is_ne(),
    }
}

/// Whether any branch writes or deletes.
pub(crate) fn may_write(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) | Op::Delete(_) => true,
        Op::Txn(txn) => may_write(txn),
        Op::Range(_) => false,
    })
}

/// Whether any branch writes a key: such a transaction needs space.
pub(crate) fn may_put(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Put(_) => true,
        Op::Txn(txn) => may_put(txn),
        Op::Range(_) | Op::Delete(_) => false,
    })
}

/// Bytes of the keys and values that any branch may write.
pub(crate) fn put_bytes(txn: &Txn) -> u64 {
    let of = |op: &Op| match op {
        Op::Put(put) => (put.key.len() + put.value.as_ref().map_or(0, |value| value.len())) as u64,
        Op::Txn(txn) => put_bytes(txn),
        Op::Range(_) | Op::Delete(_) => 0,
    };
    txn.success.iter().chain(&txn.failure).map(of).sum()
}
