//! A certificate for an application's host, signed by the cluster's authority: asked for and approved as `kubectl certificate approve` does it.

use super::objects::{Application, LABEL};
use super::{apply, get, until};
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::Client;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use serde_json::{Value, json};
use skiff_authn::certificate::{ends, names};
use std::time::Duration;

/// Who signs for servers of applications.
const SIGNER: &str = "skiff.dev/serving";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
/// How long signing may take.
const SIGNED_MAX: Duration = Duration::from_secs(30);
/// One that ends sooner is replaced.
const LEFT_MIN: i64 = 30 * 24 * 3600;

/// Makes the secret, unless it has a certificate for the host that lasts.
pub(super) async fn ensure(client: &Client, application: &Application) -> anyhow::Result<()> {
    let name = application.secret();
    let path = format!("/api/v1/namespaces/{}/secrets/{name}", application.namespace);
    if get(client, &path).await?.is_some_and(|secret| will_do(&secret, &application.host)) {
        return Ok(());
    }
    for (path, object) in permission() {
        apply(client, &path, &object).await?;
    }
    let key = KeyPair::generate().context("make a key")?;
    let certificate = signed(client, application, &key).await?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": application.namespace, "labels": {LABEL: application.name}},
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": certificate, "tls.key": STANDARD.encode(key.serialize_pem())},
    });
    apply(client, &path, &secret).await
}

/// The controllers may sign for our signer: those of Kubernetes' policy are for Kubernetes' own.
fn permission() -> [(String, Value); 2] {
    const ROLES: &str = "rbac.authorization.k8s.io";
    const NAME: &str = "skiff:serving-signer";
    let of = |plural: &str| format!("/apis/{ROLES}/v1/{plural}/{NAME}");
    let named = |kind: &str| json!({"apiVersion": format!("{ROLES}/v1"), "kind": kind, "metadata": {"name": NAME}});
    let (mut role, mut binding) = (named("ClusterRole"), named("ClusterRoleBinding"));
    role["rules"] = json!([{"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": [SIGNER],
        "verbs": ["sign"]}]);
    binding["roleRef"] = json!({"apiGroup": ROLES, "kind": "ClusterRole", "name": NAME});
    binding["subjects"] = json!([{"apiGroup": ROLES, "kind": "User", "name": "system:kube-controller-manager"}]);
    [(of("clusterroles"), role), (of("clusterrolebindings"), binding)]
}

fn will_do(secret: &Value, host: &str) -> bool {
    let pem = secret["data"]["tls.crt"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let is_named = names(&pem).is_some_and(|(names, _)| names.iter().any(|name| name == host));
    is_named && ends(&pem).is_some_and(|end| end - jiff::Timestamp::now().as_second() > LEFT_MIN)
}

/// The certificate, as secrets hold it.
async fn signed(client: &Client, application: &Application, key: &KeyPair) -> anyhow::Result<String> {
    let mut params = CertificateParams::new([application.host.clone()]).context("the host in a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, application.host.clone());
    let pem = params.serialize_request(key).and_then(|request| request.pem()).context("ask for a certificate")?;
    let request = json!({
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"generateName": format!("{}-", application.name)},
        "spec": {"request": STANDARD.encode(pem), "signerName": SIGNER, "usages": ["digital signature", "server auth"]},
    });
    let mut object = send(client, "POST", REQUESTS, &request).await.context("ask for a certificate")?;
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    object["status"]["conditions"] = json!([{"type": "Approved", "status": "True", "reason": "SkiffRun",
        "message": "whoever runs the application asked for it"}]);
    let path = format!("{REQUESTS}/{name}");
    send(client, "PUT", &format!("{path}/approval"), &object).await.context("approve a certificate")?;
    let certificate = until("the certificate is not signed", SIGNED_MAX, async || {
        let object = get(client, &path).await?.unwrap_or_default();
        let failed =
            object["status"]["conditions"].as_array().into_iter().flatten().find(|one| one["type"] == "Failed");
        if let Some(failed) = failed {
            bail!("the certificate is not signed: {}", failed["message"].as_str().unwrap_or_default());
        }
        Ok(object["status"]["certificate"].as_str().map(str::to_owned))
    })
    .await?;
    send(client, "DELETE", &path, &json!({})).await.context("remove the request for a certificate")?;
    Ok(certificate)
}

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    Ok(client.request(request.body(serde_json::to_vec(body)?)?).await?)
}
