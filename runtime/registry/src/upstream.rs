//! Registries that are asked for what is not here: a cache that is filled by who pulls.
//!
//! A manifest is fetched when it is asked for, and kept; a tag is asked for again when it has not been for a while, and what was kept serves as long as
//! nobody answers. Blobs are fetched when somebody wants them, once however many do. What comes is checked against its digest, like a push.

use crate::digest::{Algorithm, Digest};
use crate::manifest;
use crate::name::{Name, Tag};
use crate::plan::{Conditions, Push, Reference};
use crate::receive;
use crate::refusal::{Code, Refusal};
use crate::rules::Rules;
use crate::serve::{Registry, blocking};
use crate::store::now;
use bytes::Bytes;
use http_body::Frame;
use serde::Deserialize;
use skiff_distribution::{Blob, Credentials, Document, Kind, Registries, RegistryError, Repository};
use std::collections::HashMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex as AsyncMutex, mpsc};

/// Tags whose last look is remembered; beyond that all are looked at again.
const LOOKS_MAX: usize = 100_000;
/// Pieces of a blob on their way from the connection to the disk.
const PIECES_WAITING: usize = 16;

/// A registry whose images are had here under a prefix, as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Upstream {
    /// How the names of repositories begin that are its: `hub/` makes `hub/library/busybox` its `library/busybox`.
    pub prefix: String,
    /// The registry, as names of images have it: `docker.io`, `10.0.0.1:5000`.
    pub registry: String,
    /// Who we are to it.
    pub username: Option<String>,
    /// A file with the password, alone.
    pub password_file: Option<PathBuf>,
    /// How long a tag is believed to be what it was.
    #[serde(default = "five_minutes")]
    pub tag_ttl_seconds: u64,
}

fn five_minutes() -> u64 {
    300
}

impl Upstream {
    /// Whether its words are ones.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        let is_prefix = self.prefix.strip_suffix('/').is_some_and(|name| name.parse::<Name>().is_ok());
        if !is_prefix {
            return Err(format!("prefix: \"{}\" is no name of a repository with a slash behind it", self.prefix));
        }
        if self.registry.is_empty() || self.registry.contains('/') {
            return Err(format!("registry: \"{}\" is no host, with a port or without", self.registry));
        }
        if self.username.is_some() != self.password_file.is_some() {
            return Err("username and passwordFile: one needs the other".to_owned());
        }
        Ok(())
    }

    /// What the repository is called there, if it is one of its.
    fn path<'a>(&self, name: &'a Name) -> Option<&'a str> {
        name.as_str().strip_prefix(self.prefix.as_str()).filter(|path| !path.is_empty())
    }
}

/// What is fetched of a repository, and who waits for it.
type Fetching = HashMap<(Name, String), Arc<AsyncMutex<()>>>;

/// All registries that are asked, and what is known of asking them.
pub struct Upstreams {
    all: Vec<(Upstream, Option<Credentials>)>,
    registries: Registries,
    /// When a tag was asked for last.
    looks: Mutex<HashMap<(Name, Tag), Instant>>,
    /// Who fetches what: others wait.
    fetching: Mutex<Fetching>,
}

impl Upstreams {
    /// These, with the passwords that their files hold; the first whose prefix a name has counts.
    #[must_use]
    pub fn new(all: Vec<(Upstream, Option<Credentials>)>, registries: Registries) -> Self {
        Self { all, registries, looks: Mutex::default(), fetching: Mutex::default() }
    }

    fn of<'a>(&self, name: &'a Name) -> Option<(&(Upstream, Option<Credentials>), &'a str)> {
        self.all.iter().find_map(|one| one.0.path(name).map(|path| (one, path)))
    }

    /// Whether the repository is another registry's.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.of(name).is_some()
    }

    fn repository(&self, name: &Name) -> Option<Result<Repository, RegistryError>> {
        let ((upstream, credentials), path) = self.of(name)?;
        Some(self.registries.repository(&upstream.registry, path, credentials.clone()))
    }

    fn is_fresh(&self, name: &Name, tag: &Tag) -> bool {
        let Some(((upstream, _), _)) = self.of(name) else { return false };
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let age = looks.get(&(name.clone(), tag.clone())).map(Instant::elapsed);
        age.is_some_and(|age| age < Duration::from_secs(upstream.tag_ttl_seconds))
    }

    fn looked(&self, name: &Name, tag: &Tag) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() >= LOOKS_MAX {
            looks.clear();
        }
        looks.insert((name.clone(), tag.clone()), Instant::now());
    }

    /// Waits until nobody else fetches the same, and fetches it alone then.
    async fn alone<T>(&self, name: &Name, what: String, work: impl Future<Output = T>) -> T {
        let key = (name.clone(), what);
        let mutex = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            fetching.entry(key.clone()).or_default().clone()
        };
        let held = mutex.lock().await;
        let done = work.await;
        drop(held);
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        // Two: the table's and ours.
        if Arc::strong_count(&mutex) == 2 {
            fetching.remove(&key);
        }
        done
    }
}

/// The digest of what another registry answered, which must be the one that it was asked for, and the tags that name it then.
pub(crate) fn named(bytes: &[u8], wanted: &Reference) -> Result<(Digest, Vec<Tag>), Refusal> {
    match wanted {
        Reference::Tag(tag) => Ok((Digest::of(Algorithm::Sha256, bytes), vec![tag.clone()])),
        Reference::Digest(digest) => {
            let found = Digest::of(digest.algorithm(), bytes);
            if found == *digest {
                return Ok((found, Vec::new()));
            }
            let text = format!("the registry that this repository is of answered {found} for {digest}");
            Err(Refusal::new(502, Code::DigestInvalid, text))
        }
    }
}

/// What another registry's refusal is to who asked here.
fn refused(error: &RegistryError, unknown: Code) -> Refusal {
    let text = format!("the registry that this repository is of: {error}");
    match error.kind {
        Kind::NotFound => Refusal::new(404, unknown, text),
        Kind::Limited => Refusal::new(429, Code::TooManyRequests, text),
        Kind::Denied => Refusal::new(403, Code::Denied, text),
        _ => Refusal::new(502, Code::Unknown, text),
    }
}

impl Registry {
    /// Has a manifest here that is another registry's, if it can be had; what is kept is good enough if nobody answers.
    pub(crate) async fn bring_manifest(&self, name: &Name, reference: &Reference) -> Result<(), Refusal> {
        let Some(upstreams) = self.upstreams.as_ref().filter(|upstreams| upstreams.has(name)) else { return Ok(()) };
        let work = async {
            let is_here = crate::plan::resolve(&self.store.state(), name, reference).is_ok();
            let is_good = match reference {
                Reference::Digest(_) => true,
                Reference::Tag(tag) => upstreams.is_fresh(name, tag),
            };
            if is_here && is_good {
                return Ok(());
            }
            match self.fetch_manifest(upstreams, name, reference).await {
                Err(refusal) if is_here && refusal.status != 404 => {
                    tracing::warn!(%name, %reference, "{}; what is kept serves", refusal.message);
                    Ok(())
                }
                fetched => fetched,
            }
        };
        upstreams.alone(name, reference.to_string(), work).await
    }

    async fn fetch_manifest(&self, upstreams: &Upstreams, name: &Name, reference: &Reference) -> Result<(), Refusal> {
        let failed = |error: RegistryError| refused(&error, Code::ManifestUnknown);
        let Some(repository) = upstreams.repository(name) else { return Ok(()) };
        let document = repository.map_err(failed)?.manifest(&reference.to_string()).await.map_err(failed)?;
        self.place(name, document, reference.clone()).await?;
        if let Reference::Tag(tag) = reference {
            upstreams.looked(name, tag);
        }
        Ok(())
    }

    /// Takes another registry's manifest in.
    pub(crate) async fn place(&self, name: &Name, document: Document, reference: Reference) -> Result<(), Refusal> {
        let (store, rules, name) = (self.store.clone(), self.rules(name), name.clone());
        let placed = move || {
            let about = manifest::read(&document.bytes, Some(&document.media_type))?;
            let (digest, tags) = named(&document.bytes, &reference)?;
            let conditions = Conditions::default();
            let push = Push {
                repository: &name,
                digest: &digest,
                about: &about,
                tags: &tags,
                conditions: &conditions,
                at: now(),
            };
            store.push(&document.bytes, &rules, &push)
        };
        blocking(placed).await
    }

    /// Has a blob here that is another registry's.
    pub(crate) async fn bring_blob(&self, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        let Some(upstreams) = self.upstreams.as_ref().filter(|upstreams| upstreams.has(name)) else { return Ok(()) };
        let is_here = || crate::plan::blob(&self.store.state(), name, digest).is_ok();
        if is_here() {
            return Ok(());
        }
        let work = async {
            // Whoever had it before us has put it there.
            let Some(there) = upstreams.repository(name).filter(|_| !is_here()) else { return Ok(()) };
            let there = there.map_err(|error| refused(&error, Code::BlobUnknown))?;
            self.fetch_blob(&there, name, digest).await
        };
        upstreams.alone(name, digest.to_string(), work).await
    }

    /// Takes a blob of another registry's repository.
    pub(crate) async fn fetch_blob(&self, there: &Repository, name: &Name, digest: &Digest) -> Result<(), Refusal> {
        let blob = there.blob(digest.as_str(), 0).await.map_err(|error| refused(&error, Code::BlobUnknown))?;
        let (store, repository, algorithm) = (self.store.clone(), name.clone(), digest.algorithm());
        let upload = blocking(move || store.uploads.start(&store.disk, &repository, algorithm)).await?;
        let id = upload.id;
        let used = self.store.state().repository(name).map_or(0, |held| held.bytes);
        let left = self.rules(name).quota_bytes.map(|quota| quota.saturating_sub(used));
        let received = receive::append(&self.store, upload, Arriving::of(blob), self.pace, left).await;
        let (store, rules, of) = (self.store.clone(), self.rules(name), digest.clone());
        match received {
            Ok(upload) => blocking(move || store.finish(upload, &of, &rules)).await,
            Err(refusal) => {
                // Nobody knows of this upload, so nobody would go on with it.
                if let Ok(session) = blocking(move || store.uploads.find(&store.disk, id)).await
                    && let Ok(taken) = crate::uploads::take(session, name).await
                {
                    let store = self.store.clone();
                    blocking(move || Ok(store.uploads.end(taken)?)).await?;
                }
                Err(Refusal { status: 502, ..refusal })
            }
        }
    }

    /// Refuses to change what is another registry's: the next pull would undo it.
    pub(crate) fn refuse_change(&self, name: Option<&Name>) -> Result<(), Refusal> {
        match (name, &self.upstreams) {
            (Some(name), Some(upstreams)) if upstreams.has(name) => {
                let text =
                    format!("repository {name} is a cache of another registry's, and nothing can be pushed to it");
                Err(Refusal::new(405, Code::Unsupported, text).header("allow", "GET, HEAD, DELETE"))
            }
            _ => Ok(()),
        }
    }

    /// The rules of a repository: in a cache a manifest may come before what it names.
    pub(crate) fn rules(&self, name: &Name) -> Rules {
        let through = self.upstreams.as_ref().is_some_and(|upstreams| upstreams.has(name));
        Rules { through, ..self.configured(name) }
    }
}

/// A blob of another registry, as a body.
struct Arriving(mpsc::Receiver<Result<Bytes, RegistryError>>);

impl Arriving {
    fn of(mut blob: Blob) -> Self {
        let (pieces, arriving) = mpsc::channel(PIECES_WAITING);
        tokio::spawn(async move {
            loop {
                let piece = match blob.chunk().await {
                    Ok(Some(piece)) => Ok(piece),
                    Ok(None) => return,
                    Err(error) => Err(error),
                };
                let is_last = piece.is_err();
                // Nobody takes it any more, so nobody misses it.
                if pieces.send(piece).await.is_err() || is_last {
                    return;
                }
            }
        });
        Self(arriving)
    }
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = RegistryError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RegistryError>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_decides() {
        let hub = Upstream { prefix: "hub/".into(), registry: "docker.io".into(), ..Upstream::default() };
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert_eq!(hub.path(&name("hub/library/busybox")), Some("library/busybox"));
        assert_eq!((hub.path(&name("hubs/a")), hub.path(&name("hub"))), (None, None));
        assert_eq!(hub.check(), Ok(()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let good = Upstream { prefix: "hub/".into(), registry: "docker.io".into(), ..Upstream::default() };
        for (one, said) in [
            (Upstream { prefix: "hub".into(), ..good.clone() }, "prefix: \"hub\""),
            (Upstream { prefix: "/".into(), ..good.clone() }, "prefix: \"/\""),
            (Upstream { registry: "https://x".into(), ..good.clone() }, "registry: \"https://x\""),
            (Upstream { username: Some("a".into()), ..good }, "username and passwordFile"),
        ] {
            let refusal = one.check().unwrap_err();
            assert!(refusal.starts_with(said), "{refusal}");
        }
    }
}
