//! Says of each disruption budget how many of its pods may be evicted now.
//!
//! Guarantees: what cannot be found out allows nothing. The eviction itself is the API server's, which charges the budget.

mod plan; // how many may go
mod scale; // how many the owners want

use crate::context::{Context, ControllerError, EventKind, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::api::{Api, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use scale::Owners;
use serde_json::json;
use skiff_client::{Cache, Change, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When to look again for an owner that is not seen yet.
const UNKNOWN: Duration = Duration::from_secs(5);

struct Keeper {
    context: Context,
    own: Own,
    budgets: Cache<PodDisruptionBudget>,
    pods: Cache<Pod>,
    owners: Owners,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let budgets = looking.over::<PodDisruptionBudget>();
    let (pods, owners) = (looking.context.caches.all::<Pod>(), Owners::of(&looking.context.caches));
    let all = budgets.clone();
    looking.when(&pods, move |change| concerned(&all, &change));
    looking.needs(&owners.deployments);
    looking.needs(&owners.replica_sets);
    looking.needs(&owners.controllers);
    looking.needs(&owners.stateful_sets);
    let (context, own) = (looking.context.clone(), looking.own.clone());
    let keeper = Arc::new(Keeper { context, own, budgets, pods, owners });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

/// The budgets that choose a pod, or chose it.
fn concerned(budgets: &Cache<PodDisruptionBudget>, change: &Change<'_, Pod>) -> Vec<Key> {
    let within = budgets.within(change.meta().namespace.as_deref().unwrap_or_default());
    let none = BTreeMap::new();
    let chosen = within.iter().filter(|budget| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        let Some(selector) = selector.and_then(|selector| Selector::try_from(selector).ok()) else { return false };
        let mut sides = [change.before, change.now].into_iter().flatten();
        sides.any(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&none)))
    });
    chosen.map(|budget| Key::of(&budget.metadata)).collect()
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let Some(spec) = &budget.spec else { return Ok(Again::OnChange) };
        let selector = spec.selector.as_ref();
        let pods = selector.map(|selector| self.pods.selected(&key.namespace, selector)).unwrap_or_default();
        let scale = match plan::needs_scale(spec) {
            true => self.owners.scale(&self.context, &key.namespace, &pods).await,
            false => Ok(scale::Scale::default()),
        };
        let now = Timestamp::now();
        let scale = match scale {
            Ok(scale) => scale,
            Err(why) => {
                self.write(&key, &budget, plan::fail_safe(&budget, &why, now), |context| {
                    let message = format!("Failed to calculate the number of expected pods: {why}");
                    context.tell(&*budget, EventKind::Warning, "CalculateExpectedPodCountFailed", message);
                })
                .await?;
                return Ok(Again::After(UNKNOWN));
            }
        };
        let expected = plan::expected(spec, pods.len(), scale.pods);
        let (status, again, staying) = plan::status(&budget, &pods, expected, now);
        for pod in staying {
            let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
            self.context.tell(&**pod, EventKind::Warning, "NotDeleted", message);
        }
        self.write(&key, &budget, status, |context| {
            if pods.is_empty() {
                context.tell(&*budget, EventKind::Normal, "NoPods", "No matching pods found".to_owned());
            }
            if !scale.unmanaged.is_empty() {
                context.tell(&*budget, EventKind::Warning, "UnmanagedPods", unmanaged(&scale));
            }
        })
        .await?;
        Ok(Again::within(again))
    }

    /// Writes a status that is another one, and tells about it.
    async fn write(
        &self,
        key: &Key,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
        tell: impl FnOnce(&Context) + Send,
    ) -> Result<(), ControllerError> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        tell(&self.context);
        // The version is a precondition: an eviction may have charged the budget meanwhile.
        let wanted = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        let api: Api<PodDisruptionBudget> = self.context.api(&key.namespace);
        self.own.replace_status(&api, key, &self.budgets, &wanted).await.map(drop)
    }
}

fn unmanaged(scale: &scale::Scale) -> String {
    let names: Vec<&str> = scale.unmanaged.iter().map(String::as_str).collect();
    format!(
        "Pods selected by this PodDisruptionBudget were found to be unmanaged: {}. As a result, the status of the PDB cannot be \
         calculated correctly, which may result in undefined behavior. To account for these pods please set \
         \".spec.minAvailable\" field of the PDB to an integer value.",
        names.join(", ")
    )
}

/// Takes the condition off pods that said that they were about to go, and stayed.
pub(crate) async fn run_stale(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let pods = looking.context.caches.all::<Pod>();
    looking.when(&pods, |change| {
        let said = change.now.filter(|pod| plan::stale_in(pod, Timestamp::now()).is_some());
        said.map(|pod| Key::of(&pod.metadata)).into_iter().collect()
    });
    let (context, own) = (looking.context.clone(), looking.own.clone());
    looking.run(shutdown, move |key| unsay(key, context.clone(), own.clone(), pods.clone()).boxed()).await;
}

async fn unsay(key: Key, context: Context, own: Own, pods: Cache<Pod>) -> Outcome {
    let pod = pods.get(&key.namespace, &key.name);
    let Some((pod, left)) = pod.and_then(|pod| plan::stale_in(&pod, Timestamp::now()).map(|left| (pod, left))) else {
        return Ok(Again::OnChange);
    };
    if left.is_positive() {
        return Ok(Again::within(Some(left)));
    }
    let condition = json!({"type": "DisruptionTarget", "status": "False", "reason": null, "message": null,
        "lastTransitionTime": Timestamp::now().to_string()});
    let version = pod.metadata.resource_version.as_deref();
    let patch = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": [condition]}});
    let api: Api<Pod> = context.api(&key.namespace);
    let written = api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    if let Some(written) = absent_is_none(written).on(|| format!("write status of pod {key}"))? {
        own.wrote(&key, &pods, &written);
    }
    Ok(Again::OnChange)
}
