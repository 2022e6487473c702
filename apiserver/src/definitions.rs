//! Custom resources come and go: one task follows the definitions, decides about their names, and puts what they bring into the
//! catalogue.
//!
//! ```text
//! definition ──► names free? ──► catalogue ──► status says Established
//!      └─ deleted ──► instances deleted ──► finalizer goes ──► catalogue without it
//! ```
//!
//! A definition is in the catalogue before its status says so: who waits for the status finds it served. Two servers on one store do the
//! same work; whoever comes second finds it done.

use crate::app::App;
use crate::registry::object::{finalizers, metadata_mut, name_of, now};
use crate::registry::{Change, Deleted, Event, EventKind, ListOptions, Registry, Target, WatchOptions, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::{
    CLEANUP_FINALIZER, Decoded, Resource, custom_resources, definition_is, set_condition, settle_definition,
    stored_resource,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// How often it looks whether instances that others hold are gone.
const HELD: Duration = Duration::from_millis(200);

fn resource() -> Result<&'static Arc<Resource>, Status> {
    built_in("apiextensions.k8s.io", "customresourcedefinitions")
}

/// All definitions by name.
type Known = BTreeMap<String, Value>;

/// Puts into the catalogue what the store has, before the server is ready.
pub(crate) async fn load(registry: &Registry) -> Result<(), Status> {
    let known = list(registry).await?.0;
    publish(registry, &known);
    Ok(())
}

async fn list(registry: &Registry) -> Result<(Known, i64), Status> {
    let list = registry.list(resource()?, "", &ListOptions::default()).await?;
    let mut known = Known::new();
    for object in &list.items {
        let value = object.value()?;
        known.insert(name_of(&value).to_owned(), value);
    }
    Ok((known, list.revision))
}

fn publish(registry: &Registry, known: &Known) {
    let custom = custom_resources(known.values());
    registry.set_catalog(|catalog| catalog.with(custom));
}

/// Definitions whose instances are being deleted.
#[derive(Debug, Clone)]
struct Cleanups {
    running: Arc<Mutex<BTreeSet<String>>>,
    /// When the server stops.
    until: CancellationToken,
}

impl Cleanups {
    /// Whether nobody is at it yet; if so, the caller is now.
    fn begin(&self, name: &str) -> bool {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned())
    }

    fn end(&self, name: &str) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Follows the definitions until the server stops, or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: CancellationToken) {
    let (app, stopping) = (app.clone(), until.clone());
    let cleanups = Cleanups { running: Arc::default(), until };
    tokio::spawn(stopping.run_until_cancelled_owned(async move {
        loop {
            if let Err(status) = follow_once(&app, &cleanups).await {
                tracing::warn!(
                    message = status.message,
                    "following the definitions of custom resources failed; again in a second"
                );
            }
            tokio::time::sleep(RETRY).await;
        }
    }));
}

/// Lists, then watches; ends when the watch does.
async fn follow_once(app: &Arc<App>, cleanups: &Cleanups) -> Result<(), Status> {
    let (mut known, revision) = list(&app.registry).await?;
    publish(&app.registry, &known);
    let mut watcher =
        app.registry.watch(resource()?, "", WatchOptions { after: revision, ..WatchOptions::default() }).await?;
    let names: Vec<String> = known.keys().cloned().collect();
    settle(app, cleanups, &mut known, &names).await;
    while let Some(events) = watcher.next().await {
        let mut changed = Vec::new();
        for event in events {
            match event {
                Event::Object(kind, object) => {
                    let value = object.value()?;
                    let name = name_of(value).to_owned();
                    if kind == EventKind::Deleted {
                        let freed = known.remove(&name);
                        changed.extend(neighbours(&known, freed.as_ref()));
                    } else {
                        known.insert(name.clone(), value.clone());
                        changed.push(name);
                    }
                }
                Event::Bookmark { .. } => {}
                Event::Error(status) => return Err(status),
            }
        }
        settle(app, cleanups, &mut known, &changed).await;
    }
    Ok(())
}

/// Definitions of the same group, which may have waited for a name.
fn neighbours(known: &Known, freed: Option<&Value>) -> Vec<String> {
    let Some(freed) = freed else { return Vec::new() };
    let group = &freed["spec"]["group"];
    known.iter().filter(|(_, one)| one["spec"]["group"] == *group).map(|(name, _)| name.clone()).collect()
}

/// Decides about the names of changed definitions, publishes, then says so.
async fn settle(app: &Arc<App>, cleanups: &Cleanups, known: &mut Known, changed: &[String]) {
    let mut settled = Vec::new();
    for name in changed {
        let Some(definition) = known.get(name) else { continue };
        let others: Vec<&Value> = known.values().collect();
        if let Some(status) = settle_definition(definition, &others, &now()) {
            if let Some(known) = known.get_mut(name) {
                known["status"] = status;
            }
            settled.push(name.clone());
        }
    }
    publish(&app.registry, known);
    for name in &settled {
        let others: Vec<Value> = known.values().cloned().collect();
        let decide = |current: &Value| {
            let others: Vec<&Value> = others.iter().collect();
            settle_definition(current, &others, &now()).unwrap_or_else(|| current["status"].clone())
        };
        tell(&app.registry, name, decide).await;
    }
    for name in changed {
        let leaving = known.get(name).is_some_and(|definition| {
            !definition["metadata"]["deletionTimestamp"].is_null()
                && finalizers(definition).contains(&CLEANUP_FINALIZER)
        });
        if leaving && cleanups.begin(name) {
            let (app, cleanups, name) = (app.clone(), cleanups.clone(), name.clone());
            let stopping = cleanups.until.clone();
            tokio::spawn(stopping.run_until_cancelled_owned(async move {
                clean_up(&app.registry, &name).await;
                cleanups.end(&name);
            }));
        }
    }
}

/// Writes a status; that the definition is gone meanwhile is as good.
async fn tell(registry: &Registry, name: &str, decide: impl Fn(&Value) -> Value + Send + Sync) {
    let change = |current: &Value| {
        let mut next = current.clone();
        next["status"] = decide(current);
        next
    };
    write(registry, name, change).await;
}

async fn write(registry: &Registry, name: &str, change: impl Fn(&Value) -> Value + Send + Sync) {
    let Ok(resource) = resource() else { return };
    let target = Target { resource, namespace: "", name };
    let change = Change::of_present(|current| Ok(Decoded { object: change(current), warnings: Vec::new() }));
    match registry.write(&Request::own("update", &target).of_part("status"), &change).await {
        Err(status) if status.reason != "NotFound" => {
            tracing::warn!(
                definition = name,
                message = status.message,
                "the status of a definition could not be written"
            );
        }
        _ => {}
    }
}

/// Deletes the instances of a definition that is being deleted, then lets it go.
async fn clean_up(registry: &Registry, name: &str) {
    let progress = |reason: &'static str, message: String| {
        move |current: &Value| {
            let mut status = current["status"].clone();
            set_condition(&mut status, ["Terminating", "True", reason, &message], &now());
            status
        }
    };
    tell(registry, name, progress("InstanceDeletionInProgress", "CustomResource deletion is in progress".to_owned()))
        .await;
    let done = loop {
        match delete_instances(registry, name).await {
            Ok(Some(done)) => break done,
            Ok(None) => tokio::time::sleep(HELD).await,
            Err(status) => {
                let message = format!("could not issue all deletes: {}", status.message);
                tell(registry, name, progress("InstanceDeletionFailed", message)).await;
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    write(registry, name, |current| {
        let mut next = current.clone();
        set_condition(&mut next["status"], ["Terminating", "False", done[0], done[1]], &now());
        let rest: Vec<Value> = finalizers(current)
            .into_iter()
            .filter(|finalizer| *finalizer != CLEANUP_FINALIZER)
            .map(Value::from)
            .collect();
        metadata_mut(&mut next).insert("finalizers".to_owned(), rest.into());
        next
    })
    .await;
}

/// One pass over the instances: reason and message when none is left, nothing while somebody holds some.
async fn delete_instances(registry: &Registry, name: &str) -> Result<Option<[&'static str; 2]>, Status> {
    let target = Target { resource: resource()?, namespace: "", name };
    let definition = match registry.get(&target).await {
        Ok(definition) => definition.value()?,
        Err(status) if status.reason == "NotFound" => {
            return Ok(Some(["InstanceDeletionCompleted", "removed all instances"]));
        }
        Err(status) => return Err(status),
    };
    let instances = stored_resource(&definition).filter(|_| definition_is(&definition["status"], "Established"));
    let Some(instances) = instances else { return Ok(Some(["NeverEstablished", "resource was never established"])) };
    let list = registry.list(&instances, "", &ListOptions::default()).await?;
    let mut held = false;
    for object in list.items {
        let value = object.value()?;
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
        let target = Target { resource: &instances, namespace, name: name_of(&value) };
        match registry.delete(&Request::own("delete", &target)).await {
            Ok(Deleted::Gone(_)) => {}
            Ok(Deleted::Pending(_)) => held = true,
            Err(status) if status.reason == "NotFound" => {}
            Err(status) => return Err(status),
        }
    }
    Ok((!held).then_some(["InstanceDeletionCompleted", "removed all instances"]))
}
