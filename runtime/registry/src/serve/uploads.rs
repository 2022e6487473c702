//! Uploads: whole, in pieces, taken up again, mounted from elsewhere.

use super::{Answer, Registry, asked, blocking};
use crate::Name;
use crate::access::Caller;
use crate::digest::Digest;
use crate::range;
use crate::receive::{self, Incoming};
use crate::refusal::{Code, Refusal};
use crate::route::Start;
use crate::uploads::{self, Taken, Upload};
use http::request::Parts;
use http::{StatusCode, header};
use std::sync::Arc;
use uuid::Uuid;

fn location(upload: &Upload) -> String {
    format!("/v2/{}/blobs/uploads/{}", upload.repository, upload.id)
}

/// What an upload has: its last byte, or 0 also when it has none, as clients know it from Docker's registry.
fn range_of(upload: &Upload) -> String {
    format!("0-{}", upload.bytes.saturating_sub(1))
}

/// An answer about an upload that goes on.
fn going_on(status: StatusCode, upload: &Upload) -> Answer {
    Answer::new(status)
        .header("location", location(upload))
        .header("range", range_of(upload))
        .header("docker-upload-uuid", upload.id.to_string())
}

fn created(name: &Name, digest: &Digest) -> Answer {
    Answer::new(StatusCode::CREATED)
        .header("location", format!("/v2/{name}/blobs/{digest}"))
        .header(super::CONTENT_DIGEST, digest.as_str())
}

/// "If a chunk is uploaded out of order, the registry MUST respond with a 416".
fn in_order(parts: &Parts, upload: &Upload, length: Option<u64>) -> Result<(), Refusal> {
    let Some(range) = asked(parts, &header::CONTENT_RANGE) else { return Ok(()) };
    let chunk = range::chunk(range, length)?;
    if chunk.first == upload.bytes {
        return Ok(());
    }
    let text = format!("the upload has {} bytes, and the chunk begins at {}", upload.bytes, chunk.first);
    Err(Refusal::new(416, Code::BlobUploadInvalid, text)
        .header("location", location(upload))
        .header("range", range_of(upload)))
}

fn length(parts: &Parts) -> Option<u64> {
    asked(parts, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok())
}

impl Registry {
    pub(super) async fn start(
        self: &Arc<Self>,
        body: impl Incoming,
        name: Name,
        start: Start,
        caller: Caller,
    ) -> Result<Answer, Refusal> {
        if let Some(digest) = &start.mount
            && self.mount(&name, digest, start.from.as_ref(), caller).await?
        {
            return Ok(created(&name, digest));
        }
        let (store, repository) = (self.store.clone(), name.clone());
        let upload = blocking(move || store.uploads.start(&store.disk, &repository, start.algorithm)).await?;
        let Some(digest) = start.digest else { return Ok(going_on(StatusCode::ACCEPTED, &upload)) };
        let upload = self.receive(upload, body).await?;
        self.end(upload, name, digest).await
    }

    /// Takes a blob from a repository that the caller may read.
    async fn mount(
        self: &Arc<Self>,
        name: &Name,
        digest: &Digest,
        from: Option<&Name>,
        caller: Caller,
    ) -> Result<bool, Refusal> {
        let (this, rules) = (self.clone(), self.rules(name));
        let (name, digest, from) = (name.clone(), digest.clone(), from.cloned());
        let work = move || {
            let may_read = |name: &Name| this.may_read(&caller, name);
            this.store.mount(&name, &rules, &digest, from.as_ref(), &may_read)
        };
        blocking(work).await
    }

    /// Takes a body; how much there may be is what the quota has left.
    async fn receive(&self, upload: Taken, body: impl Incoming) -> Result<Taken, Refusal> {
        let name = upload.repository.clone();
        let used = self.store.state().repository(&name).map_or(0, |held| held.bytes);
        let left = self.rules(&name).quota_bytes.map(|quota| quota.saturating_sub(used));
        receive::append(&self.store, upload, body, self.pace, left).await
    }

    async fn take(&self, name: Name, id: Uuid) -> Result<Taken, Refusal> {
        let store = self.store.clone();
        let session = blocking(move || store.uploads.find(&store.disk, id)).await?;
        uploads::take(session, &name).await
    }

    pub(super) async fn append(
        &self,
        parts: &Parts,
        body: impl Incoming,
        name: Name,
        id: Uuid,
    ) -> Result<Answer, Refusal> {
        let upload = self.take(name, id).await?;
        in_order(parts, &upload, length(parts))?;
        let upload = self.receive(upload, body).await?;
        Ok(going_on(StatusCode::ACCEPTED, &upload))
    }

    pub(super) async fn finish(
        &self,
        parts: &Parts,
        body: impl Incoming,
        name: Name,
        (id, digest): (Uuid, Digest),
    ) -> Result<Answer, Refusal> {
        let upload = self.take(name.clone(), id).await?;
        // A range beside no body is that of the whole upload, as some clients send it.
        if !body.is_end_stream() {
            in_order(parts, &upload, length(parts))?;
        }
        let upload = self.receive(upload, body).await?;
        self.end(upload, name, digest).await
    }

    async fn end(&self, upload: Taken, name: Name, digest: Digest) -> Result<Answer, Refusal> {
        let (store, rules, of) = (self.store.clone(), self.rules(&name), digest.clone());
        blocking(move || store.finish(upload, &of, &rules)).await?;
        Ok(created(&name, &digest))
    }

    pub(super) async fn status(&self, name: Name, id: Uuid) -> Result<Answer, Refusal> {
        Ok(going_on(StatusCode::NO_CONTENT, &*self.take(name, id).await?))
    }

    pub(super) async fn cancel(&self, name: Name, id: Uuid) -> Result<Answer, Refusal> {
        let upload = self.take(name, id).await?;
        let store = self.store.clone();
        blocking(move || Ok(store.uploads.end(upload)?)).await?;
        Ok(Answer::new(StatusCode::NO_CONTENT))
    }
}
