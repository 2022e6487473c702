//! The config map `kube-root-ca.crt` of every namespace: what pods trust when they call the API server.
//!
//! It is made with the namespace and repaired when somebody changes or deletes it.

use crate::context::{Context, On, absent_is_none, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, PostParams};
use skiff_client::{Cache, Key};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The name, as Kubernetes has it; projected volumes of service accounts mount it.
const NAME: &str = "kube-root-ca.crt";
/// Its only key.
const KEY: &str = "ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
/// The value that Kubernetes gives the annotation.
const DESCRIBED: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                         such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                         distributions of Kubernetes clusters.";

/// Publishes `authority` (PEM); without one there is nothing to publish.
pub(crate) async fn run(context: Context, authority: Option<Arc<str>>, shutdown: CancellationToken) {
    let Some(authority) = authority else {
        tracing::warn!("the kubeconfig names no certificate authority, so no config map {NAME} is published");
        return shutdown.cancelled().await;
    };
    let mut looking = Loop::new(context);
    let maps = looking.context.caches.chosen::<ConfigMap>(&format!("metadata.name={NAME}"));
    let namespaces = looking.over::<Namespace>();
    looking.when(&maps, |change| change.meta().namespace.iter().map(|namespace| Key::new("", namespace)).collect());
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), authority, namespaces, maps };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

struct Keeper {
    context: Context,
    own: Own,
    authority: Arc<str>,
    namespaces: Cache<Namespace>,
    maps: Cache<ConfigMap>,
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let namespace = self.namespaces.get("", &key.name);
        if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            return Ok(Again::OnChange);
        }
        let present = self.maps.get(&key.name, NAME).map(|map| ConfigMap::clone(&map));
        let exists = present.is_some();
        let Some(map) = mended(present, &self.authority) else { return Ok(Again::OnChange) };
        let api: Api<ConfigMap> = self.context.api(&key.name);
        let written = if exists {
            // Deleted in between: its own event brings us back.
            let replaced = absent_is_none(api.replace(NAME, &PostParams::default(), &map).await);
            replaced.on(|| format!("update configmap {key}/{NAME}"))?
        } else {
            match api.create(&PostParams::default(), &map).await {
                Err(error) if is_status(&error, 409) => None,
                created => Some(created.on(|| format!("create configmap {key}/{NAME}"))?),
            }
        };
        if let Some(written) = written {
            self.own.wrote(&key, &self.maps, &written);
        }
        Ok(Again::OnChange)
    }
}

/// What has to be written so that the config map says what it should; `None`: it does.
fn mended(present: Option<ConfigMap>, authority: &str) -> Option<ConfigMap> {
    let data = BTreeMap::from([(KEY.to_owned(), authority.to_owned())]);
    let mut map = present.unwrap_or_else(|| ConfigMap {
        metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    });
    let described = map.annotations().get(DESCRIPTION).is_some_and(|text| text == DESCRIBED);
    if described && map.data.as_ref() == Some(&data) {
        return None;
    }
    map.annotations_mut().insert(DESCRIPTION.to_owned(), DESCRIBED.to_owned());
    map.data = Some(data);
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_it_should_be_is_left_alone() {
        let made = mended(None, "pem").expect("made");
        assert_eq!(made.metadata.name.as_deref(), Some(NAME));
        assert_eq!(mended(Some(made.clone()), "pem"), None);
        let mut with_more = made.clone();
        with_more.labels_mut().insert("mine".to_owned(), "yes".to_owned());
        assert_eq!(mended(Some(with_more.clone()), "pem"), None, "labels are the users'");
        with_more.data = None;
        let mended_again = mended(Some(with_more), "pem").expect("data come back");
        assert_eq!(mended_again.labels().len(), 1);
        assert_eq!(mended_again.data, made.data);
        let mut undescribed = made.clone();
        undescribed.metadata.annotations = None;
        assert_eq!(mended(Some(undescribed), "pem").as_ref(), Some(&made));
        assert_eq!(mended(Some(made), "other").and_then(|map| map.data), Some([(KEY.into(), "other".into())].into()));
    }
}
