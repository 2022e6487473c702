//! CertificateApproval and CertificateSigning: who approves a request for a certificate, or signs it, may do so for its signer.
//!
//! RBAC lets somebody write `certificatesigningrequests/approval`, of all requests; for which signers is a right of its own: `approve` and
//! `sign` of `signers`, by name or for a whole domain (`example.com/*`).

use super::{Admitted, Attributes, Operation, Plugin, known, later};
use crate::auth::user;
use serde_json::Value;
use skiff_authz::Act;

pub(super) const APPROVAL: Plugin =
    Plugin { name: "CertificateApproval", handles: &[Operation::Update], mutate: None, validate: Some(approve) };

pub(super) const SIGNING: Plugin =
    Plugin { name: "CertificateSigning", handles: &[Operation::Update], mutate: None, validate: Some(sign) };

const GROUP: &str = "certificates.k8s.io";

fn approve<'a>(seen: &'a Attributes<'a>, _: &'a Value) -> Admitted<'a> {
    if is_part(seen, "approval") { later(confirm(seen, "approve")) } else { known(Ok(())) }
}

fn sign<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let old = seen.old.unwrap_or(&Value::Null);
    let same = |field: &str| old["status"][field] == object["status"][field];
    if !is_part(seen, "status") || (same("certificate") && same("conditions")) {
        return known(Ok(()));
    }
    later(confirm(seen, "sign"))
}

fn is_part(seen: &Attributes<'_>, part: &str) -> bool {
    seen.request.part == part && seen.request.resource.is(GROUP, "certificatesigningrequests")
}

/// Refuses who may not do it for the signer that the request had before: nobody chooses another by the way.
async fn confirm(seen: &Attributes<'_>, verb: &str) -> Result<(), crate::status::Status> {
    let signer = seen.old.and_then(|old| old["spec"]["signerName"].as_str()).unwrap_or_default();
    let domain = format!("{}/*", signer.split('/').next().unwrap_or_default());
    for name in [signer, &domain] {
        let act = Act::Resource { verb, group: GROUP, resource: "signers", part: "", namespace: "", name };
        let asked = skiff_authz::Attributes::new(user(&seen.request.who), act);
        if seen.setting.authority.decide(&asked).await.is_allowed() {
            return Ok(());
        }
    }
    Err(seen.forbidden(&format!("user not permitted to {verb} requests with signerName {signer:?}")))
}
