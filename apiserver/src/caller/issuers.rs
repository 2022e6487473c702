//! Tokens of other issuers: their keys are read from them when they are needed, and again when a token names one that is not known.

use super::Known;
use crate::remote::document::Reader;
use jiff::Timestamp;
use serde_json::{Map, Value};
use skiff_authn::jwk::{self, Published};
use skiff_authn::jws::Unverified;
use skiff_authn::oidc::Issuer;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long an issuer is left alone after it was asked for its keys in vain: whoever sends tokens by the thousand with keys of his own does
/// not make us ask for each.
const REST: Duration = Duration::from_secs(10);

/// The issuers that are believed; another set may take the place of this one.
#[derive(Debug, Default)]
pub(super) struct Issuers(RwLock<Arc<Vec<Arc<Provider>>>>);

/// One of them.
#[derive(Debug)]
struct Provider {
    issuer: Issuer,
    reader: Reader,
    keys: RwLock<Arc<Vec<Published>>>,
    /// When it was last asked in vain; held while it is asked.
    vain: Mutex<Option<Instant>>,
}

impl Issuers {
    /// Believes these, and no others. One that says the same as before keeps its keys.
    ///
    /// # Errors
    /// An authority that vouches for one of them cannot be read: a sentence.
    pub(super) fn replace(&self, issuers: Vec<Issuer>) -> Result<(), String> {
        let before = self.all();
        let next = issuers.into_iter().map(|issuer| match before.iter().find(|known| known.issuer == issuer) {
            Some(known) => Ok(known.clone()),
            None => Provider::new(issuer).map(Arc::new),
        });
        let next = next.collect::<Result<Vec<_>, _>>()?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        Ok(())
    }

    fn all(&self) -> Arc<Vec<Arc<Provider>>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    #[cfg(test)]
    pub(super) fn urls(&self) -> Vec<String> {
        self.all().iter().map(|one| one.issuer.url.clone()).collect()
    }

    /// Whose `token` is; `None`: it is by none of them.
    pub(super) async fn authenticate(&self, token: &str, audiences: &[String]) -> Result<Option<Known>, String> {
        let Some(unverified) = Unverified::parse(token) else { return Ok(None) };
        let all = self.all();
        let Some(provider) = all.iter().find(|one| one.issuer.url == unverified.issuer()) else { return Ok(None) };
        provider.issuer.plausible(&unverified, Timestamp::now().as_second())?;
        let claims = provider.proved(token).await?;
        let user = provider.issuer.user(&claims, Timestamp::now().as_second())?;
        Ok(Some(Known { user, audiences: audiences.to_vec() }))
    }
}

impl Provider {
    fn new(issuer: Issuer) -> Result<Self, String> {
        let reader = Reader::new(issuer.authority.as_deref().unwrap_or_default());
        let reader = reader.map_err(|why| format!("the authority that vouches for {}: {why}", issuer.url))?;
        Ok(Self { issuer, reader, keys: RwLock::default(), vain: Mutex::default() })
    }

    fn keys(&self) -> Arc<Vec<Published>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The claims of `token`, proved by a key of the issuer's.
    async fn proved(&self, token: &str) -> Result<Map<String, Value>, String> {
        let before = self.keys();
        let prove = |keys: &[Published]| {
            let unverified = Unverified::parse(token).ok_or("oidc: malformed jwt")?;
            let proved = unverified.verified(keys, |one| (&one.id, &one.key), self.issuer.allowed());
            proved.map_err(|error| format!("oidc: verify token: failed to verify signature: {error}"))
        };
        match prove(&before) {
            Ok(claims) => Ok(claims),
            Err(why) => match self.refreshed(&before).await {
                Ok(Some(keys)) => prove(&keys),
                Ok(None) => Err(why),
                Err(why) => Err(format!("oidc: authenticator not initialized: {why}")),
            },
        }
    }

    /// Other keys than `before`, if there are some: somebody else has asked meanwhile, or we do, unless that was in vain just now.
    async fn refreshed(&self, before: &Arc<Vec<Published>>) -> Result<Option<Arc<Vec<Published>>>, String> {
        let mut vain = self.vain.lock().await;
        let present = self.keys();
        if !Arc::ptr_eq(before, &present) {
            return Ok(Some(present));
        }
        if vain.is_some_and(|at| at.elapsed() < REST) {
            return Ok(None);
        }
        // Should whoever waits for us go away in the middle, it was in vain too.
        *vain = Some(Instant::now());
        let (found, left_out) = self.fetch().await?;
        for why in left_out {
            tracing::info!(issuer = self.issuer.url, why, "a key of an issuer is not used");
        }
        if found == **before {
            return Ok(None);
        }
        *vain = None;
        let found = Arc::new(found);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = found.clone();
        Ok(Some(found))
    }

    async fn fetch(&self) -> Result<(Vec<Published>, Vec<String>), String> {
        let configuration = self.reader.get(&self.issuer.configuration_url()).await?;
        let named = configuration["issuer"].as_str().unwrap_or_default();
        if named != self.issuer.url {
            let ours = &self.issuer.url;
            return Err(format!(
                "oidc: issuer URL provided to client ({ours:?}) did not match the issuer URL returned by provider ({named:?})"
            ));
        }
        let uri = configuration["jwks_uri"].as_str().unwrap_or_default();
        jwk::read(&self.reader.get(uri).await?).map_err(|why| format!("the keys at {uri:?}: {why}"))
    }
}
