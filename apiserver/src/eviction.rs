//! Eviction: a deletion of a pod that its disruption budget may refuse.
//!
//! The budget is charged before the pod is told to go, and the controller of budgets recharges it by what it sees; between the
//! two an eviction stands in `disruptedPods`.

mod budget; // what a budget allows; no I/O

use crate::registry::object::{meta, name_of, now};
use crate::registry::{Change, ListOptions, Owners, Registry, Target, built_in, check_preconditions};
use crate::request::{Options, Request, Run};
use crate::status::Status;
use serde_json::Value;
use skiff_schema::Decoded;
use std::sync::Arc;

/// How often a pod is looked at again that changed meanwhile (Kubernetes' `EvictionsRetry`).
const ATTEMPTS_MAX: usize = 20;

/// Evicts the pod that `request` names, with these options of its deletion. Returns the warnings.
///
/// # Errors
/// The budget does not allow it (429), more than one budget chooses the pod, it is gone, or a precondition is not met.
pub(crate) async fn evict(registry: &Registry, request: &Request, options: &Options) -> Result<Vec<String>, Status> {
    let free = options.preconditions.revision.is_none();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let pod = registry.get(&request.target()).await?.value()?;
        if !budget::ignores(&pod) {
            return charged(registry, request, options, &pod).await;
        }
        // A pod that waits may begin to run meanwhile; then its budget is asked after all.
        let bound = if free && budget::waits(&pod) { at_revision(options, &pod) } else { options.clone() };
        match delete(registry, request, bound).await {
            Err(status) if free && status.reason == "Conflict" && attempts < ATTEMPTS_MAX => {}
            done => return done,
        }
    }
}

/// Evicts a pod that runs, if its budget allows that.
async fn charged(
    registry: &Registry,
    request: &Request,
    options: &Options,
    pod: &Value,
) -> Result<Vec<String>, Status> {
    let budgets = budgets_of(registry, pod).await?;
    let budget = match budgets.as_slice() {
        [] => return delete(registry, request, options.clone()).await,
        [budget] => budget,
        _ => return Err(Status::unnamed(budget::TOO_MANY.to_owned())),
    };
    if !budget::spares_unready(budget, pod) {
        charge(registry, request, options.run, budget).await?;
        return delete(registry, request, options.clone()).await;
    }
    match delete(registry, request, at_revision(options, pod)).await {
        // It may have become ready since.
        Err(status) if options.preconditions.revision.is_none() && status.reason == "Conflict" => {
            Err(budget::not_yet(name_of(budget)))
        }
        done => done,
    }
}

/// Takes one disruption off the budget, or says why there is none.
async fn charge(registry: &Registry, request: &Request, run: Run, budget: &Value) -> Result<(), Status> {
    let budgets = budget_resource()?;
    let target = Target { resource: budgets, namespace: &request.namespace, name: name_of(budget) };
    let mut write = Request::own("update", &target).of_part("status");
    write.options.run = run;
    let time = now();
    let change = Change::of_present(|present| {
        Ok(Decoded { object: budget::charged(present, &request.name, &time)?, warnings: Vec::new() })
    });
    registry.write(&write, &change).await.map(drop)
}

/// Says in the pod why it goes, then deletes it.
async fn delete(registry: &Registry, request: &Request, mut options: Options) -> Result<Vec<String>, Status> {
    if options.run != Run::Dry {
        let mark = Request::own("update", &request.target()).of_part("status");
        let (time, wanted) = (now(), options.preconditions.clone());
        let change = Change::of_present(|pod| {
            check_preconditions(&request.target(), pod, &wanted, "modified")?;
            Ok(Decoded { object: budget::marked(pod, &time), warnings: Vec::new() })
        });
        let marked = registry.write(&mark, &change.owned(Owners::Keep)).await?.object.value()?;
        if let Some(revision) = &mut options.preconditions.revision {
            meta(&marked, "resourceVersion").clone_into(revision);
        }
    }
    let mut deletion = request.about(&request.target()).with(options);
    deletion.admitted = true;
    registry.delete(&deletion).await?;
    Ok(deletion.finish())
}

fn at_revision(options: &Options, pod: &Value) -> Options {
    let mut options = options.clone();
    options.preconditions.revision = Some(meta(pod, "resourceVersion").to_owned());
    options
}

fn budget_resource() -> Result<&'static Arc<skiff_schema::Resource>, Status> {
    built_in("policy", "poddisruptionbudgets")
}

async fn budgets_of(registry: &Registry, pod: &Value) -> Result<Vec<Arc<Value>>, Status> {
    let all = registry.list(budget_resource()?, meta(pod, "namespace"), &ListOptions::default()).await?;
    let mut chosen = Vec::new();
    for budget in all.items {
        let budget = budget.parsed()?;
        if budget::chooses(&budget, &pod["metadata"]["labels"]) {
            chosen.push(budget);
        }
    }
    Ok(chosen)
}
