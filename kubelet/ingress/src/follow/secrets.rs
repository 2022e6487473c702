//! Certificates: each secret that is named is followed by itself, so that nobody has to be allowed to read all of them.

use super::{SecretCache, Wake};
use crate::certificates::read;
use crate::plan::SecretRef;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use rustls::sign::CertifiedKey;
use skiff_client::{Caches, Subscription};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long rules wait for a secret that was named for the first time.
const FIRST_MAX: Duration = Duration::from_secs(2);

/// The secrets that rules name.
pub(super) struct Secrets {
    caches: Caches,
    wake: Wake,
    followed: HashMap<SecretRef, Followed>,
    keys: HashMap<SecretRef, Arc<CertifiedKey>>,
}

struct Followed {
    cache: SecretCache,
    /// The version that was read last.
    version: Option<String>,
    problem: Option<String>,
    _subscription: Subscription,
}

impl Secrets {
    pub(super) fn new(caches: Caches, wake: Wake) -> Self {
        Self { caches, wake, followed: HashMap::new(), keys: HashMap::new() }
    }

    /// Follows these and no others, and reads what has changed of them.
    pub(super) async fn want(&mut self, wanted: BTreeSet<SecretRef>) {
        self.followed.retain(|secret, _| wanted.contains(secret));
        self.keys.retain(|secret, _| wanted.contains(secret));
        for secret in wanted {
            if !self.followed.contains_key(&secret) {
                let followed = self.follow(&secret);
                let _told_as_a_problem = timeout(FIRST_MAX, followed.cache.synced()).await;
                self.followed.insert(secret.clone(), followed);
            }
            let Some(followed) = self.followed.get_mut(&secret) else { continue };
            let now = followed.cache.get(&secret.namespace, &secret.name);
            let version = now.as_ref().and_then(|now| now.resource_version());
            if version.is_some() && version == followed.version {
                continue;
            }
            followed.version = version;
            let named = format!("secret {}/{}", secret.namespace, secret.name);
            followed.problem = match now.as_deref().map(read) {
                None => Some(format!("there is no {named}")),
                Some(Err(why)) => Some(format!("{named}: {why}")),
                Some(Ok(key)) => {
                    self.keys.insert(secret, Arc::new(key));
                    None
                }
            };
        }
    }

    fn follow(&self, secret: &SecretRef) -> Followed {
        let cache = self.caches.one::<Secret>(Some(&secret.namespace), &secret.name);
        let wake = self.wake.clone();
        let subscription = cache.subscribe(move |_| wake.routes());
        Followed { cache, version: None, problem: None, _subscription: subscription }
    }

    /// What was read. A certificate is shown until there is another one, even if its secret has gone or is wrong.
    pub(super) fn keys(&self) -> &HashMap<SecretRef, Arc<CertifiedKey>> {
        &self.keys
    }

    /// What is wrong with a secret.
    pub(super) fn problem(&self, secret: &SecretRef) -> Option<String> {
        self.followed.get(secret)?.problem.clone()
    }
}
