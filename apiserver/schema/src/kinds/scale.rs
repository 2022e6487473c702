//! Scale: the body of the `scale` part of every kind that has replicas.

use super::Change;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::validate::workload;

/// What is wrong with one.
pub(crate) fn validate(change: &Change<'_>, errors: &mut Errors) {
    workload::scale(&change.new["spec"], &Path::Root.field("spec"), errors);
}
