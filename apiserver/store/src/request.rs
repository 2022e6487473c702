//! What can be asked of the store, and its answers: etcd's model without its wire format.

use crate::Revision;
use crate::keys::KeyRange;
use crate::record::Record;
use crate::users::Denied;
use bytes::Bytes;

/// What a range is sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    /// The key.
    Key,
    /// Writes since it was made.
    Version,
    /// Revision that made it.
    Created,
    /// Revision of the last write.
    Modified,
    /// The value's bytes.
    Value,
}

/// A sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Small first.
    Ascending,
    /// Large first.
    Descending,
}

/// How much of each record is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Want {
    /// All of it.
    #[default]
    Records,
    /// All but the value.
    KeysOnly,
    /// Only how many.
    CountOnly,
}

/// Reads keys.
#[derive(Debug, Clone)]
pub struct Range {
    /// Which keys.
    pub keys: KeyRange,
    /// As of when; 0 or less: the present.
    pub revision: Revision,
    /// At most this many records; 0: all.
    pub limit: usize,
    /// Order; `None`: ascending by key.
    pub sort: Option<(SortBy, Direction)>,
    /// Whether only the first in the order of keys, one more than the limit, are sorted: etcd's way with a target and no order.
    pub cut_first: bool,
    /// How much of them.
    pub want: Want,
    /// Only records modified in these revisions; 0: no bound.
    pub modified: (Revision, Revision),
    /// Only records made in these revisions; 0: no bound.
    pub created: (Revision, Revision),
}

impl Range {
    /// Every record of `keys` at present.
    pub fn of(keys: KeyRange) -> Self {
        Range {
            keys,
            revision: 0,
            limit: 0,
            sort: None,
            cut_first: false,
            want: Want::Records,
            modified: (0, 0),
            created: (0, 0),
        }
    }

    /// Whether records must be read before it is known which are answered.
    pub fn is_picky(&self) -> bool {
        self.modified != (0, 0) || self.created != (0, 0) || (self.sort.is_some() && !self.cut_first)
    }
}

/// Answer to a [`Range`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranged {
    /// The records.
    pub records: Vec<Record>,
    /// Whether the limit cut some off.
    pub more: bool,
    /// Keys in the range, whatever limit and revision filters say.
    pub count: usize,
    /// The store's revision when it was read.
    pub revision: Revision,
}

/// Writes a key.
#[derive(Debug, Clone)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// `None`: keep the present value.
    pub value: Option<Bytes>,
    /// `None`: keep the present lease. `Some(0)`: none.
    pub lease: Option<i64>,
    /// Whether the answer shows what it replaced.
    pub want_previous: bool,
}

/// Deletes keys.
#[derive(Debug, Clone)]
pub struct Delete {
    /// Which.
    pub keys: KeyRange,
    /// Whether the answer shows them.
    pub want_previous: bool,
}

/// What a comparison looks at, and the value it compares with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Writes since the key was made.
    Version(i64),
    /// Revision that made it.
    Created(Revision),
    /// Revision of the last write.
    Modified(Revision),
    /// The value; never true of a key that does not exist.
    Value(Bytes),
    /// The lease.
    Lease(i64),
}

/// How the key's side relates to the given one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The same.
    Equal,
    /// The key's is greater.
    Greater,
    /// The key's is less.
    Less,
    /// Not the same.
    NotEqual,
}

/// A condition; over a range it must hold for every key, over an empty one it holds for a key of zeros.
#[derive(Debug, Clone)]
pub struct Compare {
    /// Which keys.
    pub keys: KeyRange,
    /// What of them.
    pub target: Target,
    /// How.
    pub relation: Relation,
}

/// A step of a transaction.
#[derive(Debug, Clone)]
pub enum Op {
    /// Read.
    Range(Range),
    /// Write.
    Put(Put),
    /// Delete.
    Delete(Delete),
    /// A transaction inside.
    Txn(Txn),
}

/// If all of `compares` hold then `success` else `failure`, at one revision.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// If.
    pub compares: Vec<Compare>,
    /// Then.
    pub success: Vec<Op>,
    /// Else.
    pub failure: Vec<Op>,
}

impl Txn {
    /// One step without a condition.
    pub fn of(op: Op) -> Self {
        Txn { success: vec![op], ..Txn::default() }
    }
}

/// Answer to one [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// To a range.
    Range(Ranged),
    /// To a put.
    Put {
        /// What it replaced, if asked for.
        previous: Option<Record>,
        /// The revision written.
        revision: Revision,
    },
    /// To a deletion.
    Delete {
        /// How many keys were deleted.
        deleted: usize,
        /// The keys, if asked for.
        previous: Vec<Record>,
        /// The revision written, or the present one.
        revision: Revision,
    },
    /// To a transaction inside.
    Txn {
        /// Whether its condition held.
        succeeded: bool,
        /// To each of its steps.
        done: Vec<Done>,
    },
}

/// Answer to a [`Txn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnDone {
    /// Whether the condition held.
    pub succeeded: bool,
    /// To each step taken.
    pub done: Vec<Done>,
    /// The store's revision afterwards.
    pub revision: Revision,
}

/// What makes a store refuse writes until an operator lowers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The quota is used up: what takes space is refused.
    NoSpace,
    /// Somebody found the data damaged: every write is refused.
    Corrupt,
}

impl Alarm {
    /// All of them, in etcd's order.
    pub const ALL: [Alarm; 2] = [Alarm::NoSpace, Alarm::Corrupt];
}

/// For whom an alarm is raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Raiser {
    /// For our member.
    Us,
    /// For member 0, which no cluster has: etcd takes it, and clients use it where they mean the cluster.
    Nobody,
}

impl Raiser {
    /// Both.
    pub const ALL: [Raiser; 2] = [Raiser::Us, Raiser::Nobody];

    /// Its bit among those that raised an alarm, as kept on disk.
    fn bit(self) -> u8 {
        match self {
            Raiser::Us => 1,
            Raiser::Nobody => 2,
        }
    }
}

/// The alarms raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Alarms {
    no_space: u8,
    corrupt: u8,
}

impl Alarms {
    /// Whether this one is, for whomever.
    pub fn has(self, alarm: Alarm) -> bool {
        self.bits(alarm) != 0
    }

    /// Whether it is for `raiser`.
    pub fn has_for(self, alarm: Alarm, raiser: Raiser) -> bool {
        self.bits(alarm) & raiser.bit() != 0
    }

    /// For whom it is raised, in a number; 0: it is not.
    pub(crate) fn bits(self, alarm: Alarm) -> u8 {
        match alarm {
            Alarm::NoSpace => self.no_space,
            Alarm::Corrupt => self.corrupt,
        }
    }

    /// Sets that number.
    pub(crate) fn set_bits(&mut self, alarm: Alarm, bits: u8) {
        match alarm {
            Alarm::NoSpace => self.no_space = bits,
            Alarm::Corrupt => self.corrupt = bits,
        }
    }

    /// Raises or lowers one.
    pub(crate) fn set(&mut self, alarm: Alarm, raiser: Raiser, raised: bool) {
        let others = self.bits(alarm) & !raiser.bit();
        self.set_bits(alarm, if raised { others | raiser.bit() } else { others });
    }
}

/// Why a request is refused. Nothing of it was done, except after [`Refusal::Failed`], when nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The revision is no longer kept.
    #[error("required revision has been compacted")]
    Compacted {
        /// Oldest that is.
        oldest: Revision,
    },
    /// The revision has not happened yet.
    #[error("required revision is a future revision")]
    Future {
        /// The newest.
        newest: Revision,
    },
    /// A put that keeps the value or lease of a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A lease of this id exists.
    #[error("lease already exists")]
    LeaseExists,
    /// A lease that long is a mistake.
    #[error("too large lease TTL")]
    LeaseTooLong,
    /// The quota is used up.
    #[error("database space exceeded")]
    NoSpace,
    /// The disk is full. By itself the store notices when there is space again.
    #[error("database space exceeded: {0}")]
    DiskFull(String),
    /// The alarm of damaged data is raised.
    #[error("corrupt cluster")]
    Corrupt,
    /// The caller may not do that.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It was opened to be looked at.
    #[error("the store was opened to be looked at, and is not written to")]
    OnlyLooks,
    /// The engine failed, or the store is closed.
    #[error("{0}")]
    Failed(String),
}

impl From<crate::engine::Unwritten> for Refusal {
    fn from(error: crate::engine::Unwritten) -> Self {
        match error {
            crate::engine::Unwritten::NoSpace(why) => Refusal::DiskFull(why),
            crate::engine::Unwritten::Failed(error) => error.into(),
        }
    }
}

impl From<crate::engine::EngineError> for Refusal {
    fn from(error: crate::engine::EngineError) -> Self {
        Refusal::Failed(error.0)
    }
}
