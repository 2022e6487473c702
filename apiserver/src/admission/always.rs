//! AlwaysAdmit and AlwaysDeny: they say the same of everything, and Kubernetes regrets both.

use super::{Operation, Plugin, known};

const ALL: &[Operation] = &[Operation::Create, Operation::Update, Operation::Delete, Operation::Connect];

pub(super) const ADMIT: Plugin =
    Plugin { name: "AlwaysAdmit", handles: ALL, mutate: Some(|_, _| known(Ok(()))), validate: None };

pub(super) const DENY: Plugin = Plugin {
    name: "AlwaysDeny",
    handles: ALL,
    mutate: Some(|seen, _| known(Err(seen.forbidden("admission control is denying all modifications")))),
    validate: None,
};
