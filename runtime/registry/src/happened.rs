//! What is told of a call after it: figures, a record, an event. Pure.

use crate::scan::Counts;
use crate::state::State;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// A call that was answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Happened {
    /// Which call; empty: none of the protocol.
    pub(crate) call: &'static str,
    /// `pull`, `push`, `delete`.
    pub(crate) action: &'static str,
    pub(crate) repository: Option<String>,
    /// The tag or digest that was asked for.
    pub(crate) reference: Option<String>,
    /// What it turned out to be.
    pub(crate) digest: Option<String>,
    pub(crate) user: Option<String>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) method: String,
    pub(crate) status: u16,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// What a refusal said.
    pub(crate) reason: Option<String>,
}

impl Happened {
    /// A line of the record.
    pub(crate) fn record(&self, at: &str) -> Value {
        json!({
            "time": at, "call": self.call, "action": self.action, "method": self.method, "status": self.status,
            "user": self.user, "remote": self.remote.map(|address| address.to_string()),
            "repository": self.repository, "reference": self.reference, "digest": self.digest,
            "bytesReceived": self.bytes_received, "bytesSent": self.bytes_sent, "reason": self.reason,
        })
    }

    /// The event that it is, if it is one: of images, not of every blob.
    pub(crate) fn event(&self) -> Option<&'static str> {
        match (self.call, self.method.as_str(), self.status) {
            ("manifest-push", _, 201) => Some("push"),
            ("manifest", "GET", 200) => Some("pull"),
            ("manifest-delete", _, 202) => Some("delete"),
            _ => None,
        }
    }

    /// A CloudEvent (version 1.0, structured JSON).
    pub(crate) fn cloud_event(&self, event: &str, id: &str, at: &str) -> Value {
        let repository = self.repository.as_deref().unwrap_or_default();
        let reference = self.reference.as_deref().unwrap_or_default();
        let separator = if reference.contains(':') { '@' } else { ':' };
        json!({
            "specversion": "1.0", "id": id, "source": "/skiff/registry", "type": format!("dev.skiff.registry.{event}"),
            "time": at, "subject": format!("{repository}{separator}{reference}"), "datacontenttype": "application/json",
            "data": {
                "repository": repository, "reference": reference, "digest": self.digest, "user": self.user,
                "remote": self.remote.map(|address| address.ip().to_string()),
            },
        })
    }
}

/// Figures since the registry was started.
#[derive(Default)]
pub struct Metrics {
    figures: Mutex<Figures>,
}

#[derive(Default, Clone)]
struct Figures {
    requests: BTreeMap<(&'static str, u16), u64>,
    events: BTreeMap<&'static str, u64>,
    logins: BTreeMap<&'static str, u64>,
    replicated: BTreeMap<&'static str, u64>,
    bytes_received: u64,
    bytes_sent: u64,
}

impl Metrics {
    fn with(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn count(&self, happened: &Happened) {
        self.with(|figures| {
            *figures.requests.entry((happened.call, happened.status)).or_default() += 1;
            if let Some(event) = happened.event() {
                *figures.events.entry(event).or_default() += 1;
            }
            figures.bytes_received += happened.bytes_received;
            figures.bytes_sent += happened.bytes_sent;
        });
    }

    pub(crate) fn login(&self, good: bool) {
        self.with(|figures| *figures.logins.entry(if good { "good" } else { "bad" }).or_default() += 1);
    }

    pub(crate) fn replicated(&self, good: bool) {
        self.with(|figures| *figures.replicated.entry(if good { "copied" } else { "failed" }).or_default() += 1);
    }

    /// All of them in Prometheus' form.
    #[must_use]
    pub fn text(&self, state: &State, findings: Option<&Counts>) -> String {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, u64)>| {
            // Writing to a String cannot fail.
            let _never = writeln!(out, "# HELP skiff_registry_{name} {help}\n# TYPE skiff_registry_{name} {kind}");
            for (labels, value) in samples {
                let _never = writeln!(out, "skiff_registry_{name}{labels} {value}");
            }
        };
        let requests = figures.requests.iter();
        let requests = requests
            .map(|((call, status), count)| (format!("{{call=\"{call}\",status=\"{status}\"}}"), *count))
            .collect();
        family("requests_total", "counter", "Requests by call and status.", requests);
        let events = figures.events.iter().map(|(event, count)| (format!("{{event=\"{event}\"}}"), *count)).collect();
        family("images_total", "counter", "Manifests pushed, pulled and deleted.", events);
        let logins =
            figures.logins.iter().map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), *count)).collect();
        family("logins_total", "counter", "Credentials that were believed, and that were not.", logins);
        let replicated =
            figures.replicated.iter().map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), *count)).collect();
        family("replications_total", "counter", "Images that went to other registries or came from them.", replicated);
        let one = |value: u64| vec![(String::new(), value)];
        family("received_bytes_total", "counter", "Bytes of requests.", one(figures.bytes_received));
        family("sent_bytes_total", "counter", "Bytes of answers.", one(figures.bytes_sent));
        let count =
            |of: &dyn Fn(&crate::state::Repository) -> u64| state.repositories().map(|(_, held)| of(held)).sum();
        family("repositories", "gauge", "Repositories.", one(count(&|_| 1)));
        family("tags", "gauge", "Tags.", one(count(&|held| held.tags.len() as u64)));
        family("manifests", "gauge", "Manifests.", one(count(&|held| held.manifests.len() as u64)));
        family(
            "held_bytes",
            "gauge",
            "Bytes that repositories hold; what several hold counts for each.",
            one(count(&|held| held.bytes)),
        );
        if let Some(findings) = findings {
            let samples = findings.iter().map(|(word, count)| (format!("{{severity=\"{word}\"}}"), *count as u64));
            family(
                "findings",
                "gauge",
                "Findings in images that tags name, without those that are accepted.",
                samples.collect(),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push() -> Happened {
        Happened {
            call: "manifest-push",
            method: "PUT".into(),
            status: 201,
            repository: Some("a/b".into()),
            reference: Some("v1".into()),
            digest: Some("sha256:x".into()),
            user: Some("ann".into()),
            bytes_received: 7,
            ..Happened::default()
        }
    }

    #[test]
    fn a_push_is_an_event_and_a_figure() {
        let one = push();
        let event = one.cloud_event(one.event().unwrap(), "1", "2026-01-01T00:00:00Z");
        assert_eq!((&event["type"], &event["subject"]), (&json!("dev.skiff.registry.push"), &json!("a/b:v1")));
        assert_eq!(Happened { status: 409, ..push() }.event(), None);
        let metrics = Metrics::default();
        metrics.count(&one);
        metrics.login(false);
        let text = metrics.text(&State::default(), Some(&[("high", 3)].into()));
        for line in [
            "skiff_registry_requests_total{call=\"manifest-push\",status=\"201\"} 1",
            "skiff_registry_images_total{event=\"push\"} 1",
            "skiff_registry_logins_total{outcome=\"bad\"} 1",
            "skiff_registry_received_bytes_total 7",
            "skiff_registry_findings{severity=\"high\"} 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }
}
