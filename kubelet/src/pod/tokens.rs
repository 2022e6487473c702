//! Tokens of service accounts for projected volumes: asked for as the node, bound to the pod, kept until they age.
//!
//! A token is asked for anew when four fifths of its life or a day are over (Kubernetes, "bound service account token volume"). While the
//! API server does not answer, one that still holds goes on being used.

use super::memory::Failure;
use crate::agent::Agent;
use crate::volume::content::token_requests;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;
use skiff_client::sentence;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The oldest that a token is used, however long it lives.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// When a token is asked for again that could not be had.
const AGAIN: SignedDuration = SignedDuration::from_secs(30);

/// Tokens of one pod by audience and lifetime in seconds.
pub(crate) type Tokens = BTreeMap<(String, i64), String>;

/// One that was issued.
#[derive(Debug, Clone)]
struct Held {
    token: String,
    ends: Timestamp,
    ages: Timestamp,
}

/// All that this node holds: by the pod's uid, audience and seconds.
#[derive(Default)]
pub(crate) struct Purse(Mutex<HashMap<(String, String, i64), Held>>);

impl Purse {
    fn inside(&self) -> MutexGuard<'_, HashMap<(String, String, i64), Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those of a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.inside().retain(|(of, _, _), _| of != uid);
    }

    /// What `pod`'s volumes need, and when to look again.
    pub(crate) async fn of(&self, agent: &Agent, pod: &Pod) -> Result<(Tokens, Option<Timestamp>), Failure> {
        let (mut tokens, mut refresh_at) = (Tokens::new(), None);
        for (audience, seconds) in token_requests(pod) {
            let held = self.one(agent, pod, &audience, seconds).await?;
            let next = held.ages.max(Timestamp::now() + AGAIN);
            refresh_at = Some(refresh_at.map_or(next, |known: Timestamp| known.min(next)));
            tokens.insert((audience, seconds), held.token);
        }
        Ok((tokens, refresh_at))
    }

    /// One token for `pod`, and when it ends.
    pub(crate) async fn token(
        &self,
        agent: &Agent,
        pod: &Pod,
        audience: &str,
        seconds: i64,
    ) -> Result<(String, Timestamp), Failure> {
        let held = self.one(agent, pod, audience, seconds).await?;
        Ok((held.token, held.ends))
    }

    async fn one(&self, agent: &Agent, pod: &Pod, audience: &str, seconds: i64) -> Result<Held, Failure> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, audience.to_owned(), seconds);
        let known = self.inside().get(&key).cloned();
        let now = Timestamp::now();
        if let Some(held) = known.as_ref().filter(|held| now < held.ages) {
            return Ok(held.clone());
        }
        match ask(agent, pod, audience, seconds).await {
            Ok(held) => {
                self.inside().insert(key, held.clone());
                Ok(held)
            }
            Err(failure) => match known.filter(|held| now < held.ends) {
                Some(held) => {
                    tracing::warn!(message = failure.message, "a token ages and no new one is issued");
                    Ok(held)
                }
                None => Err(failure),
            },
        }
    }
}

/// When a token of `seconds` that ends at `ends` has aged.
fn ages(ends: Timestamp, seconds: i64) -> Timestamp {
    let made = ends - SignedDuration::from_secs(seconds);
    let last_fifth = ends - SignedDuration::from_secs(seconds / 5);
    last_fifth.min(made + AGE_MAX)
}

/// A token ends with its pod.
fn bound_to(pod: &Pod) -> BoundObjectReference {
    BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
    }
}

async fn ask(agent: &Agent, pod: &Pod, audience: &str, seconds: i64) -> Result<Held, Failure> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let spec = TokenRequestSpec {
        audiences: Some(audience.to_owned()).filter(|text| !text.is_empty()).map(|text| vec![text]),
        expiration_seconds: Some(seconds),
        bound_object_ref: Some(bound_to(pod)),
    };
    let request = TokenRequest { spec: Some(spec), ..Default::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(agent.client.clone(), namespace);
    let failed = |why: &str| {
        let message = format!("the API server issues no token for serviceaccount {namespace}/{account}: {why}");
        Failure::new("FailedMount", message)
    };
    let issued = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let issued = issued.map_err(|error| failed(&sentence(&error)))?;
    // The server may give less than it was asked for.
    let seconds = issued.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(seconds);
    let status = issued.status.ok_or_else(|| failed("its answer has no status"))?;
    let token = status.token.ok_or_else(|| failed("its answer has no token"))?;
    let ends =
        status.expiration_timestamp.map_or_else(|| Timestamp::now() + SignedDuration::from_secs(seconds), |at| at.0);
    Ok(Held { token, ends, ages: ages(ends, seconds) })
}

/// One for a plugin that gets credentials for images: of the account with this uid, for as long as the server gives.
pub(super) async fn for_plugin(agent: &Agent, pod: &Pod, uid: &str, audience: &str) -> Result<String, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or_default();
    let spec = TokenRequestSpec {
        audiences: Some(vec![audience.to_owned()]),
        expiration_seconds: None,
        bound_object_ref: Some(bound_to(pod)),
    };
    // The server refuses if the account is another one by now.
    let metadata = ObjectMeta { uid: Some(uid.to_owned()), ..Default::default() };
    let request = TokenRequest { metadata, spec: Some(spec), ..Default::default() };
    let accounts: Api<ServiceAccount> = Api::namespaced(agent.client.clone(), namespace);
    let issued = accounts.create_token_request(account, &PostParams::default(), &request).await;
    let issued =
        issued.map_err(|error| format!("token of serviceaccount {namespace}/{account}: {}", sentence(&error)))?;
    issued.status.and_then(|status| status.token).ok_or_else(|| "the API server's answer has no token".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ages_before_it_ends() {
        let ends: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (seconds, before) in [(600, 120), (3607, 721), (86_400, 17_280), (7 * 86_400, 6 * 86_400)] {
            let expected = ends - SignedDuration::from_secs(before);
            assert_eq!(ages(ends, seconds), expected, "{seconds} seconds");
        }
    }
}
