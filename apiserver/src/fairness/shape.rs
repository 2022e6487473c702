//! Seats over HTTP: between who asks and whether it may.

use super::{About, Counted, Entered, Marks, Refused, Seat, WAIT_MAX};
use crate::app::App;
use crate::auth::sender_or;
use crate::caller::is_grpc;
use crate::rest;
use crate::status::Status;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};
use skiff_fairness::{Asked, Query, Size};
use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// How an answer says where its request belonged: identities, because names are not for everybody.
const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// A request as far as it is asked about.
struct Sent<'a> {
    app: &'a App,
    asked: &'a Asked<'a>,
    query: &'a Query<'a>,
}

impl About for Sent<'_> {
    fn wait_max(&self) -> Duration {
        if self.asked.verb == "watch" {
            WAIT_MAX
        } else {
            rest::time_limit(self.query.timeout).map_or(WAIT_MAX, |limit| limit / 4)
        }
    }

    fn size(&self) -> Option<Size> {
        let named = self.asked.named?;
        let resource = self.app.registry.catalog().find(named.group, named.version, named.resource).cloned()?;
        let (objects, bytes) = self.app.registry.size(&resource)?;
        Some(Size { objects: objects as u64, bytes: bytes as u64 })
    }
}

/// Lets `request` go on when it has its seats.
pub(crate) async fn shaped(app: &App, request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        // What it asks for is in its message.
        return next.run(request).await;
    }
    let entered = {
        let path = request.uri().path();
        let path =
            if path.contains('%') { rest::percent_decode(path).map_or(path.into(), Cow::Owned) } else { path.into() };
        let query = Query::of(request.uri().query().unwrap_or_default());
        let asked = Asked::of(request.method().as_str(), &path, &query);
        let begins_with_all = query.initial_events || matches!(query.revision, "" | "0");
        let is_watch = asked.verb == "watch";
        let who = sender_or(request.extensions());
        let entered = app.fairness.enter(&who, &asked, &query, &Sent { app, asked: &asked, query: &query }).await;
        entered.map(|entered| (entered, is_watch, begins_with_all))
    };
    let (Entered { seat, marks }, is_watch, begins_with_all) = match entered {
        Ok(entered) => entered,
        Err(Refused { seconds, marks }) => {
            let status = Status::too_many_requests(seconds);
            return marked(rest::refusal(&request, &status), marks.as_ref());
        }
    };
    let response = next.run(request).await;
    let response = match seat {
        Some(seat) if is_watch && response.status().is_success() => watching(response, seat, begins_with_all),
        Some(seat) if response.body().size_hint().exact().is_none() => sending(response, seat),
        _ => response,
    };
    marked(response, marks.as_ref())
}

fn marked(mut response: Response, marks: Option<&Marks>) -> Response {
    if let Some(marks) = marks {
        for (name, uid) in [(SCHEMA_UID, &marks.schema), (LEVEL_UID, &marks.level)] {
            if let Ok(value) = HeaderValue::from_str(uid) {
                response.headers_mut().insert(name, value);
            }
        }
    }
    response
}

/// A watch: its seat is for what it begins with.
fn watching(response: Response, mut seat: Seat, begins_with_all: bool) -> Response {
    let counted = seat.counted();
    let seat = begins_with_all.then(|| {
        seat.is_being_sent();
        seat
    });
    response.map(|body| Body::new(Held { body, seat, _counted: counted, until: Until::First, has_begun: false }))
}

/// An answer that is written while it is sent.
fn sending(response: Response, seat: Seat) -> Response {
    seat.is_being_sent();
    response.map(|body| Body::new(Held { body, seat: Some(seat), _counted: None, until: Until::End, has_begun: false }))
}

/// What of an answer has to be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// Its first part, or that there is none yet.
    First,
    /// All of it.
    End,
}

/// An answer that keeps a seat.
struct Held {
    body: Body,
    seat: Option<Seat>,
    _counted: Option<Counted>,
    until: Until,
    has_begun: bool,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.has_begun && self.until == Until::First {
            self.seat = None;
        }
        self.has_begun = true;
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() {
            self.seat = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
