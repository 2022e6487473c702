//! Tokens in secrets: those of type `kubernetes.io/service-account-token` get the token of the account that they name, and go with it.
//!
//! Such a token has no end but its secret's. Nothing makes such secrets but users: what pods get is asked for by the kubelet.

mod plan; // what becomes of a secret

use crate::Trust;
use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use plan::{Account, Next, account_of, next};
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The type of secrets that hold tokens.
const TYPE: &str = "kubernetes.io/service-account-token";

/// Fills and removes such secrets; without a key that signs there is nothing to fill them with.
pub(crate) async fn run(context: Context, trust: Trust, shutdown: CancellationToken) {
    if trust.signer.is_none() {
        return shutdown.cancelled().await;
    }
    let mut looking = Loop::new(context);
    let secrets = looking.context.caches.chosen::<Secret>(&format!("type={TYPE}"));
    let accounts = looking.context.caches.all::<ServiceAccount>();
    looking.when(&secrets, |change| vec![Key::of(change.meta())]);
    let of_account = secrets.clone();
    looking.when(&accounts, move |change| {
        let meta = change.meta();
        let (namespace, name) = (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref());
        let mut of_it = of_account.within(namespace);
        of_it.retain(|secret| account_of(secret).map(|(account, _)| account) == name);
        of_it.iter().map(|secret| Key::of(&secret.metadata)).collect()
    });
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), trust, secrets, accounts };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

struct Keeper {
    context: Context,
    own: Own,
    trust: Trust,
    secrets: Cache<Secret>,
    accounts: Cache<ServiceAccount>,
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else { return Ok(Again::OnChange) };
        let Some((name, uid)) = account_of(&secret) else { return Ok(Again::OnChange) };
        let account = self.account(&key.namespace, name, uid).await?;
        let api: Api<Secret> = self.context.api(&key.namespace);
        match next(&secret, account.as_ref(), &self.trust).map_err(ControllerError::Malformed)? {
            Next::Leave => {}
            Next::Delete => {
                let deleted = self.own.delete(&api, &key, &self.secrets, &*secret, DeleteParams::default()).await;
                deleted.on(|| format!("delete secret {key}"))?;
            }
            Next::Fill(filled) => {
                // A secret that somebody else has changed meanwhile comes back by its own event.
                let written = absent_is_none(api.replace(&key.name, &PostParams::default(), &filled).await);
                if let Some(written) = written.on(|| format!("update secret {key}"))? {
                    self.own.wrote(&key, &self.secrets, &written);
                }
            }
        }
        Ok(Again::OnChange)
    }

    /// The account, as the cache has it, or else as the server has it: a secret is not deleted because a cache is behind.
    async fn account(
        &self,
        namespace: &str,
        name: &str,
        uid: Option<&str>,
    ) -> Result<Option<Account>, ControllerError> {
        let fits = |account: &ServiceAccount| uid.is_none_or(|uid| account.metadata.uid.as_deref() == Some(uid));
        if let Some(account) = self.accounts.get(namespace, name).filter(|account| fits(account)) {
            return Ok(Some(Account::of(&account)));
        }
        let api: Api<ServiceAccount> = self.context.api(namespace);
        let live = api.get_opt(name).await.on(|| format!("get serviceaccount {namespace}/{name}"))?;
        Ok(live.filter(fits).map(|account| Account::of(&account)))
    }
}
