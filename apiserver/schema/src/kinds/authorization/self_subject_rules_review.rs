//! SelfSubjectRulesReview: what who asks may do in a namespace.

use crate::kinds::{CREATE, Review, Row, Rules, UNSTORED};

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    verbs: CREATE,
    storage: UNSTORED,
    rules: Rules { review: Review::OwnRules, ..Rules::PLAIN },
    ..Row::cluster(
        ["authorization.k8s.io", "v1", "SelfSubjectRulesReview"],
        ["selfsubjectrulesreviews", "selfsubjectrulesreview"],
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
    )
};
