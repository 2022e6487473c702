//! What is stored becomes what is known: one task lists and watches roles and bindings, and what nodes have to do with.

use super::{Authority, seed};
use crate::app::App;
use crate::registry::object::{meta, name_of};
use crate::registry::{Event, EventKind, ListOptions, Registry, WatchOptions, Watcher};
use crate::status::Status;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use serde_json::Value;
use skiff_authz::{GROUP, Kind, Nodes, Roles};
use skiff_schema::Resource;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How long after the start default roles are written if nobody asks for roles before: a node starts first.
const SEED_AFTER: Duration = Duration::from_millis(500);

/// What an object tells.
#[derive(Debug, Clone, Copy)]
enum Tells {
    Roles(Kind),
    Nodes,
}

/// Each resource that decisions depend on.
fn followed() -> impl Iterator<Item = (Tells, &'static Arc<Resource>)> {
    let of_roles = Kind::ALL.into_iter().map(|kind| (Tells::Roles(kind), (GROUP, kind.plural())));
    let of_nodes = Nodes::FOLLOWED.into_iter().map(|place| (Tells::Nodes, place));
    // What is not served in this version by default (PodCertificateRequests) tells nothing.
    of_roles
        .chain(of_nodes)
        .filter_map(|(tells, (group, plural))| Some((tells, skiff_schema::find(group, "v1", plural)?)))
}

/// Learns what the store has, and what the default roles will make of it, before the server is ready.
pub(crate) async fn load(registry: &Registry) -> Result<(), Status> {
    let authority = registry.authority();
    read(registry, authority).await?;
    let steps = seed::steps(registry).await?;
    authority.seeded.send_replace(steps.is_empty());
    for step in steps {
        authority.roles_mut().put(step.kind, &step.object);
    }
    Ok(())
}

/// Puts what is stored in the place of what is known; answers at which revision each resource was read.
async fn read(registry: &Registry, authority: &Authority) -> Result<Vec<(Tells, &'static Arc<Resource>, i64)>, Status> {
    let (mut roles, mut nodes, mut places) = (Roles::default(), Nodes::default(), Vec::new());
    for (tells, resource) in followed() {
        let list = registry.list(resource, "", &ListOptions::default()).await?;
        for object in &list.items {
            let value = object.value()?;
            match tells {
                Tells::Roles(kind) => roles.put(kind, &value),
                Tells::Nodes => nodes.put(&resource.plural, &value),
            }
        }
        places.push((tells, resource, list.revision));
    }
    *authority.roles_mut() = roles;
    *authority.nodes_mut() = nodes;
    Ok(places)
}

/// Writes default roles, then follows, until the server stops or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: CancellationToken) {
    let app = app.clone();
    tokio::spawn(until.run_until_cancelled_owned(async move {
        let authority = app.registry.authority();
        tokio::select! {
            () = authority.wanted.notified() => {}
            () = tokio::time::sleep(SEED_AFTER) => {}
        }
        while let Err(status) = seed::write(&app.registry).await {
            tracing::warn!(message = status.message, "writing default roles failed; again in a second");
            tokio::time::sleep(RETRY).await;
        }
        authority.seeded.send_replace(true);
        loop {
            if let Err(status) = follow_once(&app.registry).await {
                tracing::warn!(message = status.message, "following roles failed; again in a second");
                tokio::time::sleep(RETRY).await;
            }
        }
    }));
}

/// Which watch it is from, and what it says.
type News = (Tells, &'static Arc<Resource>, Vec<Event>);

fn stream(tells: Tells, resource: &'static Arc<Resource>, watcher: Watcher) -> BoxStream<'static, News> {
    let next = move |mut watcher: Watcher| async move {
        let events = watcher.next().await?;
        Some(((tells, resource, events), watcher))
    };
    futures::stream::unfold(watcher, next).boxed()
}

/// Lists, then watches; ends when one of the watches does.
async fn follow_once(registry: &Registry) -> Result<(), Status> {
    let authority = registry.authority();
    let mut all = SelectAll::new();
    let mut count = 0;
    for (tells, resource, after) in read(registry, authority).await? {
        let watcher = registry.watch(resource, "", WatchOptions { after, ..WatchOptions::default() }).await?;
        all.push(stream(tells, resource, watcher));
        count += 1;
    }
    while let Some((tells, resource, events)) = all.next().await {
        for event in events {
            match event {
                Event::Object(kind, object) => learn(authority, tells, resource, kind, object.value()?),
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

fn learn(authority: &Authority, tells: Tells, resource: &Resource, event: EventKind, object: &Value) {
    let (namespace, name) = (meta(object, "namespace"), name_of(object));
    match (tells, event) {
        (Tells::Roles(kind), EventKind::Deleted) => authority.roles_mut().remove(kind, namespace, name),
        (Tells::Roles(kind), _) => authority.roles_mut().put(kind, object),
        (Tells::Nodes, EventKind::Deleted) => authority.nodes_mut().remove(&resource.plural, namespace, name),
        (Tells::Nodes, _) => authority.nodes_mut().put(&resource.plural, object),
    }
}
