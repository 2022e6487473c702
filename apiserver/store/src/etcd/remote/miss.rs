//! Why a member of an etcd gave no answer that counts, and what follows from it: etcd's errors in our words.
//!
//! The one question that matters after a failed write is whether it happened. As in etcd's own client, it surely did not when no
//! connection was there to send it on, and when the member refused before it asked the cluster; in all other cases nobody knows.

use super::channel::with_sources;
use crate::backend::BackendError;
use tonic::{Code, ConnectError, Status};

/// How etcd says that a lease is gone.
pub(super) const LEASE_NOT_FOUND: &str = "requested lease not found";
/// What a member says before it has asked the others: it has no leader to ask through (requests that bear `hasleader` only),
/// or more is proposed than applied.
const REFUSED_AT_THE_DOOR: [&str; 2] = ["etcdserver: no leader", "etcdserver: too many requests"];
/// The three are etcd's own limit, that of grpc-go, and that of tonic.
const TOO_LARGE: [&str; 3] = ["request is too large", "larger than max", "message length too large"];

/// See the module.
#[derive(Debug)]
pub(super) enum Miss {
    /// It answered: no. Another member would say the same.
    Refused(BackendError),
    /// It surely did nothing, so that it or another may be asked again.
    Untouched(String),
    /// Nobody knows whether it did.
    Unknown(String),
}

impl Miss {
    /// What the caller is told if nobody else is asked.
    pub(super) fn told(self) -> BackendError {
        match self {
            Miss::Refused(error) => error,
            Miss::Untouched(why) | Miss::Unknown(why) => BackendError::Unavailable(why),
        }
    }
}

const NO_SPACE: &str = "database space exceeded";

/// What a store says of its space beyond that there is none: ours does, etcd has its quota in mind.
fn no_space(text: &str) -> String {
    let figures = text.split_once(NO_SPACE).and_then(|(_, rest)| rest.strip_prefix(": "));
    figures.unwrap_or("the quota of the etcd behind the API server is used up").to_owned()
}

impl From<Status> for Miss {
    /// By code and text, as etcd's own clients tell them apart.
    fn from(status: Status) -> Self {
        let text = status.message();
        let has = |part: &str| text.contains(part);
        if REFUSED_AT_THE_DOOR.into_iter().any(has) || never_sent(&status) {
            return Miss::Untouched(with_sources(text.to_owned(), &status));
        }
        Miss::Refused(match status.code() {
            _ if has("required revision has been compacted") => BackendError::Compacted { oldest: 0 },
            _ if has("required revision is a future revision") => BackendError::Future { newest: 0 },
            _ if has(NO_SPACE) => BackendError::NoSpace(no_space(text)),
            _ if TOO_LARGE.into_iter().any(has) => BackendError::TooLarge,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Aborted => {
                return Miss::Unknown(with_sources(text.to_owned(), &status));
            }
            code => BackendError::Internal(format!("{text} ({})", code.description())),
        })
    }
}

/// Whether no connection was there to send it on.
fn never_sent(status: &Status) -> bool {
    let first: &dyn std::error::Error = status;
    std::iter::successors(Some(first), |error| error.source()).any(|error| error.is::<ConnectError>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: Code, text: &str) -> String {
        match Miss::from(Status::new(code, text)) {
            Miss::Refused(error) => format!("refused: {error}"),
            Miss::Untouched(why) => format!("untouched: {why}"),
            Miss::Unknown(why) => format!("unknown: {why}"),
        }
    }

    #[test]
    fn only_a_word_at_the_door_says_that_nothing_was_done() {
        let unavailable = |text| told(Code::Unavailable, text);
        assert_eq!(unavailable("etcdserver: no leader"), "untouched: etcdserver: no leader");
        assert!(told(Code::ResourceExhausted, "etcdserver: too many requests").starts_with("untouched"));
        for text in ["etcdserver: request timed out", "etcdserver: leader changed", "transport is closing"] {
            assert_eq!(unavailable(text), format!("unknown: {text}"));
        }
    }

    #[test]
    fn refusals_are_told_apart_by_their_text() {
        let text = "etcdserver: mvcc: required revision has been compacted";
        assert!(told(Code::OutOfRange, text).starts_with("refused: required revision has been compacted"));
        assert_eq!(told(Code::ResourceExhausted, "etcdserver: request is too large"), "refused: request is too large");
        let lease = told(Code::NotFound, "etcdserver: requested lease not found");
        assert!(lease.starts_with("refused: ") && lease.contains(LEASE_NOT_FOUND), "{lease}");
    }
}
