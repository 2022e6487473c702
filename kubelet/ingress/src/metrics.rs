//! What is counted, in Prometheus' text form.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Upper ends of the histogram's buckets, in milliseconds: Prometheus' own defaults.
const BUCKETS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// Counts of the whole.
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) connections: AtomicI64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused_handshakes: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) changes: AtomicU64,
    pub(crate) unmatched: AtomicU64,
    pub(crate) log_lines_lost: AtomicU64,
    /// By namespace and name of the object whose rule it was. They stay as long as the process: a counter that begins anew looks like
    /// a restart.
    by_object: Mutex<BTreeMap<String, Arc<Counts>>>,
}

/// Counts of one object.
#[derive(Default)]
pub(crate) struct Counts {
    /// By the first digit of the status.
    classes: [AtomicU64; 6],
    buckets: [AtomicU64; BUCKETS_MS.len()],
    micros: AtomicU64,
}

impl Counts {
    /// One request was answered.
    pub(crate) fn note(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(self.classes.len() - 1);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        let millis = took.as_millis();
        if let Some(at) = BUCKETS_MS.iter().position(|end| millis <= u128::from(*end)) {
            self.buckets[at].fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or_default(), Ordering::Relaxed);
    }
}

impl Metrics {
    /// The counts of an object.
    pub(crate) fn of(&self, object: &str) -> Arc<Counts> {
        let mut all = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get(object) {
            return Arc::clone(counts);
        }
        Arc::clone(all.entry(object.to_owned()).or_default())
    }

    /// Everything as text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        gauge(
            &mut out,
            "connections",
            "gauge",
            self.connections.load(Ordering::Relaxed),
            "Connections of clients that are open.",
        );
        for (name, count, help) in [
            ("connections_total", &self.accepted, "Connections of clients that were taken."),
            ("tls_refused_total", &self.refused_handshakes, "Handshakes that came to nothing."),
            ("retries_total", &self.retries, "Requests that were sent to another endpoint, each time."),
            ("config_changes_total", &self.changes, "Times that rules or certificates were replaced."),
            ("unmatched_total", &self.unmatched, "Requests that no rule is for."),
            ("access_log_lines_lost_total", &self.log_lines_lost, "Lines that the access log had no room for."),
        ] {
            gauge(&mut out, name, "counter", of(count), help);
        }
        let all = self.by_object.lock().unwrap_or_else(PoisonError::into_inner);
        requests(&mut out, &all);
        out
    }
}

fn gauge(out: &mut String, name: &str, kind: &str, value: impl std::fmt::Display, help: &str) {
    let name = format!("skiff_ingress_{name}");
    let _memory_takes_all = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

fn requests(out: &mut String, all: &BTreeMap<String, Arc<Counts>>) {
    const REQUESTS: &str = "skiff_ingress_requests_total";
    const SECONDS: &str = "skiff_ingress_request_duration_seconds";
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _memory_takes_all = out.write_fmt(text);
    };
    line(format_args!("# HELP {REQUESTS} Requests by object and class of status.\n# TYPE {REQUESTS} counter\n"));
    for (object, counts) in all {
        for (class, count) in counts.classes.iter().enumerate().skip(1) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                line(format_args!("{REQUESTS}{{object=\"{object}\",status=\"{class}xx\"}} {count}\n"));
            }
        }
    }
    line(format_args!(
        "# HELP {SECONDS} From the request's head to the end of the answer.\n# TYPE {SECONDS} histogram\n"
    ));
    for (object, counts) in all {
        let mut sum = 0;
        for (end, count) in BUCKETS_MS.iter().zip(&counts.buckets) {
            sum += count.load(Ordering::Relaxed);
            let end = format!("{}.{:03}", end / 1000, end % 1000);
            line(format_args!("{SECONDS}_bucket{{object=\"{object}\",le=\"{end}\"}} {sum}\n"));
        }
        let count: u64 = counts.classes.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let micros = counts.micros.load(Ordering::Relaxed);
        line(format_args!("{SECONDS}_bucket{{object=\"{object}\",le=\"+Inf\"}} {count}\n"));
        line(format_args!("{SECONDS}_sum{{object=\"{object}\"}} {}.{:06}\n", micros / 1_000_000, micros % 1_000_000));
        line(format_args!("{SECONDS}_count{{object=\"{object}\"}} {count}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_told_by_object_and_status() {
        let metrics = Metrics::default();
        metrics.of("n/web").note(200, Duration::from_millis(7));
        metrics.of("n/web").note(502, Duration::from_secs(60));
        let text = metrics.text();
        for line in [
            "skiff_ingress_requests_total{object=\"n/web\",status=\"2xx\"} 1",
            "skiff_ingress_requests_total{object=\"n/web\",status=\"5xx\"} 1",
            "skiff_ingress_request_duration_seconds_bucket{object=\"n/web\",le=\"0.005\"} 0",
            "skiff_ingress_request_duration_seconds_bucket{object=\"n/web\",le=\"0.010\"} 1",
            "skiff_ingress_request_duration_seconds_bucket{object=\"n/web\",le=\"+Inf\"} 2",
            "skiff_ingress_request_duration_seconds_sum{object=\"n/web\"} 60.007000",
            "skiff_ingress_connections 0",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in\n{text}");
        }
    }
}
