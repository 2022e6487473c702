//! What becomes of events, counted as kube-apiserver counts it (`/metrics`), and told of where one is lost.

use skiff_audit::{Event, Level};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Levels in their order, as a policy calls them.
const LEVELS: [(Level, &str); 4] = [
    (Level::None, "None"),
    (Level::Metadata, "Metadata"),
    (Level::Request, "Request"),
    (Level::RequestResponse, "RequestResponse"),
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counts {
    events: AtomicU64,
    /// Requests by the level that the policy gives them.
    levels: [AtomicU64; LEVELS.len()],
    rejected: AtomicU64,
    /// Events that are lost, by where.
    lost: Mutex<BTreeMap<&'static str, u64>>,
}

impl Counts {
    /// An event goes where events are kept.
    pub(super) fn event(&self) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is recorded at this level.
    pub(super) fn level(&self, level: Level) {
        let counted = LEVELS.iter().zip(&self.levels).find(|((one, _), _)| *one == level);
        counted.map(|(_, count)| count.fetch_add(1, Ordering::Relaxed));
    }

    /// A request is refused because it cannot be recorded.
    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells of events that are lost at `plugin`.
    pub(super) fn lost(&self, plugin: &'static str, why: &str, events: &[&Event]) {
        let so_far: u64 = {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            *lost.entry(plugin).or_default() += events.len() as u64;
            lost.values().sum()
        };
        let impacted: Vec<String> = events.iter().map(|event| event.legacy()).collect();
        tracing::error!(
            plugin,
            why,
            events = events.len(),
            lost_since_start = so_far,
            impacted = impacted.join("\n"),
            "audit events are lost"
        );
    }

    /// All of it, in Prometheus' text form.
    pub(super) fn metrics(&self) -> String {
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let family = |name: &str, help: &str, lines: &[(String, u64)]| {
            let name = format!("apiserver_audit_{name}_total");
            let mut text = format!("# HELP {name} [ALPHA] {help}\n# TYPE {name} counter\n");
            for (labels, count) in lines {
                let _a_string_takes_all = writeln!(text, "{name}{labels} {count}");
            }
            text
        };
        let levels: Vec<(String, u64)> = LEVELS
            .iter()
            .zip(&self.levels)
            .map(|((_, word), count)| (format!("{{level=\"{word}\"}}"), number(count)))
            .collect();
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lost: Vec<(String, u64)> =
            lost.into_iter().map(|(plugin, count)| (format!("{{plugin=\"{plugin}\"}}"), count)).collect();
        [
            family("error", "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.", &lost),
            family("event", "Counter of audit events generated and sent to the audit backend.", &[(String::new(), number(&self.events))]),
            family("level", "Counter of policy levels for audit events (1 per request).", &levels),
            family("requests_rejected", "Counter of apiserver requests rejected due to an error in audit logging backend.", &[(String::new(), number(&self.rejected))]),
        ]
        .concat()
    }
}
