//! Certificates on request: kubelets' requests are approved if their authors may have them, approved ones are signed, old ones are deleted.
//!
//! ```text
//!  request ──► approve (a kubelet's own, or a joining node's) ──► sign ──► the certificate in the status
//!      └── a day without a word, an hour after it was decided ──► deleted
//! ```

mod plan; // what becomes of a request
mod sign; // what a signer signs, and for how long

use crate::Trust;
use crate::context::{Context, ControllerError, On, absent_is_none};
use crate::looking::{Again, Loop, Outcome, Own};
use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, PostParams};
use plan::next;
use skiff_client::{Cache, Key};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub use sign::Signer;

/// Approves, signs and deletes; without a signer nothing is signed.
pub(crate) async fn run(context: Context, trust: Trust, shutdown: CancellationToken) {
    let mut looking = Loop::new(context);
    let requests = looking.over::<CertificateSigningRequest>();
    let nodes = looking.context.caches.all::<Node>();
    let keeper = Keeper { context: looking.context.clone(), own: looking.own.clone(), trust, requests, nodes };
    let keeper = Arc::new(keeper);
    looking.run(shutdown, move |key| keeper.clone().reconcile(key).boxed()).await;
}

struct Keeper {
    context: Context,
    own: Own,
    trust: Trust,
    requests: Cache<CertificateSigningRequest>,
    nodes: Cache<Node>,
}

impl Keeper {
    async fn reconcile(self: Arc<Self>, key: Key) -> Outcome {
        let Some(request) = self.requests.get("", &key.name) else { return Ok(Again::OnChange) };
        let api: Api<CertificateSigningRequest> = Api::all(self.context.client.clone());
        let now = Timestamp::now();
        let next = next(&request, self.trust.certificates.is_some(), now);
        match next.act {
            plan::Act::Nothing => {}
            plan::Act::Delete => {
                let options = DeleteParams::default();
                let deleted = self.own.delete(&api, &key, &self.requests, &*request, options).await;
                deleted.on(|| format!("delete certificatesigningrequest {key}"))?;
                return Ok(Again::OnChange);
            }
            plan::Act::Approve(permissions) => {
                for permission in permissions {
                    if self.may(&request, *permission).await? {
                        let approved = conditioned(&request, "Approved", "AutoApproved", permission.message(), now);
                        let written =
                            api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await;
                        return self.wrote(&key, absent_is_none(written), "approve");
                    }
                }
            }
            plan::Act::ApproveServing(serving) => {
                let node = self.nodes.get("", &serving.node);
                if node.is_none_or(|node| !serving.belongs_to(&node)) {
                    // It may say its addresses yet.
                    return Ok(Again::After(plan::patience(&request, now)));
                }
                let approved = conditioned(&request, "Approved", "AutoApproved", plan::Serving::MESSAGE, now);
                let written = api.replace_subresource("approval", &key.name, &PostParams::default(), &approved).await;
                return self.wrote(&key, absent_is_none(written), "approve");
            }
            plan::Act::Sign => {
                let Some(signer) = &self.trust.certificates else { return Ok(Again::OnChange) };
                let next = match signer.sign(&request.spec, now) {
                    Ok(certificate) => {
                        let mut signed = CertificateSigningRequest::clone(&request);
                        signed.status.get_or_insert_default().certificate = Some(ByteString(certificate.into_bytes()));
                        signed
                    }
                    Err(why) => conditioned(&request, "Failed", "SignerValidationFailure", &why, now),
                };
                let written = api.replace_status(&key.name, &PostParams::default(), &next).await;
                return self.wrote(&key, absent_is_none(written), "sign");
            }
        }
        Ok(Again::within(next.again))
    }

    fn wrote(
        &self,
        key: &Key,
        written: Result<Option<CertificateSigningRequest>, kube::Error>,
        operation: &str,
    ) -> Outcome {
        if let Some(written) = written.on(|| format!("{operation} certificatesigningrequest {key}"))? {
            self.own.wrote(key, &self.requests, &written);
        }
        Ok(Again::OnChange)
    }

    /// Whether the author of `request` may have it approved without anybody looking.
    async fn may(
        &self,
        request: &CertificateSigningRequest,
        permission: plan::Permission,
    ) -> Result<bool, ControllerError> {
        let spec = &request.spec;
        let text = |text: &str| Some(text.to_owned());
        let attributes = ResourceAttributes {
            group: text("certificates.k8s.io"),
            version: text("*"),
            resource: text("certificatesigningrequests"),
            verb: text("create"),
            subresource: text(permission.part()),
            ..ResourceAttributes::default()
        };
        let asked = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: spec.username.clone(),
                uid: spec.uid.clone(),
                groups: spec.groups.clone(),
                extra: spec.extra.clone(),
                resource_attributes: Some(attributes),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api: Api<SubjectAccessReview> = Api::all(self.context.client.clone());
        let answer = api.create(&PostParams::default(), &asked).await.on(|| "create subjectaccessreview".to_owned())?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

/// `request` with one more condition.
fn conditioned(
    request: &CertificateSigningRequest,
    kind: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> CertificateSigningRequest {
    let mut next = request.clone();
    let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        ..CertificateSigningRequestCondition::default()
    });
    next
}
