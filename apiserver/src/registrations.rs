//! APIServices: one task registers what this server answers for, and tells those that ask other servers (`aggregation`) what they say. It
//! knows both, does what the plan says, and looks again when a service or a definition of a custom resource has changed.

use crate::aggregation::say;
use crate::app::App;
use crate::registry::object::name_of;
use crate::registry::{Change, Known, Registry, Target, built_in};
use crate::request::Request;
use crate::status::Status;
use futures::future::try_join_all;
use serde_json::Value;
use skiff_schema::{Decoded, Registration, Resource, registrations, served_versions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The group that they belong to.
const GROUP: &str = "apiregistration.k8s.io";
/// Their name in paths.
const SERVICES: &str = "apiservices";
/// How long the task waits after the store failed.
const RETRY: Duration = Duration::from_secs(1);

/// The reason of those that this server answers for.
const LOCAL: &str = "Local";

/// Whether its condition says that this server answers for it.
fn is_local(service: &Value) -> bool {
    let conditions = service["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == "Available" && condition["reason"] == LOCAL)
}

fn services() -> Result<&'static Arc<Resource>, Status> {
    built_in(GROUP, SERVICES)
}

fn definitions() -> Result<&'static Arc<Resource>, Status> {
    built_in("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Registers until the server stops, or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: CancellationToken) {
    let app = app.clone();
    tokio::spawn(until.run_until_cancelled_owned(async move {
        let mut at_start = true;
        loop {
            if let Err(status) = follow_once(&app, &mut at_start).await {
                tracing::warn!(message = status.message, "registering what is served failed; again in a second");
            }
            tokio::time::sleep(RETRY).await;
        }
    }));
}

/// Acts, then waits for a change; ends when a watch does.
async fn follow_once(app: &App, at_start: &mut bool) -> Result<(), Status> {
    let registry = &app.registry;
    let mut served = Known::follow(registry, definitions()?, |definition, _| served_versions(definition)).await?;
    let mut present = Known::follow(registry, services()?, |service, _| service.clone()).await?;
    loop {
        let plan = registrations(served.all.values().flatten(), present.all.values(), *at_start);
        // At once: the store makes all of them durable together.
        try_join_all(plan.into_iter().map(|step| act(registry, step))).await?;
        app.aggregation.publish(present.all.values());
        let stale = |service: &&Value| service["spec"]["service"].is_null() && !is_local(service);
        for service in present.all.values().filter(stale) {
            let local = ("True", LOCAL, "Local APIServices are always available".to_owned());
            say(registry, name_of(service), &local).await?;
        }
        *at_start = false;
        let goes_on = tokio::select! {
            changed = served.changed() => changed?.is_some(),
            changed = present.changed() => changed?.is_some(),
        };
        if !goes_on {
            return Ok(());
        }
    }
}

/// Does one step; that somebody else has done it is as good.
async fn act(registry: &Registry, step: Registration) -> Result<(), Status> {
    let resource = services()?;
    let done = match step {
        Registration::Create(object) => {
            let name = name_of(&object).to_owned();
            let request = Request::own("create", &Target { resource, namespace: "", name: &name });
            registry.create(&request, Decoded { object, warnings: Vec::new() }).await.map(drop)
        }
        Registration::Delete { name } => {
            let request = Request::own("delete", &Target { resource, namespace: "", name: &name });
            registry.delete(&request).await.map(drop)
        }
        Registration::Update { name, spec } => {
            write(registry, &name, "", |current| {
                let mut next = current.clone();
                next["spec"] = spec.clone();
                next
            })
            .await
        }
    };
    match done {
        Err(status) if !matches!(status.reason, "AlreadyExists" | "NotFound") => Err(status),
        _ => Ok(()),
    }
}

async fn write(
    registry: &Registry,
    name: &str,
    part: &str,
    change: impl Fn(&Value) -> Value + Send + Sync,
) -> Result<(), Status> {
    let target = Target { resource: services()?, namespace: "", name };
    let change = Change::of_present(|current| Ok(Decoded { object: change(current), warnings: Vec::new() }));
    match registry.write(&Request::own("update", &target).of_part(part), &change).await {
        Err(status) if status.reason != "NotFound" => Err(status),
        _ => Ok(()),
    }
}
