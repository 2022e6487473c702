//! A certificate is asked for: a key, a request, and the answer.

use crate::files::Pair;
use crate::{KeysError, Places};
use futures::TryStreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::runtime::watcher;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use std::time::Duration;
use tokio::time::timeout;

/// How long somebody may take to approve (as kubelets wait).
const APPROVED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// What is asked for.
pub(crate) struct Wanted<'a> {
    node: &'a str,
    signer: &'static str,
    usages: [&'static str; 2],
    places: Option<&'a Places>,
    /// Start of the request's name.
    prefix: &'static str,
}

impl<'a> Wanted<'a> {
    /// That of the node as a client.
    pub(crate) fn client(node: &'a str, prefix: &'static str) -> Self {
        let usages = ["digital signature", "client auth"];
        Self { node, signer: "kubernetes.io/kube-apiserver-client-kubelet", usages, places: None, prefix }
    }

    /// That of its server.
    pub(crate) fn serving(node: &'a str, places: &'a Places) -> Self {
        let usages = ["digital signature", "server auth"];
        Self { node, signer: "kubernetes.io/kubelet-serving", usages, places: Some(places), prefix: "csr-" }
    }

    /// The request in PEM, with the key that it is for.
    fn make(&self) -> Result<(String, KeyPair), rcgen::Error> {
        let names = self
            .places
            .iter()
            .flat_map(|places| places.names.iter().cloned().chain(places.ips.iter().map(ToString::to_string)));
        let mut params = CertificateParams::new(names.collect::<Vec<_>>())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node));
        let key = KeyPair::generate()?;
        let request = params.serialize_request(&key)?.pem()?;
        Ok((request, key))
    }

    fn object(&self, request: String) -> CertificateSigningRequest {
        CertificateSigningRequest {
            metadata: ObjectMeta { generate_name: Some(self.prefix.to_owned()), ..ObjectMeta::default() },
            spec: CertificateSigningRequestSpec {
                request: ByteString(request.into_bytes()),
                signer_name: self.signer.to_owned(),
                usages: Some(self.usages.map(str::to_owned).into()),
                ..CertificateSigningRequestSpec::default()
            },
            status: None,
        }
    }
}

/// Asks, and waits until it is issued or refused.
pub(crate) async fn ask(client: &kube::Client, wanted: Wanted<'_>) -> Result<Pair, KeysError> {
    let (request, key) = wanted.make().map_err(|error| KeysError::Make(error.to_string()))?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let created = api.create(&PostParams::default(), &wanted.object(request)).await;
    let failed = |operation, name: &str| {
        let name = name.to_owned();
        move |error: kube::Error| KeysError::Api { operation, name, source: Box::new(error) }
    };
    let created = created.map_err(failed("create", wanted.prefix))?;
    let name = created.metadata.name.unwrap_or_default();
    let seconds = APPROVED_WITHIN.as_secs();
    let silence = |_| KeysError::Silence { name: name.clone(), seconds };
    let certificate = timeout(APPROVED_WITHIN, answer(&api, &name)).await.map_err(silence)??;
    Ok(Pair { certificate, key: key.serialize_pem() })
}

/// The certificate, once there is one.
async fn answer(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String, KeysError> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = std::pin::pin!(watcher(api.clone(), only));
    loop {
        match changes.try_next().await {
            Ok(Some(watcher::Event::Apply(request) | watcher::Event::InitApply(request))) => {
                if let Some(certificate) = decided(&request, name)? {
                    return Ok(certificate);
                }
            }
            Ok(_) => {}
            // The next look begins with a list.
            Err(error) => {
                tracing::debug!(error = skiff_client::sentence(&error), "watch certificate signing request {name}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// What became of a request so far.
fn decided(request: &CertificateSigningRequest, name: &str) -> Result<Option<String>, KeysError> {
    let Some(status) = &request.status else { return Ok(None) };
    let refusal = status.conditions.iter().flatten().find(|one| one.type_ == "Denied" || one.type_ == "Failed");
    if let Some(condition) = refusal {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let why = text(&condition.message)
            .or_else(|| text(&condition.reason))
            .unwrap_or_else(|| "no reason was given".to_owned());
        return Err(KeysError::Refused { name: name.to_owned(), how: condition.type_.to_lowercase(), why });
    }
    let Some(certificate) = status.certificate.as_ref().filter(|bytes| !bytes.0.is_empty()) else { return Ok(None) };
    let text = String::from_utf8(certificate.0.clone());
    text.map(Some).map_err(|_| KeysError::Unusable("it is not PEM".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::certificates::v1::{CertificateSigningRequestCondition, CertificateSigningRequestStatus};
    use skiff_authn::certificate::Request;

    #[test]
    fn requests_say_what_signers_want_to_hear() {
        let (request, _) = Wanted::client("n", "csr-").make().unwrap();
        let read = Request::from_pem(request.as_bytes()).unwrap();
        assert_eq!((read.name.as_str(), read.groups.as_slice()), ("system:node:n", &["system:nodes".to_owned()][..]));
        assert_eq!(read.dns_names.len() + read.addresses + read.mail + read.uris, 0);
        let places = Places { names: vec!["n".to_owned()], ips: vec!["192.0.2.1".parse().unwrap()] };
        let (request, _) = Wanted::serving("n", &places).make().unwrap();
        let read = Request::from_pem(request.as_bytes()).unwrap();
        assert_eq!((read.dns_names, read.ips), (places.names.clone(), places.ips.clone()));
    }

    #[test]
    fn an_answer_is_a_certificate_or_a_reason() {
        let with = |kind: &str, certificate: &str| {
            let condition = CertificateSigningRequestCondition {
                type_: kind.to_owned(),
                message: Some("because".to_owned()),
                ..CertificateSigningRequestCondition::default()
            };
            let certificate = Some(ByteString(certificate.as_bytes().to_vec())).filter(|bytes| !bytes.0.is_empty());
            let status = CertificateSigningRequestStatus { conditions: Some(vec![condition]), certificate };
            decided(&CertificateSigningRequest { status: Some(status), ..Default::default() }, "csr-1")
        };
        assert!(with("Approved", "").unwrap().is_none());
        assert_eq!(with("Approved", "pem").unwrap().as_deref(), Some("pem"));
        let refused = with("Denied", "").unwrap_err().to_string();
        assert_eq!(refused, "certificate signing request csr-1 was denied: because");
    }
}
