//! What is in a repository: manifests by tag and by digest, blobs from any byte on; from the first endpoint that has it.

use crate::error::{Kind, RegistryError, chain, shown};
use crate::exchange::{Answer, Ask};
use crate::hosts::{Does, Endpoint, Shared};
use crate::token::{Scope, encoded};
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of a manifest; registries allow 4 MiB.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// How long nothing may come of an answer that has begun.
const SILENCE: Duration = Duration::from_secs(60);
/// What we can read. The first two lines are OCI's, the others Docker's; an old manifest of schema 1 comes only if there is no other.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";
/// The digest of what is answered.
const DIGEST: &str = "docker-content-digest";

/// A repository of a registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) shared: Arc<Shared>,
    registry: String,
    pub(crate) path: String,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
}

/// A manifest or an index, as it was delivered; whether it is what was asked for is the caller's to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// As the registry calls it.
    pub media_type: String,
    /// The digest that the registry says it has.
    pub digest: Option<String>,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A blob that is being delivered.
#[derive(Debug)]
pub struct Blob {
    /// The first byte that comes: the one that was asked for, or 0.
    pub from: u64,
    /// Bytes of the whole blob, if the registry says so.
    pub total: Option<u64>,
    /// The URL of the server that was asked, for [`Repository::without`].
    pub origin: String,
    what: String,
    body: Incoming,
}

impl Repository {
    pub(crate) fn new(shared: Arc<Shared>, registry: &str, path: &str, endpoints: Vec<Endpoint>) -> Self {
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        Self { shared, registry: registry.to_owned(), path: path.to_owned(), endpoints }
    }

    /// The same, without one of the servers that are asked; none if nobody would be left.
    #[must_use]
    pub fn without(&self, origin: &str) -> Option<Self> {
        let endpoints: Vec<_> = self.endpoints.iter().filter(|one| one.origin.url() != origin).cloned().collect();
        (!endpoints.is_empty()).then(|| Self { endpoints, ..self.clone() })
    }

    /// The digest of what a tag stands for, without fetching it; none if nobody says it.
    ///
    /// # Errors
    /// Nobody has it, or nobody can be asked.
    pub async fn resolve(&self, reference: &str) -> Result<Option<String>, RegistryError> {
        let (answer, _) = self.ask_for_manifest(Method::HEAD, reference).await?;
        let digest = answer.header(DIGEST).map(str::to_owned);
        answer.finish().await;
        Ok(digest)
    }

    /// The manifest or index of a tag or a digest.
    ///
    /// # Errors
    /// Nobody has it, nobody can be asked, or it is larger than 4 MiB.
    pub async fn manifest(&self, reference: &str) -> Result<Document, RegistryError> {
        let (answer, ask) = self.ask_for_manifest(Method::GET, reference).await?;
        let media_type = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let digest = answer.header(DIGEST).map(str::to_owned);
        let bytes = collect(answer.body, MANIFEST_BYTES_MAX).await.map_err(|error| error.during(&ask.name()))?;
        Ok(Document { media_type, digest, bytes: bytes.into() })
    }

    /// A blob, from the byte `from` on if the registry can do that.
    ///
    /// # Errors
    /// Nobody has it, or nobody can be asked.
    pub async fn blob(&self, digest: &str, from: u64) -> Result<Blob, RegistryError> {
        let answer = self.first(digest, |endpoint| {
            let mut ask = Ask::new(Method::GET, self.url(endpoint, &format!("/blobs/{digest}")));
            ask.from = from;
            ask
        });
        let (answer, ask, origin) = answer.await?;
        let what = ask.name();
        let bad = |reason: &str| RegistryError::new(Kind::Protocol, format!("{what}: {reason}"));
        let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        if answer.status != http::StatusCode::PARTIAL_CONTENT {
            return Ok(Blob { from: 0, total: length, origin, what, body: answer.body });
        }
        let range = answer.header(CONTENT_RANGE.as_str()).ok_or_else(|| bad("a part without Content-Range"))?;
        let (first, total) = part(range).ok_or_else(|| bad(&format!("Content-Range {} is none", shown(range))))?;
        if first != from {
            return Err(bad(&format!("the part from byte {from} was asked for, and it begins at {first}")));
        }
        Ok(Blob { from, total, origin, what, body: answer.body })
    }

    /// The answer of the first endpoint that has it, what it was asked, and where.
    pub(crate) async fn first(
        &self,
        reference: &str,
        ask: impl Fn(&Endpoint) -> Ask,
    ) -> Result<(Answer, Ask, String), RegistryError> {
        let mut refusals: Vec<RegistryError> = Vec::new();
        let scope = Scope(format!("repository:{}:pull", self.path));
        let wanted = |does: Does| if reference.contains(':') { does.pull } else { does.resolve };
        for endpoint in self.endpoints.iter().filter(|endpoint| wanted(endpoint.does)) {
            let asked = ask(endpoint);
            match self.shared.ask(endpoint, &scope, &asked).await {
                Ok(answer) if answer.status.is_success() => return Ok((answer, asked, endpoint.origin.url())),
                Ok(answer) => refusals.push(answer.refusal(&asked).await),
                Err(error) => refusals.push(error),
            }
        }
        Err(self.together(&refusals))
    }

    /// What all who were asked said. Not to have it is the weakest answer: somebody who could not be asked may have it.
    fn together(&self, refusals: &[RegistryError]) -> RegistryError {
        let kind = refusals.iter().map(|refusal| refusal.kind).max();
        // On the loopback two protocols are tried, and the one that nobody speaks says nothing.
        let own: Vec<&str> =
            refusals.iter().filter(|one| one.kind != Kind::Unreachable).map(|one| one.text.as_str()).collect();
        let all: Vec<&str> = refusals.iter().map(|one| one.text.as_str()).collect();
        let is_loopback = crate::realm::is_loopback(crate::realm::host(&self.registry));
        let (kind, texts) = if is_loopback && !own.is_empty() {
            (refusals.iter().map(|one| one.kind).filter(|kind| *kind != Kind::Unreachable).max(), own)
        } else {
            (kind, all)
        };
        let nobody = || format!("nobody is asked for images of {}", self.registry);
        let text = if texts.is_empty() { nobody() } else { texts.join("; ") };
        RegistryError::new(kind.unwrap_or(Kind::Configuration), text)
    }

    /// The answer about a manifest of the first endpoint that has it, and what it was asked.
    async fn ask_for_manifest(&self, method: Method, reference: &str) -> Result<(Answer, Ask), RegistryError> {
        let answer = self.first(reference, |endpoint| {
            let mut ask = Ask::new(method.clone(), self.url(endpoint, &format!("/manifests/{reference}")));
            ask.accept = Some(ACCEPT);
            ask
        });
        answer.await.map(|(answer, ask, _)| (answer, ask))
    }

    /// The URL of something in the repository; a mirror is told whose it is.
    pub(crate) fn url(&self, endpoint: &Endpoint, rest: &str) -> String {
        let url = format!("{}{}/{}{rest}", endpoint.origin.url(), endpoint.prefix, self.path);
        if endpoint.own {
            return url;
        }
        format!("{url}{}ns={}", if url.contains('?') { '&' } else { '?' }, encoded(&self.registry))
    }
}

impl Blob {
    /// What comes next; none at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing comes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        next(&mut self.body).await.map_err(|error| error.during(&self.what))
    }
}

async fn next(body: &mut Incoming) -> Result<Option<Bytes>, RegistryError> {
    let broken = |reason: String| RegistryError::new(Kind::Unreachable, reason);
    loop {
        match timeout(SILENCE, body.frame()).await {
            Err(_) => return Err(broken(format!("nothing came for {} s", SILENCE.as_secs()))),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(broken(chain(&error))),
            // Anything else is a trailer.
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A whole answer of bounded size, in bounded time.
pub(crate) async fn collect(body: Incoming, bytes_max: usize) -> Result<Bytes, RegistryError> {
    let collected = timeout(SILENCE, Limited::new(body, bytes_max).collect()).await;
    let collected = collected.map_err(|_| RegistryError::new(Kind::Unreachable, "the answer does not end"))?;
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(RegistryError::new(Kind::Protocol, format!("the answer is larger than {bytes_max} bytes")))
        }
        Err(error) => Err(RegistryError::new(Kind::Unreachable, chain(error.as_ref()))),
    }
}

/// `bytes 5-9/10`, `bytes 5-9/*`: the first byte, and how many there are.
fn part(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = span.split_once('-')?;
    Some((first.trim().parse().ok()?, total.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read() {
        assert_eq!(part("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(part("bytes 5-9/*"), Some((5, None)));
        assert_eq!(part("bytes */10"), None);
        assert_eq!(part("5-9/10"), None);
    }
}
