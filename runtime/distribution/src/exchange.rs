//! One request and its answer: as whom, again with a token after a 401, elsewhere after a redirect, later after a refusal.

use crate::challenge;
use crate::connect::Body;
use crate::error::{Kind, RegistryError, shown};
use crate::hosts::{Endpoint, Shared};
use crate::realm::{Origin, is_loopback};
use crate::token::Scope;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST, LOCATION, RANGE, RETRY_AFTER, USER_AGENT,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Frame, Incoming};
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::{sleep, timeout};

/// How long the head of an answer may take; registries look into slow storage.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for what is sent with many bytes: they count too.
const PATIENCE_FOR_UPLOADS: Duration = Duration::from_secs(15 * 60);
/// Registries send clients to their storage, and that once more.
const REDIRECTS_MAX: u32 = 5;
/// How much of a refusal is read; it is a sentence or two.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How often what may pass is tried, and how long a registry can make us wait in between.
const TRIES: u32 = 3;
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Bytes of a file that are sent at once.
const CHUNK: usize = 1 << 16;

/// What is sent with a request; it can be sent again.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Nothing,
    Bytes(Bytes),
    /// A part of a file.
    File {
        path: PathBuf,
        from: u64,
        bytes: u64,
    },
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// An absolute URL.
    pub(crate) url: String,
    pub(crate) accept: Option<&'static str>,
    /// First byte wanted.
    pub(crate) from: u64,
    pub(crate) content_type: Option<String>,
    /// First and last byte sent.
    pub(crate) content_range: Option<(u64, u64)>,
    pub(crate) payload: Payload,
}

impl Ask {
    pub(crate) fn new(method: Method, url: String) -> Self {
        let payload = Payload::Nothing;
        Self { method, url, accept: None, from: 0, content_type: None, content_range: None, payload }
    }

    /// As errors name it.
    pub(crate) fn name(&self) -> String {
        // What follows the question mark may be a token of somebody's storage.
        format!("{} {}", self.method, self.url.split('?').next().unwrap_or_default())
    }
}

/// The head of an answer, and the rest to come.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Reads an answer that is done with, so that its connection can be used again.
    pub(crate) async fn finish(self) {
        let read = Limited::new(self.body, REFUSAL_BYTES_MAX).collect();
        let _or_the_connection_is_closed = timeout(Duration::from_secs(5), read).await;
    }

    /// What a refusal means and says.
    pub(crate) async fn refusal(self, ask: &Ask) -> RegistryError {
        let status = self.status;
        let body = timeout(PATIENCE, Limited::new(self.body, REFUSAL_BYTES_MAX).collect()).await;
        let body = body.ok().and_then(Result::ok).map(|body| body.to_bytes()).unwrap_or_default();
        let kind = match status.as_u16() {
            404 => Kind::NotFound,
            401 | 403 => Kind::Denied,
            408 | 429 => Kind::Limited,
            500.. => Kind::Failed,
            _ => Kind::Protocol,
        };
        let words = words(&body).map(|words| format!(": {words}")).unwrap_or_default();
        RegistryError::new(kind, format!("{}: {status}{words}", ask.name()))
    }
}

/// The first error of the registry's list (distribution-spec, "Error Codes").
fn words(body: &[u8]) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let first = &document["errors"][0];
    let (code, message) = (first["code"].as_str().unwrap_or_default(), first["message"].as_str().unwrap_or_default());
    match (code, message) {
        ("", "") => document["details"].as_str().map(shown),
        (code, "") => Some(shown(code)),
        ("", message) => Some(shown(message)),
        (code, message) => Some(shown(&format!("{code}: {message}"))),
    }
}

impl Shared {
    /// Asks, and again where that may help and does no harm.
    pub(crate) async fn ask(&self, endpoint: &Endpoint, scope: &Scope, ask: &Ask) -> Result<Answer, RegistryError> {
        let repeatable = matches!(ask.method, Method::GET | Method::HEAD);
        let mut tried = 1;
        loop {
            let (error, wait) = match self.ask_once(endpoint, scope, ask).await {
                Ok(answer) => match wait_for(&answer) {
                    Some(wait) if repeatable && tried < TRIES => (answer.refusal(ask).await, wait),
                    _ => return Ok(answer),
                },
                Err(error) => (error, None),
            };
            // Who does not let us in at all does not do so in a second either, and others may be asked.
            if !repeatable || tried >= TRIES || !error.is_passing() || error.undialled {
                return Err(error);
            }
            tracing::debug!("{error}: once more");
            sleep(wait.unwrap_or(Duration::from_millis(250) * 4_u32.pow(tried - 1)).min(WAIT_MAX)).await;
            tried += 1;
        }
    }

    /// With a token, once one is asked for.
    async fn ask_once(&self, endpoint: &Endpoint, scope: &Scope, ask: &Ask) -> Result<Answer, RegistryError> {
        let known = self.tokens.known(endpoint, scope);
        let had = known.is_some();
        let answer = self.follow(endpoint, known, ask).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let challenges = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let Some(challenge) = challenge::best(challenges) else { return Err(answer.refusal(ask).await) };
        if had {
            // It may have run out before its time.
            self.tokens.forget(endpoint, scope);
        }
        answer.finish().await;
        let given = self.authorize(endpoint, scope, &challenge).await.map_err(|error| error.during(&ask.name()))?;
        let answer = self.follow(endpoint, Some(given), ask).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            self.tokens.forget(endpoint, scope);
        }
        Ok(answer)
    }

    /// Goes where the registry sends us. What says who we are goes nowhere but to the registry.
    async fn follow(
        &self,
        endpoint: &Endpoint,
        authorization: Option<HeaderValue>,
        ask: &Ask,
    ) -> Result<Answer, RegistryError> {
        let mut url = ask.url.clone();
        for _hop in 0..=REDIRECTS_MAX {
            let answer = self.send(endpoint, authorization.as_ref(), ask, &url).await;
            let answer = answer.map_err(|error| error.during(&ask.name()))?;
            let moves = matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !moves || !matches!(ask.method, Method::GET | Method::HEAD) {
                return Ok(answer);
            }
            let next = answer.header(LOCATION.as_str()).and_then(|place| resolve(&url, place));
            let next =
                next.ok_or_else(|| RegistryError::new(Kind::Protocol, format!("{}: it leads nowhere", ask.name())))?;
            answer.finish().await;
            url = next;
        }
        Err(RegistryError::new(Kind::Protocol, format!("{}: more than {REDIRECTS_MAX} redirects", ask.name())))
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        authorization: Option<&HeaderValue>,
        ask: &Ask,
        url: &str,
    ) -> Result<Answer, RegistryError> {
        let bad = |reason: String| RegistryError::new(Kind::Protocol, reason);
        let origin = Origin::of(url).ok_or_else(|| bad(format!("{} is no URL of a server", shown(url))))?;
        let is_home = origin == endpoint.origin;
        if endpoint.origin.https && !origin.https {
            return Err(bad(format!("it leads to {}, which is not encrypted", origin.url())));
        }
        if !is_home && is_loopback(origin.host()) && !is_loopback(endpoint.origin.host()) {
            return Err(bad(format!("it leads to {}, which is this machine", origin.url())));
        }
        let uri: http::Uri = url.parse().map_err(|error| bad(format!("{}: {error}", shown(url))))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::builder().method(ask.method.clone()).uri(path).header(HOST, &origin.authority);
        request = request.header(USER_AGENT, concat!("skiff/", env!("CARGO_PKG_VERSION")));
        if is_home {
            for (name, value) in &endpoint.headers {
                request = request.header(name, value);
            }
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
        }
        let request = ask.describe(request).body(body(&ask.payload)).map_err(|error| bad(error.to_string()))?;
        let tls = if is_home { &endpoint.trust.tls } else { &endpoint.trust.others };
        let patience = if matches!(ask.payload, Payload::File { .. }) { PATIENCE_FOR_UPLOADS } else { PATIENCE };
        let (head, body) = self.agent.send(&origin, tls, request, patience).await?.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

impl Ask {
    fn describe(&self, mut request: http::request::Builder) -> http::request::Builder {
        if let Some(accept) = self.accept {
            request = request.header(ACCEPT, accept);
        }
        if self.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.from));
        }
        if let Some(content_type) = &self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some((first, last)) = self.content_range {
            request = request.header(CONTENT_RANGE, format!("{first}-{last}"));
        }
        match &self.payload {
            Payload::File { bytes, .. } => request.header(CONTENT_LENGTH, *bytes),
            Payload::Bytes(bytes) => request.header(CONTENT_LENGTH, bytes.len()),
            Payload::Nothing if matches!(self.method, Method::GET | Method::HEAD | Method::DELETE) => request,
            Payload::Nothing => request.header(CONTENT_LENGTH, 0),
        }
    }
}

/// Whether the registry wants to be asked later, and how long it says.
fn wait_for(answer: &Answer) -> Option<Option<Duration>> {
    let later = matches!(answer.status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504);
    later.then(|| answer.header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()).map(Duration::from_secs))
}

/// Where a `Location` leads that was found at `base`.
pub(crate) fn resolve(base: &str, place: &str) -> Option<String> {
    let origin = Origin::of(base)?;
    if place.contains("://") {
        return Origin::of(place).map(|_| place.to_owned());
    }
    if let Some(rest) = place.strip_prefix("//") {
        let scheme = if origin.https { "https" } else { "http" };
        return Some(format!("{scheme}://{rest}"));
    }
    if place.starts_with('/') {
        return Some(format!("{}{place}", origin.url()));
    }
    let path = base.split('?').next().unwrap_or_default();
    path.rsplit_once('/').map(|(folder, _)| format!("{folder}/{place}"))
}

fn body(payload: &Payload) -> Body {
    match payload {
        Payload::Nothing => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        Payload::Bytes(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
        Payload::File { path, from, bytes } => of_file(path.clone(), *from, *bytes),
    }
}

/// A part of a file, read by a task of its own as fast as it is sent.
fn of_file(path: PathBuf, from: u64, bytes: u64) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel::<std::io::Result<Bytes>>(4);
    tokio::spawn(async move {
        let read = async {
            let mut file = tokio::fs::File::open(&path).await?;
            file.seek(std::io::SeekFrom::Start(from)).await?;
            let mut left = file.take(bytes);
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                if (&mut left).take(CHUNK as u64).read_to_end(&mut chunk).await? == 0 {
                    return Ok::<(), std::io::Error>(());
                }
                if sender.send(Ok(chunk.into())).await.is_err() {
                    return Ok(());
                }
            }
        };
        if let Err(error) = read.await {
            let _nobody_listens_any_more = sender.send(Err(error)).await;
        }
    });
    Receiving(receiver).boxed_unsync()
}

/// What a channel gives, as frames.
struct Receiving(tokio::sync::mpsc::Receiver<std::io::Result<Bytes>>);

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.get_mut().0.poll_recv(context).map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_resolved_as_browsers_do() {
        let base = "https://a.example:5000/v2/x/blobs/uploads/?y=/1";
        for (place, url) in [
            ("https://b.example/z?token=1", "https://b.example/z?token=1"),
            ("//b.example/z", "https://b.example/z"),
            ("/v2/x/blobs/uploads/1?s=2", "https://a.example:5000/v2/x/blobs/uploads/1?s=2"),
            ("1", "https://a.example:5000/v2/x/blobs/uploads/1"),
        ] {
            assert_eq!(resolve(base, place).as_deref(), Some(url), "{place}");
        }
        assert_eq!(resolve(base, "file:///etc/passwd"), None);
        assert_eq!(resolve(base, "https://user@b.example/"), None);
    }

    #[test]
    fn the_words_of_a_refusal_are_shown_on_one_line() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"it's\nnot there \u001b[1m","detail":{}}]}"#;
        assert_eq!(words(body).as_deref(), Some("MANIFEST_UNKNOWN: it's\\nnot there \\u{1b}[1m"));
        assert_eq!(words(b"<html>"), None);
    }
}
