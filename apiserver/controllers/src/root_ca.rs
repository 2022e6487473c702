//! The config map `kube-root-ca.crt` of every namespace: what pods trust when they call the API server.
//!
//! It is made with the namespace and repaired when somebody changes or deletes it.

use crate::context::{Context, ControllerError, On, absent_is_none, drive, is_status};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
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
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let maps: Api<ConfigMap> = Api::all(context.client.clone());
    let ours = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let controller = Controller::new(namespaces, watcher::Config::default())
        .watches(maps, ours, |map| map.namespace().map(|namespace| ObjectRef::new(&namespace)));
    drive(controller, context, shutdown, move |namespace, context| reconcile(namespace, context, authority.clone()))
        .await;
}

async fn reconcile(
    namespace: Arc<Namespace>,
    context: Arc<Context>,
    authority: Arc<str>,
) -> Result<Action, ControllerError> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = namespace.name_any();
    let maps: Api<ConfigMap> = context.api(&name);
    let present = maps.get_opt(NAME).await.on(|| format!("get configmap {name}/{NAME}"))?;
    let exists = present.is_some();
    let Some(map) = mended(present, &authority) else { return Ok(Action::await_change()) };
    if exists {
        let written = maps.replace(NAME, &PostParams::default(), &map).await;
        // Deleted in between: its own event brings us back.
        absent_is_none(written).map(drop).on(|| format!("update configmap {name}/{NAME}"))?;
        return Ok(Action::await_change());
    }
    match maps.create(&PostParams::default(), &map).await {
        Err(error) if is_status(&error, 409) => {}
        created => created.map(drop).on(|| format!("create configmap {name}/{NAME}"))?,
    }
    Ok(Action::await_change())
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
