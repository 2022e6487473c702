//! SelfSubjectAccessReview: whether who asks may do something.

use super::access;
use crate::kinds::{CREATE, Review, Row, Rules, UNSTORED};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    verbs: CREATE,
    storage: UNSTORED,
    rules: Rules { review: Review::OwnAccess, validate: access::own, ..Rules::PLAIN },
    ..Row::cluster(
        ["authorization.k8s.io", "v1", "SelfSubjectAccessReview"],
        ["selfsubjectaccessreviews", "selfsubjectaccessreview"],
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
    )
};
