//! Queues of names, as client-go counts its work queues.

use super::lock;
use super::text::{Family, Histogram};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Upper ends in seconds, as client-go has them.
const ENDS: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0];

/// What is so now: how many are due, and for how long those that are taken have been looked at.
pub(crate) type Now = (usize, Vec<Duration>);

/// Tells what is so now.
pub(crate) type Look = dyn Fn() -> Now + Send + Sync;

/// The figures of all queues of a name.
#[derive(Debug)]
pub(crate) struct OfQueue {
    /// How often a name was put that did not stand there yet.
    pub(crate) adds: AtomicU64,
    /// How many looks failed.
    pub(crate) retries: AtomicU64,
    /// How long a name that was due waited.
    pub(crate) waited: Histogram,
    /// How long it was looked at.
    pub(crate) worked: Histogram,
}

impl OfQueue {
    /// Those of the name; `look` belongs to one queue, which holds it.
    ///
    /// Queues of one name add up to one figure, as those of a controller do that has begun anew. One that is gone shows nothing that is
    /// so now, and what it counted stays.
    pub(crate) fn named(name: &'static str, look: &Arc<Look>) -> Arc<Self> {
        let mut all = lock();
        let (figures, looks) = all.queues.0.entry(name).or_insert_with(|| {
            let new = || Histogram::new(ENDS);
            let figures = Self { adds: AtomicU64::new(0), retries: AtomicU64::new(0), waited: new(), worked: new() };
            (Arc::new(figures), Vec::new())
        });
        looks.retain(|look| look.strong_count() > 0);
        looks.push(Arc::downgrade(look));
        Arc::clone(figures)
    }
}

/// All queues by their names.
#[derive(Default)]
pub(super) struct Queues(BTreeMap<&'static str, (Arc<OfQueue>, Vec<Weak<Look>>)>);

/// Figures with the queues that say what is so now.
pub(super) struct Snapshot(Vec<Shown>);

/// A queue's name, its figures, and those that look at what waits in it now.
type Shown = (&'static str, Arc<OfQueue>, Vec<Arc<Look>>);

impl Queues {
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let alive = |looks: &Vec<Weak<Look>>| looks.iter().filter_map(Weak::upgrade).collect();
        Snapshot(self.0.iter().map(|(name, (figures, looks))| (*name, Arc::clone(figures), alive(looks))).collect())
    }
}

impl Snapshot {
    pub(super) fn write(&self, out: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let now: Vec<Now> = self.0.iter().map(|(_, _, looks)| sum(looks)).collect();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&OfQueue, &Now) -> String| {
            let family = Family::begin(out, name, ("ALPHA", kind), help);
            for ((name, figures, _), now) in self.0.iter().zip(&now) {
                family.line(out, &format!("name=\"{name}\""), &value(figures, now));
            }
        };
        let number = |count: &AtomicU64| count.load(Ordering::Relaxed).to_string();
        family("workqueue_adds_total", "counter", "Names that were put into the queue.", &|one, _| number(&one.adds));
        family("workqueue_depth", "gauge", "Names that are due and not yet taken.", &|_, (due, _)| due.to_string());
        let longest = "Seconds since the oldest of the names that are being looked at was taken.";
        family("workqueue_longest_running_processor_seconds", "gauge", longest, &|_, (_, taken)| {
            taken.iter().max().map_or(0.0, Duration::as_secs_f64).to_string()
        });
        let retries = "Looks that failed, after which there is another one.";
        family("workqueue_retries_total", "counter", retries, &|one, _| number(&one.retries));
        let unfinished = "Seconds since they were taken, of all names that are being looked at together.";
        family("workqueue_unfinished_work_seconds", "gauge", unfinished, &|_, (_, taken)| {
            taken.iter().map(Duration::as_secs_f64).sum::<f64>().to_string()
        });
        self.histograms(out);
    }

    fn histograms(&self, out: &mut String) {
        type Of = fn(&OfQueue) -> &Histogram;
        let all: [(&str, &str, Of); 2] = [
            (
                "workqueue_queue_duration_seconds",
                "Seconds that a name which was due waited until it was taken.",
                |one| &one.waited,
            ),
            ("workqueue_work_duration_seconds", "Seconds that the look at a name took.", |one| &one.worked),
        ];
        for (name, help, of) in all {
            let family = Family::begin(out, name, ("ALPHA", "histogram"), help);
            for (name, figures, _) in &self.0 {
                family.histogram(out, &format!("name=\"{name}\""), of(figures));
            }
        }
    }
}

fn sum(looks: &[Arc<Look>]) -> Now {
    looks.iter().map(|look| look()).fold((0, Vec::new()), |(due, mut taken), (more, others)| {
        taken.extend(others);
        (due + more, taken)
    })
}
