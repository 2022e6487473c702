//! Whether servers behind this one answer: one task asks them, says so in the condition `Available` of their APIServices, and keeps what
//! they say that they serve.

use super::forward::{introduce, uri};
use super::published;
use super::remote::{Learned, Remote};
use crate::app::App;
use crate::registry::object::now;
use crate::registry::{Change, Registry, Target, built_in};
use crate::remote::place;
use crate::request::Request;
use crate::status::Status;
use axum::body::Body;
use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;
use skiff_client::Identity;
use skiff_schema::{Decoded, set_condition};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How often those are asked that do not answer, and how often those that do are asked what they serve (kube-aggregator looks at services
/// and their endpoints at once, and asks every 30 s).
const LOOK: Duration = Duration::from_secs(1);
/// After so many looks one that answers is asked again.
const LOOKS: u32 = 10;
/// How long an answer may take (kube-aggregator).
const PATIENCE: Duration = Duration::from_secs(5);
/// How large a document may be: the largest list of what a version serves is a few hundred kilobytes.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;
/// Who asks.
const OUR_USER: &str = "system:kube-aggregator";
/// The group of those who may do everything: whatever the server asks about us, we may.
const ADMINISTRATORS: &str = "system:masters";

/// A condition: status, reason and message.
type Finding = (&'static str, &'static str, String);

/// Looks until the server stops, or is dropped.
pub(crate) fn follow(app: &Arc<App>, until: CancellationToken) {
    let app = Arc::clone(app);
    tokio::spawn(until.run_until_cancelled_owned(async move {
        while let Err(status) = published::publish(&app.registry, &app.aggregation.published).await {
            tracing::warn!(message = status.message, "whom API servers behind this one may believe was not published");
            tokio::time::sleep(LOOK).await;
        }
        let mut looks: u32 = 0;
        loop {
            let remotes = app.aggregation.remotes();
            let others = || remotes.iter().filter(|remote| !remote.is_own());
            let due = others().filter(|remote| !remote.is_available() || looks.is_multiple_of(LOOKS));
            join_all(due.map(|remote| look(&app.registry, remote))).await;
            looks = looks.wrapping_add(1);
            // Who is not asked costs nothing; something new is looked at at once.
            let sleep = tokio::time::sleep(LOOK);
            tokio::select! {
                () = sleep, if others().next().is_some() => {}
                () = app.aggregation.changed.notified() => {}
            }
        }
    }));
}

/// Looks at one of them, and says what is found.
async fn look(registry: &Registry, remote: &Remote) {
    let found = find(registry, remote).await;
    remote.set_available(found.0 == "True");
    if let Err(status) = say(registry, &remote.name, &found).await {
        tracing::warn!(service = remote.name, message = status.message, "the status of an APIService was not written");
    }
}

async fn find(registry: &Registry, remote: &Remote) -> Finding {
    let (name, namespace) = (&remote.service, &remote.namespace);
    let no = |reason, message| ("False", reason, message);
    let unknown = |reason, status: Status| {
        let message = format!("service/{name} in {namespace:?} cannot be checked due to: {}", status.message);
        ("Unknown", reason, message)
    };
    let service = match place::service(registry, namespace, name).await {
        Ok(Some(service)) => service,
        Ok(None) => return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")),
        Err(status) => return unknown("ServiceAccessError", status),
    };
    if matches!(service["spec"]["type"].as_str(), Some("ClusterIP") | None) {
        let Some(port) = place::port_name(&service, remote.port) else {
            let message = format!("service/{name} in {namespace:?} is not listening on port {}", remote.port);
            return no("ServicePortError", message);
        };
        match place::endpoints(registry, namespace, name, &port).await {
            Ok(None) => {
                let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
                return no("EndpointsNotFound", message);
            }
            Ok(Some(found)) if found.is_empty() => {
                let message = format!(
                    "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}"
                );
                return no("MissingEndpoints", message);
            }
            Ok(Some(_)) => {}
            Err(status) => return unknown("EndpointsAccessError", status),
        }
    }
    match learn(registry, remote).await {
        Ok(()) => ("True", "Passed", "all checks passed".to_owned()),
        Err(why) => no("FailedDiscoveryCheck", why),
    }
}

/// Asks what it serves, which it must be able to say, and where it describes it, which it need not.
async fn learn(registry: &Registry, remote: &Remote) -> Result<(), String> {
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let (shown, answer) = document(registry, remote, &path).await;
    let failing = |why: &str| format!("failing or missing response from {shown}: {why}");
    let (code, body) = answer.map_err(|why| failing(&why))?;
    if !code.is_success() {
        return Err(failing(&format!("bad status from {shown}: {}", code.as_u16())));
    }
    let resources = serde_json::from_slice::<Value>(&body).ok().filter(|list| list["resources"].is_array());
    let openapi_v3 = match document(registry, remote, "/openapi/v3").await.1 {
        Ok((StatusCode::OK, body)) => {
            let index: Value = serde_json::from_slice(&body).unwrap_or_default();
            let own = format!("apis/{}/{}", remote.group, remote.version);
            index["paths"][own]["serverRelativeURL"].as_str().map(str::to_owned)
        }
        _ => None,
    };
    let before = remote.learned().resources.clone();
    *remote.learned() = Learned { resources: resources.map(Arc::new).or(before), openapi_v3 };
    Ok(())
}

/// One of its documents as we ask for it: the URL as it is shown, and the answer.
pub(super) async fn document(
    registry: &Registry,
    remote: &Remote,
    path: &str,
) -> (String, Result<(StatusCode, Bytes), String>) {
    let authority = match remote.resolved(registry).await {
        Ok(authority) => authority,
        Err(status) => {
            return (format!("https://{}.{}.svc{path}", remote.service, remote.namespace), Err(status.message));
        }
    };
    let shown = format!("https://{authority}{path}");
    let asked = async {
        let mut request = http::Request::new(Body::empty());
        *request.uri_mut() = uri(&authority, path).map_err(|status| status.message)?;
        request.headers_mut().insert(http::header::ACCEPT, http::HeaderValue::from_static("application/json"));
        let groups = vec![ADMINISTRATORS.to_owned()];
        introduce(request.headers_mut(), &Identity { user: OUR_USER.to_owned(), groups, ..Identity::default() });
        let answer = remote.send(request).await?;
        let code = answer.status();
        let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok((code, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    let answer = timeout(PATIENCE, asked).await;
    (shown, answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned())))
}

/// Writes the condition; that the APIService is gone meanwhile is as good.
pub(crate) async fn say(registry: &Registry, name: &str, found: &Finding) -> Result<(), Status> {
    let target = Target { resource: built_in("apiregistration.k8s.io", "apiservices")?, namespace: "", name };
    let change = Change::of_present(|current| {
        let mut next = current.clone();
        if !next["status"].is_object() {
            next["status"] = Value::Object(serde_json::Map::new());
        }
        set_condition(&mut next["status"], ["Available", found.0, found.1, &found.2], &now());
        Ok(Decoded { object: next, warnings: Vec::new() })
    });
    match registry.write(&Request::own("update", &target).of_part("status"), &change).await {
        Err(status) if status.reason != "NotFound" => Err(status),
        _ => Ok(()),
    }
}
