//! Who makes the change that is being written: the field manager (KEP-555), as the request named it or as its client calls itself.
//!
//! The doors know it and the registry needs it, with much in between that does neither; so it belongs to the task that answers.

use crate::registry::object::{metadata_mut, now};
use http::{HeaderMap, header};
use serde_json::Value;
use skiff_schema::{Author, Resource, track};

/// The longest name.
const NAME_BYTES_MAX: usize = 128;
/// What this server itself writes is written by nobody else.
const OURSELVES: &str = "kube-apiserver";

tokio::task_local! {
    static WRITER: Writer;
}

/// A field manager, and the part of the object that it writes.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    manager: String,
    part: String,
}

impl Writer {
    /// `named` by the request, or as the client calls itself: `kubectl/v1.32.0 (linux/amd64)`.
    pub(crate) fn of(named: &str, agent: &str, part: &str) -> Self {
        let manager = if named.is_empty() { from_agent(agent) } else { named.to_owned() };
        Self { manager, part: part.to_owned() }
    }
}

/// What the header `User-Agent` says.
pub(crate) fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// Answers a request that `writer` makes.
pub(crate) async fn writing<T>(writer: Writer, answer: impl Future<Output = T>) -> T {
    WRITER.scope(writer, answer).await
}

/// Calls `run` with the one who makes the change of this task.
pub(crate) fn with<T>(part: &str, run: impl FnOnce(&Author<'_>) -> T) -> T {
    let time = now();
    let writer = WRITER.try_with(Clone::clone);
    let writer = writer.unwrap_or_else(|_| Writer { manager: OURSELVES.to_owned(), part: part.to_owned() });
    run(&Author { manager: &writer.manager, part: &writer.part, time: &time })
}

/// Writes into `new` who owns what, after a change of `old` (`None`: there was nothing); `said` is what the client sent as such.
pub(crate) fn own(resource: &Resource, part: &str, old: Option<&Value>, new: &mut Value, said: Option<&Value>) {
    let fields = with(part, |author| track(resource, old, new, said, author));
    put(new, fields);
}

/// Makes `fields` the managed fields of an object.
pub(crate) fn put(object: &mut Value, fields: Option<Value>) {
    match fields {
        Some(fields) => metadata_mut(object).insert("managedFields".to_owned(), fields),
        None => metadata_mut(object).remove("managedFields"),
    };
}

/// Up to the first slash, without what cannot be printed.
fn from_agent(agent: &str) -> String {
    let mut name = String::new();
    for character in agent.split('/').next().unwrap_or_default().chars().filter(|character| !character.is_control()) {
        if name.len() + character.len_utf8() > NAME_BYTES_MAX {
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
        assert_eq!(Writer::of("me", "kubectl/v1", "").manager, "me");
    }
}
