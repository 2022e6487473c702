//! The end of a request: counted and logged once, when the answer's last byte was given away or nobody wants it any more.

use crate::access::AccessLog;
use crate::heads::Peer;
use crate::metrics::{Counts, Metrics};
use http::request::Parts;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Held by a request's answer; its drop is the end.
pub(crate) struct Finish {
    pub(crate) counts: Option<Arc<Counts>>,
    pub(crate) status: u16,
    /// What the log says, if there is one.
    pub(crate) line: Option<Box<Line>>,
    start: Instant,
    bytes: usize,
}

/// What the log says of a request.
pub(crate) struct Line {
    log: AccessLog,
    metrics: Arc<Metrics>,
    client: Peer,
    method: String,
    host: String,
    path: String,
    version: String,
    agent: String,
    pub(crate) object: String,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) tries: usize,
}

impl Line {
    /// A line about a request, if there is a log.
    pub(crate) fn about(log: &AccessLog, metrics: &Arc<Metrics>, parts: &Parts, peer: &Peer) -> Option<Box<Self>> {
        log.is_on().then(|| {
            let said = |name: http::HeaderName| {
                let value = parts.headers.get(name);
                value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
            };
            let host = parts.uri.authority().map_or_else(|| said(http::header::HOST), ToString::to_string);
            Box::new(Self {
                log: log.clone(),
                metrics: Arc::clone(metrics),
                client: *peer,
                method: parts.method.to_string(),
                host,
                path: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
                version: format!("{:?}", parts.version),
                agent: said(http::header::USER_AGENT),
                object: String::new(),
                endpoint: None,
                tries: 0,
            })
        })
    }
}

impl Finish {
    /// A request has come.
    pub(crate) fn started(line: Option<Box<Line>>) -> Self {
        Self { counts: None, status: 0, line, start: Instant::now(), bytes: 0 }
    }

    /// So much of the answer's body was given away.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes;
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let took = self.start.elapsed();
        if let Some(counts) = &self.counts {
            counts.note(self.status, took);
        }
        let Some(line) = self.line.take() else { return };
        let value = json!({
            "time": jiff::Timestamp::now().to_string(),
            "client": line.client.address.to_string(),
            "scheme": line.client.scheme(),
            "method": line.method,
            "host": line.host,
            "path": line.path,
            "protocol": line.version,
            "status": self.status,
            "bytes": self.bytes,
            "millis": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "object": line.object,
            "endpoint": line.endpoint.map(|address| address.to_string()),
            "tries": line.tries,
            "agent": line.agent,
        });
        line.log.write(format!("{value}\n"), &line.metrics);
    }
}
