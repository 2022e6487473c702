//! The record of one request while it is answered: everybody who knows something of it says it here. It is complete when it is said to be,
//! or when nobody holds it any more: a watch ends when its stream is dropped, a command when its connection is.

use super::Auditor;
use super::arrival::Arrival;
use crate::registry::object::{meta, name_of};
use http::StatusCode;
use serde_json::{Value, json};
use skiff_audit::{Decision, Event, Level, Stage, User, is_durable, without_managed_fields};
use skiff_client::Identity;
use skiff_schema::{Resource, apply_defaults};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The record of one request.
pub(crate) struct Record {
    auditor: Arc<Auditor>,
    decision: Decision,
    /// Whether it must be on disk before the answer.
    durable: bool,
    /// Whether the answer lasts as long as somebody listens.
    pub(super) lasting: bool,
    /// Whether a success may be told of by a Status: a deletion, or a part that is an act.
    pub(super) ends_with_status: bool,
    state: Mutex<State>,
}

struct State {
    event: Event,
    started: bool,
    complete: bool,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("decision", &self.decision).finish_non_exhaustive()
    }
}

impl Record {
    /// Begins the record of what `arrival` is, by `who`; `None`: the policy wants none of it.
    pub(super) fn begin(auditor: &Arc<Auditor>, arrival: Arrival, who: Option<&Identity>) -> Option<Arc<Self>> {
        let user = who.map(|who| (who.user.as_str(), &who.groups[..]));
        let decision = auditor.policy.decide(user, &arrival.attributes);
        auditor.counts.level(decision.level);
        if decision.level == Level::None {
            return None;
        }
        let Arrival { attributes, mut event } = arrival;
        event.level = decision.level;
        event.user = who.map(user_of).unwrap_or_default();
        let state = Mutex::new(State { event, started: false, complete: false });
        let (durable, lasting) = (is_durable(&attributes), attributes.is_long_running());
        let is_part = attributes.object.as_ref().is_some_and(|object| !object.part.is_empty());
        let ends_with_status = attributes.verb == "delete" || (is_part && attributes.verb == "create");
        Some(Arc::new(Self { auditor: Arc::clone(auditor), decision, durable, lasting, ends_with_status, state }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what somebody says of the request; what is said first stays.
    pub(crate) fn annotate(&self, key: &str, value: String) {
        self.state().event.annotate(key, value);
    }

    /// Says as whom the request is answered.
    pub(crate) fn impersonated(&self, who: &Identity) {
        self.state().event.impersonated = Some(user_of(who));
    }

    /// Says which object was sent: its name, uid and version are told of, and all of it if that much is recorded.
    pub(crate) fn sent_object(&self, resource: Option<&Resource>, object: &Value) {
        let text = self.wants(Level::Request).then(|| {
            let mut object = object.clone();
            if let Some(resource) = resource {
                apply_defaults(resource, &mut object);
            }
            self.written(object)
        });
        let event = &mut self.state().event;
        event.request_object = text;
        let Some(reference) = event.object.as_mut().filter(|_| object["metadata"].is_object()) else { return };
        let places = [
            (&mut reference.name, name_of(object)),
            (&mut reference.namespace, meta(object, "namespace")),
            (&mut reference.uid, meta(object, "uid")),
            (&mut reference.resource_version, meta(object, "resourceVersion")),
        ];
        for (place, said) in places {
            if place.is_empty() {
                said.clone_into(place);
            }
        }
    }

    /// Says which patch was sent; one in YAML is kept as JSON.
    pub(crate) fn sent_patch(&self, patch: &[u8]) {
        if !self.wants(Level::Request) {
            return;
        }
        let value: Option<Value> = serde_json::from_slice(patch).ok().or_else(|| serde_norway::from_slice(patch).ok());
        self.state().event.request_object = value.map(|value| value.to_string());
    }

    /// Whether at least this much is recorded.
    pub(super) fn wants(&self, level: Level) -> bool {
        self.decision.level >= level
    }

    /// An object as it is recorded.
    pub(super) fn written(&self, object: Value) -> String {
        if self.decision.omit_managed_fields { without_managed_fields(object).to_string() } else { object.to_string() }
    }

    /// Says what was answered: a code, a Status if it was one, and the object as JSON.
    pub(super) fn answered(&self, code: StatusCode, status: Option<&Value>, object: Option<String>) {
        let event = &mut self.state().event;
        event.answered(status, Some(code.as_u16()));
        if object.is_some() {
            event.response_object = object;
        }
    }

    /// The request has come to `stage`; false: that could not be recorded, and must be.
    pub(super) async fn reach(&self, stage: Stage) -> bool {
        let Some(event) = self.at(stage) else { return true };
        self.auditor.process(&event, self.durable).await
    }

    /// The event of a stage, unless nobody wants it.
    fn at(&self, stage: Stage) -> Option<Event> {
        let mut state = self.state();
        match stage {
            Stage::RequestReceived => {}
            Stage::ResponseStarted => state.started = true,
            Stage::ResponseComplete | Stage::Panic => state.complete = true,
        }
        if self.decision.omit.has(stage) {
            return None;
        }
        state.event.stage = stage;
        if stage != Stage::RequestReceived {
            state.event.reached = super::now();
        }
        Some(state.event.clone())
    }

    /// Nothing more is recorded of it, which is refused because it could not be.
    pub(super) fn rejected(&self) {
        self.auditor.counts.rejected();
        self.close();
    }

    /// Nothing more is recorded of it.
    pub(super) fn close(&self) {
        self.state().complete = true;
    }

    /// The server fails at the request.
    pub(super) async fn panicked(&self, message: String) {
        let status = json!({"status": "Failure", "reason": "InternalError", "message": message});
        self.answered(StatusCode::INTERNAL_SERVER_ERROR, Some(&status), None);
        self.reach(Stage::Panic).await;
    }
}

impl Drop for Record {
    /// Nobody holds it: the stream, the connection or the client is gone.
    fn drop(&mut self) {
        let (answered, started) = {
            let state = self.state();
            if state.complete {
                return;
            }
            (state.event.status.is_some(), state.started)
        };
        if !answered {
            let early = json!({"status": "Success", "message": "Connection closed early"});
            self.answered(StatusCode::OK, Some(&early), None);
        }
        if self.lasting && !started {
            self.at(Stage::ResponseStarted).into_iter().for_each(|event| self.auditor.process_later(event));
        }
        self.at(Stage::ResponseComplete).into_iter().for_each(|event| self.auditor.process_later(event));
    }
}

fn user_of(identity: &Identity) -> User {
    User {
        name: identity.user.clone(),
        uid: identity.uid.clone(),
        groups: identity.groups.clone(),
        extra: identity.extra.clone(),
    }
}
