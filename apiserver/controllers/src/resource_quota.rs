//! What a namespace's objects take of its quotas: counted again when a quota changes or something that it limits goes.
//!
//! Admission charges every write before it is stored, so between a charge and its object the caches show less than is promised. What has
//! been charged lately is therefore not lowered at once (`plan`): otherwise somebody else would get it too.

mod plan; // what a quota shall say, and whether it may say so yet

use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, Service};
use kube::api::{Api, ApiResource, PostParams};
use kube::discovery::Discovery;
use plan::Lowering;
use serde::Serialize;
use serde_json::Value;
use skiff_client::loose::ResourceClaim;
use skiff_client::{Cache, Kept, Key, MetadataCache, Queue, Subscription};
use skiff_quota::{Amounts, OwnedKind, counted_kinds};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// When to look again for a kind that a quota names and the server does not serve.
const UNKNOWN: Duration = Duration::from_secs(30);

/// A kind of which only the number counts.
struct Counted {
    cache: MetadataCache,
    _told: Subscription,
}

struct Keeper {
    context: Context,
    own: Own,
    queue: Queue,
    quotas: Cache<ResourceQuota>,
    pods: Cache<Pod>,
    services: Cache<Service>,
    claims: Cache<PersistentVolumeClaim>,
    devices: Cache<ResourceClaim>,
    counted: Mutex<BTreeMap<OwnedKind, Arc<Counted>>>,
    lowering: Mutex<HashMap<Key, Lowering>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let quotas = looking.over::<ResourceQuota>();
    let caches = looking.context.caches.clone();
    let (pods, services, claims) =
        (caches.all::<Pod>(), caches.all::<Service>(), caches.all::<PersistentVolumeClaim>());
    looking.when(
        &pods,
        of_namespace(&quotas, |before: &Pod, now: &Pod| {
            let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone());
            let deadline = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds);
            let asked = |pod: &Pod| pod.metadata.generation;
            phase(before) != phase(now) || deadline(before) != deadline(now) || asked(before) != asked(now)
        }),
    );
    looking.when(&services, of_namespace(&quotas, |before: &Service, now: &Service| before.spec != now.spec));
    looking.when(
        &claims,
        of_namespace(&quotas, |before: &PersistentVolumeClaim, now: &PersistentVolumeClaim| {
            before.spec != now.spec || before.status != now.status
        }),
    );
    let devices = caches.all::<ResourceClaim>();
    let of_devices = |before: &ResourceClaim, now: &ResourceClaim| before.fields["spec"] != now.fields["spec"];
    looking.when(&devices, of_namespace(&quotas, of_devices));
    let keeper = Arc::new(Keeper {
        context: looking.context.clone(),
        own: looking.own.clone(),
        queue: looking.queue(),
        quotas,
        pods,
        services,
        claims,
        devices,
        counted: Mutex::default(),
        lowering: Mutex::default(),
    });
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

fn within(quotas: &Cache<ResourceQuota>, namespace: &str) -> Vec<Key> {
    quotas.within(namespace).iter().map(|quota| Key::of(&quota.metadata)).collect()
}

/// The quotas of an object's namespace, when it comes, goes, or takes something `else_`.
fn of_namespace<K: Kept>(
    quotas: &Cache<ResourceQuota>,
    else_: impl Fn(&K, &K) -> bool + Send + Sync + 'static,
) -> impl Fn(skiff_client::Change<'_, K>) -> Vec<Key> + Send + Sync + 'static {
    let quotas = quotas.clone();
    move |change| match (change.before, change.now) {
        (Some(before), Some(now)) if !else_(before, now) => Vec::new(),
        _ => within(&quotas, change.meta().namespace.as_deref().unwrap_or_default()),
    }
}

fn values<K: Serialize>(objects: &[Arc<K>]) -> Vec<Value> {
    // What came as JSON goes as JSON.
    objects.iter().filter_map(|object| serde_json::to_value(&**object).ok()).collect()
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(quota) = self.quotas.get(&key.namespace, &key.name) else {
            lock(&self.lowering).remove(&key);
            return Ok(Again::OnChange);
        };
        let value = serde_json::to_value(&*quota).unwrap_or_default();
        let (counted, all_known) = self.count(&key.namespace, &value).await?;
        let again = if all_known { Again::OnChange } else { Again::After(UNKNOWN) };
        let Some(status) = plan::status(&value, counted) else {
            lock(&self.lowering).remove(&key);
            return Ok(again);
        };
        if let Some(wait) = self.must_wait(&key, &value, &status) {
            return Ok(Again::After(wait));
        }
        let mut wanted = ResourceQuota::clone(&quota);
        wanted.status = serde_json::from_value(status).ok();
        let api: Api<ResourceQuota> = self.context.api(&key.namespace);
        let written = absent_is_none(api.replace_status(&key.name, &PostParams::default(), &wanted).await);
        if let Some(written) = written.on(|| format!("update resourcequota {key}"))? {
            self.own.wrote(&key, &self.quotas, &written);
        }
        lock(&self.lowering).remove(&key);
        Ok(again)
    }

    /// How long what was charged lately is left as it is.
    fn must_wait(&self, key: &Key, quota: &Value, status: &Value) -> Option<Duration> {
        let mut all = lock(&self.lowering);
        if !plan::lowers(quota, status) {
            all.remove(key);
            return None;
        }
        let revision = quota["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let now = Instant::now();
        all.entry(key.clone()).or_insert_with(|| Lowering::new(revision, now)).wait(revision, now)
    }

    /// What is there, by the names of the quota, and whether all kinds that it names are served.
    async fn count(&self, namespace: &str, quota: &Value) -> Result<(Amounts, bool), ControllerError> {
        let now = jiff::Timestamp::now().as_second();
        let mut counted = Amounts::default();
        let objects = [
            (("", "pods"), values(&self.pods.within(namespace))),
            (("", "services"), values(&self.services.within(namespace))),
            (("", "persistentvolumeclaims"), values(&self.claims.within(namespace))),
            (("resource.k8s.io", "resourceclaims"), values(&self.devices.within(namespace))),
        ];
        for (kind, objects) in &objects {
            counted.extend(skiff_quota::total(quota, *kind, objects.iter(), now));
        }
        let mut all_known = true;
        for kind in counted_kinds(quota) {
            match self.followed(&kind).await? {
                Some(followed) => {
                    followed.cache.synced().await;
                    counted.extend(plan::number(quota, &kind, followed.cache.count(namespace)));
                }
                None => all_known = false,
            }
        }
        Ok((counted, all_known))
    }

    /// The metadata of a kind that some quota counts; `None`: it is not served.
    async fn followed(&self, kind: &OwnedKind) -> Result<Option<Arc<Counted>>, ControllerError> {
        if let Some(known) = lock(&self.counted).get(kind) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(resource) = self.resource(kind).await? else { return Ok(None) };
        let cache = self.context.caches.metadata(&resource);
        let (quotas, queue) = (self.quotas.clone(), self.queue.clone());
        let told = cache.subscribe(move |before, now| {
            let side = if before.is_some() != now.is_some() { before.or(now) } else { None };
            let namespace = side.and_then(|meta| meta.namespace.as_deref());
            for key in namespace.into_iter().flat_map(|namespace| within(&quotas, namespace)) {
                queue.add(key);
            }
        });
        let counted = Arc::new(Counted { cache, _told: told });
        lock(&self.counted).insert(kind.clone(), Arc::clone(&counted));
        Ok(Some(counted))
    }

    async fn resource(&self, (group, plural): &OwnedKind) -> Result<Option<ApiResource>, ControllerError> {
        let discovery = Discovery::new(self.context.client.clone()).filter(&[group.as_str()]);
        let found = discovery.run_aggregated().await.on(|| "discover resources".to_owned())?;
        let all = found.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
        Ok(all.map(|(resource, _)| resource).find(|one| one.group == *group && one.plural == *plural))
    }
}
