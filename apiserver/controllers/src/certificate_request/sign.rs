//! What each of Kubernetes' signers signs, and for how long.

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;
use skiff_authn::certificate::{Authority, Request, Usage};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Signs for clients of the API server.
pub(super) const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// Signs for kubelets as clients of the API server.
pub(super) const KUBELET_CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs for kubelets as servers.
pub(super) const KUBELET_SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";

/// Signs for servers of applications: a signer of ours, because none of Kubernetes' is for them.
pub(super) const SERVER_SIGNER: &str = "skiff.dev/serving";

/// The shortest life of a certificate.
const SECONDS_MIN: i64 = 600;
/// How far a certificate begins in the past, because clocks differ.
const BACKDATED_SECONDS: i64 = 300;
/// From this life on, the time before its beginning counts as part of it.
const LONG_SECONDS: i64 = 8 * 3600;

/// The authority that signs on request.
#[derive(Debug, Clone)]
pub struct Signer {
    authority: Arc<Authority>,
    seconds_max: i64,
}

impl Signer {
    /// Signs as `authority`, for `longest` at most.
    #[must_use]
    pub fn new(authority: Authority, longest: Duration) -> Self {
        let seconds_max = i64::try_from(longest.as_secs()).unwrap_or(i64::MAX / 2);
        Self { authority: Arc::new(authority), seconds_max }
    }

    /// The certificate that `spec` asks for, PEM; or why it is not signed.
    pub(super) fn sign(&self, spec: &CertificateSigningRequestSpec, now: Timestamp) -> Result<String, String> {
        let request = Request::from_pem(&spec.request.0).map_err(|why| format!("unable to parse csr: {why}"))?;
        let given = spec.usages.as_deref().unwrap_or_default();
        match spec.signer_name.as_str() {
            KUBELET_CLIENT_SIGNER => kubelet_client(&request, given)?,
            KUBELET_SERVING_SIGNER => kubelet_serving(&request, given)?,
            CLIENT_SIGNER => client(given)?,
            SERVER_SIGNER => server(&request, given)?,
            other => return Err(format!("unrecognized signerName: {other:?}")),
        }
        let usages: Vec<Usage> = given.iter().filter_map(|usage| Usage::named(usage)).collect();
        let (from, until) = life(spec.expiration_seconds, self.seconds_max, now.as_second());
        self.authority.sign(&request, &usages, from, until)
    }
}

/// From when until when a certificate holds for which so many seconds were asked for.
fn life(asked: Option<i32>, seconds_max: i64, now: i64) -> (i64, i64) {
    let seconds = asked.map_or(seconds_max, |asked| i64::from(asked).max(SECONDS_MIN).min(seconds_max));
    let from = now - BACKDATED_SECONDS;
    (from, if seconds < LONG_SECONDS { now + seconds } else { from + seconds })
}

fn require(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

const NO_GROUP: &str = "subject organization is not system:nodes";
const NO_NODE: &str = "subject common name does not begin with system:node:";

/// What a kubelet's client certificate may say.
pub(super) fn kubelet_client(request: &Request, given: &[String]) -> Result<(), String> {
    require(request.groups == ["system:nodes"], NO_GROUP)?;
    for (count, kind) in
        [(request.dns_names.len(), "DNS"), (request.mail, "Email"), (request.addresses, "IP"), (request.uris, "URI")]
    {
        require(count == 0, &format!("{kind} subjectAltNames are not allowed"))?;
    }
    require(request.name.starts_with("system:node:"), NO_NODE)?;
    usages(given, "client auth")
}

/// What a kubelet's serving certificate may say.
pub(super) fn kubelet_serving(request: &Request, given: &[String]) -> Result<(), String> {
    require(request.groups == ["system:nodes"], NO_GROUP)?;
    require(!request.dns_names.is_empty() || request.addresses > 0, "DNS or IP subjectAltName is required")?;
    for (count, kind) in [(request.mail, "Email"), (request.uris, "URI")] {
        require(count == 0, &format!("{kind} subjectAltNames are not allowed"))?;
    }
    usages(given, "server auth")?;
    require(request.name.starts_with("system:node:"), NO_NODE)
}

fn usages(given: &[String], needed: &str) -> Result<(), String> {
    const SIGNATURE: &str = "digital signature";
    const ENCIPHERMENT: &str = "key encipherment";
    let given: BTreeSet<&str> = given.iter().map(String::as_str).collect();
    let (plain, with_rsa) = (BTreeSet::from([SIGNATURE, needed]), BTreeSet::from([SIGNATURE, ENCIPHERMENT, needed]));
    let mut wanted = [SIGNATURE, ENCIPHERMENT, needed];
    wanted.sort_unstable();
    require(given == plain || given == with_rsa, &format!("usages did not match [{}]", wanted.join(" ")))
}

/// What another client's may say.
fn client(given: &[String]) -> Result<(), String> {
    for usage in given {
        let known = matches!(usage.as_str(), "digital signature" | "key encipherment" | "client auth");
        require(known, &format!("invalid usage for client certificate: {usage}"))?;
    }
    let has = given.iter().any(|usage| usage == "client auth");
    require(has, "missing required usage for client certificate: client auth")
}

/// What a certificate of an application's server may say: names, and nothing by which the API server would know a client.
fn server(request: &Request, given: &[String]) -> Result<(), String> {
    require(request.groups.is_empty(), "subject organizations are not allowed")?;
    require(!request.dns_names.is_empty() || request.addresses > 0, "DNS or IP subjectAltName is required")?;
    usages(given, "server auth")
}

#[cfg(test)]
pub(super) mod testing {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    /// A kubelet's request, or one that pretends to be.
    pub(crate) fn request(name: &str, group: &str, sans: &[&str]) -> CertificateSigningRequest {
        let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, group);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let mut request = CertificateSigningRequest::default();
        request.spec.request = ByteString(pem.into_bytes());
        request.spec.signer_name = super::KUBELET_CLIENT_SIGNER.to_owned();
        request.spec.usages = Some(vec!["digital signature".to_owned(), "client auth".to_owned()]);
        request.spec.username = Some("system:bootstrap:abcdef".to_owned());
        request
    }
}

#[cfg(test)]
mod tests {
    use super::testing::request;
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    fn signer() -> Signer {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        let authority = Authority::from_pem(&certificate, &key.serialize_pem()).unwrap();
        Signer::new(authority, Duration::from_secs(365 * 24 * 3600))
    }

    #[test]
    fn a_signer_signs_what_it_is_for() {
        const SIGNATURE: &str = "digital signature";
        let signer = signer();
        let node = |sans: &[&str]| request("system:node:n", "system:nodes", sans).spec;
        let with = |spec: CertificateSigningRequestSpec, signer: &str, usages: &[&str]| CertificateSigningRequestSpec {
            signer_name: signer.to_owned(),
            usages: Some(usages.iter().map(|usage| (*usage).to_owned()).collect()),
            ..spec
        };
        let serving = |sans: &[&str]| with(node(sans), KUBELET_SERVING_SIGNER, &[SIGNATURE, "server auth"]);
        let user = |usages: &[&str]| with(request("u", "g", &[]).spec, CLIENT_SIGNER, usages);
        for (spec, why) in [
            (node(&[]), ""),
            (serving(&["n"]), ""),
            (serving(&[]), "DNS or IP subjectAltName is required"),
            (
                with(node(&[]), KUBELET_CLIENT_SIGNER, &[SIGNATURE, "server auth"]),
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (node(&["n"]), "DNS subjectAltNames are not allowed"),
            (node(&["192.0.2.1"]), "IP subjectAltNames are not allowed"),
            (request("root", "system:nodes", &[]).spec, NO_NODE),
            (request("system:node:n", "system:masters", &[]).spec, NO_GROUP),
            (user(&["client auth"]), ""),
            (user(&["client auth", "server auth"]), "invalid usage for client certificate: server auth"),
            (user(&[SIGNATURE]), "missing required usage for client certificate: client auth"),
            (with(node(&[]), "example.com/x", &["client auth"]), "unrecognized signerName: \"example.com/x\""),
            (with(node(&[]), "kubernetes.io/legacy-unknown", &["client auth"]), "unrecognized signerName"),
            (with(node(&["n"]), SERVER_SIGNER, &[SIGNATURE, "server auth"]), "subject organizations are not allowed"),
        ] {
            let error = signer.sign(&spec, Timestamp::UNIX_EPOCH).err().unwrap_or_default();
            assert!(error.starts_with(why) && error.is_empty() == why.is_empty(), "{why}: {error}");
        }
        let broken = CertificateSigningRequestSpec { request: k8s_openapi::ByteString(b"x".to_vec()), ..node(&[]) };
        assert!(signer.sign(&broken, Timestamp::UNIX_EPOCH).unwrap_err().contains("unable to parse csr"));
    }

    #[test]
    fn a_life_is_as_long_as_asked_within_bounds() {
        const YEAR: i64 = 365 * 24 * 3600;
        for (asked, expected) in [
            (None, (-300, YEAR - 300)),
            (Some(i32::MAX), (-300, YEAR - 300)),
            (Some(3600), (-300, 3600)),
            (Some(600), (-300, 600)),
            (Some(1), (-300, 600)),
            (Some(28_800), (-300, 28_500)),
        ] {
            assert_eq!(life(asked, YEAR, 0), expected, "{asked:?}");
        }
        assert_eq!(life(Some(600), 60, 0), (-300, 60), "the authority's own bound counts most");
    }
}
