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
//!
//! There may be thousands of definitions, and a change of one must not cost all of them: each is read once, without its schema it is
//! small, and only what has changed is decided about.

use crate::app::App;
use crate::registry::object::{finalizers, metadata_mut, name_of, now};
use crate::registry::{Change, Deleted, Known, ListOptions, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use serde_json::Value;
use skiff_schema::{
    CLEANUP_FINALIZER, Decoded, Definition, Resource, custom_resources, definition_is, set_condition,
    settle_definition, stored_resource,
};
use std::collections::BTreeSet;
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

/// All definitions.
pub(crate) type Definitions = Known<Definition>;

/// Puts into the catalogue what the store has, before the server is ready.
pub(crate) async fn load(registry: &Registry) -> Result<Definitions, Status> {
    let known = Known::follow(registry, resource()?, Definition::read).await?;
    publish(registry, &known);
    Ok(known)
}

fn publish(registry: &Registry, known: &Definitions) {
    let custom = custom_resources(known.all.values());
    let catalog = registry.catalog();
    let served: Vec<_> = catalog.resources().iter().filter(|resource| resource.is_custom()).collect();
    // A status that changes nothing of what is served leaves the catalogue, and all that is derived from it.
    if served.len() != custom.len() || served.iter().zip(&custom).any(|(one, other)| !Arc::ptr_eq(one, other)) {
        registry.set_catalog(|catalog| catalog.with(custom));
    }
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

/// Follows the definitions, of which all are `known`, until the server stops, or is dropped.
pub(crate) fn follow(app: &Arc<App>, known: Definitions, until: CancellationToken) {
    let (app, stopping) = (app.clone(), until.clone());
    let cleanups = Cleanups { running: Arc::default(), until };
    tokio::spawn(stopping.run_until_cancelled_owned(async move {
        let mut known = Ok(known);
        loop {
            let followed = match known {
                Ok(known) => follow_once(&app, &cleanups, known).await,
                Err(status) => Err(status),
            };
            if let Err(status) = followed {
                tracing::warn!(
                    message = status.message,
                    "following the definitions of custom resources failed; again in a second"
                );
            }
            tokio::time::sleep(RETRY).await;
            known = load(&app.registry).await;
        }
    }));
}

/// Decides about all of them, then about those that change; ends when the watch does.
async fn follow_once(app: &Arc<App>, cleanups: &Cleanups, mut known: Definitions) -> Result<(), Status> {
    let names: Vec<String> = known.all.keys().cloned().collect();
    settle(app, cleanups, &mut known, &names).await;
    while let Some(changes) = known.changed().await? {
        let mut changed = Vec::new();
        for (name, before) in changes {
            match before {
                Some(freed) if !known.all.contains_key(&name) => changed.extend(neighbours(&known, &freed)),
                _ => changed.push(name),
            }
        }
        settle(app, cleanups, &mut known, &changed).await;
    }
    Ok(())
}

/// Definitions of the same group, which may have waited for a name.
fn neighbours(known: &Definitions, freed: &Definition) -> Vec<String> {
    let group = |definition: &Definition| definition.brief()["spec"]["group"].clone();
    let freed = group(freed);
    known.all.iter().filter(|(_, one)| group(one) == freed).map(|(name, _)| name.clone()).collect()
}

/// All definitions, without their schemas.
fn briefs(known: &Definitions) -> Vec<&Value> {
    known.all.values().map(Definition::brief).collect()
}

/// Decides about the names of changed definitions, publishes, then says so.
async fn settle(app: &Arc<App>, cleanups: &Cleanups, known: &mut Definitions, changed: &[String]) {
    let mut settled = Vec::new();
    for name in changed {
        let Some(definition) = known.all.get(name) else { continue };
        if let Some(status) = settle_definition(definition.brief(), &briefs(known), &now()) {
            if let Some(known) = known.all.get_mut(name) {
                known.set_status(status);
            }
            settled.push(name);
        }
    }
    publish(&app.registry, known);
    let others = briefs(known);
    for name in settled {
        let decide =
            |current: &Value| settle_definition(current, &others, &now()).unwrap_or_else(|| current["status"].clone());
        tell(&app.registry, name, decide).await;
    }
    for name in changed {
        let leaving = known.all.get(name).map(Definition::brief).is_some_and(|definition| {
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
