//! Blobs: whole, in ranges, only if they have changed, and removed.

use super::{Answer, Registry, asked, blocking};
use crate::Name;
use crate::body::{Body, Part};
use crate::digest::Digest;
use crate::plan;
use crate::range::{self, Span, Wanted};
use crate::refusal::{Code, Refusal};
use http::request::Parts;
use http::{Method, StatusCode, header};
use uuid::Uuid;

/// Content never changes under its digest (RFC 8246).
const FOR_EVER: &str = "max-age=31536000, immutable";
const BYTES: &str = "application/octet-stream";

impl Registry {
    pub(super) async fn blob(&self, parts: &Parts, name: Name, digest: Digest) -> Result<Answer, Refusal> {
        self.bring_blob(&name, &digest).await?;
        let size = plan::blob(&self.store.state(), &name, &digest)?;
        let answer = Answer::new(StatusCode::OK).content(&digest).header("cache-control", FOR_EVER);
        if asked(parts, &header::IF_NONE_MATCH).is_some_and(|tags| range::names(tags, digest.as_str())) {
            return Ok(Answer { status: StatusCode::NOT_MODIFIED, ..answer });
        }
        if asked(parts, &header::IF_MATCH).is_some_and(|tags| !range::names(tags, digest.as_str())) {
            return Err(Refusal::new(412, Code::BlobUnknown, "the blob has another digest than If-Match says"));
        }
        let answer = answer.header("accept-ranges", "bytes");
        if parts.method == Method::HEAD {
            return Ok(answer.header("content-type", BYTES).header("content-length", size.to_string()));
        }
        let (store, of) = (self.store.clone(), digest.clone());
        let file = blocking(move || Ok(store.blob(&of)?)).await?;
        // A range of what it was before is of no use (RFC 9110, 13.1.5).
        let stale = asked(parts, &header::IF_RANGE).is_some_and(|tag| tag.trim_matches('"') != digest.as_str());
        let wanted = if stale { Wanted::Whole } else { range::wanted(asked(parts, &header::RANGE), size) };
        match wanted {
            Wanted::Unsatisfiable => Err(Refusal::new(416, Code::SizeInvalid, "the blob ends before this range")
                .header("content-range", format!("bytes */{size}"))),
            Wanted::Whole if size == 0 => Ok(answer.header("content-type", BYTES)),
            Wanted::Whole => {
                let whole = Part::Span(Span { first: 0, last: size - 1 });
                Ok(answer.header("content-type", BYTES).body(Body::parts(file, vec![whole])))
            }
            Wanted::Parts(spans) => {
                let answer = Answer { status: StatusCode::PARTIAL_CONTENT, ..answer };
                let (headers, parts) = in_parts(&spans, size);
                let answer = headers.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value));
                Ok(answer.body(Body::parts(file, parts)))
            }
        }
    }

    pub(super) async fn delete_blob(&self, name: Name, digest: Digest) -> Result<Answer, Refusal> {
        let store = self.store.clone();
        blocking(move || store.commit(|state| plan::delete_blob(state, &name, &digest))).await?;
        Ok(Answer::new(StatusCode::ACCEPTED))
    }
}

/// Headers and parts of an answer in ranges: one as it is, several as multipart/byteranges (RFC 9110, 14.6).
fn in_parts(spans: &[Span], size: u64) -> (Vec<(&'static str, String)>, Vec<Part>) {
    let range = |span: &Span| format!("bytes {}-{}/{size}", span.first, span.last);
    if let [span] = spans {
        return (vec![("content-type", BYTES.into()), ("content-range", range(span))], vec![Part::Span(*span)]);
    }
    let boundary = Uuid::new_v4().simple().to_string();
    let mut parts = Vec::with_capacity(spans.len() * 2 + 1);
    for span in spans {
        let head = format!("\r\n--{boundary}\r\nContent-Type: {BYTES}\r\nContent-Range: {}\r\n\r\n", range(span));
        parts.extend([Part::Text(head.into()), Part::Span(*span)]);
    }
    parts.push(Part::Text(format!("\r\n--{boundary}--\r\n").into()));
    (vec![("content-type", format!("multipart/byteranges; boundary={boundary}"))], parts)
}
