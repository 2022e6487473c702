//! Calls and their answers, over any body; what they mean is decided in [`crate::plan`].

mod blobs; // content, whole and in parts
mod findings; // what is vulnerable
mod guard; // who may call
mod lists; // what there is
mod manifests; // what names content
mod uploads; // what arrives

use crate::Name;
use crate::access::{Access, Caller};
use crate::body::Body;
use crate::config::Config;
use crate::digest::Digest;
use crate::happened::{Happened, Metrics};
use crate::login::Login;
use crate::receive::{Incoming, Pace};
use crate::refusal::{Code, Refusal};
use crate::route::{Action, Call};
use crate::rules::Rules;
use crate::scan::Scanner;
use crate::store::Store;
use crate::tell::Listeners;
use crate::upstream::Upstreams;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinError, spawn_blocking};

pub use findings::keep_scanned;

/// What every answer says of the API: Docker's clients look for it.
const API_VERSION: (&str, &str) = ("docker-distribution-api-version", "registry/2.0");
const CONTENT_DIGEST: &str = "docker-content-digest";

/// On which terms a registry answers.
#[derive(Default)]
pub struct Terms {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who is believed; `None`: nobody is asked who they are.
    pub login: Option<Arc<Login>>,
    /// How slowly bodies may come.
    pub pace: Pace,
    /// Who is told what happened.
    pub listeners: Listeners,
    /// Who is asked for what is not here.
    pub upstreams: Option<Upstreams>,
}

/// A registry that answers.
pub struct Registry {
    pub(crate) store: Arc<Store>,
    pub(crate) pace: Pace,
    config: Arc<Config>,
    login: Option<Arc<Login>>,
    access: Access,
    listeners: Listeners,
    pub(crate) upstreams: Option<Upstreams>,
    pub(crate) metrics: Metrics,
    /// Who looks for what is vulnerable.
    scanner: Option<Arc<Scanner>>,
    /// Whose turn it is to scan.
    scanning: Mutex<()>,
    /// How many pushes there were: wakes who scans and who replicates.
    pub(crate) pushed: watch::Sender<u64>,
}

/// An answer in the making.
pub(crate) struct Answer {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

impl Answer {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Body::empty() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Content by its digest, which is its entity tag.
    pub(crate) fn content(self, digest: &Digest) -> Self {
        self.header(CONTENT_DIGEST, digest.as_str()).header("etag", format!("\"{digest}\""))
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Self {
        self.header("content-type", "application/json").body(Body::Bytes(value.to_string().into()))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Body::Bytes(Bytes::from(refusal.body()));
        let answer = Self { status, headers: refusal.headers, body };
        answer.header("content-type", "application/json")
    }
}

/// One header of a request, if it is text.
pub(crate) fn asked<'a>(parts: &'a Parts, name: &HeaderName) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

/// Runs what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.map_err(panicked)?
}

/// A thread of ours panicked; the log has it.
pub(crate) fn panicked(_: JoinError) -> Refusal {
    Refusal::new(500, Code::Unknown, "the registry failed; its log says why")
}

impl Registry {
    /// A registry over a folder.
    #[must_use]
    pub fn new(store: Store, terms: Terms) -> Self {
        let Terms { config, login, pace, listeners, upstreams } = terms;
        let access = if login.is_some() { Access::Policies(config.policies.clone()) } else { Access::Open };
        let scanner = config.scanning.clone().map(|scanning| Arc::new(Scanner::new(store.disk.root(), scanning)));
        let (scanning, pushed, metrics) = (Mutex::default(), watch::Sender::new(0), Metrics::default());
        let store = Arc::new(store);
        Self { store, pace, config, login, access, listeners, upstreams, metrics, scanner, scanning, pushed }
    }

    /// What it keeps.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Its figures, in Prometheus' form.
    #[must_use]
    pub fn metrics(&self) -> String {
        let findings = self.scanner.as_ref().map(|scanner| scanner.totals());
        self.metrics.text(&self.store.state(), findings.as_ref())
    }

    /// Answers a request, whatever it is: refusals are answers too, in the specification's form.
    ///
    /// Where it comes from is looked for among its extensions, as a [`crate::Remote`].
    pub async fn answer(self: &Arc<Self>, request: Request<impl Incoming + 'static>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let head = parts.method == Method::HEAD;
        let mut happened = guard::begun(&parts, body.size_hint().exact().unwrap_or_default());
        let answer = match self.called(parts, body, &mut happened).await {
            Ok(answer) => answer,
            Err(refusal) => {
                happened.reason = Some(refusal.message.clone());
                refusal.into()
            }
        };
        happened.status = answer.status.as_u16();
        happened.bytes_sent = if head { 0 } else { answer.body.len() };
        happened.digest =
            answer.headers.iter().find(|(name, _)| *name == CONTENT_DIGEST).map(|(_, value)| value.clone());
        self.metrics.count(&happened);
        self.listeners.tell(&happened);
        finished(answer, head)
    }

    async fn called(
        self: &Arc<Self>,
        parts: Parts,
        body: impl Incoming + 'static,
        happened: &mut Happened,
    ) -> Result<Answer, Refusal> {
        if parts.uri.path() == "/token"
            && let Some(login) = &self.login
        {
            happened.call = "token";
            return self.token(login, &parts, body).await;
        }
        let read = Call::read(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
        // Who is not believed is told so first: a stranger learns nothing by asking for what cannot be.
        let caller = self.caller(&parts, read.as_ref().ok()).await?;
        happened.user.clone_from(&caller.user);
        let call = read?;
        (happened.call, happened.action) = (call.word(), call.action().word());
        happened.repository = call.repository().map(Name::to_string);
        happened.reference = call.reference();
        self.permit(&caller, &call, &parts)?;
        if call.action() == Action::Push {
            self.refuse_change(call.repository())?;
        }
        self.perform(parts, body, call, caller).await
    }

    async fn perform(
        self: &Arc<Self>,
        parts: Parts,
        body: impl Incoming + 'static,
        call: Call,
        caller: Caller,
    ) -> Result<Answer, Refusal> {
        match call {
            Call::Ping => Ok(Answer::new(StatusCode::OK).json(&serde_json::json!({}))),
            Call::Catalog(page) => Ok(self.catalog(&page, &caller)),
            Call::Tags(name, page) => self.tags(&name, &page),
            Call::Referrers(name, subject, filter) => Ok(self.referrers(&name, &subject, &filter)),
            Call::Findings(name, reference) => self.findings(name, reference).await,
            Call::Blob(name, digest) => self.blob(&parts, name, digest).await,
            Call::DeleteBlob(name, digest) => self.delete_blob(name, digest).await,
            Call::Manifest(name, reference) => self.manifest(&parts, name, reference).await,
            Call::Push(name, reference, tags) => self.push(&parts, body, name, (reference, tags)).await,
            Call::DeleteManifest(name, reference) => self.delete_manifest(&parts, name, reference).await,
            Call::Start(name, start) => self.start(body, name, start, caller).await,
            Call::Append(name, id) => self.append(&parts, body, name, id).await,
            Call::Finish(name, id, digest) => self.finish(&parts, body, name, (id, digest)).await,
            Call::Status(name, id) => self.status(name, id).await,
            Call::Cancel(name, id) => self.cancel(name, id).await,
        }
    }

    /// What the configuration says of a repository.
    pub(crate) fn configured(&self, name: &Name) -> Rules {
        self.config.rules(name)
    }
}

/// The answer as HTTP has it; to HEAD without its body, whose length it still tells.
fn finished(answer: Answer, head: bool) -> Response<Body> {
    let length = answer.body.len();
    let body = if head { Body::empty() } else { answer.body };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(API_VERSION.0, HeaderValue::from_static(API_VERSION.1));
    // Browsers must not take what somebody pushed for a page.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    for (name, value) in answer.headers {
        // What has been checked is text; nothing else is put into headers.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    }
    let silent = matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !silent && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}
