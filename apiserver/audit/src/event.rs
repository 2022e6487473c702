//! One event: what happened to a request up to one of its stages, as `audit.k8s.io/v1` Event.

use crate::legacy;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How much is recorded of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who, what and how it ended.
    Metadata,
    /// The same and what was sent.
    Request,
    /// The same and what was answered.
    RequestResponse,
}

impl Level {
    /// All of them, from the least.
    pub const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// As policies and events write it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It is there, and nobody has looked at it.
    RequestReceived,
    /// What lasts has begun.
    #[default]
    ResponseStarted,
    /// It was answered.
    ResponseComplete,
    /// The server failed at it.
    Panic,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::RequestReceived, Self::ResponseStarted, Self::ResponseComplete, Self::Panic];

    /// As policies and events write it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stages(u8);

impl Stages {
    /// The same with one more.
    #[must_use]
    pub fn with(self, stage: Stage) -> Self {
        Self(self.0 | 1 << stage as u8)
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `stage` is one of them.
    #[must_use]
    pub fn has(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
}

/// Somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// `system:node:a`; empty: not known.
    pub name: String,
    /// Empty if nobody gave one.
    pub uid: String,
    /// `system:nodes`.
    pub groups: Vec<String>,
    /// What else is known, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The object that a request is about, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectRef {
    /// The plural name.
    pub resource: String,
    /// Empty: none, or all.
    pub namespace: String,
    /// Empty: all of them, or made up by the server.
    pub name: String,
    /// As the object that was sent says it.
    pub uid: String,
    /// Empty for the core group.
    pub api_group: String,
    /// `v1`.
    pub api_version: String,
    /// As the object that was sent says it.
    pub resource_version: String,
    /// Empty for the object itself.
    pub subresource: String,
}

/// What is recorded. Times are microseconds since 1970.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Event {
    /// How much of the request is in it.
    pub level: Level,
    /// The request's id, the same in all its events.
    pub audit_id: String,
    /// How far the request has come.
    pub stage: Stage,
    /// Path and query, as they were sent.
    pub uri: String,
    /// Kubernetes' verb.
    pub verb: String,
    /// Who asks.
    pub user: User,
    /// As whom.
    pub impersonated: Option<User>,
    /// Where it comes from: the proxies' word first, the other end of the connection last.
    pub source_ips: Vec<String>,
    /// What the client calls itself.
    pub user_agent: String,
    /// `None`: no resource is asked for.
    pub object: Option<ObjectRef>,
    /// What was answered, as a Status with only these of its fields: status, message, reason, details, code.
    pub status: Option<Value>,
    /// What was sent, as JSON.
    pub request_object: Option<String>,
    /// What was answered, as JSON.
    pub response_object: Option<String>,
    /// When the request came.
    pub received: i64,
    /// When it came to this stage.
    pub reached: i64,
    /// What others say of the request, by key.
    pub annotations: BTreeMap<String, String>,
}

impl Event {
    /// The code of the answer, if there is one.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        self.status.as_ref().map(|status| status["code"].as_u64().unwrap_or_default())
    }

    /// Says what was answered; `said` is the Status that was sent, if one was. A code that is known already stays unless `code` is given.
    pub fn answered(&mut self, said: Option<&Value>, code: Option<u16>) {
        if let Some(said) = said {
            let kept = ["status", "message", "reason", "details", "code"];
            let fields = kept.iter().filter_map(|key| Some(((*key).to_owned(), said.get(*key)?.clone())));
            self.status = Some(Value::Object(fields.collect()));
        }
        if let Some(code) = code {
            self.status.get_or_insert_with(|| json!({}))["code"] = code.into();
        }
    }

    /// Adds what somebody says of the request; what is said first stays.
    pub fn annotate(&mut self, key: &str, value: String) {
        self.annotations.entry(key.to_owned()).or_insert(value);
    }

    /// The event as one line of JSON, without its end, with the fields in Kubernetes' order; annotations come last.
    #[must_use]
    pub fn json(&self) -> String {
        let mut out = Writer::new(self.request_object.as_ref().map_or(0, String::len));
        out.text("kind", "Event");
        out.text("apiVersion", crate::API_VERSION);
        out.text("level", self.level.text());
        out.text("auditID", &self.audit_id);
        out.text("stage", self.stage.text());
        out.text("requestURI", &self.uri);
        out.text("verb", &self.verb);
        out.raw("user", &user(&self.user));
        if let Some(other) = &self.impersonated {
            out.raw("impersonatedUser", &user(other));
        }
        if !self.source_ips.is_empty() {
            out.raw("sourceIPs", &json!(self.source_ips).to_string());
        }
        out.said("userAgent", &self.user_agent);
        if let Some(object) = &self.object {
            out.raw("objectRef", &reference(object));
        }
        if let Some(status) = &self.status {
            out.raw("responseStatus", &written_status(status));
        }
        for (key, object) in [("requestObject", &self.request_object), ("responseObject", &self.response_object)] {
            if let Some(object) = object {
                out.raw(key, object);
            }
        }
        out.text("requestReceivedTimestamp", &micro_time(self.received));
        out.text("stageTimestamp", &micro_time(self.reached));
        if !self.annotations.is_empty() {
            out.raw("annotations", &json!(self.annotations).to_string());
        }
        out.end()
    }

    /// The event as one line of text, without its end (`--audit-log-format=legacy`).
    #[must_use]
    pub fn legacy(&self) -> String {
        legacy::line(self)
    }
}

/// A JSON object, a field at a time.
struct Writer(String);

impl Writer {
    fn new(bytes: usize) -> Self {
        let mut text = String::with_capacity(1024 + bytes);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.0.push_str(json);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        let plain = text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
        if plain {
            self.0.push('"');
            self.0.push_str(text);
            self.0.push('"');
        } else {
            self.0.push_str(&Value::from(text).to_string());
        }
    }

    /// The same unless it is empty.
    fn said(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.text(key, text);
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// `authentication.k8s.io/v1` UserInfo.
fn user(user: &User) -> String {
    let mut out = Writer::new(0);
    out.said("username", &user.name);
    out.said("uid", &user.uid);
    if !user.groups.is_empty() {
        out.raw("groups", &json!(user.groups).to_string());
    }
    if !user.extra.is_empty() {
        out.raw("extra", &json!(user.extra).to_string());
    }
    out.end()
}

fn reference(object: &ObjectRef) -> String {
    let mut out = Writer::new(0);
    out.said("resource", &object.resource);
    out.said("namespace", &object.namespace);
    out.said("name", &object.name);
    out.said("uid", &object.uid);
    out.said("apiGroup", &object.api_group);
    out.said("apiVersion", &object.api_version);
    out.said("resourceVersion", &object.resource_version);
    out.said("subresource", &object.subresource);
    out.end()
}

fn written_status(status: &Value) -> String {
    let mut out = Writer::new(0);
    out.raw("metadata", "{}");
    for key in ["status", "message", "reason", "details", "code"] {
        match status.get(key) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) => out.said(key, text),
            Some(other) => out.raw(key, &other.to_string()),
        }
    }
    out.end()
}

/// `2026-01-02T03:04:05.000006Z`.
fn micro_time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map(|time| format!("{time:.6}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let user = User { name: "jane".to_owned(), groups: vec!["system:authenticated".to_owned()], ..User::default() };
        let object = ObjectRef {
            resource: "pods".to_owned(),
            namespace: "a".to_owned(),
            api_version: "v1".to_owned(),
            ..ObjectRef::default()
        };
        let mut event = Event {
            level: Level::Metadata,
            audit_id: "7".to_owned(),
            stage: Stage::ResponseComplete,
            uri: "/api/v1/namespaces/a/pods".to_owned(),
            verb: "list".to_owned(),
            user,
            source_ips: vec!["10.0.0.1".to_owned()],
            user_agent: "kubectl/v1 \"x\"".to_owned(),
            object: Some(object),
            received: 1_000_006,
            reached: 2_000_000,
            ..Event::default()
        };
        event.answered(None, Some(200));
        event
    }

    #[test]
    fn events_are_written_in_kubernetes_order() {
        let mut event = event();
        event.annotate("authorization.k8s.io/decision", "allow".to_owned());
        event.annotate("authorization.k8s.io/decision", "forbid".to_owned());
        assert_eq!(
            event.json(),
            concat!(
                r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"7","stage":"ResponseComplete","#,
                r#""requestURI":"/api/v1/namespaces/a/pods","verb":"list","user":{"username":"jane","#,
                r#""groups":["system:authenticated"]},"sourceIPs":["10.0.0.1"],"userAgent":"kubectl/v1 \"x\"","#,
                r#""objectRef":{"resource":"pods","namespace":"a","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"#,
                r#""requestReceivedTimestamp":"1970-01-01T00:00:01.000006Z","stageTimestamp":"1970-01-01T00:00:02.000000Z","#,
                r#""annotations":{"authorization.k8s.io/decision":"allow"}}"#
            )
        );
    }

    #[test]
    fn a_refusal_says_why() {
        let mut event = event();
        let said = json!({"kind": "Status", "metadata": {}, "status": "Failure", "reason": "NotFound", "code": 404});
        event.answered(Some(&said), Some(404));
        assert!(
            event
                .json()
                .contains(r#""responseStatus":{"metadata":{},"status":"Failure","reason":"NotFound","code":404}"#)
        );
    }

    #[test]
    fn the_old_format_is_a_line() {
        assert_eq!(
            event().legacy(),
            "1970-01-01T00:00:01.000006Z AUDIT: id=\"7\" stage=\"ResponseComplete\" ip=\"10.0.0.1\" method=\"list\" \
             user=\"jane\" groups=\"\\\"system:authenticated\\\"\" as=\"<self>\" asgroups=\"<lookup>\" \
             user-agent=\"kubectl/v1 \\\"x\\\"\" namespace=\"a\" uri=\"/api/v1/namespaces/a/pods\" response=\"200\""
        );
    }
}
