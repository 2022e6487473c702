//! SelfSubjectReview: who asks.

use crate::kinds::{CREATE, Review, Row, Rules, UNSTORED};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    verbs: CREATE,
    storage: UNSTORED,
    rules: Rules { review: Review::WhoAsks, ..Rules::PLAIN },
    ..Row::cluster(
        ["authentication.k8s.io", "v1", "SelfSubjectReview"],
        ["selfsubjectreviews", "selfsubjectreview"],
        "io.k8s.api.authentication.v1.SelfSubjectReview",
    )
};
