//! The group `authorization.k8s.io`.

mod access; // what all questions of access have in common
mod local_subject_access_review;
mod self_subject_access_review;
mod self_subject_rules_review;
mod subject_access_review;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[
    &local_subject_access_review::ROW,
    &self_subject_access_review::ROW,
    &self_subject_rules_review::ROW,
    &subject_access_review::ROW,
];
