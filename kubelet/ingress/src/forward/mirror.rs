//! Copies of requests for services that only look on: what they answer, or whether, nobody waits for.

use crate::body::Payload;
use crate::endpoints::Protocol;
use crate::heads;
use crate::live::Ready;
use crate::pool::Pool;
use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::{Request, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The longest body that is copied: it is held as a whole.
const BODY_BYTES_MAX: u64 = 1 << 20;
/// How long a copy may take.
const WITHIN: Duration = Duration::from_secs(15);

/// Sends copies on, and answers the body for the original. A request whose body is long, or of a length that is not known, has no copies.
pub(super) async fn copy(ready: &Ready, parts: &Parts, payload: Payload) -> Payload {
    let chosen: Vec<&Arc<Pool>> = ready
        .plan
        .mirrors
        .iter()
        .zip(&ready.mirrors)
        .filter(|(mirror, _)| rand::random_range(0..mirror.share.1.max(1)) < mirror.share.0)
        .map(|(_, pool)| pool)
        .collect();
    let is_short = payload.size_hint().upper().is_some_and(|length| length <= BODY_BYTES_MAX);
    if chosen.is_empty() || !is_short {
        return payload;
    }
    let whole = if payload.is_end_stream() { Some(Bytes::new()) } else { collected(payload).await };
    // A client that broke off has sent nothing that could be passed on.
    let Some(bytes) = whole else { return Payload::Known(None) };
    for pool in chosen {
        let mut copy = Request::new(known(&bytes));
        *copy.method_mut() = parts.method.clone();
        *copy.uri_mut() = parts.uri.clone();
        copy.headers_mut().clone_from(&parts.headers);
        let pool = Arc::clone(pool);
        tokio::spawn(async move {
            let _nobody_waits = timeout(WITHIN, send(&pool, copy)).await;
        });
    }
    known(&bytes)
}

fn known(bytes: &Bytes) -> Payload {
    if bytes.is_empty() { Payload::Empty } else { Payload::Known(Some(bytes.clone())) }
}

async fn collected(payload: Payload) -> Option<Bytes> {
    payload.collect().await.ok().map(http_body_util::Collected::to_bytes)
}

async fn send(pool: &Pool, mut copy: Request<Payload>) -> Option<()> {
    let endpoint = pool.choose(None, &[])?;
    if endpoint.protocol == Protocol::H2c {
        let host = copy.headers_mut().remove(HOST)?;
        *copy.uri_mut() = heads::target(copy.uri(), None, Some(("http", host.to_str().ok()?)))?;
        *copy.version_mut() = Version::HTTP_2;
    }
    let connection = endpoint.connect(false).await.ok()?;
    let (answer, lease) = connection.send(&endpoint, copy).await.ok()?;
    answer.into_body().collect().await.ok()?;
    lease?.give_back();
    Some(())
}
