//! Changes to one table, and how they reach the kernel together.

use super::encode;
use super::{DataType, Expression, Hook};
use crate::netlink::{Family, Refusal, Socket};
use nix::errno::Errno;

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFamily {
    /// IPv4 (`NFPROTO_IPV4`).
    Ip,
    /// Frames that pass a bridge (`NFPROTO_BRIDGE`).
    Bridge,
}

impl TableFamily {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Ip => 2,
            Self::Bridge => 7,
        }
    }
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// Accept, drop, reject.
    Filter,
    /// Rewrite the first packet of a connection; the connection keeps it.
    Nat,
}

/// A chain. Without a hook it is only reached from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Unique in the table.
    pub name: String,
    /// Where it meets packets, with its priority.
    pub base: Option<(ChainType, Hook, i32)>,
}

/// A rule, appended to its chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The chain.
    pub chain: String,
    /// Its steps.
    pub expressions: Vec<Expression>,
}

/// What a set holds beside its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetKind {
    /// Nothing: a set.
    Keys,
    /// A verdict for each key.
    Verdicts,
    /// A value for each key.
    Values(Vec<DataType>),
    /// Nothing; rules add the keys, and they are forgotten after a time.
    Remembered,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Unique in the table.
    pub name: String,
    /// The parts of a key.
    pub key: Vec<DataType>,
    /// What it holds beside keys.
    pub kind: SetKind,
}

/// The value of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// None: the element of a set.
    Nothing,
    /// A value, as wide as its types.
    Value(Vec<u8>),
    /// Continue in this chain.
    Goto(String),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// As wide as the set's key.
    pub key: Vec<u8>,
    /// What belongs to the key.
    pub data: Data,
}

/// One change to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Makes the table if it is not there.
    EnsureTable,
    /// Removes the table and all it holds.
    RemoveTable,
    /// Makes a chain.
    AddChain(Chain),
    /// Removes all rules of a chain.
    FlushChain(String),
    /// Removes an empty chain that nothing refers to.
    RemoveChain(String),
    /// Appends a rule.
    AddRule(Rule),
    /// Makes a set or map.
    AddSet(Set),
    /// Removes a set or map that no rule refers to.
    RemoveSet(String),
    /// Removes all elements.
    FlushSet(String),
    /// Adds elements; one that is there already is refused.
    AddElements(String, Vec<Element>),
    /// Removes elements; one that is not there is refused.
    RemoveElements(String, Vec<Element>),
}

/// Changes that the kernel makes together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The table.
    pub table: String,
    /// In this order.
    pub changes: Vec<Change>,
}

/// Why a transaction was refused; nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NftError {
    /// The kernel refused one of the changes.
    #[error("nftables table {table:?}: {operation}: {refusal}")]
    Refused {
        /// The table.
        table: String,
        /// The first change that was refused.
        operation: String,
        /// The kernel's reason.
        refusal: Refusal,
    },
    /// No right to change rules.
    #[error("nftables table {table:?}: changing rules needs CAP_NET_ADMIN in this network namespace")]
    NoRight {
        /// The table.
        table: String,
    },
    /// The socket failed.
    #[error("nftables table {table:?}: netlink socket: {refusal}")]
    Socket {
        /// The table.
        table: String,
        /// What failed.
        refusal: Refusal,
    },
}

impl NftError {
    /// Whether the kernel has no tables of the family.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        let (Self::Refused { refusal, .. } | Self::Socket { refusal, .. }) = self else { return false };
        matches!(refusal.errno, Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT)
    }

    /// Whether the table was not as the changes expected: somebody else changed it.
    #[must_use]
    pub fn is_surprise(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. }
            if matches!(refusal.errno, Errno::ENOENT | Errno::EEXIST | Errno::EBUSY | Errno::ENOTEMPTY))
    }
}

impl Transaction {
    /// Makes all changes to the table of the family ip in the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel refused one; then none was made.
    pub fn commit(&self) -> Result<(), NftError> {
        self.commit_in(TableFamily::Ip)
    }

    /// The same for a table of any family.
    ///
    /// # Errors
    /// The kernel refused one; then none was made.
    pub fn commit_in(&self, family: TableFamily) -> Result<(), NftError> {
        let mut socket = Socket::open(Family::Netfilter).map_err(|error| self.socket_error(error.into()))?;
        let requests = encode::batch(self, family);
        let messages: Vec<_> = requests.iter().map(|(message, _)| message.clone()).collect();
        let refusals = socket.transact(&messages).map_err(|error| self.socket_error(error.into()))?;
        match refusals.into_iter().next() {
            None => Ok(()),
            Some((_, refusal)) if refusal.errno == Errno::EPERM => Err(NftError::NoRight { table: self.table.clone() }),
            Some((index, refusal)) => {
                Err(NftError::Refused { table: self.table.clone(), operation: requests[index].1.clone(), refusal })
            }
        }
    }

    fn socket_error(&self, refusal: Refusal) -> NftError {
        match refusal.errno {
            Errno::EPERM => NftError::NoRight { table: self.table.clone() },
            _ => NftError::Socket { table: self.table.clone(), refusal },
        }
    }
}

/// Whether the namespace of the calling thread has this table (family ip).
///
/// # Errors
/// The kernel refuses nftables.
pub fn table_exists(table: &str) -> Result<bool, NftError> {
    table_exists_in(TableFamily::Ip, table)
}

/// The same for a table of any family.
///
/// # Errors
/// The kernel refuses nftables.
pub fn table_exists_in(family: TableFamily, table: &str) -> Result<bool, NftError> {
    let failed = |refusal| NftError::Socket { table: table.to_owned(), refusal };
    let mut socket = Socket::open(Family::Netfilter).map_err(|error| failed(error.into()))?;
    match socket.request(encode::get_table(table, family)) {
        Ok(_) => Ok(true),
        Err(refusal) if refusal.errno == Errno::ENOENT => Ok(false),
        Err(refusal) => Err(failed(refusal)),
    }
}
