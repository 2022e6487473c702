//! A request is sent to one endpoint, and to another if nothing of it was sent, or if it may be sent twice.

use super::Core;
use crate::body::Payload;
use crate::endpoints::Protocol;
use crate::heads;
use crate::pool::Pool;
use crate::route::Forward;
use crate::upstream::{Endpoint, Failure, Lease};
use http::header::{CONNECTION, HOST};
use http::{Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often one request is tried.
const TRIES_MAX: usize = 5;
/// How long an answer may take to begin if its route does not say (nginx: 60 s too).
const WITHIN: Duration = Duration::from_secs(60);
/// The same for requests with bodies, which count from their beginning: a slow client's may take long.
const WITH_BODY_WITHIN: Duration = Duration::from_secs(3600);
/// When no endpoint could be reached, how long until they are tried again: pods that end close their sockets a moment before
/// everybody has heard of it.
const PAUSE: Duration = Duration::from_millis(100);

/// One request's way.
pub(super) struct Try<'a> {
    pub(super) core: &'a Core,
    pub(super) plan: &'a Forward,
    pub(super) pool: &'a Pool,
    pub(super) cookie: Option<&'a str>,
    /// Whether its connection goes on as something else.
    pub(super) wants_upgrade: bool,
}

/// What came of it.
pub(super) struct Answered {
    pub(super) result: Result<(Response<Incoming>, Option<Lease>), Refusal>,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) tries: usize,
}

/// What the client is told.
type Refusal = (StatusCode, &'static str);

const NOBODY: Refusal = (StatusCode::SERVICE_UNAVAILABLE, "nothing of the service is ready");
const UNREACHED: Refusal = (StatusCode::BAD_GATEWAY, "no endpoint of the service could be reached");
const BROKEN: Refusal = (StatusCode::BAD_GATEWAY, "an endpoint of the service broke off before it answered");
const LATE: Refusal = (StatusCode::GATEWAY_TIMEOUT, "the service did not answer in time");
const UNSENDABLE: Refusal = (StatusCode::BAD_REQUEST, "the request cannot be sent on");

/// What is to be done after one try.
enum After {
    Done(Result<(Response<Incoming>, Option<Lease>), Refusal>),
    /// Once more; the endpoint may be asked again on another connection, or not.
    Again(Request<Payload>, bool),
}

impl Try<'_> {
    /// Sends it until it is answered.
    pub(super) async fn run(&self, request: Request<Payload>) -> Answered {
        let (mut endpoint, mut tries) = (None, 0);
        let by = self.plan.within.or(self.plan.try_within);
        let usual = if request.body().is_end_stream() { WITHIN } else { WITH_BODY_WITHIN };
        let sending = self.tried(request, &mut endpoint, &mut tries);
        let result = timeout(by.unwrap_or(usual), sending).await.unwrap_or(Err(LATE));
        Answered { result, endpoint, tries }
    }

    async fn tried(
        &self,
        mut request: Request<Payload>,
        last: &mut Option<Arc<Endpoint>>,
        tries: &mut usize,
    ) -> Result<(Response<Incoming>, Option<Lease>), Refusal> {
        let (mut tried, mut is_fresh): (Vec<SocketAddr>, bool) = (Vec::new(), false);
        while *tries < TRIES_MAX {
            let Some(endpoint) = self.pool.choose(self.cookie, &tried) else {
                if tried.is_empty() {
                    return Err(NOBODY);
                }
                tried.clear();
                *tries += 1;
                sleep(PAUSE).await;
                continue;
            };
            *tries += 1;
            if *tries > 1 {
                self.core.metrics.retries.fetch_add(1, Ordering::Relaxed);
            }
            *last = Some(Arc::clone(&endpoint));
            match self.once(&endpoint, request, is_fresh).await {
                After::Done(result) => return result,
                After::Again(again, may_be_asked) => {
                    (request, is_fresh) = (again, true);
                    if !may_be_asked {
                        tried.push(endpoint.address);
                    }
                }
            }
        }
        Err(UNREACHED)
    }

    async fn once(&self, endpoint: &Arc<Endpoint>, mut request: Request<Payload>, is_fresh: bool) -> After {
        if !fit(&mut request, endpoint, self.wants_upgrade) {
            return After::Done(Err(UNSENDABLE));
        }
        let connection = match endpoint.connect(is_fresh).await {
            Ok(connection) => connection,
            Err(error) => {
                let (address, error) = (endpoint.address, skiff_client::sentence(&error));
                tracing::debug!(%address, error, "endpoint not reached");
                return After::Again(request, false);
            }
        };
        let was_used = connection.is_used;
        // Only on a connection that was used before can the end of it have met the request.
        let may_repeat = was_used && request.body().is_end_stream() && heads::is_idempotent(request.method());
        let spare = may_repeat.then(|| repeated(&request));
        let sending = connection.send(endpoint, request);
        let sent = match self.plan.try_within {
            Some(within) => match timeout(within, sending).await {
                Ok(sent) => sent,
                Err(_) => return After::Done(Err(LATE)),
            },
            None => sending.await,
        };
        match (sent, spare) {
            (Ok(answer), _) => After::Done(Ok(answer)),
            (Err(Failure::Unsent(request)), _) => After::Again(*request, was_used),
            (Err(Failure::Sent), Some(spare)) => After::Again(spare, true),
            (Err(Failure::Sent), None) => After::Done(Err(BROKEN)),
        }
    }
}

/// Makes target and version those of the endpoint's protocol.
fn fit(request: &mut Request<Payload>, endpoint: &Endpoint, wants_upgrade: bool) -> bool {
    if endpoint.protocol != Protocol::H2c {
        if request.uri().authority().is_some() {
            let Some(target) = heads::target(request.uri(), None, None) else { return false };
            *request.uri_mut() = target;
        }
        *request.version_mut() = Version::HTTP_11;
        return true;
    }
    // Over HTTP/2 a WebSocket would begin with another request (RFC 8441).
    if wants_upgrade {
        return false;
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
    let Some(target) = heads::target(request.uri(), None, Some(("http", &host))) else { return false };
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().remove(HOST);
    true
}

/// The same request, which has no body.
fn repeated(request: &Request<Payload>) -> Request<Payload> {
    let mut again = Request::new(Payload::Empty);
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    again
}
