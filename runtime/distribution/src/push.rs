//! Uploads (distribution-spec, "Push"): blobs that are there are not sent, those of another repository are mounted, small ones go at once
//! and large ones in parts, so that what breaks is gone on with.

use crate::error::{Kind, RegistryError};
use crate::exchange::{Answer, Ask, Payload, resolve};
use crate::hosts::Endpoint;
use crate::repository::Repository;
use crate::token::{Scope, encoded};
use http::header::{LOCATION, RANGE};
use http::{Method, StatusCode};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are sent at once; more go in parts of as many.
const PART_BYTES: u64 = 32 << 20;
/// How often a part is begun again.
const TRIES: u32 = 3;
/// What bytes are called that are no document.
const BYTES: &str = "application/octet-stream";

/// An upload into a repository, by the one server that takes it.
#[derive(Debug, Clone)]
pub struct Upload {
    repository: Repository,
    endpoint: Arc<Endpoint>,
    scope: Scope,
}

impl Repository {
    /// Finds the server that takes uploads. `from` are repositories of the same registry that blobs may be mounted from.
    ///
    /// # Errors
    /// There is none, or it cannot be asked.
    pub async fn upload(&self, from: &[String]) -> Result<Upload, RegistryError> {
        let mut scope = format!("repository:{}:pull,push", self.path);
        from.iter().for_each(|path| scope.push_str(&format!(" repository:{path}:pull")));
        let scope = Scope(scope);
        let mut refusals = Vec::new();
        for endpoint in self.endpoints.iter().filter(|endpoint| endpoint.does.push) {
            let ask = Ask::new(Method::GET, format!("{}{}/", endpoint.origin.url(), endpoint.prefix));
            match self.shared.ask(endpoint, &scope, &ask).await {
                Ok(answer) if answer.status.is_success() => {
                    answer.finish().await;
                    return Ok(Upload { repository: self.clone(), endpoint: Arc::clone(endpoint), scope });
                }
                Ok(answer) => refusals.push(answer.refusal(&ask).await),
                Err(error) => refusals.push(error),
            }
        }
        let kind = refusals.iter().map(|refusal| refusal.kind).max().unwrap_or(Kind::Configuration);
        let texts: Vec<String> = refusals.into_iter().map(|refusal| refusal.text).collect();
        let text = if texts.is_empty() { "no endpoint takes uploads".to_owned() } else { texts.join("; ") };
        Err(RegistryError::new(kind, text))
    }
}

impl Upload {
    async fn ask(&self, ask: &Ask) -> Result<Answer, RegistryError> {
        self.repository.shared.ask(&self.endpoint, &self.scope, ask).await
    }

    fn url(&self, rest: &str) -> String {
        self.repository.url(&self.endpoint, rest)
    }

    /// Whether the repository has the blob.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn has(&self, digest: &str) -> Result<bool, RegistryError> {
        let ask = Ask::new(Method::HEAD, self.url(&format!("/blobs/{digest}")));
        let answer = self.ask(&ask).await?;
        match answer.status {
            StatusCode::NOT_FOUND => {
                answer.finish().await;
                Ok(false)
            }
            status if status.is_success() => {
                answer.finish().await;
                Ok(true)
            }
            _ => Err(answer.refusal(&ask).await),
        }
    }

    /// Takes the blob over from another repository of the registry; whether that could be done.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn mount(&self, digest: &str, from: &str) -> Result<bool, RegistryError> {
        let rest = format!("/blobs/uploads/?mount={digest}&from={}", encoded(from));
        let ask = Ask::new(Method::POST, self.url(&rest));
        let answer = self.ask(&ask).await?;
        match answer.status {
            StatusCode::CREATED => {
                answer.finish().await;
                Ok(true)
            }
            StatusCode::ACCEPTED => {
                // It has begun an upload instead, which nobody needs.
                let place = self.place(&ask, &answer)?;
                answer.finish().await;
                let given_up = self.ask(&Ask::new(Method::DELETE, place)).await;
                if let Ok(answer) = given_up {
                    answer.finish().await;
                }
                Ok(false)
            }
            // Who may not read the other one, or it is not there.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                answer.finish().await;
                Ok(false)
            }
            _ => Err(answer.refusal(&ask).await),
        }
    }

    /// Sends a blob that lies in a file; `sent` is told how many bytes have arrived.
    ///
    /// # Errors
    /// It is refused, or cannot be sent.
    pub async fn blob(&self, digest: &str, file: &Path, bytes: u64, sent: &dyn Sent) -> Result<(), RegistryError> {
        let begin = Ask::new(Method::POST, self.url("/blobs/uploads/"));
        let answer = self.ask(&begin).await?;
        if answer.status != StatusCode::ACCEPTED {
            return Err(answer.refusal(&begin).await);
        }
        let mut place = self.place(&begin, &answer)?;
        answer.finish().await;
        let mut at = 0;
        if bytes > PART_BYTES {
            while at < bytes {
                (place, at) = self.part(&place, file, at, bytes).await?;
                sent.sent(at);
            }
        }
        let mut end = Ask::new(Method::PUT, finished(&place, digest));
        end.content_type = Some(BYTES.to_owned());
        if at < bytes {
            end.payload = Payload::File { path: file.to_owned(), from: at, bytes: bytes - at };
        }
        let answer = self.ask(&end).await?;
        if answer.status != StatusCode::CREATED {
            return Err(answer.refusal(&end).await);
        }
        answer.finish().await;
        sent.sent(bytes);
        Ok(())
    }

    /// Sends the part that begins at `at`; where the next one goes, and at which byte it begins.
    async fn part(&self, place: &str, file: &Path, at: u64, bytes: u64) -> Result<(String, u64), RegistryError> {
        let (mut place, mut first) = (place.to_owned(), at);
        let mut tried = 1;
        loop {
            let last = (first + PART_BYTES).min(bytes) - 1;
            let mut ask = Ask::new(Method::PATCH, place.clone());
            ask.content_type = Some(BYTES.to_owned());
            ask.content_range = Some((first, last));
            ask.payload = Payload::File { path: file.to_owned(), from: first, bytes: last - first + 1 };
            let (error, elsewhere) = match self.ask(&ask).await {
                Ok(answer) if matches!(answer.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) => {
                    let next = self.place(&ask, &answer)?;
                    answer.finish().await;
                    return Ok((next, last + 1));
                }
                Ok(answer) => {
                    // It has more or fewer bytes than we think, and says how many.
                    let elsewhere = answer.status == StatusCode::RANGE_NOT_SATISFIABLE;
                    (answer.refusal(&ask).await, elsewhere)
                }
                Err(error) => (error, false),
            };
            if tried >= TRIES || !(error.is_passing() || elsewhere) {
                return Err(error);
            }
            tried += 1;
            (place, first) = self.progress(&place).await.map_err(|_| error)?;
        }
    }

    /// How far an upload has come: where it goes on.
    async fn progress(&self, place: &str) -> Result<(String, u64), RegistryError> {
        let ask = Ask::new(Method::GET, place.to_owned());
        let answer = self.ask(&ask).await?;
        if !answer.status.is_success() {
            return Err(answer.refusal(&ask).await);
        }
        let next = self.place(&ask, &answer).unwrap_or_else(|_| place.to_owned());
        let last = answer
            .header(RANGE.as_str())
            .and_then(|range| range.rsplit_once('-'))
            .and_then(|(_, last)| last.parse::<u64>().ok());
        answer.finish().await;
        // `0-0` is said of an upload without bytes, too: a byte that is sent again is refused, none is lost.
        Ok((next, last.filter(|last| *last > 0).map_or(0, |last| last + 1)))
    }

    /// Puts a manifest under a tag or its digest; the digest that the registry says it has.
    ///
    /// # Errors
    /// It is refused, or cannot be sent.
    pub async fn manifest(
        &self,
        reference: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Option<String>, RegistryError> {
        let mut ask = Ask::new(Method::PUT, self.url(&format!("/manifests/{reference}")));
        ask.content_type = Some(media_type.to_owned());
        ask.payload = Payload::Bytes(bytes.into());
        let answer = self.ask(&ask).await?;
        if answer.status != StatusCode::CREATED {
            return Err(answer.refusal(&ask).await);
        }
        let digest = answer.header("docker-content-digest").map(str::to_owned);
        answer.finish().await;
        Ok(digest)
    }

    /// Where the answer says that it goes on.
    fn place(&self, ask: &Ask, answer: &Answer) -> Result<String, RegistryError> {
        let place = answer.header(LOCATION.as_str()).and_then(|place| resolve(&ask.url, place));
        place.ok_or_else(|| RegistryError::new(Kind::Protocol, format!("{}: it says not where to go on", ask.name())))
    }
}

/// Is told how far an upload is.
pub trait Sent: Send + Sync {
    /// So many bytes of the blob have arrived.
    fn sent(&self, bytes: u64);
}

fn finished(place: &str, digest: &str) -> String {
    format!("{place}{}digest={digest}", if place.contains('?') { '&' } else { '?' })
}
