//! SubjectAccessReview: whether somebody may do something.

use super::access;
use crate::kinds::{CREATE, Review, Row, Rules, UNSTORED};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    verbs: CREATE,
    storage: UNSTORED,
    rules: Rules { review: Review::Access, validate: access::anybody, ..Rules::PLAIN },
    ..Row::cluster(
        ["authorization.k8s.io", "v1", "SubjectAccessReview"],
        ["subjectaccessreviews", "subjectaccessreview"],
        "io.k8s.api.authorization.v1.SubjectAccessReview",
    )
};
