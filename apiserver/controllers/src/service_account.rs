//! The account `default` of every namespace.

use crate::context::{Context, ControllerError, On, drive, is_status};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    drive(Controller::new(namespaces, watcher::Config::default()), context, shutdown, reconcile).await;
}

async fn reconcile(namespace: Arc<Namespace>, context: Arc<Context>) -> Result<Action, ControllerError> {
    if namespace.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let name = namespace.name_any();
    let accounts: Api<ServiceAccount> = context.api(&name);
    let present = accounts.get_opt("default").await.on(|| format!("get serviceaccount {name}/default"))?;
    if present.is_none() {
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some("default".to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        match accounts.create(&PostParams::default(), &account).await {
            Err(error) if is_status(&error, 409) => {}
            created => created.map(drop).on(|| format!("create serviceaccount {name}/default"))?,
        }
    }
    Ok(Action::await_change())
}
