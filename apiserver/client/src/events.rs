//! Tells users about objects: core/v1 Events, as `kubectl describe` shows them.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Api, Client, Resource, ResourceExt, api::PostParams};

/// How an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Something happened as intended.
    Normal,
    /// Something the user should know of went wrong.
    Warning,
}

/// An event about `object`, reported by `reporter` now.
pub fn event_about<K>(object: &K, reporter: &str, kind: EventKind, reason: &str, message: String) -> Event
where
    K: Resource<DynamicType = ()>,
{
    let now = jiff::Timestamp::now();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:x}", object.name_any(), now.as_nanosecond())),
            namespace: object.namespace().or_else(|| Some("default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(object.name_any()),
            namespace: object.namespace(),
            uid: object.uid(),
            resource_version: object.resource_version(),
            ..ObjectReference::default()
        },
        reason: Some(reason.to_owned()),
        message: Some(message),
        type_: Some(match kind {
            EventKind::Normal => "Normal".to_owned(),
            EventKind::Warning => "Warning".to_owned(),
        }),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource { component: Some(reporter.to_owned()), host: None }),
        reporting_component: Some(reporter.to_owned()),
        ..Event::default()
    }
}

/// Records `event` in the background: an event must not hold up its cause, and its loss is not an error.
pub fn record(client: &Client, event: Event) {
    let events: Api<Event> = Api::namespaced(client.clone(), event.metadata.namespace.as_deref().unwrap_or("default"));
    tokio::spawn(async move {
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            tracing::debug!(%error, "event not recorded");
        }
    });
}
