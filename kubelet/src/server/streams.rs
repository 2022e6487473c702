//! exec, attach and port-forward: asks the runtime for an URL, connects there with the client's own upgrade request and
//! joins the two connections. SPDY (POST) and WebSocket (GET) pass through alike.

use super::routes::{Refusal, find, is_yes, pairs};
use crate::agent::Agent;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use skiff_proto::cri::v1 as cri;
use std::sync::Arc;
use tokio::net::TcpStream;

type Agented = State<Arc<Agent>>;
type Three = Path<(String, String, String)>;
type Four = Path<(String, String, String, String)>;

/// Which streams a client wants, under the kubelet's names and the API server's.
#[derive(Debug, Default)]
struct Streams {
    command: Vec<String>,
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
    ports: Vec<i32>,
}

impl Streams {
    fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let mut streams = Self::default();
        for (key, value) in pairs(query) {
            match key.as_str() {
                "command" => streams.command.push(value),
                "input" | "stdin" => streams.stdin = is_yes(&value),
                "output" | "stdout" => streams.stdout = is_yes(&value),
                "error" | "stderr" => streams.stderr = is_yes(&value),
                "tty" => streams.tty = is_yes(&value),
                "port" | "ports" => {
                    for port in value.split(',') {
                        let wrong = |_| (StatusCode::BAD_REQUEST, format!("port {port} is not a number\n"));
                        streams.ports.push(i32::from(port.parse::<u16>().map_err(wrong)?));
                    }
                }
                _ => {}
            }
        }
        // With a terminal there is one output only.
        streams.stderr &= !streams.tty;
        Ok(streams)
    }
}

pub(super) fn running(agent: &Agent, namespace: &str, pod: &str, container: &str) -> Result<String, Refusal> {
    let posted = find(agent, namespace, pod)?;
    let instance =
        posted.seen.latest(container).filter(|instance| instance.is_running()).map(|instance| instance.id.clone());
    instance.ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("container {container} of pod {namespace}/{pod} is not running\n"))
    })
}

fn refused(operation: &str, status: &tonic::Status) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{operation}: {}\n", crate::cri::said(status)))
}

pub(super) async fn exec(
    State(agent): Agented,
    Path((namespace, pod, container)): Three,
    request: Request,
) -> Result<Response, Refusal> {
    let streams = Streams::of(request.uri().query())?;
    if streams.command.is_empty() {
        return Err((StatusCode::BAD_REQUEST, "exec: no command\n".to_owned()));
    }
    let container_id = running(&agent, &namespace, &pod, &container)?;
    let Streams { command: cmd, stdin, stdout, stderr, tty, .. } = streams;
    let url = agent.cri.exec(cri::ExecRequest { container_id, cmd, tty, stdin, stdout, stderr }).await;
    pass_on(&url.map_err(|status| refused("Exec", &status))?, request).await
}

pub(super) async fn exec_by_uid(
    agent: Agented,
    Path((namespace, pod, _uid, container)): Four,
    request: Request,
) -> Result<Response, Refusal> {
    exec(agent, Path((namespace, pod, container)), request).await
}

pub(super) async fn attach(
    State(agent): Agented,
    Path((namespace, pod, container)): Three,
    request: Request,
) -> Result<Response, Refusal> {
    let Streams { stdin, stdout, stderr, tty, .. } = Streams::of(request.uri().query())?;
    let container_id = running(&agent, &namespace, &pod, &container)?;
    let url = agent.cri.attach(cri::AttachRequest { container_id, stdin, tty, stdout, stderr }).await;
    pass_on(&url.map_err(|status| refused("Attach", &status))?, request).await
}

pub(super) async fn attach_by_uid(
    agent: Agented,
    Path((namespace, pod, _uid, container)): Four,
    request: Request,
) -> Result<Response, Refusal> {
    attach(agent, Path((namespace, pod, container)), request).await
}

pub(super) async fn port_forward(
    State(agent): Agented,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let streams = Streams::of(request.uri().query())?;
    let posted = find(&agent, &namespace, &pod)?;
    let sandbox = posted.seen.standing().map(|sandbox| sandbox.id.clone());
    let pod_sandbox_id =
        sandbox.ok_or_else(|| (StatusCode::NOT_FOUND, format!("pod {namespace}/{pod} has no sandbox\n")))?;
    let url = agent.cri.port_forward(cri::PortForwardRequest { pod_sandbox_id, port: streams.ports }).await;
    pass_on(&url.map_err(|status| refused("PortForward", &status))?, request).await
}

pub(super) async fn port_forward_by_uid(
    agent: Agented,
    Path((namespace, pod, _uid)): Three,
    request: Request,
) -> Result<Response, Refusal> {
    port_forward(agent, Path((namespace, pod)), request).await
}

/// Sends the client's request to `url` and joins the connections when the answer is 101; another answer is passed on.
async fn pass_on(url: &str, mut request: Request) -> Result<Response, Refusal> {
    let wrong = |error: &dyn std::fmt::Display| {
        (StatusCode::BAD_GATEWAY, format!("connect to the runtime at {url}: {error}\n"))
    };
    let uri: Uri = url.parse().map_err(|error| wrong(&error))?;
    let authority = uri.authority().ok_or_else(|| wrong(&"the URL names no host"))?.clone();
    if uri.scheme_str() != Some("http") {
        return Err(wrong(&"only http is implemented"));
    }
    let address = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(|error| wrong(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| wrong(&error))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(error = skiff_client::sentence(&error), "connection to the runtime");
        }
    });
    let target = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = http::Request::new(Empty::<bytes::Bytes>::new());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = target.parse().map_err(|error: http::uri::InvalidUri| wrong(&error))?;
    *onward.headers_mut() = request.headers().clone();
    let host = HeaderValue::from_str(authority.as_str()).map_err(|error| wrong(&error))?;
    onward.headers_mut().insert(header::HOST, host);
    let answer = sender.send_request(onward).await.map_err(|error| wrong(&error))?;
    match skiff_client::splice_upgrade(&mut request, answer) {
        Ok(answer) => Ok(answer),
        Err(answer) => Ok(answer.map(Body::new)),
    }
}
