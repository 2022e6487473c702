//! An event as one line of text (`--audit-log-format=legacy`), as Kubernetes writes it.

use crate::Event;
use jiff::Timestamp;
use std::fmt::Write;

/// The line, without its end.
pub(crate) fn line(event: &Event) -> String {
    let (mut user, mut groups) = ("<none>", "<none>".to_owned());
    if !event.user.name.is_empty() {
        user = &event.user.name;
        if !event.user.groups.is_empty() {
            groups = quoted(&event.user.groups);
        }
    }
    let (mut as_user, mut as_groups) = ("<self>", "<lookup>".to_owned());
    if let Some(other) = &event.impersonated {
        as_user = &other.name;
        if !other.groups.is_empty() {
            as_groups = quoted(&other.groups);
        }
    }
    let namespace = event.object.as_ref().map(|object| object.namespace.as_str()).filter(|text| !text.is_empty());
    let address = event.source_ips.first().map_or("<unknown>", String::as_str);
    let answer = event.code().map_or_else(|| "<deferred>".to_owned(), |code| code.to_string());
    let mut line = received(event.received);
    let written = write!(
        line,
        " AUDIT: id={:?} stage={:?} ip={address:?} method={:?} user={user:?} groups={groups:?} as={as_user:?} \
         asgroups={as_groups:?} user-agent={:?} namespace={:?} uri={:?} response={answer:?}",
        event.audit_id,
        event.stage.text(),
        event.verb,
        event.user_agent,
        namespace.unwrap_or("<none>"),
        event.uri,
    );
    // Writing to a string does not fail.
    let _infallible = written;
    line
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(",")
}

/// A time as Go's RFC 3339 with nanoseconds has it: no zeros at the end.
fn received(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map(|time| time.to_string()).unwrap_or_default()
}
