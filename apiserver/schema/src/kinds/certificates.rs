//! The group `certificates.k8s.io`.

mod certificate_signing_request;

use super::Row;

/// Its kinds.
pub(super) static ROWS: &[&Row] = &[&certificate_signing_request::ROW];
