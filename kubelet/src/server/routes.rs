//! Which path does what, as on a real kubelet.

use super::log_lines::Wish;
use super::logs::{self, Order};
use super::usage::{self, NodeUsage, PodUsage};
use super::{auth, known, metrics, streams};
use crate::agent::Agent;
use crate::board::Posted;
use crate::pod::ephemeral;
use crate::pod::observed::{Instance, Life};
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router, middleware};
use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::sync::Arc;
use tokio_stream::wrappers::ReceiverStream;

/// A refusal: status and sentence.
pub(super) type Refusal = (StatusCode, String);

/// How long a command of `run` may take, seconds.
const RUN_SECONDS_MAX: i64 = 120;
/// Lines that may wait for a slow reader.
const LINES_WAITING_MAX: usize = 64;

/// The kubelet's API.
pub(super) fn router(agent: Arc<Agent>) -> Router {
    let guard = Arc::new(auth::Guard::new(Arc::clone(&agent)));
    let guarded = Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/exec/{namespace}/{pod}/{container}", any(streams::exec))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(streams::exec_by_uid))
        .route("/attach/{namespace}/{pod}/{container}", any(streams::attach))
        .route("/attach/{namespace}/{pod}/{uid}/{container}", any(streams::attach_by_uid))
        .route("/portForward/{namespace}/{pod}", any(streams::port_forward))
        .route("/portForward/{namespace}/{pod}/{uid}", any(streams::port_forward_by_uid))
        .route("/pods", get(pods))
        .route("/runningpods/", get(pods))
        .route("/stats/summary", get(stats))
        .route("/metrics/resource", get(resource_metrics))
        .route("/metrics/cadvisor", get(cadvisor_metrics))
        .route("/configz", get(configz))
        .route("/skiff/known", get(what_is_known))
        .route("/run/{namespace}/{pod}/{container}", post(run))
        .layer(middleware::from_fn_with_state(guard, auth::require));
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
    let name = posted.pod.metadata.name.as_deref().unwrap_or_default();
    if ephemeral::find(&posted.pod, container).is_none() {
        return Err((StatusCode::NOT_FOUND, format!("container {container} not found in pod {name}\n")));
    }
    let mut instances = posted.seen.instances(container);
    if !previous {
        return instances
            .next()
            .ok_or_else(|| bad(format!("container \"{container}\" in pod \"{name}\" is waiting to start")));
    }
    // One that is made and not started yet has said nothing.
    let dead = instances.find(|instance| matches!(instance.life, Life::Exited { .. }));
    dead.ok_or_else(|| bad(format!("previous terminated container \"{container}\" in pod \"{name}\" not found")))
}

async fn pods(State(agent): State<Arc<Agent>>) -> Response {
    let items: Vec<_> = agent.board.all().into_iter().map(|posted| Pod::clone(&posted.pod)).collect();
    Json(json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})).into_response()
}

async fn used(agent: &Agent) -> Result<(NodeUsage, Vec<PodUsage>), Refusal> {
    let used = usage::read(agent).await;
    used.map_err(|status| (StatusCode::BAD_GATEWAY, format!("ListContainerStats: {}\n", crate::cri::said(&status))))
}

async fn stats(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let (node, pods) = used(&agent).await?;
    Ok(Json(usage::summary(&agent.node_name, &node, &pods, &agent.gauge.levels(), Timestamp::now())).into_response())
}

/// The form that Prometheus reads.
const METRICS: [(http::HeaderName, &str); 1] =
    [(http::header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

async fn resource_metrics(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let (node, pods) = used(&agent).await?;
    Ok((METRICS, metrics::resource(&node, &pods)).into_response())
}

async fn cadvisor_metrics(State(agent): State<Arc<Agent>>) -> Result<Response, Refusal> {
    let (_, pods) = used(&agent).await?;
    Ok((METRICS, metrics::cadvisor(&pods)).into_response())
}

/// What this kubelet was told, in the words of Kubernetes' configuration.
async fn configz(State(agent): State<Arc<Agent>>) -> Response {
    let config = json!({
        "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "clusterDomain": agent.cluster.domain, "clusterDNS": agent.cluster.servers, "maxPods": agent.max_pods,
        "cgroupRoot": agent.cgroup_root, "podLogsDir": agent.log_root, "evictionHard": agent.gauge.thresholds(),
    });
    Json(json!({ "kubeletconfig": config })).into_response()
}

/// What `skiff why` asks a node of ours.
async fn what_is_known(State(agent): State<Arc<Agent>>, RawQuery(query): RawQuery) -> Response {
    let resolve = pairs(query.as_deref()).into_iter().find(|(key, _)| key == "resolve").map(|(_, name)| name);
    Json(known::known(agent, resolve).await).into_response()
}

/// Runs `cmd` in a container and answers with what it printed (an old interface, still used by scripts).
async fn run(
    State(agent): State<Arc<Agent>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refusal> {
    let command = pairs(query.as_deref()).into_iter().find(|(key, _)| key == "cmd").map(|(_, value)| value);
    let command: Vec<_> = command.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    if command.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "run: no cmd\n".to_owned()));
    }
    let id = streams::running(&agent, &namespace, &pod, &container)?;
    let answer = agent.cri.exec_sync(&id, command, RUN_SECONDS_MAX).await;
    let failed = |status: tonic::Status| {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("ExecSync: {}\n", crate::cri::said(&status)))
    };
    let answer = answer.map_err(failed)?;
    let said = [answer.stdout, answer.stderr].concat();
    match answer.exit_code {
        0 => Ok(said.into_response()),
        code => {
            let said = String::from_utf8_lossy(&said).into_owned();
            Err((StatusCode::INTERNAL_SERVER_ERROR, format!("command exited with {code}: {said}\n")))
        }
    }
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
