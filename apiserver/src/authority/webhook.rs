//! A server of others is asked (`authorization.k8s.io` SubjectAccessReview), and its answers are kept for a while.

use super::conditions::Conditions;
use crate::authority::ChainError;
use crate::remote::review::Reviewer;
use serde_json::{Map, Value, json};
use skiff_authz::config::{OnFailure, Webhook};
use skiff_authz::{Act, Attributes, Decision, Reason, Requirement};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many answers are kept, and how long a question may be whose answer is kept (kube-apiserver: as many, as long).
const KEPT_MAX: usize = 8192;
const QUESTION_BYTES_MAX: usize = 10_000;

/// What a webhook said, and until when that holds.
struct Answer {
    until: Instant,
    status: Value,
}

/// One webhook and its last answers.
pub(super) struct Remote {
    settings: Webhook,
    conditions: Conditions,
    reviewer: Reviewer,
    answers: Mutex<HashMap<String, Answer>>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Remote {
    pub(super) async fn new(settings: Webhook) -> Result<Self, ChainError> {
        let conditions = Conditions::compile(&settings.conditions);
        let conditions =
            conditions.map_err(|problem| ChainError::Conditions { name: settings.name.clone(), problem })?;
        let reviewer = Reviewer::new(&settings.kubeconfig, settings.timeout).await;
        let reviewer = reviewer.map_err(|source| ChainError::Webhook { name: settings.name.clone(), source })?;
        Ok(Self { settings, conditions, reviewer, answers: Mutex::default() })
    }

    /// What it says about a request; what stands instead if it says nothing.
    pub(super) async fn decide(&self, asked: &Attributes<'_>) -> Decision {
        // Expressions see the newest form, whatever the webhook is sent.
        match self.conditions.hold(&spec(asked, "v1")) {
            Ok(true) => {}
            Ok(false) => return Decision::no_opinion(Reason::None),
            Err(why) => return failed(self.settings.on_failure, why),
        }
        let spec = spec(asked, &self.settings.version);
        let question = spec.to_string();
        if let Some(status) = self.kept(&question) {
            return decision(&status, self.settings.on_failure);
        }
        let version = format!("authorization.k8s.io/{}", self.settings.version);
        match self.reviewer.ask(&version, "SubjectAccessReview", &spec, "allowed").await {
            Ok(status) => {
                self.keep(question, &status);
                decision(&status, self.settings.on_failure)
            }
            Err(why) => {
                tracing::warn!(webhook = self.settings.name, why, "an authorization webhook does not answer");
                failed(self.settings.on_failure, format!("webhook {:?}: {why}", self.settings.name))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self, question: &str) -> Option<Value> {
        let answers = self.lock();
        answers.get(question).filter(|answer| answer.until > Instant::now()).map(|answer| answer.status.clone())
    }

    fn keep(&self, question: String, status: &Value) {
        let ttl = if status["allowed"] == true { self.settings.authorized_ttl } else { self.settings.unauthorized_ttl };
        let Some(ttl) = ttl.filter(|_| question.len() <= QUESTION_BYTES_MAX) else { return };
        let (mut answers, now) = (self.lock(), Instant::now());
        if answers.len() >= KEPT_MAX {
            answers.retain(|_, answer| answer.until > now);
        }
        if answers.len() < KEPT_MAX {
            answers.insert(question, Answer { until: now + ttl, status: status.clone() });
        }
    }
}

fn failed(on_failure: OnFailure, error: String) -> Decision {
    let decision = match on_failure {
        OnFailure::NoOpinion => Decision::no_opinion(Reason::None),
        OnFailure::Deny => Decision::deny(Reason::None),
    };
    Decision { error, ..decision }
}

fn decision(status: &Value, on_failure: OnFailure) -> Decision {
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let reason = Reason::text(text("reason"));
    let decision = match (status["allowed"] == true, status["denied"] == true) {
        (true, true) => {
            return failed(
                on_failure,
                "webhook subject access review returned both allow and deny response".to_owned(),
            );
        }
        (true, false) => Decision::allow(reason),
        (false, true) => Decision::deny(reason),
        (false, false) => Decision::no_opinion(reason),
    };
    Decision { error: text("evaluationError").to_owned(), ..decision }
}

/// What is asked, as the webhook's version of the review has it.
fn spec(asked: &Attributes<'_>, version: &str) -> Value {
    let user = &asked.user;
    let mut spec = Map::new();
    match asked.act {
        Act::Path { verb, path } => {
            drop(spec.insert("nonResourceAttributes".to_owned(), json!({"verb": verb, "path": path})))
        }
        Act::Resource { verb, group, resource, part, namespace, name } => {
            let given = [
                ("namespace", namespace),
                ("verb", verb),
                ("group", group),
                ("version", asked.version),
                ("resource", resource),
                ("subresource", part),
                ("name", name),
            ];
            let given = given.into_iter().filter(|(_, text)| !text.is_empty());
            let mut about: Map<String, Value> = given.map(|(key, text)| (key.to_owned(), text.into())).collect();
            for (field, requirements) in
                [("fieldSelector", &asked.selection.fields), ("labelSelector", &asked.selection.labels)]
            {
                if !requirements.is_empty() {
                    about.insert(
                        field.to_owned(),
                        json!({"requirements": requirements.iter().map(written).collect::<Vec<_>>()}),
                    );
                }
            }
            spec.insert("resourceAttributes".to_owned(), about.into());
        }
    }
    spec.insert("user".to_owned(), user.name.into());
    let groups = if version == "v1beta1" { "group" } else { "groups" };
    let more = [(groups, json!(user.groups)), ("uid", user.uid.into()), ("extra", json!(user.extra))];
    let is_empty = |value: &Value| *value == json!([]) || *value == json!({}) || *value == json!("");
    spec.extend(more.into_iter().filter(|(_, value)| !is_empty(value)).map(|(key, value)| (key.to_owned(), value)));
    spec.into()
}

fn written(one: &Requirement) -> Value {
    let mut requirement = json!({"key": one.key, "operator": one.operator});
    if !one.values.is_empty() {
        requirement["values"] = json!(one.values);
    }
    requirement
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_authz::{Selection, User, Verdict};

    #[test]
    fn the_question_says_all_that_is_known() {
        let groups = ["g".to_owned()];
        let selection = Selection { fields: vec![Requirement::equals("spec.nodeName", "n")], labels: Vec::new() };
        let act = Act::Resource { verb: "list", group: "", resource: "pods", part: "", namespace: "a", name: "" };
        let asked = Attributes { user: User::new("u", &groups), act, version: "v1", selection: &selection };
        let expected = json!({"user": "u", "groups": ["g"], "resourceAttributes": {"namespace": "a", "verb": "list", "version": "v1",
            "resource": "pods", "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]}}});
        assert_eq!(spec(&asked, "v1"), expected);
        assert_eq!(spec(&asked, "v1beta1")["group"], json!(["g"]));
    }

    #[test]
    fn answers_are_yes_no_or_nothing() {
        for (status, verdict) in [
            (json!({"allowed": true}), Verdict::Allow),
            (json!({"allowed": false}), Verdict::NoOpinion),
            (json!({"allowed": false, "denied": true}), Verdict::Deny),
            (json!({"allowed": true, "denied": true}), Verdict::Deny),
        ] {
            assert_eq!(decision(&status, OnFailure::Deny).verdict, verdict, "{status}");
        }
    }
}
