//! GET requests of probes and hooks, over HTTP/1.1 and HTTPS.
//!
//! Certificates are not checked: a probe asks whether the server answers, not who it is (Kubernetes, "HTTP probes").

use super::ask::port;
use bytes::Bytes;
use http::header::{self, CONNECTION, HOST, HeaderName};
use http::{HeaderValue, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::pki_types::ServerName;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// As whom a kubelet asks: servers tell probes from traffic by it.
pub(super) const USER_AGENT: &str = "kube-probe/1.36";

/// Asks as `action` says; `ip` is where the container is. Success is a status from 200 to 399; a redirect is not
/// followed, as where it leads is not the container's to choose.
pub(crate) async fn get(
    action: &HTTPGetAction,
    container: &Container,
    ip: &str,
    timeout: Duration,
) -> Result<(), String> {
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ip.to_owned());
    let port = port(&action.port, container)?;
    let secure = action.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let path = action.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".to_owned());
    let scheme = if secure { "https" } else { "http" };
    let url =
        format!("{scheme}://{host}:{port}{}", if path.starts_with('/') { path.clone() } else { format!("/{path}") });
    let about = |error: &dyn std::fmt::Display| format!("Get \"{url}\": {error}");
    let work = async {
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| about(&error))?;
        let request = request(action, &url, &format!("{host}:{port}")).map_err(|error| about(&error))?;
        let status = if secure {
            let name = ServerName::try_from(host.clone()).map_err(|error| about(&error))?;
            let stream = TlsConnector::from(skiff_client::trusting_tls())
                .connect(name, stream)
                .await
                .map_err(|error| about(&error))?;
            send(stream, request).await
        } else {
            send(stream, request).await
        };
        status.map_err(|error| about(&error))
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(Ok(200..=399)) => Ok(()),
        Ok(Ok(status)) => Err(format!("HTTP probe failed with statuscode: {status}")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(about(&format!("no answer within {timeout:?}"))),
    }
}

fn request(action: &HTTPGetAction, url: &str, authority: &str) -> Result<Request<Empty<Bytes>>, http::Error> {
    let uri: http::Uri = url.parse()?;
    let target = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut request = Request::get(target).header(CONNECTION, "close").body(Empty::new())?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(authority)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for header in action.http_headers.iter().flatten() {
        headers.insert(HeaderName::from_bytes(header.name.as_bytes())?, HeaderValue::from_str(&header.value)?);
    }
    Ok(request)
}

async fn send<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<u16, hyper::Error> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // The connection is driven only while we wait for the head of the answer; the body is nobody's business.
    tokio::select! {
        answer = &mut answer => return Ok(answer?.status().as_u16()),
        ended = connection => ended?,
    }
    // A short answer and its end arrive together; then the connection is done before the answer was looked at.
    Ok(answer.await?.status().as_u16())
}
