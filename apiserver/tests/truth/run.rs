//! A kind's cases, asked one after the other of one server.

use crate::case::Case;
use crate::facts::Facts;
use crate::kinds::Kind;
use crate::server::{Question, Server};
use http::Method;
use serde_json::{Value, json};
use std::sync::Mutex;

/// A server and the namespace that the cases use there.
pub(crate) struct Place<'a> {
    pub(crate) server: &'a Server,
    pub(crate) namespace: &'a str,
    /// Revision of the object that was created last: where watches begin.
    since: Mutex<String>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(server: &'a Server, namespace: &'a str) -> Self {
        Self { server, namespace, since: Mutex::default() }
    }

    /// Makes the namespace and what pods need in it.
    pub(crate) async fn prepare(&self) {
        let namespace = json!({"metadata": {"name": self.namespace}});
        self.post("/api/v1/namespaces", &namespace.to_string()).await;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.namespace);
        self.post(&path, &json!({"metadata": {"name": "default"}}).to_string()).await;
    }

    async fn post(&self, path: &str, body: &str) {
        let question = Question {
            method: Method::POST,
            path: path.to_owned(),
            content: "application/json",
            body: body.to_owned(),
            ..Question::default()
        };
        let answer = self.server.ask(&question).await;
        assert!(answer.as_ref().is_some_and(|answer| matches!(answer.code, 201 | 409)), "POST {path}: {answer:?}");
    }

    /// Whether the server has the kind.
    pub(crate) async fn serves(&self, kind: &Kind) -> bool {
        if kind.is_document() {
            return true;
        }
        let answer = self.server.get(&kind.group_path()).await;
        answer.value["resources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == *kind.resource))
    }

    /// What the server answers; `None` if the case is none for this kind, or the server hung up.
    pub(crate) async fn ask(&self, case: &Case, kind: &Kind) -> Option<Facts> {
        let mut revision = Value::Null;
        if case.wants_revision() {
            let path = format!("{}/{}", kind.collection(self.namespace), kind.name());
            revision = self.server.get(&path).await.value["metadata"]["resourceVersion"].take();
        }
        let mut question = case.question(kind, self.namespace, &revision)?;
        question.path = question.path.replace("SINCE", &self.since.lock().expect("no panic"));
        let answer = self.server.ask(&question).await?;
        if (&*case.verb, &*case.query) == ("create", "") {
            let revision = answer.value["metadata"]["resourceVersion"].as_str();
            *self.since.lock().expect("no panic") = revision.unwrap_or_default().to_owned();
        }
        Some(Facts::of(&answer, self.namespace))
    }

    /// Removes the kind's object, with all that may hold it.
    pub(crate) async fn clear(&self, kind: &Kind) {
        if !kind.is_stored() {
            return;
        }
        let path = format!("{}/{}", kind.collection(self.namespace), kind.name());
        // A namespace goes when its controller lets it go; here nobody but the test does.
        let finalize = format!(r#"{{"metadata": {{"name": "{}"}}, "spec": {{"finalizers": []}}}}"#, kind.name());
        let finalized = if kind.resource == "namespaces" { "/finalize" } else { "" };
        for (method, part, content, body) in [
            (Method::DELETE, "", "application/json", r#"{"gracePeriodSeconds": 0}"#),
            (Method::PATCH, "", "application/merge-patch+json", r#"{"metadata": {"finalizers": null}}"#),
            (Method::PUT, finalized, "application/json", &finalize),
        ] {
            let question = Question {
                method,
                path: format!("{path}{part}"),
                content,
                body: body.to_owned(),
                ..Question::default()
            };
            if part.is_empty() != (question.method == Method::PUT) {
                self.server.ask(&question).await;
            }
        }
    }
}
