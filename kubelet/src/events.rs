//! Writes core/v1 Events about pods and the node, off the path of what they report.
//!
//! Equal events within the recorder's memory become one object with a count, as in Kubernetes; the count is written once a minute, because a
//! probe that fails every second would write as often. Events are best effort:
//! when the queue is full or the server refuses, one is lost and a line is logged.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many events may wait for the server: a burst of 100 pods makes about 500.
const QUEUE_EVENTS_MAX: usize = 1024;
/// How many different events are remembered for counting; above this all counting starts anew.
const REMEMBERED_MAX: usize = 4096;

/// How often the server is told of one and the same cause: what comes more often is counted here.
const TELL_PERIOD: SignedDuration = SignedDuration::from_secs(60);
/// Between two looks at what was counted.
const LOOK_PERIOD: std::time::Duration = std::time::Duration::from_secs(10);

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Severity {
    Normal,
    Warning,
}

impl Severity {
    /// The event's `type`.
    const fn word(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct News {
    about: ObjectReference,
    severity: Severity,
    reason: Cow<'static, str>,
    message: String,
    at: Timestamp,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    namespace: String,
    uid: Option<String>,
    field: Option<String>,
    severity: Severity,
    reason: Cow<'static, str>,
    message: String,
}

struct Known {
    name: String,
    count: i32,
    /// When the server heard of it last.
    told_at: Timestamp,
    /// When it happened since then, for the last time.
    untold: Option<Timestamp>,
}

impl Known {
    /// Whether so much time has passed that the server is told again.
    fn is_due(&self, now: Timestamp) -> bool {
        now.duration_since(self.told_at) >= TELL_PERIOD
    }
}

/// Takes events; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<News>,
}

impl Recorder {
    /// A recorder for the kubelet of `node`; the returned future writes until the last recorder is dropped.
    pub(crate) fn new(client: kube::Client, node: &str) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, waiting) = mpsc::channel(QUEUE_EVENTS_MAX);
        (Self { queue }, write_all(client, Arc::from(node), waiting))
    }

    /// About a pod, or one of its containers.
    pub(crate) fn pod(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let meta = &pod.metadata;
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        let field = container.map(|name| {
            let added = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
            let list = match name {
                name if init.clone().any(|container| container.name == name) => "initContainers",
                name if added.into_iter().any(|container| container.name == name) => "ephemeralContainers",
                _ => "containers",
            };
            format!("spec.{list}{{{name}}}")
        });
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            field_path: field,
            resource_version: meta.resource_version.clone(),
        };
        self.send(about, severity, reason.into(), message.into());
    }

    /// About the node.
    pub(crate) fn node(&self, node: &Node, severity: Severity, reason: &'static str, message: impl Into<String>) {
        // Node events carry the name as uid, so that they are found before the node has one (kubelet's own habit).
        let name = node.metadata.name.clone().unwrap_or_default();
        self.this_node(&name, severity, reason, &message.into());
    }

    /// About the node of this name.
    pub(crate) fn this_node(&self, name: &str, severity: Severity, reason: &'static str, message: &str) {
        let name = Some(name.to_owned());
        let about = ObjectReference { kind: Some("Node".to_owned()), uid: name.clone(), name, ..Default::default() };
        self.send(about, severity, reason.into(), message.to_owned());
    }

    fn send(&self, about: ObjectReference, severity: Severity, reason: Cow<'static, str>, message: String) {
        let news = News { about, severity, reason, message, at: Timestamp::now() };
        if let Err(error) = self.queue.try_send(news) {
            tracing::warn!(error = skiff_client::sentence(&error), "event lost");
        }
    }
}

async fn write_all(client: kube::Client, node: Arc<str>, mut waiting: mpsc::Receiver<News>) {
    let mut known: HashMap<Key, Known> = HashMap::new();
    let mut looks = tokio::time::interval(LOOK_PERIOD);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let news = tokio::select! {
            news = waiting.recv() => news,
            _ = looks.tick() => {
                tell_counted(&client, &mut known).await;
                continue;
            }
        };
        let Some(news) = news else { return };
        if known.len() > REMEMBERED_MAX {
            known.clear();
        }
        if let Err(error) = write(&client, &node, &news, &mut known).await {
            tracing::warn!(reason = %news.reason, message = news.message, error = skiff_client::sentence(&error), "event not written");
        }
    }
}

/// Tells the server of what came again within a minute.
async fn tell_counted(client: &kube::Client, known: &mut HashMap<Key, Known>) {
    let now = Timestamp::now();
    for (key, known) in known.iter_mut().filter(|(_, known)| known.untold.is_some() && known.is_due(now)) {
        let at = known.untold.take().unwrap_or(now);
        known.told_at = now;
        if let Err(error) = count(client, &key.namespace, known, at).await
            && !matches!(&error, kube::Error::Api(status) if status.code == 404)
        {
            tracing::debug!(reason = %key.reason, error = skiff_client::sentence(&error), "event not counted");
        }
    }
}

/// Writes how often an event came, and when it did last.
async fn count(client: &kube::Client, namespace: &str, known: &Known, at: Timestamp) -> kube::Result<()> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let patch = serde_json::json!({"count": known.count, "lastTimestamp": Time(at)});
    events.patch(&known.name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
}

async fn write(client: &kube::Client, node: &str, news: &News, known: &mut HashMap<Key, Known>) -> kube::Result<()> {
    let namespace = news.about.namespace.as_deref().unwrap_or("default");
    let key = Key {
        namespace: namespace.to_owned(),
        uid: news.about.uid.clone(),
        field: news.about.field_path.clone(),
        severity: news.severity,
        reason: news.reason.clone(),
        message: news.message.clone(),
    };
    if let Some(known) = known.get_mut(&key) {
        known.count += 1;
        if !known.is_due(news.at) {
            known.untold = Some(news.at);
            return Ok(());
        }
        (known.told_at, known.untold) = (news.at, None);
        match count(client, namespace, known, news.at).await {
            // The server forgets events after an hour; then this is a new one.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            other => return other,
        }
    }
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let event = event_of(news, namespace, node);
    let name = event.metadata.name.clone().unwrap_or_default();
    events.create(&PostParams::default(), &event).await?;
    known.insert(key, Known { name, count: 1, told_at: news.at, untold: None });
    Ok(())
}

fn event_of(news: &News, namespace: &str, node: &str) -> Event {
    let about = news.about.name.as_deref().unwrap_or_default();
    // Names of events are the object's name and the time in hex, as client-go makes them.
    let name = format!("{about}.{:x}", news.at.as_nanosecond());
    Event {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace.to_owned()), ..Default::default() },
        involved_object: news.about.clone(),
        type_: Some(news.severity.word().to_owned()),
        reason: Some(news.reason.to_string()),
        message: Some(news.message.clone()),
        count: Some(1),
        first_timestamp: Some(Time(news.at)),
        last_timestamp: Some(Time(news.at)),
        source: Some(EventSource { component: Some("kubelet".to_owned()), host: Some(node.to_owned()) }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node.to_owned()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_is_told_once_a_minute() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let known = Known { name: "e".into(), count: 1, told_at: at(100), untold: None };
        assert_eq!([at(101), at(159), at(160), at(1000)].map(|now| known.is_due(now)), [false, false, true, true]);
    }
}
