//! What is written into the cluster: where ingresses are reached, events about what cannot be done, and the class that names us.

use crate::gateway::{Written, dated, is_same};
use crate::objects::{Ingress, IngressClass};
use crate::plan::Problem;
use http::Request;
use http::header::CONTENT_TYPE;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use skiff_client::{Cache, EventKind, event_about, record};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Who says it.
const REPORTER: &str = "skiff-ingress";
/// The class that is made if none names us.
const CLASS: &str = "skiff";
/// The annotation of the class that is taken if none is named.
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
/// How long after a refusal it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What has become of all objects.
#[derive(Clone, Default)]
pub(crate) struct Report {
    pub(crate) ingresses: Vec<IngressReport>,
    pub(crate) gateways: Vec<Written>,
}

/// What has become of an ingress.
#[derive(Clone)]
pub(crate) struct IngressReport {
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) problems: Vec<Problem>,
}

/// Writes reports.
pub(crate) struct Reporter {
    pub(crate) client: Client,
    /// Where ingresses are reached.
    pub(crate) addresses: Vec<IpAddr>,
    /// What was told of each, by uid.
    pub(crate) told: HashMap<String, Vec<Problem>>,
}

impl Reporter {
    /// Writes each report, the newest if there are several, for as long as it is polled.
    pub(crate) async fn run(&mut self, mut reports: watch::Receiver<Report>) {
        while reports.changed().await.is_ok() {
            let report = reports.borrow_and_update().clone();
            while let Err(error) = self.write(&report).await {
                tracing::warn!(error = skiff_client::sentence(&error), "write where ingresses are reached");
                sleep(RETRY).await;
                if reports.has_changed().unwrap_or(false) {
                    break;
                }
            }
        }
    }

    async fn write(&mut self, report: &Report) -> kube::Result<()> {
        let uids: Vec<String> = report.ingresses.iter().filter_map(|one| one.ingress.uid()).collect();
        self.told.retain(|uid, _| uids.contains(uid));
        for one in &report.ingresses {
            self.tell(one);
            self.status(&one.ingress).await?;
        }
        for one in report.gateways.iter().filter(|one| !is_same(&one.before, &one.status)) {
            let mut status = one.status.clone();
            dated(
                &one.before,
                &mut status,
                &jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
            );
            gone_is_done(patched(&self.client, &one.path, &json!({"status": status})).await)?;
        }
        Ok(())
    }

    /// An event for each problem that was not there before.
    fn tell(&mut self, one: &IngressReport) {
        let told = self.told.entry(one.ingress.uid().unwrap_or_default()).or_default();
        for problem in one.problems.iter().filter(|problem| !told.contains(problem)) {
            let (reason, message) = (problem.reason, problem.message.clone());
            record(&self.client, event_about(&*one.ingress, REPORTER, EventKind::Warning, reason, message));
        }
        told.clone_from(&one.problems);
    }

    async fn status(&self, ingress: &Ingress) -> kube::Result<()> {
        let wanted: Vec<Value> = self.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
        let wanted = Value::from(wanted);
        if ingress.fields.pointer("/status/loadBalancer/ingress") == Some(&wanted) {
            return Ok(());
        }
        let (namespace, name) = (ingress.namespace().unwrap_or_default(), ingress.name_any());
        let path = format!("/apis/networking.k8s.io/v1/namespaces/{namespace}/ingresses/{name}/status");
        let patch = json!({"metadata": {"uid": ingress.uid()}, "status": {"loadBalancer": {"ingress": wanted}}});
        gone_is_done(patched(&self.client, &path, &patch).await)
    }
}

/// It is gone, or another one has its name: that one's turn comes.
fn gone_is_done(written: kube::Result<()>) -> kube::Result<()> {
    match written {
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        other => other,
    }
}

/// Merges `patch` into the object at `path`.
pub(crate) async fn patched(client: &Client, path: &str, patch: &Value) -> kube::Result<()> {
    let body = serde_json::to_vec(patch).map_err(kube::Error::SerdeError)?;
    let request = Request::patch(path).header(CONTENT_TYPE, "application/merge-patch+json").body(body);
    client.request::<Value>(request.map_err(kube::Error::HttpError)?).await.map(drop)
}

/// Makes the class that names us, unless there is one; it is the default one if no other is.
///
/// # Errors
/// The API server refuses.
pub(crate) async fn make_class(client: &Client, classes: &Cache<IngressClass>) -> kube::Result<()> {
    classes.synced().await;
    let all = classes.all();
    if all.iter().any(|class| class.text("/spec/controller") == crate::ingress::CONTROLLER) {
        return Ok(());
    }
    let has_default = all.iter().any(|class| class.annotation(DEFAULT) == Some("true"));
    let annotations = if has_default { json!({}) } else { json!({DEFAULT: "true"}) };
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": CLASS, "annotations": annotations},
        "spec": {"controller": crate::ingress::CONTROLLER},
    });
    let body = serde_json::to_vec(&class).map_err(kube::Error::SerdeError)?;
    let request = Request::post("/apis/networking.k8s.io/v1/ingressclasses").header(CONTENT_TYPE, "application/json");
    match client.request::<Value>(request.body(body).map_err(kube::Error::HttpError)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        made => made.map(drop),
    }
}
