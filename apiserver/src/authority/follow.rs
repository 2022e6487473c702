//! What is stored becomes what is known: one task follows roles and bindings, another what nodes have to do with.

use super::{Authority, seed};
use crate::app::App;
use crate::registry::object::{meta, name_of};
use crate::registry::{Event, EventKind, ListOptions, Registry, Shared, WatchOptions, Watcher};
use crate::status::Status;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::Value;
use skiff_authz::{GROUP, Kind, Nodes, Roles};
use skiff_schema::Resource;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long after the start default roles are written if nobody asks for roles before: a node starts first.
const SEED_AFTER: Duration = Duration::from_millis(500);

/// What a task learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Roles,
    Nodes,
}

/// A resource that is followed, and of which of RBAC's kinds it is, if it is one of them.
type Followed = (&'static Arc<Resource>, Option<Kind>);

impl About {
    /// Each resource that tells something. What is not served in this version by default (PodCertificateRequests) tells nothing.
    fn followed(self) -> Vec<Followed> {
        let find = |(group, plural): (&str, &str)| skiff_schema::find(group, "v1", plural);
        match self {
            Self::Roles => {
                Kind::ALL.into_iter().filter_map(|kind| Some((find((GROUP, kind.plural()))?, Some(kind)))).collect()
            }
            Self::Nodes => Nodes::FOLLOWED.into_iter().filter_map(|place| Some((find(place)?, None))).collect(),
        }
    }
}

/// Learns what the store has, and what the default roles will make of it, before the server is ready.
pub(crate) async fn load(registry: &Registry) -> Result<(), Status> {
    let authority = registry.authority();
    let (roles, nodes, steps) =
        tokio::join!(read(registry, About::Roles), read(registry, About::Nodes), seed::steps(registry));
    roles.and(nodes)?;
    let steps = steps?;
    authority.seeded.send_replace(steps.is_empty());
    for step in steps {
        authority.roles_mut().put(step.kind, &step.object);
    }
    Ok(())
}

/// Puts what is stored in the place of what is known; answers at which revision each resource was read.
async fn read(registry: &Registry, about: About) -> Result<Vec<(Followed, i64)>, Status> {
    let (mut roles, mut nodes, mut places) = (Roles::default(), Nodes::default(), Vec::new());
    for (resource, kind) in about.followed() {
        let list = registry.list(resource, "", &ListOptions::default()).await?;
        for object in &list.items {
            let value = object.value()?;
            match kind {
                Some(kind) => roles.put(kind, &value),
                None => nodes.put(&resource.plural, &value),
            }
        }
        places.push(((resource, kind), list.revision));
    }
    match about {
        About::Roles => *registry.authority().roles_mut() = roles,
        About::Nodes => *registry.authority().nodes_mut() = nodes,
    }
    Ok(places)
}

/// Follows until the server stops or is dropped; default roles are written first.
pub(crate) fn follow(app: &Arc<App>, until: CancellationToken) {
    let (of_roles, of_nodes) = (app.clone(), app.clone());
    tokio::spawn(
        until.clone().run_until_cancelled_owned(async move { again_and_again(&of_nodes, About::Nodes).await }),
    );
    tokio::spawn(until.run_until_cancelled_owned(async move {
        let authority = of_roles.registry.authority();
        tokio::select! {
            () = authority.wanted.notified() => {}
            () = tokio::time::sleep(SEED_AFTER) => {}
        }
        while let Err(status) = seed::write(&of_roles.registry).await {
            tracing::warn!(message = status.message, "writing default roles failed; again in a second");
            tokio::time::sleep(RETRY).await;
        }
        authority.seeded.send_replace(true);
        again_and_again(&of_roles, About::Roles).await;
    }));
}

async fn again_and_again(app: &App, about: About) {
    loop {
        if let Err(status) = follow_once(&app.registry, about).await {
            tracing::warn!(message = status.message, "following who may do what failed; again in a second");
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn stream(followed: Followed, watcher: Watcher) -> BoxStream<'static, (Followed, Vec<Event>)> {
    let next = move |mut watcher: Watcher| async move {
        let events = watcher.next().await?;
        Some(((followed, events), watcher))
    };
    futures::stream::unfold(watcher, next).boxed()
}

/// Lists, then watches; ends when one of the watches does.
async fn follow_once(registry: &Registry, about: About) -> Result<(), Status> {
    let mut all = SelectAll::new();
    for (followed, after) in read(registry, about).await? {
        let watcher = registry.watch(followed.0, "", WatchOptions { after, ..WatchOptions::default() }).await?;
        all.push(stream(followed, watcher));
    }
    let count = all.len();
    let mut decided = HashMap::new();
    while let Some((followed, events)) = all.next().await {
        for event in events {
            match event {
                Event::Object(kind, object) => {
                    match if about == About::Roles { News::Unread } else { news(&mut decided, followed, kind, &object) }
                    {
                        News::None => {}
                        News::Unread => learn(registry.authority(), followed, kind, object.value()?),
                        News::All(object) => learn(registry.authority(), followed, kind, &object),
                    }
                }
                Event::Bookmark { .. } => {}
                Event::Error(status) => return Err(status),
            }
        }
        if all.len() < count {
            return Ok(());
        }
    }
    Ok(())
}

/// What has happened to an object, as far as it matters to nodes.
enum News {
    None,
    /// Something: the object has to be read.
    Unread,
    /// Something, and this is all that matters of it.
    All(Value),
}

/// What a node has to do with objects changes with their generation and place only; statuses come far more often, and are not read.
fn news(
    decided: &mut HashMap<(usize, String), Value>,
    (resource, _): Followed,
    event: EventKind,
    object: &Shared,
) -> News {
    let paths = [
        vec!["metadata", "namespace"],
        vec!["metadata", "name"],
        vec!["metadata", "uid"],
        vec!["metadata", "generation"],
        vec!["spec", "nodeName"],
        vec!["status", "resourceClaimStatuses"],
    ];
    let now = object.some_of(&paths).filter(|now| now["metadata"]["generation"].is_i64());
    let Some(now) = now else { return News::Unread };
    let name = format!("{}/{}", meta(&now, "namespace"), name_of(&now));
    let key = (Arc::as_ptr(resource).addr(), name);
    if event == EventKind::Deleted {
        decided.remove(&key);
        return News::Unread;
    }
    if decided.get(&key) == Some(&now) {
        return News::None;
    }
    let news = if Nodes::is_told(&resource.plural, &now) { News::All(now.clone()) } else { News::Unread };
    decided.insert(key, now);
    news
}

fn learn(authority: &Authority, (resource, kind): Followed, event: EventKind, object: &Value) {
    let (namespace, name) = (meta(object, "namespace"), name_of(object));
    match (kind, event) {
        (Some(kind), EventKind::Deleted) => authority.roles_mut().remove(kind, namespace, name),
        (Some(kind), _) => authority.roles_mut().put(kind, object),
        (None, EventKind::Deleted) => authority.nodes_mut().remove(&resource.plural, namespace, name),
        (None, _) => authority.nodes_mut().put(&resource.plural, object),
    }
    if kind.is_none() {
        authority.heard.notify_waiters();
    }
}
