//! Pods that a controller makes and deletes on behalf of an object, and what the object's events say of them.

use crate::context::{Context, ControllerError, EventKind, On, is_of_terminating_namespace};
use crate::looking::Own;
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::{Resource, ResourceExt};
use skiff_client::{Cache, Key};
use std::sync::Arc;

/// Writes under way at once; the server commits concurrent writes together, so some parallelism pays.
pub(crate) const WRITES_AT_ONCE: usize = 32;

/// Who makes and deletes pods.
pub(crate) struct Pods {
    pub(crate) context: Context,
    pub(crate) own: Own,
    pub(crate) cache: Cache<Pod>,
}

impl Pods {
    /// Makes `pods` for `owner`: one at first, then twice as many at once each time. Where one is refused the rest would be, too:
    /// those that are not under way are left for the next look. Returns how many there are now, and why there are no more.
    pub(crate) async fn create_all<K>(
        &self,
        key: &Key,
        owner: &K,
        pods: Vec<Pod>,
    ) -> (usize, Result<(), ControllerError>)
    where
        K: Resource<DynamicType = ()> + Sync,
    {
        let (mut number, mut rest, mut batch) = (0, pods.into_iter(), 1);
        loop {
            let making: Vec<_> = rest.by_ref().take(batch).map(|pod| self.create(key, owner, pod)).collect();
            if making.is_empty() {
                return (number, Ok(()));
            }
            let made: Vec<_> = stream::iter(making).buffer_unordered(WRITES_AT_ONCE).collect().await;
            number += made.iter().filter(|made| made.is_ok()).count();
            if let Some(error) = made.into_iter().find_map(Result::err) {
                return (number, Err(error));
            }
            batch = batch.saturating_mul(2);
        }
    }

    async fn create<K>(&self, key: &Key, owner: &K, pod: Pod) -> Result<(), ControllerError>
    where
        K: Resource<DynamicType = ()>,
    {
        let (name, api): (_, Api<Pod>) = (pod.name_any(), self.context.api(&key.namespace));
        match api.create(&PostParams::default(), &pod).await {
            Ok(made) => {
                self.own.wrote(key, &self.cache, &made);
                self.context.tell(owner, EventKind::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
                Ok(())
            }
            Err(error) => {
                if !is_of_terminating_namespace(&error) {
                    let message = format!("Error creating: {}", skiff_client::sentence(&error));
                    self.context.tell(owner, EventKind::Warning, "FailedCreate", message);
                }
                Err(error).on(|| format!("create pod {name}"))
            }
        }
    }

    /// Deletes `pods` for `owner`; those that are gone already are no error.
    pub(crate) async fn delete_all<K>(&self, key: &Key, owner: &K, pods: Vec<Arc<Pod>>) -> Result<(), ControllerError>
    where
        K: Resource<DynamicType = ()> + Sync,
    {
        let deletions: Vec<_> = pods.into_iter().map(|pod| self.delete(key, owner, pod)).collect();
        let gone: Vec<_> = stream::iter(deletions).buffer_unordered(WRITES_AT_ONCE).collect().await;
        gone.into_iter().collect()
    }

    async fn delete<K>(&self, key: &Key, owner: &K, pod: Arc<Pod>) -> Result<(), ControllerError>
    where
        K: Resource<DynamicType = ()>,
    {
        let name = pod.name_any();
        let gone = self.remove(key, &pod).await;
        if let Err(error) = &gone {
            let message = format!("Error deleting: {}", skiff_client::sentence(error));
            self.context.tell(owner, EventKind::Warning, "FailedDelete", message);
        }
        if gone.on(|| format!("delete pod {name}"))? {
            self.context.tell(owner, EventKind::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
        }
        Ok(())
    }

    /// Deletes this pod, and none that has its name since; whether it was still there.
    pub(crate) async fn remove(&self, key: &Key, pod: &Pod) -> Result<bool, kube::Error> {
        let api: Api<Pod> = self.context.api(&key.namespace);
        self.own.delete(&api, key, &self.cache, pod, DeleteParams::default()).await
    }
}
