//! LocalSubjectAccessReview: whether somebody may do something in one namespace.

use super::access;
use crate::kinds::{CREATE, Review, Row, Rules, UNSTORED};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    verbs: CREATE,
    storage: UNSTORED,
    rules: Rules { review: Review::Access, validate: access::local, ..Rules::PLAIN },
    ..Row::namespaced(
        ["authorization.k8s.io", "v1", "LocalSubjectAccessReview"],
        ["localsubjectaccessreviews", "localsubjectaccessreview"],
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
    )
};
