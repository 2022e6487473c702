//! Who may use the kubelet's API.
//!
//! A caller has a certificate of the cluster's authority or a token that the API server knows; a certificate alone is not enough, as
//! nodes and ordinary users have one too. The API server's own identities and cluster administrators may everything. About everybody
//! else the API server is asked (SubjectAccessReview), and its answers hold for a while, as on a real kubelet.

use super::attributes::{self, Attributes};
use crate::agent::Agent;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use skiff_client::sentence;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Groups that may everything.
const GROUPS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];
/// Users that may everything: the names that kubeadm and we give the API server.
const USERS: [&str; 4] =
    ["kube-apiserver-kubelet-client", "kube-apiserver", "system:apiserver", "system:kube-apiserver"];
/// How long answers hold (the defaults of a real kubelet).
const TOKEN_HOLDS: Duration = Duration::from_secs(2 * 60);
const YES_HOLDS: Duration = Duration::from_secs(5 * 60);
const NO_HOLDS: Duration = Duration::from_secs(30);
/// How many answers of each kind are kept.
const ANSWERS_MAX: usize = 1024;

/// A refusal: status and sentence.
type Refusal = (StatusCode, String);

/// Who is on the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// No certificate and no token.
    Anonymous,
    /// A certificate's CN and O, or what the API server says of a token.
    Known(Identity),
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Identity {
    user: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    fn may_everything(&self) -> bool {
        USERS.contains(&self.user.as_str()) || self.groups.iter().any(|group| GROUPS.contains(&group.as_str()))
    }
}

impl Caller {
    /// Reads the certificate that the handshake has verified.
    pub(super) fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(first) = certificates.and_then(|chain| chain.first()) else { return Self::Anonymous };
        let Ok((_, certificate)) = X509Certificate::from_der(first) else { return Self::Anonymous };
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        let user = subject.iter_common_name().find_map(text).unwrap_or_default();
        let groups = subject.iter_organization().filter_map(text);
        let groups = groups.chain(["system:authenticated".to_owned()]).collect();
        Self::Known(Identity { user, groups, ..Identity::default() })
    }
}

/// Answers that still hold.
struct Answers<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K, V> Default for Answers<K, V> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<K: Eq + Hash, V: Clone> Answers<K, V> {
    fn get(&self, key: &K) -> Option<V> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(key).filter(|(_, until)| *until > Instant::now()).map(|(answer, _)| answer.clone())
    }

    fn put(&self, key: K, answer: V, holds: Duration) {
        let (mut all, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if all.len() >= ANSWERS_MAX {
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() < ANSWERS_MAX {
            all.insert(key, (answer, now + holds));
        }
    }
}

/// Asks the API server, and keeps its answers.
pub(super) struct Guard {
    agent: Arc<Agent>,
    /// By the tokens' digests: the tokens themselves are not kept.
    tokens: Answers<[u8; 32], Option<Identity>>,
    access: Answers<(Identity, &'static str, &'static str), bool>,
}

impl Guard {
    pub(super) fn new(agent: Arc<Agent>) -> Self {
        Self { agent, tokens: Answers::default(), access: Answers::default() }
    }

    async fn admit(&self, caller: Caller, headers: &HeaderMap, wanted: &Attributes) -> Result<(), Refusal> {
        let identity = match (caller, bearer(headers)) {
            (Caller::Known(identity), _) => identity,
            (Caller::Anonymous, Some(token)) => self.owner(token).await?,
            (Caller::Anonymous, None) => {
                let message = "Unauthorized: a client certificate or a token is required\n";
                return Err((StatusCode::UNAUTHORIZED, message.to_owned()));
            }
        };
        if identity.may_everything() {
            return Ok(());
        }
        for part in &wanted.parts {
            if self.may(&identity, wanted.verb, part).await? {
                return Ok(());
            }
        }
        let (user, verb, parts) = (&identity.user, wanted.verb, wanted.parts.join(","));
        let message = format!("Forbidden (user={user}, verb={verb}, resource=nodes, subresource(s)=[{parts}])\n");
        Err((StatusCode::FORBIDDEN, message))
    }

    /// Whose token it is.
    async fn owner(&self, token: &str) -> Result<Identity, Refusal> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let known = self.tokens.get(&digest);
        let owner = match known {
            Some(owner) => owner,
            None => {
                let owner = self.review_token(token).await?;
                let holds = if owner.is_some() { TOKEN_HOLDS } else { NO_HOLDS };
                self.tokens.put(digest, owner.clone(), holds);
                owner
            }
        };
        owner.ok_or_else(|| (StatusCode::UNAUTHORIZED, "Unauthorized: the token is not good\n".to_owned()))
    }

    async fn review_token(&self, token: &str) -> Result<Option<Identity>, Refusal> {
        let spec = TokenReviewSpec { token: token.to_owned(), ..Default::default() };
        let review = TokenReview { spec, ..Default::default() };
        let reviews: Api<TokenReview> = Api::all(self.agent.client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| unanswered("TokenReview", &error))?.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true));
        Ok(user.map(|user| Identity {
            user: user.username.unwrap_or_default(),
            uid: user.uid,
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        }))
    }

    async fn may(&self, identity: &Identity, verb: &'static str, part: &'static str) -> Result<bool, Refusal> {
        let key = (identity.clone(), verb, part);
        if let Some(answer) = self.access.get(&key) {
            return Ok(answer);
        }
        let wanted = ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(part.to_owned()),
            name: Some(self.agent.node_name.clone()),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(identity.user.clone()),
            uid: identity.uid.clone(),
            groups: Some(identity.groups.clone()),
            extra: Some(identity.extra.clone()).filter(|extra| !extra.is_empty()),
            resource_attributes: Some(wanted),
            ..Default::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.agent.client.clone());
        let review = SubjectAccessReview { spec, ..Default::default() };
        let answer = reviews.create(&PostParams::default(), &review).await;
        let answer = answer.map_err(|error| unanswered("SubjectAccessReview", &error))?;
        let allowed = answer.status.is_some_and(|status| status.allowed);
        self.access.put(key, allowed, if allowed { YES_HOLDS } else { NO_HOLDS });
        Ok(allowed)
    }
}

/// Nobody is let in on a guess.
fn unanswered(what: &str, error: &kube::Error) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{what}: {}\n", sentence(error)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// Lets through who may.
pub(super) async fn require(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
    let wanted = attributes::of(request.method(), request.uri().path());
    match guard.admit(caller, request.headers(), &wanted).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_and_administrators_may_everything() {
        let known =
            |user: &str, group: &str| Identity { user: user.into(), groups: vec![group.into()], ..Identity::default() };
        assert!(known("kubernetes-admin", "system:masters").may_everything());
        assert!(known("kube-apiserver-kubelet-client", "").may_everything());
        assert!(!known("system:node:other", "system:nodes").may_everything());
    }

    #[test]
    fn a_token_is_what_stands_after_bearer() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, text.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!((of("Basic abc"), of("Bearer "), of("Bearer")), (None, None, None));
    }

    #[test]
    fn answers_end() {
        let answers: Answers<u8, bool> = Answers::default();
        answers.put(1, true, Duration::from_secs(60));
        answers.put(2, true, Duration::ZERO);
        assert_eq!((answers.get(&1), answers.get(&2)), (Some(true), None));
        for key in 3..2000u32 {
            answers.put((key % 251) as u8, false, Duration::from_secs(1));
        }
    }
}
