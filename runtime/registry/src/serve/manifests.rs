//! Manifests: read, pushed, removed.

use super::{Answer, Registry, asked, blocking};
use crate::Name;
use crate::body::Body;
use crate::digest::{Algorithm, Digest};
use crate::manifest::{self, MANIFEST_BYTES_MAX};
use crate::name::Tag;
use crate::plan::{self, Conditions, Push, Reference};
use crate::range;
use crate::receive::{self, Incoming};
use crate::refusal::{Code, Refusal};
use crate::store::now;
use http::request::Parts;
use http::{Method, StatusCode, header};

fn conditions(parts: &Parts) -> Conditions {
    let header = |name| asked(parts, name).map(str::to_owned);
    Conditions { if_match: header(&header::IF_MATCH), if_none_match: header(&header::IF_NONE_MATCH) }
}

fn too_long() -> Refusal {
    let text = format!("a manifest has {MANIFEST_BYTES_MAX} bytes at most");
    Refusal::new(413, Code::ManifestInvalid, text)
}

impl Registry {
    pub(super) async fn manifest(&self, parts: &Parts, name: Name, reference: Reference) -> Result<Answer, Refusal> {
        self.bring_manifest(&name, &reference).await?;
        let (digest, media_type, size) = {
            let state = self.store.state();
            let (digest, about) = plan::resolve(&state, &name, &reference)?;
            (digest, about.media_type.clone(), about.size)
        };
        self.refuse_vulnerable(&name, &digest).await?;
        let answer = Answer::new(StatusCode::OK).content(&digest);
        if asked(parts, &header::IF_NONE_MATCH).is_some_and(|tags| range::names(tags, digest.as_str())) {
            return Ok(Answer { status: StatusCode::NOT_MODIFIED, ..answer });
        }
        let answer = answer.header("content-type", media_type);
        if parts.method == Method::HEAD {
            return Ok(answer.header("content-length", size.to_string()));
        }
        let store = self.store.clone();
        let bytes = blocking(move || Ok(store.manifest(&digest)?)).await?;
        Ok(answer.body(Body::Bytes(bytes.into())))
    }

    pub(super) async fn push(
        &self,
        parts: &Parts,
        body: impl Incoming,
        name: Name,
        (reference, tags): (Reference, Vec<Tag>),
    ) -> Result<Answer, Refusal> {
        let bytes = receive::whole(body, self.pace, MANIFEST_BYTES_MAX, too_long).await?;
        let content_type = asked(parts, &header::CONTENT_TYPE).map(str::to_owned);
        let (store, conditions, rules) = (self.store.clone(), conditions(parts), self.rules(&name));
        let repository = name.clone();
        let pushed = blocking(move || {
            let about = manifest::read(&bytes, content_type.as_deref())?;
            let digest = digest(&reference, &bytes)?;
            let (digest_, about_, tags_) = (&digest, &about, &tags);
            let push = Push {
                repository: &name,
                digest: digest_,
                about: about_,
                tags: tags_,
                conditions: &conditions,
                at: now(),
            };
            store.push(&bytes, &rules, &push)?;
            Ok((reference, digest, about.subject, tags))
        });
        let (reference, digest, subject, tags) = pushed.await?;
        self.pushed.send_modify(|pushes| *pushes += 1);
        let mut answer = Answer::new(StatusCode::CREATED)
            .header("location", format!("/v2/{repository}/manifests/{digest}"))
            .content(&digest);
        if let Some(subject) = subject {
            answer = answer.header("oci-subject", subject.as_str());
        }
        if matches!(reference, Reference::Digest(_)) {
            answer = tags.iter().fold(answer, |answer, tag| answer.header("oci-tag", tag.as_str()));
        }
        Ok(answer)
    }

    pub(super) async fn delete_manifest(
        &self,
        parts: &Parts,
        name: Name,
        reference: Reference,
    ) -> Result<Answer, Refusal> {
        let (store, conditions) = (self.store.clone(), conditions(parts));
        blocking(move || store.commit(|state| plan::delete_manifest(state, &name, &reference, &conditions))).await?;
        Ok(Answer::new(StatusCode::ACCEPTED))
    }
}

/// The digest of what was pushed, which must be the one that it was pushed as.
fn digest(reference: &Reference, bytes: &[u8]) -> Result<Digest, Refusal> {
    match reference {
        Reference::Tag(_) => Ok(Digest::of(Algorithm::Sha256, bytes)),
        Reference::Digest(wanted) => {
            let found = Digest::of(wanted.algorithm(), bytes);
            if found == *wanted {
                return Ok(found);
            }
            let text = format!("what was sent has the digest {found}, not {wanted}");
            Err(Refusal::new(400, Code::DigestInvalid, text))
        }
    }
}
