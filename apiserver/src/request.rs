//! One request about objects: who asks for what, with which options, and what it is told beside the answer.
//!
//! A door makes it once, and everybody behind the door gets it by reference: admission, the registry, whoever records what was done. What
//! this server itself writes is a request too, by a user of its own.

use crate::audit::Record;
use crate::fairness::Seat;
use crate::registry::Target;
use http::{HeaderMap, header};
use serde_json::Value;
use skiff_client::Identity;
use skiff_schema::{Author, FieldValidation, Resource};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The longest name of a field manager that a client's own name becomes.
const MANAGER_BYTES_MAX: usize = 128;
/// The field manager of what this server itself writes.
const OURSELVES: &str = "kube-apiserver";
/// The user that this server is to itself (kube-apiserver's loopback client).
const OUR_USER: &str = "system:apiserver";
/// The group of those who may do everything.
pub(crate) const ADMINISTRATORS: &str = "system:masters";

/// Whether a write is meant (`dryRun=All` is not).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Run {
    /// Stored.
    #[default]
    Real,
    /// Everything but stored.
    Dry,
}

/// What becomes of dependents; they are the garbage collector's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What an object must still be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    /// Its resourceVersion.
    pub(crate) revision: Option<String>,
}

/// What is said beside the object (`meta/v1` CreateOptions, UpdateOptions, PatchOptions, DeleteOptions).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) run: Run,
    /// Who owns the fields that are written.
    pub(crate) manager: String,
    /// Whether an applied configuration takes over fields of others.
    pub(crate) force: bool,
    /// What becomes of unknown and duplicate fields.
    pub(crate) validation: FieldValidation,
    /// Of a deletion.
    pub(crate) preconditions: Preconditions,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) grace_seconds: Option<i64>,
    /// `orphanDependents: false` was said, the old word for Background: its answer has a code of its own.
    pub(crate) adopted: bool,
}

/// What is said about a request beside its answer.
#[derive(Debug, Default)]
struct Told {
    warnings: Vec<String>,
}

/// A request about objects of one resource.
#[derive(Debug)]
pub(crate) struct Request {
    /// On whose behalf.
    pub(crate) who: Identity,
    /// Kubernetes' verb: `create`, `deletecollection`.
    pub(crate) verb: &'static str,
    pub(crate) resource: Arc<Resource>,
    /// The subresource; empty for the object itself.
    pub(crate) part: String,
    /// Empty for resources without namespaces.
    pub(crate) namespace: String,
    /// Empty for all of them, and for a creation, which says the name in the object.
    pub(crate) name: String,
    pub(crate) options: Options,
    /// Whether admission has been asked about it already, as something else.
    pub(crate) admitted: bool,
    /// The record of the call that it is part of; `None`: none is kept.
    pub(crate) record: Option<Arc<Record>>,
    /// The seat that it has, if its door gives seats here.
    pub(crate) seat: Option<Seat>,
    told: Mutex<Told>,
}

impl Request {
    /// A request about the object itself, without options.
    pub(crate) fn new(who: Identity, verb: &'static str, target: &Target<'_>) -> Self {
        Self {
            who,
            verb,
            resource: Arc::clone(target.resource),
            part: String::new(),
            namespace: target.namespace.to_owned(),
            name: target.name.to_owned(),
            options: Options::default(),
            admitted: false,
            record: None,
            seat: None,
            told: Mutex::default(),
        }
    }

    /// What this server asks of itself.
    pub(crate) fn own(verb: &'static str, target: &Target<'_>) -> Self {
        let groups = vec![ADMINISTRATORS.to_owned()];
        let who = Identity { user: OUR_USER.to_owned(), groups, ..Identity::default() };
        let mut request = Self::new(who, verb, target);
        request.options.manager = OURSELVES.to_owned();
        request
    }

    /// The same about a part of the object.
    pub(crate) fn of_part(mut self, part: &str) -> Self {
        part.clone_into(&mut self.part);
        self
    }

    /// The same on a seat.
    pub(crate) fn seated(mut self, seat: Option<Seat>) -> Self {
        self.seat = seat;
        self
    }

    /// The same with these options.
    pub(crate) fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The same about one object of those that it is about.
    pub(crate) fn about(&self, target: &Target<'_>) -> Self {
        let record = self.record.clone();
        Self { record, ..Self::new(self.who.clone(), self.verb, target) }.with(self.options.clone())
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target { resource: &self.resource, namespace: &self.namespace, name: &self.name }
    }

    pub(crate) fn run(&self) -> Run {
        self.options.run
    }

    /// The part as strategies know it: replicas are written with everything else.
    pub(crate) fn written(&self) -> &str {
        if self.part == "scale" { "" } else { &self.part }
    }

    /// Who owns what is written, at `time`.
    pub(crate) fn author<'a>(&'a self, time: &'a str) -> Author<'a> {
        Author { manager: &self.options.manager, part: &self.part, time }
    }

    /// Adds what the answer tells in a header `Warning`.
    pub(crate) fn warn(&self, texts: impl IntoIterator<Item = String>) {
        self.told().warnings.extend(texts);
    }

    /// Adds what the audit record of the request says, by key (`plugin.example.com/what`).
    pub(crate) fn annotate(&self, key: &str, value: String) {
        if let Some(record) = &self.record {
            record.annotate(key, value);
        }
    }

    /// The same with the record of the call that it is part of.
    pub(crate) fn recorded(mut self, record: Option<&Arc<Record>>) -> Self {
        self.record = record.cloned();
        self
    }

    /// Says to the record which object was sent.
    pub(crate) fn sent(&self, object: &Value) {
        if let Some(record) = &self.record {
            record.sent_object(self.part.is_empty().then_some(&*self.resource), object);
        }
    }

    /// Ends the request, and answers its warnings.
    pub(crate) fn finish(&self) -> Vec<String> {
        std::mem::take(&mut self.told().warnings)
    }

    /// How many warnings there are, for [`Self::forget_from`].
    pub(crate) fn warned(&self) -> usize {
        self.told().warnings.len()
    }

    /// Forgets the warnings of an attempt that came to nothing.
    pub(crate) fn forget_from(&self, count: usize) {
        self.told().warnings.truncate(count);
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The field manager: as `named` by the request, or as its client calls itself (`kubectl/v1.32.0 (linux/amd64)`).
pub(crate) fn manager(named: &str, agent: &str) -> String {
    if named.is_empty() { from_agent(agent) } else { named.to_owned() }
}

/// What the header `User-Agent` says.
pub(crate) fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// Up to the first slash, without what cannot be printed.
fn from_agent(agent: &str) -> String {
    let mut name = String::new();
    for character in agent.split('/').next().unwrap_or_default().chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > MANAGER_BYTES_MAX {
            break;
        }
        name.push(character);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_what_they_call_themselves() {
        for (agent, name) in
            [("kubectl/v1.32.0 (linux/amd64) kubernetes/70d3cc9", "kubectl"), ("curl", "curl"), ("", ""), ("/x", "")]
        {
            assert_eq!(from_agent(agent), name, "{agent:?}");
        }
        assert_eq!(from_agent(&"é".repeat(100)).len(), 128);
        assert_eq!(manager("me", "kubectl/v1"), "me");
    }

    #[test]
    fn what_a_lost_attempt_told_is_forgotten() {
        let resource = skiff_schema::find("", "v1", "configmaps").expect("served");
        let request = Request::own("create", &Target { resource, namespace: "a", name: "b" });
        request.warn(["first".to_owned()]);
        let before = request.warned();
        request.warn(["lost".to_owned()]);
        request.forget_from(before);
        request.warn(["second".to_owned()]);
        assert_eq!(request.finish(), ["first", "second"]);
        assert_eq!(request.finish(), [""; 0]);
    }
}
