//! The account `default` of every namespace.

use crate::context::{Context, On, is_status};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The name that pods have which name none.
const NAME: &str = "default";

struct Keeper {
    context: Context,
    own: Own,
    namespaces: Cache<Namespace>,
    accounts: Cache<ServiceAccount>,
}

pub(crate) async fn run(context: Context, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let (namespaces, accounts) = (looking.over::<Namespace>(), looking.context.caches.all::<ServiceAccount>());
    looking.when(&accounts, |change| {
        let meta = change.meta();
        let ours = meta.name.as_deref() == Some(NAME);
        meta.namespace.iter().filter(|_| ours).map(|namespace| Key::new("", namespace)).collect()
    });
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), namespaces, accounts };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let namespace = self.namespaces.get("", &key.name);
        let stays = namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none());
        if !stays || self.accounts.get(&key.name, NAME).is_some() {
            return Ok(Again::OnChange);
        }
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        let api: Api<ServiceAccount> = self.context.api(&key.name);
        match api.create(&PostParams::default(), &account).await {
            Err(error) if is_status(&error, 409) => {}
            created => {
                let made = created.on(|| format!("create serviceaccount {key}/{NAME}"))?;
                self.own.wrote(&key, &self.accounts, &made);
            }
        }
        Ok(Again::OnChange)
    }
}
