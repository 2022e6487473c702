//! What a request shows to expressions.

use crate::expression::{Evaluation, Variables};
use serde_json::Value as Json;
use skiff_cel::{Activation, Authorizer, Check, Question, Value};
use std::sync::Arc;

/// One request, with the parameters of one binding. What is not there is `null`.
#[derive(Clone)]
pub struct Scene<'a> {
    /// `object`, after the request.
    pub object: &'a Json,
    /// `oldObject`, before it.
    pub old: &'a Json,
    /// `params`
    pub params: &'a Json,
    /// `request`, as an `AdmissionRequest`.
    pub request: &'a Json,
    /// `namespaceObject`
    pub namespace: &'a Json,
    /// Who answers `authorizer`, and the question about the resource of the request.
    pub authorizer: Option<(Arc<dyn Authorizer>, Question)>,
}

static NOTHING: Json = Json::Null;

impl<'a> Scene<'a> {
    /// The same without a namespace: conditions are decided before it is looked up.
    pub(crate) fn without_namespace(&self) -> Self {
        Self { namespace: &NOTHING, ..self.clone() }
    }

    /// The same where nobody is asked who may do what.
    pub(crate) fn without_authorizer(&self) -> Self {
        Self { authorizer: None, ..self.clone() }
    }

    /// Evaluates on it.
    pub(crate) fn begin<'v>(&self, variables: &'v Variables, budget: u64) -> Evaluation<'v>
    where
        'a: 'v,
    {
        let mut activation = Activation::new()
            .with("object", Value::json(self.object))
            .with("oldObject", Value::json(self.old))
            .with("params", Value::json(self.params))
            .with("request", Value::json(self.request))
            .with("namespaceObject", Value::json(self.namespace));
        if let Some((authorizer, question)) = &self.authorizer {
            let check = |check: Check| Value::Check(Arc::new(check));
            activation = activation.with("authorizer", check(Check::authorizer(Arc::clone(authorizer)))).with(
                "authorizer.requestResource",
                check(Check::request_resource(Arc::clone(authorizer), question.clone())),
            );
        }
        Evaluation::new(activation, variables, budget)
    }
}
