//! Probes: one task per container instance and kind, which tells the pod's worker when the verdict changes.
//!
//! Counting is in [`streak`], asking in [`ask`], [`http`] and [`grpc`].

mod ask; // one question to one container
mod grpc; // the health protocol of gRPC
pub(crate) mod http; // GET over HTTP and HTTPS
mod streak; // how answers add up to a verdict; no I/O

use crate::agent::Agent;
use crate::events::Severity;
use crate::pod::ephemeral::find;
use crate::pod::worker::{Event, Inbox};
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use std::sync::Arc;
use std::time::Duration;
use streak::{Streak, Verdict};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Whether it has started.
    Startup,
    /// Whether it may get traffic.
    Readiness,
    /// Whether it must be restarted.
    Liveness,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// As events name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }

    /// Whether it runs before the container has started, or after.
    pub(crate) fn runs(self, started: bool) -> bool {
        (self == Self::Startup) != started
    }

    /// The probe of this kind that `container` has.
    pub(crate) fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup_probe.as_ref(),
            Self::Readiness => container.readiness_probe.as_ref(),
            Self::Liveness => container.liveness_probe.as_ref(),
        }
    }
}

/// A verdict.
#[derive(Debug, Clone)]
pub(crate) struct Probed {
    /// The container's name.
    pub(crate) container: String,
    /// The instance.
    pub(crate) id: String,
    /// Which probe.
    pub(crate) kind: Kind,
    /// What is wrong, if something is.
    pub(crate) failure: Option<String>,
}

/// Who is probed.
pub(crate) struct Subject {
    pub(crate) agent: Arc<Agent>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) container: String,
    pub(crate) id: String,
    pub(crate) ip: String,
}

/// The task that probes `subject`; `None` when it has no such probe.
pub(crate) fn task(subject: Subject, kind: Kind, inbox: Inbox) -> Option<impl Future<Output = ()> + Send> {
    let container = find(&subject.pod, &subject.container)?.into_owned();
    let probe = kind.of(&container)?.clone();
    Some(run(subject, container, probe, kind, inbox))
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default))
}

async fn run(subject: Subject, container: Container, probe: Probe, kind: Kind, inbox: Inbox) {
    let (period, timeout) = (seconds(probe.period_seconds, 10), seconds(probe.timeout_seconds, 1));
    let mut streak = Streak::new(probe.success_threshold, probe.failure_threshold);
    tokio::time::sleep(Duration::from_secs(probe.initial_delay_seconds.unwrap_or(0).max(0).unsigned_abs().into()))
        .await;
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answer = ask::ask(&subject, &container, &probe, timeout).await;
        if let Err(reason) = &answer {
            let message = format!("{} probe failed: {reason}", capitalised(kind.name()));
            subject.agent.recorder.pod(&subject.pod, Some(&subject.container), Severity::Warning, "Unhealthy", message);
        }
        let failure = match (streak.count(answer.is_ok()), answer) {
            (None, _) => continue,
            (Some(Verdict::Good), _) => None,
            (Some(Verdict::Bad), answer) => Some(answer.err().unwrap_or_default()),
        };
        let probed = Probed { container: subject.container.clone(), id: subject.id.clone(), kind, failure };
        if inbox.send(Event::Probed(probed)).is_err() || kind == Kind::Startup && streak.is_good() {
            return;
        }
    }
}

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
