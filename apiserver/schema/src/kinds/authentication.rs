//! The group `authentication.k8s.io`.

mod self_subject_review;
pub(crate) mod token_request; // the body of serviceaccounts/token
mod token_review;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&self_subject_review::ROW, &token_review::ROW];
