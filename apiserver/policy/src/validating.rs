//! Validating admission policies: what requests must satisfy.

use crate::conditions::Conditions;
use crate::environment::{Environment, Wanted};
use crate::expression::{Expression, Failed, Variables};
use crate::{BUDGET, MESSAGE_BYTES_MAX, Scene};
use serde_json::Value;

/// A `ValidatingAdmissionPolicy`, compiled. What does not compile fails when it is asked.
#[derive(Debug)]
pub struct Validating {
    fail: bool,
    variables: Variables,
    conditions: Conditions,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
}

/// One of `validations`.
#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: Option<String>,
}

/// What came of one validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is wrong with the request.
    Admit,
    /// Something is.
    Deny {
        /// What.
        message: String,
        /// `reason` of the refusal; none: what was to be decided could not be.
        reason: Option<String>,
    },
}

/// What is to be written into the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Annotation {
    /// This, under a key that follows the policy's name.
    Publish(String, String),
    /// It could not be found out, and that refuses the request.
    Error(String),
}

/// What a policy says of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// One for each validation, in their order; none if the conditions do not hold.
    pub decisions: Vec<Decision>,
    /// What the audit log is told.
    pub annotations: Vec<Annotation>,
}

impl Validating {
    /// Compiles all expressions of a policy.
    #[must_use]
    pub fn compile(policy: &Value) -> Self {
        let spec = &policy["spec"];
        let plain = Environment::with_params(!spec["paramKind"].is_null());
        let full = plain.clone().with_authorizer();
        let variables = Variables::compile(&spec["variables"], &full);
        let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let validation = |one: &Value| {
            let given = Some(text(one, "messageExpression")).filter(|text| !text.is_empty());
            Validation {
                expression: Expression::compile(&text(one, "expression"), &full, &variables, Wanted::Bool),
                message: text(one, "message"),
                // A message is no place to ask who may do what.
                message_expression: given.map(|given| Expression::compile(&given, &plain, &variables, Wanted::Text)),
                reason: one["reason"].as_str().map(str::to_owned),
            }
        };
        let annotation = |one: &Value| {
            let expression = Expression::compile(&text(one, "valueExpression"), &full, &variables, Wanted::TextOrNull);
            (text(one, "key"), expression)
        };
        let each = |key: &str| spec[key].as_array().map_or(&[][..], Vec::as_slice);
        Self {
            fail: spec["failurePolicy"] != "Ignore",
            conditions: Conditions::compile(spec, &full, &variables),
            validations: each("validations").iter().map(validation).collect(),
            annotations: each("auditAnnotations").iter().map(annotation).collect(),
            variables,
        }
    }

    /// What it says of a request with these parameters.
    #[must_use]
    pub fn evaluate(&self, scene: &Scene<'_>) -> Verdict {
        match self.conditions.hold_with(scene, &self.variables) {
            Ok(true) => {}
            Ok(false) => return Verdict::default(),
            Err(why) => return self.undecided(why),
        }
        let decisions = match self.decisions(scene) {
            Ok(decisions) => decisions,
            Err(why) => return self.undecided(why),
        };
        match self.annotations(scene) {
            Ok(annotations) => Verdict { decisions, annotations },
            Err(why) => self.undecided(why),
        }
    }

    /// Of something that stops everything.
    fn undecided(&self, message: String) -> Verdict {
        Verdict { decisions: vec![self.failed(message)], annotations: Vec::new() }
    }

    /// What the failure policy makes of something that could not be decided.
    fn failed(&self, message: String) -> Decision {
        if self.fail { Decision::Deny { message, reason: None } } else { Decision::Admit }
    }

    fn decisions(&self, scene: &Scene<'_>) -> Result<Vec<Decision>, String> {
        let mut evaluation = scene.begin(&self.variables, BUDGET);
        let mut truths = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            match evaluation.truth(&validation.expression) {
                Ok(truth) => truths.push(Ok(truth)),
                Err(Failed::Expression(why)) => truths.push(Err(why)),
                Err(Failed::Budget(why)) => return Err(why),
            }
        }
        let left = evaluation.left();
        let messages = self.messages(scene, left);
        let decide = |(index, truth): (usize, Result<bool, String>)| match (truth, &messages) {
            (Err(why), _) => self.failed(why),
            (_, Err(why)) => self.failed(format!("failed messageExpression: {why}")),
            (Ok(true), _) => Decision::Admit,
            (Ok(false), Ok(messages)) => self.validations[index].denial(messages[index].as_deref()),
        };
        Ok(truths.into_iter().enumerate().map(decide).collect())
    }

    /// What the expressions of messages say, where they say something that can be shown; all are evaluated, needed or not.
    fn messages(&self, scene: &Scene<'_>, budget: u64) -> Result<Vec<Option<String>>, String> {
        if self.validations.iter().all(|validation| validation.message_expression.is_none()) {
            return Ok(vec![None; self.validations.len()]);
        }
        let mut evaluation = scene.without_authorizer().begin(&self.variables, budget);
        let mut messages = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            let Some(expression) = &validation.message_expression else {
                messages.push(None);
                continue;
            };
            messages.push(match evaluation.text(expression) {
                Ok(text) => text
                    .map(|text| text.trim().to_owned())
                    .filter(|text| !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n')),
                Err(Failed::Expression(_)) => None,
                Err(Failed::Budget(why)) => return Err(why),
            });
        }
        Ok(messages)
    }

    fn annotations(&self, scene: &Scene<'_>) -> Result<Vec<Annotation>, String> {
        let mut evaluation = scene.without_authorizer().begin(&self.variables, BUDGET);
        let mut annotations = Vec::new();
        for (key, expression) in &self.annotations {
            match evaluation.text(expression) {
                Ok(Some(text)) if !text.trim().is_empty() => {
                    annotations.push(Annotation::Publish(key.clone(), text.trim().to_owned()));
                }
                Ok(_) => {}
                Err(Failed::Expression(why)) if self.fail => annotations.push(Annotation::Error(why)),
                Err(Failed::Expression(_)) => {}
                Err(Failed::Budget(why)) => return Err(why),
            }
        }
        Ok(annotations)
    }
}

impl Validation {
    fn denial(&self, said: Option<&str>) -> Decision {
        let message = match (said, self.message.trim()) {
            (Some(said), _) => said.to_owned(),
            (None, "") => format!("failed expression: {}", self.expression.text().trim()),
            (None, message) => message.to_owned(),
        };
        Decision::Deny { message, reason: Some(self.reason.clone().unwrap_or_else(|| "Invalid".to_owned())) }
    }
}
