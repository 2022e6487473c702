//! Servers of others that this one asks: webhooks, converters of custom resources, API servers behind it. What a `clientConfig` says becomes
//! a client with connections of its own that stay open; every call is bounded in time and in bytes.
//!
//! What it leaves to others: what is asked, and what the answer means.

pub(crate) mod connect; // a connection: TCP, TLS, whose certificate
pub(crate) mod document; // what others publish
pub(crate) mod place; // which address a service stands for
pub(crate) mod review; // who is asked about tokens and rights
pub(crate) mod trust; // whom we believe, and as whom we come

use crate::admission::Stored;
use crate::status::Status;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use connect::{Connector, Through};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use tokio::time::timeout;
use trust::{Credentials, Trust};

/// Connections without a request that one client keeps: as many calls as are likely at once.
const IDLE_CONNECTIONS_MAX: usize = 16;
/// How long it keeps them (Go's transport: 90 s).
const IDLE: Duration = Duration::from_secs(90);
/// How much of a refusal is read; it is a sentence or a Status.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// The port of a URL or a service that names none.
const PORT: u16 = 443;

/// Somebody who is asked by POST.
#[derive(Debug)]
pub(crate) struct Asked {
    place: Address,
    /// `/convert`; empty if none was said.
    path: String,
    client: Client<Connector, Full<Bytes>>,
    authorization: Option<String>,
}

/// Where.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// `hooks.example:8443`, and whether the port was said.
    Host {
        authority: String,
        port_said: bool,
    },
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
}

impl Asked {
    /// Reads a `clientConfig`: a URL or a service, and whose certificates are believed.
    ///
    /// # Errors
    /// It says neither, or its certificates cannot be read: a sentence.
    pub(crate) fn read(config: &Value, credentials: &Credentials) -> Result<Self, String> {
        let service = &config["service"];
        let (place, path) = match config["url"].as_str() {
            Some(url) => of_url(url)?,
            None if service.is_null() => {
                return Err("webhook configuration must have either service or URL".to_owned());
            }
            None => of_service(service),
        };
        let authority = config["caBundle"].as_str().unwrap_or_default();
        let authority = BASE64.decode(authority).map_err(|error| format!("caBundle is not base64: {error}"))?;
        let server = place.server_name();
        let user = credentials.for_server(&server, place.port());
        let tls = Trust::of(&authority).client(user.and_then(|user| user.pair.as_ref()))?;
        let authorization = user.and_then(|user| user.authorization.clone());
        let connector = Connector::new(tls, Some(server));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .build(connector);
        Ok(Self { place, path, client, authorization })
    }

    /// Sends `body`, which is JSON, and reads the answer to it.
    ///
    /// # Errors
    /// Whatever keeps the answer from coming in time and in size: a sentence as Kubernetes' client would say it.
    pub(crate) async fn post(
        &self,
        stored: &dyn Stored,
        body: Bytes,
        query: &str,
        limits: Limits,
    ) -> Result<Bytes, String> {
        let shown = format!("https://{}{}{query}", self.place.shown(), self.path);
        let failed = |why: String| format!("Post {shown:?}: {why}");
        match timeout(limits.time, self.exchange(stored, body, query, limits.answer_bytes)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => Err(failed(why)),
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
        }
    }

    /// The outer error is about the connection, the inner one is what was answered.
    async fn exchange(
        &self,
        stored: &dyn Stored,
        body: Bytes,
        query: &str,
        answer_bytes_max: usize,
    ) -> Result<Result<Bytes, String>, String> {
        let authority = self.place.resolved(stored).await?;
        let path = if self.path.is_empty() { "/" } else { &self.path };
        let path: PathAndQuery = format!("{path}{query}").parse().map_err(|error| format!("path {path:?}: {error}"))?;
        let host: Authority = authority.parse().map_err(|error| format!("address {authority:?}: {error}"))?;
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority, uri.path_and_query) = (Some(Scheme::HTTPS), Some(host), Some(path));
        let uri = Uri::from_parts(uri).map_err(|error| error.to_string())?;
        let mut request = Request::post(uri);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .header(header::HOST, self.place.shown())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, concat!("kube-apiserver-admission/skiff-", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(|error| why(&error))?;
        let code = answer.status();
        let bytes_max = if code.is_success() { answer_bytes_max } else { REFUSAL_BYTES_MAX };
        let read = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = match read {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Ok(Err(format!("the answer is larger than {bytes_max} bytes")));
            }
            Err(error) => return Err(format!("read the answer: {error}")),
        };
        Ok(if code.is_success() { Ok(body) } else { Err(refusal(code, &body)) })
    }
}

/// How long an answer may take, and how large it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) answer_bytes: usize,
}

impl Address {
    fn server_name(&self) -> String {
        match self {
            Self::Host { authority, .. } => host_of(authority).to_owned(),
            Self::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Self::Host { authority, .. } => port_of(authority),
            Self::Service { port, .. } => *port,
        }
    }

    /// As errors and the header `Host` show it.
    fn shown(&self) -> String {
        match self {
            Self::Host { authority, port_said: true } => authority.clone(),
            Self::Host { authority, port_said: false } => {
                authority.strip_suffix(&format!(":{PORT}")).unwrap_or(authority).to_owned()
            }
            Self::Service { namespace, name, port } => format!("{name}.{namespace}.svc:{port}"),
        }
    }

    async fn resolved(&self, stored: &dyn Stored) -> Result<String, String> {
        match self {
            Self::Host { authority, .. } => Ok(authority.clone()),
            Self::Service { namespace, name, port } => {
                place::of_service(stored, namespace, name, *port).await.map_err(|status: Status| status.message)
            }
        }
    }
}

/// `[::1]:443` without its port and brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']'])
}

pub(crate) fn port_of(authority: &str) -> u16 {
    authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(PORT)
}

fn of_url(url: &str) -> Result<(Address, String), String> {
    let unparsable = |why: &str| format!("Unparsable URL: parse {url:?}: {why}");
    let rest = url.strip_prefix("https://").ok_or_else(|| unparsable("not https"))?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let uri: Authority = host.parse().map_err(|_| unparsable("no host"))?;
    let authority = match uri.port_u16() {
        Some(_) => host.to_owned(),
        None => format!("{host}:{PORT}"),
    };
    Ok((Address::Host { authority, port_said: uri.port_u16().is_some() }, path.to_owned()))
}

fn of_service(service: &Value) -> (Address, String) {
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
    let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT);
    let path = text("path");
    let path = if path.is_empty() || path.starts_with('/') { path } else { format!("/{path}") };
    (Address::Service { namespace: text("namespace"), name: text("name"), port }, path)
}

/// Why a request did not get through.
pub(crate) fn why(error: &legacy::Error) -> String {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = cause {
        if let Some(through) = error.downcast_ref::<Through>() {
            return through.to_string();
        }
        cause = error.source();
    }
    skiff_client::sentence(error)
}

/// What Kubernetes' client makes of an answer that is none: the message of a Status, or what the server said.
fn refusal(code: StatusCode, body: &[u8]) -> String {
    if let Ok(status) = serde_json::from_slice::<Value>(body)
        && status["kind"] == "Status"
        && let Some(message) = status["message"].as_str()
    {
        return message.to_owned();
    }
    let said = String::from_utf8_lossy(body);
    let said = said.trim();
    match code {
        StatusCode::NOT_FOUND => "the server could not find the requested resource".to_owned(),
        StatusCode::UNAUTHORIZED => "the server has asked for the client to provide credentials".to_owned(),
        StatusCode::FORBIDDEN => said.to_owned(),
        StatusCode::SERVICE_UNAVAILABLE => "the server is currently unable to handle the request".to_owned(),
        StatusCode::GATEWAY_TIMEOUT => "the server was unable to return a response in the time allotted".to_owned(),
        code if code.is_server_error() => {
            let said = if said.is_empty() { "unknown" } else { said };
            format!("an error on the server ({said:?}) has prevented the request from succeeding")
        }
        code => {
            format!("the server responded with the status code {} but did not return more information", code.as_u16())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn urls_are_taken_apart() {
        for (url, shown, server, path) in [
            ("https://h.example", "h.example", "h.example", ""),
            ("https://h.example/", "h.example", "h.example", "/"),
            ("https://h.example:8443/a/b", "h.example:8443", "h.example", "/a/b"),
            ("https://[fd00::1]:8443/a", "[fd00::1]:8443", "fd00::1", "/a"),
        ] {
            let (place, found) = of_url(url).expect("a URL");
            assert_eq!((&*place.shown(), &*place.server_name(), &*found), (shown, server, path), "{url}");
        }
        for url in ["http://h", "https://", "https://a b", "h.example"] {
            assert!(of_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn services_have_a_name_that_certificates_are_made_out_to() {
        let (place, path) = of_service(&json!({"namespace": "n", "name": "s", "path": "x"}));
        assert_eq!((&*place.shown(), &*place.server_name(), &*path), ("s.n.svc:443", "s.n.svc", "/x"));
        assert!(Asked::read(&json!({}), &Credentials::default()).is_err());
    }

    #[test]
    fn refusals_read_as_from_kubernetes_client() {
        assert_eq!(refusal(StatusCode::NOT_FOUND, b"404 page"), "the server could not find the requested resource");
        let said = refusal(StatusCode::INTERNAL_SERVER_ERROR, b"it broke\n");
        assert_eq!(said, r#"an error on the server ("it broke") has prevented the request from succeeding"#);
        let status = br#"{"kind":"Status","message":"no"}"#;
        assert_eq!(refusal(StatusCode::FORBIDDEN, status), "no");
    }
}
