//! `authorizer`: asks whether someone may do something, through whoever evaluates.

use std::fmt;
use std::sync::Arc;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// `system:serviceaccount:…` of `serviceAccount(namespace, name)`; `None`: who made the request.
    pub service_account: Option<(String, String)>,
    /// A path that is no resource; then only the verb is said besides.
    pub path: Option<String>,
    /// Group of the resource.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// Its subresource.
    pub subresource: String,
    /// Namespace; empty: all, or none.
    pub namespace: String,
    /// Name; empty: all.
    pub name: String,
    /// Field selector as written.
    pub field_selector: String,
    /// Label selector as written.
    pub label_selector: String,
    /// The verb.
    pub verb: String,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What failed while it was decided.
    pub error: Option<String>,
}

/// Answers what expressions ask.
pub trait Authorizer: Send + Sync {
    /// Decides.
    fn decide(&self, question: &Question) -> Decision;
}

/// How far the question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
    Decision,
}

/// A question on its way, or its answer.
#[derive(Clone)]
pub struct Check {
    pub(crate) stage: Stage,
    pub(crate) question: Question,
    pub(crate) decision: Decision,
    authorizer: Arc<dyn Authorizer>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("stage", &self.stage).field("question", &self.question).finish_non_exhaustive()
    }
}

impl Check {
    /// The variable `authorizer`.
    #[must_use]
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { stage: Stage::Authorizer, question: Question::default(), decision: Decision::default(), authorizer }
    }

    /// The variable `authorizer.requestResource`: asks about the resource of a request.
    #[must_use]
    pub fn request_resource(authorizer: Arc<dyn Authorizer>, question: Question) -> Self {
        Self { stage: Stage::Resource, question, decision: Decision::default(), authorizer }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self.stage {
            Stage::Authorizer => "kubernetes.authorization.Authorizer",
            Stage::Path => "kubernetes.authorization.PathCheck",
            Stage::Group => "kubernetes.authorization.GroupCheck",
            Stage::Resource => "kubernetes.authorization.ResourceCheck",
            Stage::Decision => "kubernetes.authorization.Decision",
        }
    }

    /// The same, one step further.
    pub(crate) fn then(&self, stage: Stage, put: impl FnOnce(&mut Question)) -> Self {
        let mut next = self.clone();
        next.stage = stage;
        put(&mut next.question);
        next
    }

    pub(crate) fn decide(&self, verb: &str) -> Self {
        let mut next = self.then(Stage::Decision, |question| question.verb = verb.to_owned());
        next.decision = next.authorizer.decide(&next.question);
        next
    }
}
