//! Which path does what, as on a real kubelet.

use super::log_lines::Wish;
use super::logs::{self, Order};
use super::{auth, streams};
use crate::agent::Agent;
use crate::board::Posted;
use crate::pod::observed::Instance;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router, middleware};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;

/// A refusal: status and sentence.
pub(super) type Refusal = (StatusCode, String);

/// Lines that may wait for a slow reader.
const LINES_WAITING_MAX: usize = 64;

/// The kubelet's API.
pub(super) fn router(agent: Arc<Agent>) -> Router {
    let guarded = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", any(streams::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(streams::exec_by_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(streams::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(streams::attach_by_uid))
        .route("/portForward/{namespace}/{pod}", any(streams::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(streams::port_forward_by_uid))
        .route("/pods", get(pods))
        .route("/stats/summary", get(stats))
        .layer(middleware::from_fn(auth::require));
    Router::new().route("/healthz", get(|| async { "ok" })).merge(guarded).with_state(agent)
}

/// The query as pairs, percent-decoding included.
pub(super) fn pairs(query: Option<&str>) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let (mut out, mut bytes) = (Vec::new(), text.bytes());
        while let Some(byte) = bytes.next() {
            match byte {
                b'+' => out.push(b' '),
                b'%' => {
                    let hex: Vec<u8> = bytes.by_ref().take(2).collect();
                    let value = std::str::from_utf8(&hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                    out.push(value.unwrap_or(b'%'));
                }
                byte => out.push(byte),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

/// Whether `value` says yes.
pub(super) fn is_yes(value: &str) -> bool {
    matches!(value, "1" | "true" | "True")
}

/// The pod, as its worker posted it.
pub(super) fn find(agent: &Agent, namespace: &str, pod: &str) -> Result<Posted, Refusal> {
    agent
        .board
        .find(namespace, pod)
        .ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod {namespace}/{pod} does not exist on this node\n")))
}

async fn container_logs(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let posted = find(&agent, &namespace, &pod)?;
    let mut order = read_order(&pairs(query.as_deref()))?;
    let instance = choose(&posted, &container, order.previous)?;
    let path = agent.log(&posted.pod, instance);
    let missing =
        |error: std::io::Error| (StatusCode::INTERNAL_SERVER_ERROR, format!("open log {}: {error}\n", path.display()));
    let file = logs::open(&path).await.map_err(missing)?;
    let (to, lines) = tokio::sync::mpsc::channel(LINES_WAITING_MAX);
    order.order.path = path.clone();
    order.order.id = instance.id.clone();
    (order.order.namespace, order.order.pod) = (namespace, pod);
    tokio::spawn(logs::send(agent, file, order.order, to));
    let headers = [(http::header::CONTENT_TYPE, "text/plain")];
    Ok((headers, Body::from_stream(ReceiverStream::new(lines))).into_response())
}

struct LogOrder {
    order: Order,
    previous: bool,
}

fn read_order(pairs: &[(String, String)]) -> Result<LogOrder, Refusal> {
    let mut order = Order {
        path: Default::default(),
        namespace: String::new(),
        pod: String::new(),
        id: String::new(),
        follow: false,
        tail_lines: None,
        limit_bytes: None,
        wish: Wish::default(),
    };
    let mut previous = false;
    for (key, value) in pairs {
        let wrong = || (StatusCode::BAD_REQUEST, format!("{key}={value}: not a valid value\n"));
        let number = || value.parse::<u64>().map_err(|_| wrong());
        match key.as_str() {
            "follow" => order.follow = is_yes(value),
            "previous" => previous = is_yes(value),
            "timestamps" => order.wish.timestamps = is_yes(value),
            "tailLines" => order.tail_lines = Some(number()?),
            "limitBytes" => order.limit_bytes = Some(number()?),
            "sinceTime" => order.wish.since = Some(value.parse().map_err(|_| wrong())?),
            "sinceSeconds" => {
                let seconds = i64::try_from(number()?).map_err(|_| wrong())?;
                order.wish.since = Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok();
            }
            "pretty" | "insecureSkipTLSVerifyBackend" | "container" => {}
            "stream" if value == "All" => {}
            _ => return Err((StatusCode::BAD_REQUEST, format!("log option {key}={value} is not implemented\n"))),
        }
    }
    Ok(LogOrder { order, previous })
}

fn choose<'a>(posted: &'a Posted, container: &str, previous: bool) -> Result<&'a Instance, Refusal> {
    let bad = |message: String| (StatusCode::BAD_REQUEST, message + "\n");
    let spec = posted.pod.spec.as_ref();
    let mut known = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let name = posted.pod.metadata.name.as_deref().unwrap_or_default();
    if !known.any(|known| known.name == container) {
        return Err((StatusCode::NOT_FOUND, format!("container {container} not found in pod {name}\n")));
    }
    let mut instances = posted.seen.instances(container);
    if !previous {
        return instances
            .next()
            .ok_or_else(|| bad(format!("container \"{container}\" in pod \"{name}\" is waiting to start")));
    }
    let dead = posted.seen.instances(container).nth(usize::from(instances.next().is_some_and(Instance::is_running)));
    dead.ok_or_else(|| bad(format!("previous terminated container \"{container}\" in pod \"{name}\" not found")))
}

async fn pods(State(agent): State<Arc<Agent>>) -> Response {
    let items: Vec<_> = agent.board.all().into_iter().map(|posted| Pod::clone(&posted.pod)).collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

/// The part of the summary API that CRI's container statistics give.
async fn stats(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let stats = agent.cri.container_stats().await;
    let stats = stats
        .map_err(|status| (StatusCode::BAD_GATEWAY, format!("ListContainerStats: {}\n", crate::cri::said(&status))))?;
    let number = |value: &Option<skiff_proto::cri::v1::UInt64Value>| value.as_ref().map(|value| value.value);
    let mut pods = Vec::new();
    for posted in agent.board.all() {
        let own = stats
            .iter()
            .filter(|stats| stats.attributes.as_ref().is_some_and(|a| posted.seen.containers.contains_key(&a.id)));
        let containers: Vec<_> = own
            .map(|stats| {
                let name = stats.attributes.as_ref().and_then(|a| a.metadata.as_ref()).map(|meta| meta.name.clone());
                let (cpu, memory) = (stats.cpu.unwrap_or_default(), stats.memory.unwrap_or_default());
                json!({"name": name,
                    "cpu": {"usageCoreNanoSeconds": number(&cpu.usage_core_nano_seconds), "usageNanoCores": number(&cpu.usage_nano_cores)},
                    "memory": {"workingSetBytes": number(&memory.working_set_bytes), "usageBytes": number(&memory.usage_bytes)}})
            })
            .collect();
        let meta = &posted.pod.metadata;
        pods.push(json!({"podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}, "containers": containers}));
    }
    Ok(Json(json!({"node": {"nodeName": agent.node_name}, "pods": pods})).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let expected =
            [("command", "sh"), ("command", "a b&c"), ("tty", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs(Some("command=sh&command=a+b%26c&tty")), expected);
    }

    #[test]
    fn an_unknown_log_option_is_refused_by_name() {
        let error = read_order(&[("stream".into(), "Stderr".into())]).err().unwrap();
        assert!(error.1.contains("stream=Stderr"), "{}", error.1);
    }
}
