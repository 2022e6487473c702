//! What the scheduler counts, under Kubernetes' names.

use crate::queue::{Millis, Queue};
use skiff_client::{Family, Histogram, publish};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The queues of `scheduler_pending_pods`, in the order of [`Queue::pending`].
const QUEUES: [&str; 4] = ["active", "backoff", "unschedulable", "gated"];
/// Upper ends in seconds: from a thousandth on, each twice as far.
const OF_ATTEMPT: &[f64] =
    &[0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
/// From a hundredth on.
const OF_POD: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36,
    1310.72, 2621.44, 5242.88,
];
/// More attempts than these are told as one number.
const ATTEMPTS_MAX: u32 = 16;

/// Attempts and their seconds, by profile and result.
type Attempts = BTreeMap<(String, &'static str), (u64, Histogram)>;

#[derive(Default)]
struct Figures {
    pending: [AtomicU64; QUEUES.len()],
    /// Attempts by profile and result.
    attempts: Mutex<Attempts>,
    /// From when pods came until they were bound, by attempts.
    pods: Mutex<BTreeMap<u32, Histogram>>,
}

static FIGURES: LazyLock<Figures> = LazyLock::new(Figures::default);

/// Shows the queue as it is now.
pub(crate) fn pending(queue: &Queue) {
    for (figure, number) in FIGURES.pending.iter().zip(queue.pending()) {
        figure.store(number as u64, Ordering::Relaxed);
    }
}

/// What becomes of an attempt to find a node for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Scheduled,
    Unschedulable,
    Error,
}

/// An attempt that goes on.
#[derive(Debug)]
pub(crate) struct Attempt {
    profile: String,
    began: Instant,
    /// How long before that the pod had come, and how often it was looked at.
    waited: Duration,
    number: u32,
}

impl Attempt {
    /// Begins one for a pod of the queue.
    pub(crate) fn begin(profile: &str, (queue, uid): (&Queue, &str), now: Millis) -> Self {
        let (came, number) = queue.history(uid).unwrap_or((now, 1));
        let waited = Duration::from_millis(now.saturating_sub(came));
        Self { profile: profile.to_owned(), began: Instant::now(), waited, number }
    }

    /// It has ended so.
    pub(crate) fn end(self, outcome: Outcome) {
        let took = self.began.elapsed();
        let result = match outcome {
            Outcome::Scheduled => "scheduled",
            Outcome::Unschedulable => "unschedulable",
            Outcome::Error => "error",
        };
        let mut attempts = FIGURES.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, histogram) =
            attempts.entry((self.profile, result)).or_insert_with(|| (0, Histogram::new(OF_ATTEMPT)));
        *number += 1;
        histogram.note(took);
        drop(attempts);
        if outcome == Outcome::Scheduled {
            let mut pods = FIGURES.pods.lock().unwrap_or_else(PoisonError::into_inner);
            let histogram = pods.entry(self.number.min(ATTEMPTS_MAX)).or_insert_with(|| Histogram::new(OF_POD));
            histogram.note(self.waited + took);
        }
    }
}

/// Shows all of it from now on.
pub(crate) fn show() {
    publish(write);
}

fn write(out: &mut String) {
    let help = "Pods without a node, by the queue that they are in.";
    let family = Family::begin(out, "scheduler_pending_pods", ("STABLE", "gauge"), help);
    for (queue, number) in QUEUES.iter().zip(&FIGURES.pending) {
        family.line(out, &format!("queue=\"{queue}\""), &number.load(Ordering::Relaxed).to_string());
    }
    let attempts = FIGURES.attempts.lock().unwrap_or_else(PoisonError::into_inner);
    let labels = |(profile, result): &(String, &str)| format!("profile=\"{profile}\",result=\"{result}\"");
    let help = "Attempts to find a node for a pod, by what came of them.";
    let family = Family::begin(out, "scheduler_schedule_attempts_total", ("STABLE", "counter"), help);
    for (key, (number, _)) in &*attempts {
        family.line(out, &labels(key), &number.to_string());
    }
    let help = "Seconds of an attempt, binding included.";
    let family = Family::begin(out, "scheduler_scheduling_attempt_duration_seconds", ("STABLE", "histogram"), help);
    for (key, (_, histogram)) in &*attempts {
        family.histogram(out, &labels(key), histogram);
    }
    drop(attempts);
    let help = "Seconds from when a pod could first be looked at until it was bound, by attempts.";
    let family = Family::begin(out, "scheduler_pod_scheduling_sli_duration_seconds", ("BETA", "histogram"), help);
    for (number, histogram) in &*FIGURES.pods.lock().unwrap_or_else(PoisonError::into_inner) {
        let number = if *number < ATTEMPTS_MAX { number.to_string() } else { format!("{ATTEMPTS_MAX}+") };
        family.histogram(out, &format!("attempts=\"{number}\""), histogram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::BackOff;

    #[test]
    fn attempts_are_shown_by_what_came_of_them() {
        let queue = Queue::new(BackOff { first: 1, most: 1 });
        let attempt = || Attempt::begin("a-profile", (&queue, "u"), 5);
        attempt().end(Outcome::Unschedulable);
        attempt().end(Outcome::Scheduled);
        let mut out = String::new();
        write(&mut out);
        for line in [
            "scheduler_schedule_attempts_total{profile=\"a-profile\",result=\"scheduled\"} 1",
            "scheduler_scheduling_attempt_duration_seconds_count{profile=\"a-profile\",result=\"unschedulable\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"1\"} 1",
        ] {
            assert!(out.contains(line), "{line}: {out}");
        }
        assert!(out.contains("scheduler_pending_pods{queue=\"gated\"} "), "{out}");
    }
}
