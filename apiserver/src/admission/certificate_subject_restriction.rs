//! CertificateSubjectRestriction: nobody asks for a certificate that may do everything.

use super::{Admitted, Attributes, Operation, Plugin, known};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

pub(super) const PLUGIN: Plugin = Plugin {
    name: "CertificateSubjectRestriction",
    handles: &[Operation::Create],
    mutate: None,
    validate: Some(validate),
};

/// Who signs for clients of the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The group of those who may do everything.
const MASTERS: &str = "system:masters";

fn validate<'a>(seen: &'a Attributes<'a>, object: &'a Value) -> Admitted<'a> {
    let spec = &object["spec"];
    if !seen.is_about("certificates.k8s.io", "certificatesigningrequests")
        || spec["signerName"] != CLIENT_SIGNER
        || !organizations(&spec["request"]).iter().any(|name| name == MASTERS)
    {
        return known(Ok(()));
    }
    known(Err(seen.forbidden(&format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"))))
}

/// What a request calls the groups of its subject.
fn organizations(request: &Value) -> Vec<String> {
    let bytes = STANDARD.decode(request.as_str().unwrap_or_default()).unwrap_or_default();
    let Ok((_, block)) = parse_x509_pem(&bytes) else { return Vec::new() };
    let Ok((_, request)) = X509CertificationRequest::from_der(&block.contents) else { return Vec::new() };
    let names = request.certification_request_info.subject.iter_organization();
    names.filter_map(|name| name.as_str().ok().map(ToOwned::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};
    use serde_json::json;

    #[test]
    fn the_groups_of_a_request_are_those_of_its_subject() {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, MASTERS);
        let key = KeyPair::generate().unwrap();
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        assert_eq!(organizations(&json!(STANDARD.encode(pem))), [MASTERS]);
        assert!(organizations(&json!("nothing")).is_empty());
    }
}
