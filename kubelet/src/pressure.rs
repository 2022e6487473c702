//! Watches what is left on the node; says so, makes room, and lets pods go one by one while there is too little (Kubernetes,
//! "Node-pressure Eviction").
//!
//! ```text
//!  measure ──► thresholds met? ──► conditions of the node ──► taints (a controller), new pods turned away (admission)
//!                   │ yes
//!                   ▼
//!      old logs and unused images go ──► measure again ──► still met: one pod goes
//! ```

mod images; // that nobody uses
mod plan; // who goes, and what it is told
mod signals; // what is left
mod threshold; // how little may be left
mod usage; // what each pod takes

use crate::agent::Agent;
use crate::events::Severity;
use crate::pod::memory::Failure;
use crate::pod::worker::Event;
use images::Known;
use plan::Candidate;
use signals::{Level, Measured, Signal};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use threshold::Threshold;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use plan::CRITICAL_PRIORITY;

pub use images::ImageLimits;
pub use threshold::Thresholds;

/// Between two looks: the kubelet's own period.
const PERIOD: Duration = Duration::from_secs(10);
/// How often people are told of one and the same shortage.
const TELL_PERIOD: Duration = Duration::from_secs(60);
/// Between two looks at images: Kubernetes' own period.
const IMAGE_PERIOD: Duration = Duration::from_secs(300);

/// When a node is short of something, and what is done about it.
#[derive(Debug, Clone, PartialEq)]
pub struct PressureLimits {
    /// How little may be left.
    pub thresholds: Thresholds,
    /// How long a condition stays after it was seen last, so that it does not swing.
    pub transition: Duration,
    /// When unused images go.
    pub images: ImageLimits,
}

impl Default for PressureLimits {
    /// Kubernetes' own.
    fn default() -> Self {
        let (thresholds, images) = (Thresholds::default(), ImageLimits::default());
        Self { thresholds, transition: Duration::from_secs(300), images }
    }
}

/// How short of something the node is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) memory: bool,
    pub(crate) disk: bool,
    pub(crate) pids: bool,
}

/// When each condition was seen last.
#[derive(Debug, Default)]
struct Seen {
    memory: Option<Instant>,
    disk: Option<Instant>,
    pids: Option<Instant>,
}

/// What the node's status and the admission of pods know of it.
pub(crate) struct Gauge {
    limits: PressureLimits,
    root: PathBuf,
    image_root: Mutex<Option<PathBuf>>,
    seen: Mutex<Seen>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gauge {
    /// Of a node whose pods live at `root`.
    pub(crate) fn new(limits: PressureLimits, root: &Path) -> Self {
        Self { limits, root: root.to_owned(), image_root: Mutex::default(), seen: Mutex::default() }
    }

    /// The filesystems that are measured: name and folder.
    pub(crate) fn roots(&self) -> Vec<(&'static str, PathBuf)> {
        let images = lock(&self.image_root).clone().map(|root| ("imagefs", root));
        std::iter::once(("nodefs", self.root.clone())).chain(images).collect()
    }

    /// What is left and what there is of each signal that can be measured.
    pub(crate) fn levels(&self) -> Vec<(&'static str, i64, i64)> {
        self.measure().into_iter().map(|(signal, level)| (signal.name(), level.available, level.capacity)).collect()
    }

    /// How little may be left, in the words of Kubernetes' configuration.
    pub(crate) fn thresholds(&self) -> BTreeMap<&'static str, String> {
        self.limits.thresholds.0.iter().map(|one| (one.signal.name(), one.words())).collect()
    }

    fn measure(&self) -> Measured {
        signals::measure(&self.root, lock(&self.image_root).as_deref())
    }

    fn met(&self) -> Vec<(Threshold, Level)> {
        let met = plan::met(&self.limits.thresholds, &self.measure());
        let (now, seen) = (Instant::now(), &mut *lock(&self.seen));
        for (threshold, _) in &met {
            let of = match threshold.signal {
                Signal::Memory => &mut seen.memory,
                Signal::Pids => &mut seen.pids,
                _ => &mut seen.disk,
            };
            *of = Some(now);
        }
        met
    }

    /// How short the node is now, or was a moment ago.
    pub(crate) fn pressure(&self) -> Pressure {
        self.met();
        let seen = lock(&self.seen);
        let lasts = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < self.limits.transition.max(PERIOD));
        Pressure { memory: lasts(seen.memory), disk: lasts(seen.disk), pids: lasts(seen.pids) }
    }

    /// Asks the runtime where images are. One that does not say has none that could be measured.
    async fn find_images(&self, agent: &Agent) {
        if lock(&self.image_root).is_none() {
            match agent.cri.image_root().await {
                Ok(root) => *lock(&self.image_root) = root.map(PathBuf::from),
                Err(error) if error.code() == tonic::Code::Unimplemented => {}
                Err(error) => tracing::warn!(error = error.message(), "the filesystem of images is not known"),
            }
        }
    }
}

/// Looks after the node, for ever.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let (mut known, mut looked, mut told) = (Known::default(), None::<Instant>, None);
    let mut looks = interval(PERIOD);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        agent.gauge.find_images(&agent).await;
        if looked.is_none_or(|at| at.elapsed() >= IMAGE_PERIOD) {
            looked = Some(Instant::now());
            keep_images(&agent, &mut known).await;
        }
        if let Some(met) = agent.gauge.met().into_iter().next() {
            relieve(&agent, &mut known, &mut told, met).await;
        }
    }
}

/// Removes unused images from the high mark on.
async fn keep_images(agent: &Agent, known: &mut Known) {
    let root = lock(&agent.gauge.image_root).clone();
    let level = root.and_then(|root| signals::filesystem(&root).0);
    let wanted = level.map_or(0, |level| agent.gauge.limits.images.to_free(level.available, level.capacity));
    let done = if wanted > 0 {
        images::free(agent, known, wanted).await
    } else {
        images::look(agent, known).await.map(|()| 0)
    };
    match done {
        Ok(freed) if freed < wanted => {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            );
            agent.recorder.this_node(&agent.node_name, Severity::Warning, "FreeDiskSpaceFailed", &message);
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(error = error.message(), "images not looked at"),
    }
}

/// What people were told of last, and when.
type Told = Option<(Signal, Instant)>;

/// Makes room, and lets a pod go if that is not enough.
async fn relieve(agent: &Arc<Agent>, known: &mut Known, told: &mut Told, (threshold, _): (Threshold, Level)) {
    let resource = threshold.signal.resource();
    let is_news = told.is_none_or(|(signal, at)| signal != threshold.signal || at.elapsed() >= TELL_PERIOD);
    if is_news {
        *told = Some((threshold.signal, Instant::now()));
        let message = format!("Attempting to reclaim {resource}");
        agent.recorder.this_node(&agent.node_name, Severity::Warning, "EvictionThresholdMet", &message);
    }
    if threshold.signal.is_disk() {
        let of = Arc::clone(agent);
        // It removes what it can.
        let _ended = tokio::task::spawn_blocking(move || usage::discard_old_logs(&of)).await;
        if agent.gauge.limits.images.are_on()
            && let Err(error) = images::free(agent, known, i64::MAX).await
        {
            tracing::warn!(error = error.message(), "images not removed");
        }
    }
    let still = agent.gauge.met().into_iter().find(|(other, _)| other.signal == threshold.signal);
    let Some((threshold, level)) = still else { return };
    let candidates: Vec<Candidate> = usage::candidates(agent, threshold.signal).await;
    match plan::first(candidates) {
        Some(pod) => {
            let failure = Failure::new("Evicted", plan::message(&pod, threshold, level));
            tracing::warn!(pod = pod.uid, message = failure.message, "a pod is evicted");
            agent.board.tell(&pod.uid, Event::Evicted(failure));
        }
        None if is_news => tracing::warn!(resource, "the node is short of it, and there is no pod that may go"),
        None => {}
    }
}
