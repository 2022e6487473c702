//! A connection to where it leads: HTTP/1.1, the only version that upgrades, one request each.

use super::place::{How, Place};
use crate::app::App;
use crate::remote::host_of;
use crate::status::Status;
use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a server may take to accept a connection (Kubernetes: 30 s).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends one request to `place`.
pub(super) async fn send(app: &Arc<App>, place: &Place, request: Request<Body>) -> Result<Response<Incoming>, Status> {
    match place.how {
        How::Kubelet => app.kubelets.send(&place.authority, request).await,
        How::Plain => talk(connect(place).await?, request).await,
        How::Tls => talk(secure(place, connect(place).await?).await?, request).await,
    }
}

async fn connect(place: &Place) -> Result<TcpStream, Status> {
    let failed = |error: &dyn std::fmt::Display| unreached(&format!("dial tcp {}: {error}", place.authority));
    match timeout(CONNECT_TIMEOUT, TcpStream::connect(&place.authority)).await {
        Ok(Ok(stream)) => {
            stream.set_nodelay(true).map_err(|error| failed(&error))?;
            Ok(stream)
        }
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&format!("no answer in {} seconds", CONNECT_TIMEOUT.as_secs()))),
    }
}

async fn secure(place: &Place, stream: TcpStream) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Status> {
    let failed = |error: &dyn std::fmt::Display| unreached(&format!("TLS with {}: {error}", place.authority));
    let name = ServerName::try_from(host_of(&place.authority).to_owned()).map_err(|error| failed(&error))?;
    let handshake = TlsConnector::from(skiff_client::trusting_tls()).connect(name, stream);
    match timeout(CONNECT_TIMEOUT, handshake).await {
        Ok(connected) => connected.map_err(|error| failed(&error)),
        Err(_) => Err(failed(&format!("no handshake in {} seconds", CONNECT_TIMEOUT.as_secs()))),
    }
}

async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<Response<Incoming>, Status> {
    let failed = |error: hyper::Error| unreached(&skiff_client::sentence(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a proxied connection ended");
        }
    });
    sender.send_request(request).await.map_err(failed)
}

fn unreached(why: &str) -> Status {
    Status::unavailable(format!("error trying to reach service: {why}"))
}
