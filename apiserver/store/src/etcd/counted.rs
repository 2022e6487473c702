//! Counts every call by its outcome, for `/metrics`; and says in gRPC-Go's words that a message is too large, where our library has
//! other words and another code.

use super::DECODED_BYTES_SLACK;
use crate::Store;
use crate::core::Core;
use crate::metrics::Counter;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tonic::Code;

/// Services and their calls: those that answer once, those that answer with a stream, those that are streams both ways.
const SERVICES: &[(&str, &str, &str, &str)] = &[
    ("etcdserverpb.KV", "Range Put DeleteRange Txn Compact", "RangeStream", ""),
    ("etcdserverpb.Watch", "", "", "Watch"),
    ("etcdserverpb.Lease", "LeaseGrant LeaseRevoke LeaseTimeToLive LeaseLeases", "", "LeaseKeepAlive"),
    ("etcdserverpb.Cluster", "MemberAdd MemberRemove MemberUpdate MemberList MemberPromote", "", ""),
    ("etcdserverpb.Maintenance", "Alarm Status Defragment Hash HashKV MoveLeader Downgrade", "Snapshot", ""),
    (
        "etcdserverpb.Auth",
        "AuthEnable AuthDisable AuthStatus Authenticate UserAdd UserGet UserList UserDelete UserChangePassword UserGrantRole \
         UserRevokeRole RoleAdd RoleGet RoleList RoleDelete RoleGrantPermission RoleRevokePermission",
        "",
        "",
    ),
    ("v3lockpb.Lock", "Lock Unlock", "", ""),
    ("v3electionpb.Election", "Campaign Proclaim Leader Resign", "Observe", ""),
    ("grpc.health.v1.Health", "Check", "Watch", ""),
];

/// gRPC-Go's names of the codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

struct Method {
    service: &'static str,
    name: &'static str,
    kind: &'static str,
}

static METHODS: LazyLock<Vec<Method>> = LazyLock::new(|| {
    let of = |&(service, once, answers, both): &(&'static str, &'static str, &'static str, &'static str)| {
        [("unary", once), ("server_stream", answers), ("bidi_stream", both)]
            .into_iter()
            .flat_map(move |(kind, names)| names.split_whitespace().map(move |name| Method { service, name, kind }))
    };
    SERVICES.iter().flat_map(of).collect()
});

static PATHS: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
    let path = |(number, method): (usize, &Method)| (format!("/{}/{}", method.service, method.name), number);
    METHODS.iter().enumerate().map(path).collect()
});

#[derive(Debug, Default)]
struct Counts {
    started: Counter,
    handled: [Counter; CODES.len()],
}

/// How many calls began, and how they ended.
#[derive(Debug)]
pub(crate) struct Calls {
    methods: Vec<Counts>,
}

impl Default for Calls {
    fn default() -> Self {
        Calls { methods: METHODS.iter().map(|_| Counts::default()).collect() }
    }
}

impl Calls {
    /// Prometheus' lines for what happened at all.
    pub(super) fn lines(&self) -> (String, String) {
        let (mut started, mut handled) = (String::new(), String::new());
        for (method, counts) in METHODS.iter().zip(&self.methods) {
            let Method { service, name, kind } = method;
            let labels = format!("grpc_method=\"{name}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"");
            let begun = counts.started.value();
            if begun > 0 {
                started += &format!("grpc_server_started_total{{{labels}}} {begun}\n");
            }
            for (code, counter) in CODES.iter().zip(&counts.handled) {
                let ended = counter.value();
                if ended > 0 {
                    handled += &format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}} {ended}\n");
                }
            }
        }
        (started, handled)
    }
}

/// One call; who goes away before it ended cancelled it.
pub(super) struct Call {
    core: Arc<Core>,
    /// `None`: a call that nobody knows.
    method: Option<usize>,
    ended: bool,
}

impl Call {
    /// The call of this path begins.
    pub(super) fn of(core: &Arc<Core>, path: &str) -> Self {
        let method = PATHS.get(path).copied();
        if let Some(method) = method {
            core.metrics.calls.methods[method].started.add(1);
        }
        Call { core: core.clone(), method, ended: false }
    }

    /// It ended.
    pub(super) fn end(&mut self, code: Code) {
        if let Some(method) = self.method
            && !std::mem::replace(&mut self.ended, true)
        {
            self.core.metrics.calls.methods[method].handled[code as usize].add(1);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// Passes a call on.
pub(super) async fn count(State(store): State<Store>, request: Request, next: Next) -> Response {
    let mut call = Call::of(store.core(), request.uri().path());
    let decoded_bytes_max = store.core().options.limits.request_bytes.saturating_add(DECODED_BYTES_SLACK);
    let mut response = next.run(request).await;
    in_go_words(response.headers_mut(), decoded_bytes_max);
    // A refusal has no body: its status is among the headers.
    if let Some(code) = status(response.headers()) {
        call.end(code);
        return response;
    }
    response.map(|body| Body::new(Counted { body, call }))
}

fn status(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// A message above the limit: tonic says OutOfRange and "Error, decoded message length too large: found N bytes, …".
fn in_go_words(headers: &mut HeaderMap, bytes_max: usize) {
    let decode = |message: &HeaderValue| Some(message.to_str().ok()?.replace("%20", " "));
    let Some(message) = headers.get("grpc-message").and_then(decode) else { return };
    if let Some((_, rest)) = message.split_once("decoded message length too large: found ")
        && let Some(length) = rest.split(' ').next().and_then(|length| length.parse::<u64>().ok())
        && let Ok(said) = format!("grpc: received message larger than max ({length} vs. {bytes_max})").parse()
    {
        headers.insert("grpc-status", HeaderValue::from(Code::ResourceExhausted as i32));
        headers.insert("grpc-message", said);
    }
}

/// An answer's body, whose trailers say how the call ended.
struct Counted {
    body: Body,
    call: Call,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(code) = frame.trailers_ref().and_then(status)
        {
            self.call.end(code);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
