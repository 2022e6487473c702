//! Refusals in etcd's words: clients compare code and text, so both are etcd's own (`api/v3rpc/rpctypes/error.go`).

use crate::request::Refusal;
use crate::users::Denied;
use skiff_proto::etcd::etcdserverpb::compare::CompareTarget;
use tonic::{Code, Status};

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let (code, text) = match refusal {
            Refusal::Compacted { .. } => (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            Refusal::Future { .. } => (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision"),
            Refusal::KeyNotFound => return key_not_found(),
            Refusal::LeaseNotFound => (Code::NotFound, "etcdserver: requested lease not found"),
            Refusal::LeaseExists => (Code::FailedPrecondition, "etcdserver: lease already exists"),
            Refusal::LeaseTooLong => (Code::OutOfRange, "etcdserver: too large lease TTL"),
            Refusal::NoSpace => (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            // The same words first, for those that look for them; then what an operator wants to know.
            Refusal::DiskFull(why) => {
                return Status::resource_exhausted(format!("etcdserver: mvcc: database space exceeded: {why}"));
            }
            Refusal::Corrupt => (Code::DataLoss, "etcdserver: corrupt cluster"),
            Refusal::Denied(denied) => return denied_status(denied),
            Refusal::OnlyLooks => return Status::failed_precondition(format!("etcdserver: {refusal}")),
            Refusal::Failed(why) => return Status::unavailable(format!("etcdserver: {why}")),
        };
        Status::new(code, text)
    }
}

fn denied_status(denied: Denied) -> Status {
    let code = match denied {
        // etcd has no words for its clients here.
        Denied::NoPassword => return Status::unknown(denied.to_string()),
        Denied::Permission => Code::PermissionDenied,
        Denied::Token => Code::Unauthenticated,
        Denied::NobodyAsks
        | Denied::RoleUnnamed
        | Denied::WrongPassword
        | Denied::NothingGranted
        | Denied::Management
        | Denied::OldRevision => Code::InvalidArgument,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, format!("etcdserver: {denied}"))
}

fn invalid(text: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: {text}"))
}

pub(crate) fn key_not_found() -> Status {
    invalid("key not found")
}

pub(crate) fn empty_key() -> Status {
    invalid("key is not provided")
}

pub(crate) fn value_provided() -> Status {
    invalid("value is provided")
}

pub(crate) fn lease_provided() -> Status {
    invalid("lease is provided")
}

pub(crate) fn too_many_ops() -> Status {
    invalid("too many operations in txn request")
}

pub(crate) fn duplicate_key() -> Status {
    invalid("duplicate key given in txn request")
}

pub(crate) fn too_large() -> Status {
    invalid("request is too large")
}

pub(crate) fn bad_sort() -> Status {
    invalid("invalid sort option")
}

/// A number of an enumeration that this store does not know.
pub(crate) fn unknown(field: &str, number: i32) -> Status {
    invalid(&format!("{field} is {number}, which this store does not know"))
}

/// A comparison that brings a value for another target than it names.
pub(crate) fn other_target(target: CompareTarget, brought: CompareTarget) -> Status {
    let (target, brought) = (target.as_str_name(), brought.as_str_name());
    invalid(&format!("the comparison is of {target}, but the value that came with it is of {brought}"))
}

pub(crate) fn member_not_found() -> Status {
    Status::not_found("etcdserver: member not found")
}

/// etcd's Lock and Election are clients of its own, and what those are refused loses its code.
pub(crate) fn through_a_client(refusal: Refusal) -> Status {
    Status::unknown(Status::from(refusal).message())
}

/// What this store leaves out on purpose.
pub(crate) fn left_out(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not implemented by this store, which is one node without consensus"))
}
