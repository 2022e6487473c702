//! What a cluster finds of a driver of ours when it begins: the driver as an object, and a default class. Both are the users' from then on.

use super::Provisioner;
use crate::context::{Context, is_status};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use serde_json::json;
use skiff_client::loose::{CSIDriver, StorageClass};
use std::time::Duration;

/// How long to wait before a server is asked again that did not answer.
const AGAIN: Duration = Duration::from_secs(1);

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// Makes what is missing; returns once it is there.
pub(super) async fn make(context: &Context, given: &Provisioner) {
    let driver = CSIDriver::new(
        named(&given.driver),
        json!({"spec": {"attachRequired": false, "podInfoOnMount": true, "fsGroupPolicy": "File",
            "volumeLifecycleModes": ["Persistent", "Ephemeral"]}}),
    );
    let drivers: Api<CSIDriver> = Api::all(context.client.clone());
    until_there(&given.driver, || drivers.create(&POST, &driver)).await;
    let Some(name) = &given.class else { return };
    let class = StorageClass::new(
        ObjectMeta {
            annotations: Some([("storageclass.kubernetes.io/is-default-class".to_owned(), "true".to_owned())].into()),
            ..named(name)
        },
        json!({"provisioner": given.driver, "reclaimPolicy": "Delete", "volumeBindingMode": "WaitForFirstConsumer",
            "allowVolumeExpansion": true}),
    );
    let classes: Api<StorageClass> = Api::all(context.client.clone());
    until_there(name, || classes.create(&POST, &class)).await;
}

const POST: PostParams = PostParams { dry_run: false, field_manager: None };

async fn until_there<K, F: Future<Output = Result<K, kube::Error>>>(name: &str, create: impl Fn() -> F) {
    loop {
        match create().await {
            Ok(_) => return,
            Err(error) if is_status(&error, 409) => return,
            Err(error) => tracing::warn!(name, error = skiff_client::sentence(&error), "not made yet"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
