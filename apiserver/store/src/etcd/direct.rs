//! The calls that come most often, Range, Put and Txn, without the layers that the others pass through: one message in, one out.
//!
//! gRPC over HTTP/2 is little for such a call: five bytes in front of the message, and a status in the trailers. The general way copies
//! the message into a buffer of its own, chooses a codec, and wraps the body four times; that took longer than the store does.
//!
//! The rest goes the general way, a call whose message is compressed too.

use super::counted::Call;
use super::who::{self, Who};
use super::{DECODED_BYTES_SLACK, Service, check, words};
use crate::keys::End;
use axum::body::Body;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use hyper::body::Incoming;
use prost::Message;
use skiff_proto::etcd::etcdserverpb as pb;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::Status;

/// A byte that says whether the message is compressed, and its length in four.
const PREFIX_BYTES: usize = 5;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// What is served here.
#[derive(Clone, Copy)]
pub(super) enum Method {
    Range,
    Put,
    Txn,
}

impl Method {
    /// Of a request; `None`: it goes the general way.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let method = match request.uri().path() {
            "/etcdserverpb.KV/Range" => Method::Range,
            "/etcdserverpb.KV/Put" => Method::Put,
            "/etcdserverpb.KV/Txn" => Method::Txn,
            _ => return None,
        };
        let compressed = request.headers().get("grpc-encoding").is_some_and(|how| how != "identity");
        (!compressed).then_some(method)
    }
}

/// Answers a request.
pub(super) async fn answer(service: Arc<Service>, method: Method, request: Request<Incoming>) -> Response<Answer> {
    let mut call = Call::of(service.store.core(), request.uri().path());
    let who = Who::of_http(&request);
    let answered = answered(service, method, &who, request.into_body()).await;
    match answered {
        Ok(message) => {
            call.end(tonic::Code::Ok);
            let mut response = Response::new(Answer::Message(Some(message)));
            response.headers_mut().insert(CONTENT_TYPE, GRPC);
            response
        }
        Err(status) => {
            call.end(status.code());
            status.into_http::<()>().map(|()| Answer::Ended)
        }
    }
}

async fn answered(service: Arc<Service>, method: Method, who: &Who, body: Incoming) -> Result<Bytes, Status> {
    let bytes_max = service.limits().request_bytes.saturating_add(DECODED_BYTES_SLACK);
    let message = received(body, bytes_max).await?;
    match method {
        Method::Range => range(service, who, decoded(message)?).await,
        Method::Put => framed(&service.done_put(who, decoded(message)?).await?),
        Method::Txn => framed(&service.done_txn(who, decoded(message)?).await?),
    }
}

/// A list is read and encoded on a thread that may take its time.
async fn range(service: Arc<Service>, who: &Who, request: pb::RangeRequest) -> Result<Bytes, Status> {
    check::range(&request)?;
    let caller = service.caller(who).map_err(who::denied)?;
    let range = words::range(request);
    let single = matches!(range.keys.end, End::Single);
    let answer = move || {
        let found = service.store.core().range(&caller, &range)?;
        framed(&words::ranged(found, &service.header()))
    };
    if single {
        return answer();
    }
    let read = tokio::task::spawn_blocking(answer);
    read.await.map_err(|error| Status::unavailable(format!("etcdserver: read a range: {error}")))?
}

fn decoded<M: Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

/// The message as gRPC sends it.
fn framed(message: &impl Message) -> Result<Bytes, Status> {
    let bytes = message.encoded_len();
    let length = u32::try_from(bytes).map_err(|_| Status::resource_exhausted("the answer is larger than 4 GiB"))?;
    let mut out = Vec::with_capacity(PREFIX_BYTES + bytes);
    out.put_u8(0);
    out.put_u32(length);
    message.encode(&mut out).expect("a vector has room for every message");
    Ok(out.into())
}

/// What has come of a request.
#[derive(Default)]
struct Received {
    /// As it came, if it came in one piece.
    first: Bytes,
    /// Copied together otherwise.
    all: BytesMut,
}

impl Received {
    fn bytes(&self) -> &[u8] {
        if self.all.is_empty() { &self.first } else { &self.all }
    }

    /// How long the message is, once that is known.
    fn message_bytes(&self) -> Option<usize> {
        let mut length = self.bytes().get(1..PREFIX_BYTES)?;
        Some(length.get_u32() as usize)
    }

    fn is_whole(&self) -> bool {
        self.message_bytes().is_some_and(|bytes| self.bytes().len() >= PREFIX_BYTES + bytes)
    }

    fn add(&mut self, piece: Bytes) {
        if self.bytes().is_empty() {
            self.first = piece;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(self.message_bytes().unwrap_or(0) + PREFIX_BYTES);
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&piece);
    }

    fn message(self) -> Result<Bytes, Status> {
        match (self.bytes().first(), self.message_bytes()) {
            (None, _) => Err(Status::internal("Missing request message.")),
            (Some(0), Some(bytes)) if self.is_whole() => {
                let whole = if self.all.is_empty() { self.first } else { self.all.freeze() };
                Ok(whole.slice(PREFIX_BYTES..PREFIX_BYTES + bytes))
            }
            (Some(0), _) => Err(Status::internal("Unexpected EOF decoding stream.")),
            (Some(_), _) => {
                let what = "protocol error: received message with compressed-flag but no grpc-encoding was specified";
                Err(Status::internal(what))
            }
        }
    }
}

/// The request's message. What comes after it is passed over, up to the end.
async fn received(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Status> {
    let mut received = Received::default();
    while let Some(frame) = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)).await {
        // The client is gone, or does not speak HTTP/2.
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()))?;
        let Ok(piece) = frame.into_data() else { continue };
        if received.is_whole() {
            continue;
        }
        received.add(piece);
        if let Some(bytes) = received.message_bytes().filter(|&bytes| bytes > bytes_max) {
            let what = format!("grpc: received message larger than max ({bytes} vs. {bytes_max})");
            return Err(Status::resource_exhausted(what));
        }
    }
    received.message()
}

/// The body of an answer.
pub(super) enum Answer {
    /// A message, if it was not sent yet, then that all is well.
    Message(Option<Bytes>),
    /// Nothing more.
    Ended,
    /// What the general way answers.
    General(Body),
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = match &mut *self {
            Answer::General(body) => return Pin::new(body).poll_frame(context),
            Answer::Ended => return Poll::Ready(None),
            Answer::Message(message) => message.take().map(Frame::data),
        };
        let frame = frame.unwrap_or_else(|| {
            *self = Answer::Ended;
            Frame::trailers(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]))
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::General(body) => body.is_end_stream(),
            Answer::Ended => true,
            Answer::Message(_) => false,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Answer::General(body) => body.size_hint(),
            Answer::Ended => http_body::SizeHint::with_exact(0),
            // Its trailers come last, so it has no length to be told.
            Answer::Message(_) => http_body::SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&'static [u8]]) -> Result<Bytes, tonic::Code> {
        let mut received = Received::default();
        pieces.iter().for_each(|piece| received.add(Bytes::from_static(piece)));
        received.message().map_err(|status| status.code())
    }

    #[test]
    fn a_message_may_come_in_pieces() {
        assert_eq!(of(&[b"\0\0\0\0\x03abc"]).unwrap(), "abc");
        assert_eq!(of(&[b"\0", b"\0\0\0\x03a", b"b", b"c"]).unwrap(), "abc");
        assert_eq!(of(&[b"\0\0\0\0\x03abcd"]).unwrap(), "abc", "what comes after it is passed over");
        assert_eq!(of(&[b"\0\0\0\0\0"]).unwrap(), "");
        for wrong in [&b""[..], b"\0", b"\0\0\0\0", b"\0\0\0\0\x03ab", b"\x01\0\0\0\0"] {
            assert_eq!(of(&[wrong]), Err(tonic::Code::Internal), "{wrong:?}");
        }
    }

    #[test]
    fn a_message_is_framed() {
        let get = pb::RangeRequest { key: "k".into(), ..Default::default() };
        let framed = framed(&get).unwrap();
        assert_eq!(&framed[..], b"\0\0\0\0\x03\x0a\x01k");
    }
}
