//! Keeps one cache equal to the server: a list, then a watch from where the list ended, for as long as anybody holds the
//! cache.
//!
//! ```text
//!  Lost ──list, page by page──► At(revision) ──every event and bookmark──► At(later revision)
//!    ▲                              │  closed or cut: watch again from the revision we hold
//!    └──────── 410 Gone ────────────┘
//! ```
//!
//! kube's `watcher` has the same machine but keeps the revisions of lists and bookmarks to itself, which expectations need,
//! and is compiled for every kind. This one is compiled once: a kind is two functions that read.

use super::shared::Shared;
use super::store::Shown;
use futures::{AsyncBufReadExt, StreamExt};
use kube::core::params::{ListParams, WatchParams};
use kube::core::request::Request;
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Objects of one page of a list, as client-go asks for.
const PAGE_OBJECTS: u32 = 500;
/// How long a watch lasts before the server ends it. The Kubernetes API server's own shortest is five minutes.
const WATCH_SECONDS: u32 = 290;
/// How much longer we wait for the end before we call the connection dead.
const WATCH_SLACK: Duration = Duration::from_secs(10);
/// How long to wait after a failure: first, and at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) min: Duration,
    pub(super) max: Duration,
}

/// That of client-go's reflector.
pub(super) const PACE: Pace = Pace { min: Duration::from_millis(800), max: Duration::from_secs(30) };

type Listed = (ListMeta, Vec<Shown>);

/// How objects of one kind are read: all that is compiled for each kind.
#[derive(Clone, Copy)]
pub(super) struct Read {
    /// A list: its metadata and its objects.
    list: fn(&str) -> serde_json::Result<Listed>,
    /// The object in a line of a watch.
    line: fn(&str) -> serde_json::Result<Shown>,
}

impl Read {
    pub(super) fn of<K: Resource + DeserializeOwned + Any + Send + Sync>() -> Self {
        let list = |text: &str| {
            let list: List<K> = serde_json::from_str(text)?;
            Ok((list.metadata, list.items.into_iter().flatten().map(shown).collect()))
        };
        Self { list, line: |text| Ok(shown(serde_json::from_str::<Line<K>>(text)?.object)) }
    }
}

fn shown<K: Resource + Any + Send + Sync>(mut object: K) -> Shown {
    object.meta_mut().managed_fields = None;
    Arc::new(object)
}

/// What is followed.
pub(super) struct Source {
    /// Where its objects are: `/api/v1/namespaces/a/pods`.
    pub(super) path: String,
    pub(super) fields: Option<String>,
    /// Whether only metadata is asked for.
    pub(super) metadata: bool,
    pub(super) read: Read,
}

/// Why the cache is not up to date.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the server refuses")]
    Refused(#[source] kube::Error),
    #[error("the request cannot be made")]
    Request(#[source] kube::core::request::Error),
    #[error("what the server sent does not parse")]
    Unreadable(#[source] serde_json::Error),
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    #[error("the watch did not end when it should have")]
    Silent,
    #[error("the server ended the watch: {0}")]
    Ended(String),
    /// The revision from which to watch is no longer there.
    #[error("what happened since is no longer known")]
    Expired,
}

/// Where a follower stands.
enum Following {
    Lost,
    At(String),
}

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct List<K> {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<K>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    more: Option<String>,
}

/// What a line of a watch is about. Read before its object, which may be a bookmark or a status.
#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct Line<K> {
    object: K,
}

/// A bookmark, or the status of an error.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Mark {
    metadata: ListMeta,
    code: u16,
    message: String,
}

/// Follows `source` until nobody holds the cache.
pub(super) async fn follow(client: Client, source: Source, cache: Weak<Shared>, pace: Pace) {
    let (mut following, mut wait) = (Following::Lost, pace.min);
    loop {
        let began = Instant::now();
        let was_lost = matches!(following, Following::Lost);
        let done = match following {
            Following::Lost => list(&client, &source, &cache).await,
            Following::At(revision) => watch(&client, &source, &cache, revision).await,
        };
        // A server that ends every watch at once is asked ever more seldom.
        let lasted = !was_lost && began.elapsed() >= pace.min;
        if lasted {
            wait = pace.min;
        }
        match done {
            Ok(None) => return,
            Ok(Some(revision)) => {
                following = Following::At(revision);
                if was_lost || lasted {
                    continue;
                }
            }
            Err((at, failure)) => {
                following = at;
                log(&source, &failure);
                if matches!(failure, Failure::Expired) && wait == pace.min {
                    wait *= 2;
                    continue;
                }
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(pace.max);
    }
}

fn log(source: &Source, failure: &Failure) {
    let error = crate::sentence(failure);
    match failure {
        Failure::Expired => tracing::debug!(error, path = source.path, "listing anew"),
        _ => tracing::warn!(error, path = source.path, "cannot follow; trying again"),
    }
}

type Step = Result<Option<String>, (Following, Failure)>;

/// The whole list; returns its revision, or `None` if nobody waits for it any more.
async fn list(client: &Client, source: &Source, cache: &Weak<Shared>) -> Step {
    let lost = |failure| (Following::Lost, failure);
    let Some(begun) = cache.upgrade().map(|cache| cache.list_begins()) else { return Ok(None) };
    let (mut objects, mut more) = (Vec::new(), None);
    loop {
        let page = page(client, source, more.take(), &mut objects).await;
        let meta = match page {
            // The pages that were to come went with their revision: from the first one again.
            Err(Failure::Refused(kube::Error::Api(status))) if status.code == 410 => {
                return Err(lost(Failure::Expired));
            }
            page => page.map_err(lost)?,
        };
        more = meta.more.filter(|token| !token.is_empty());
        if more.is_none() {
            let Some(cache) = cache.upgrade() else { return Ok(None) };
            cache.replace(objects, &meta.resource_version, begun);
            return Ok(Some(meta.resource_version));
        }
    }
}

async fn page(
    client: &Client,
    source: &Source,
    more: Option<String>,
    objects: &mut Vec<Shown>,
) -> Result<ListMeta, Failure> {
    let mut asked = ListParams::default().limit(PAGE_OBJECTS);
    asked.field_selector.clone_from(&source.fields);
    asked.continue_token = more;
    let request = Request::new(&source.path);
    let request = if source.metadata { request.list_metadata(&asked) } else { request.list(&asked) };
    let text = client.request_text(request.map_err(Failure::Request)?).await.map_err(Failure::Refused)?;
    let (metadata, found) = (source.read.list)(&text).map_err(Failure::Unreadable)?;
    objects.extend(found);
    Ok(metadata)
}

/// Until the watch ends; returns the last revision, or `None` if nobody waits for it any more.
async fn watch(client: &Client, source: &Source, cache: &Weak<Shared>, mut revision: String) -> Step {
    let asked = WatchParams { field_selector: source.fields.clone(), bookmarks: true, ..WatchParams::default() };
    let asked = asked.timeout(WATCH_SECONDS);
    let request = Request::new(&source.path);
    let request = match source.metadata {
        true => request.watch_metadata(&asked, &revision),
        false => request.watch(&asked, &revision),
    };
    let request = request.map_err(|error| (Following::At(revision.clone()), Failure::Request(error)))?;
    let stream = match client.request_stream(request).await {
        Ok(stream) => stream,
        Err(kube::Error::Api(status)) if status.code == 410 => return Err((Following::Lost, Failure::Expired)),
        Err(error) => return Err((Following::At(revision), Failure::Refused(error))),
    };
    let mut lines = std::pin::pin!(stream.lines());
    let end = Instant::now() + Duration::from_secs(WATCH_SECONDS.into()) + WATCH_SLACK;
    loop {
        let line = match tokio::time::timeout_at(end, lines.next()).await {
            Err(_elapsed) => return Err((Following::At(revision), Failure::Silent)),
            Ok(None) => return Ok(Some(revision)),
            Ok(Some(Err(error))) => return Err((Following::At(revision), Failure::Broken(error))),
            Ok(Some(Ok(line))) => line,
        };
        let Some(cache) = cache.upgrade() else { return Ok(None) };
        match take(&line, source.read, &cache) {
            Ok(later) => revision = later,
            Err(Failure::Expired) => return Err((Following::Lost, Failure::Expired)),
            // What we did not understand must not be skipped: a list has it all.
            Err(failure @ Failure::Unreadable(_)) => return Err((Following::Lost, failure)),
            Err(failure) => return Err((Following::At(revision), failure)),
        }
    }
}

/// Takes one line of a watch in; returns the revision that it leads to.
fn take(line: &str, read: Read, cache: &Arc<Shared>) -> Result<String, Failure> {
    let Head { kind } = serde_json::from_str(line).map_err(Failure::Unreadable)?;
    let mark = || serde_json::from_str::<Line<Mark>>(line).map(|line| line.object).map_err(Failure::Unreadable);
    match &*kind {
        "BOOKMARK" => {
            let revision = mark()?.metadata.resource_version;
            cache.reach(&revision);
            Ok(revision)
        }
        "ERROR" => match mark()? {
            Mark { code: 410, .. } => Err(Failure::Expired),
            Mark { message, .. } => Err(Failure::Ended(message)),
        },
        kind => {
            let object = (read.line)(line).map_err(Failure::Unreadable)?;
            let revision = object.meta().resource_version.clone().unwrap_or_default();
            if kind == "DELETED" {
                cache.remove(&*object, &revision)
            } else {
                cache.put(object, &revision)
            }
            Ok(revision)
        }
    }
}
