//! What etcd answers over plain HTTP on its client port: whether it is well, and its version. Figures are in [`super::figures`].

use super::maintenance::CLUSTER_VERSION;
use super::{SERVED_VERSION, figures};
use crate::Store;
use crate::request::{Alarm, Raiser};
use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Version};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tonic::Status;

/// What `/livez` and `/readyz` look at, in the order they are told.
const LIVEZ: &[&str] = &["serializable_read"];
const READYZ: &[&str] = &["data_corruption", "linearizable_read", "serializable_read"];

/// `/health`, `/livez`, `/readyz` and each of their checks, `/version`, `/metrics`.
pub(crate) fn pages(store: Store) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/livez", get(|state, query| probes(state, query, LIVEZ)))
        .route("/livez/{check}", get(|state, path| probe(state, path, LIVEZ)))
        .route("/readyz", get(|state, query| probes(state, query, READYZ)))
        .route("/readyz/{check}", get(|state, path| probe(state, path, READYZ)))
        .route("/metrics", get(figures::metrics))
        .with_state(store)
        .route("/version", get(version))
        .fallback(no_such_page)
}

/// There is no such service: in the words of Go's gRPC server.
pub(crate) async fn no_such_service(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let service = path.rsplit_once('/').map_or(path, |(service, _)| service);
    Status::unimplemented(format!("unknown service {service}")).into_http()
}

/// As Go's servers refuse what is neither a page nor a call: over HTTP/2 it is a call of a wrong kind.
async fn no_such_page(request: Request) -> Response {
    let (version, method) = (request.version(), request.method());
    if version != Version::HTTP_2 || method != Method::POST {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    }
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .map_or(String::new(), |kind| String::from_utf8_lossy(kind.as_bytes()).into());
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("invalid gRPC request content-type {kind:?}\n")).into_response()
}

/// Somebody asked for a machine of another name, as a web page does whose own name was made to lead here.
pub(crate) fn misdirected(name: &str) -> Response {
    let what = format!(
        "this store was asked for by the name {name:?}, which is not known for this machine; ask by address, or tell the name with \
         --advertise-client-urls\n"
    );
    (StatusCode::MISDIRECTED_REQUEST, what).into_response()
}

/// The values of a parameter that may be repeated. None of ours needs escapes.
fn values<'a>(query: &'a Option<String>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.iter().flat_map(|query| query.split('&'));
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).filter(move |pair| pair.0 == name).map(|pair| pair.1)
}

/// Of its parameters `exclude` names alarms to overlook; `serializable` asks for less than is always checked here, and changes nothing.
async fn health(State(store): State<Store>, RawQuery(query): RawQuery) -> Response {
    let on = |alarm| Raiser::ALL.into_iter().any(|raiser| store.core().is_alarmed(alarm, raiser));
    let alarm = [(Alarm::NoSpace, "NOSPACE"), (Alarm::Corrupt, "CORRUPT")]
        .into_iter()
        .find(|(alarm, name)| on(*alarm) && !values(&query, "exclude").any(|excluded| excluded == *name));
    let reason = match (alarm, store.core().check()) {
        (Some((_, name)), _) => format!("ALARM {name}"),
        (None, Err(why)) => format!("RANGE ERROR:{why}"),
        (None, Ok(())) => return axum::Json(json!({ "health": "true", "reason": "" })).into_response(),
    };
    let answer = json!({ "health": "false", "reason": reason });
    (StatusCode::SERVICE_UNAVAILABLE, format!("{answer}\n")).into_response()
}

fn look(store: &Store, check: &str) -> Result<(), String> {
    match check {
        "data_corruption" if store.core().view().alarms.has(Alarm::Corrupt) => {
            Err("alarm activated: CORRUPT".to_owned())
        }
        "data_corruption" => Ok(()),
        // One node: what it reads is what was written last.
        _ => store.core().check().map_err(|why| why.to_string()),
    }
}

fn told(store: &Store, checks: &[&str], verbose: bool) -> Response {
    let (mut lines, mut well) = (String::new(), true);
    for check in checks {
        match look(store, check) {
            Ok(()) => lines += &format!("[+]{check} ok\n"),
            Err(why) => {
                lines += &format!("[-]{check} failed: {why}\n");
                well = false;
            }
        }
    }
    match (well, verbose) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, lines).into_response(),
        (true, true) => (lines + "ok\n").into_response(),
        (true, false) => "ok\n".into_response(),
    }
}

async fn probes(State(store): State<Store>, RawQuery(query): RawQuery, checks: &[&str]) -> Response {
    let wanted = |check: &&&str| !values(&query, "exclude").any(|excluded| excluded == **check);
    let checks: Vec<_> = checks.iter().filter(wanted).copied().collect();
    told(&store, &checks, values(&query, "verbose").next().is_some())
}

async fn probe(State(store): State<Store>, Path(check): Path<String>, checks: &[&str]) -> Response {
    if checks.contains(&check.as_str()) {
        return told(&store, &[&check], false);
    }
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

async fn version() -> Response {
    axum::Json(json!({ "etcdserver": SERVED_VERSION, "etcdcluster": CLUSTER_VERSION })).into_response()
}
