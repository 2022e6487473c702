//! How many replicas a policy wants now. No I/O.
//!
//! ```text
//!  the last schedule that was due ─► bounds ─┐
//!  figures ─► the step of each metric ───────┴─► the most that any wants, within bounds
//! ```
//!
//! Nothing is remembered but when the last step was taken: bounds follow from the clock, so a controller that was away loses no schedule.

use super::read::{Adjustment, Bounds, Change, Policy};
use crate::cron_job::schedule::Schedule;
use jiff::{SignedDuration, Timestamp};

/// How far back a schedule is looked for: the rarest is due once in four years.
const BACK: SignedDuration = SignedDuration::from_hours(5 * 366 * 24);
/// How often metrics are asked, as autoscalers do.
const PERIOD: SignedDuration = SignedDuration::from_secs(15);

/// What is known.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) replicas: i32,
    /// What each metric says, in thousandths; nothing if it could not be asked.
    pub(super) figures: &'a [Option<i64>],
    /// When a step was last taken.
    pub(super) last_step: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) bounds: Bounds,
    /// The schedule that sets the bounds, and since when.
    pub(super) by: Option<(String, Timestamp)>,
    pub(super) replicas: i32,
    pub(super) why: Why,
    /// When to look again though nothing happens.
    pub(super) again: Option<SignedDuration>,
}

/// Why there is another number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// There is none.
    Stays,
    /// It is outside of the bounds.
    Bounds,
    /// The metric of this number is in the range of a step.
    Step(usize),
}

/// Decides.
pub(super) fn decide(policy: &Policy, seen: &Seen<'_>) -> Plan {
    let (bounds, by) = in_force(policy, seen.now);
    let wanted = policy.steps.iter().zip(seen.figures).enumerate().map(|(at, (steps, figure))| {
        let cools = seen.last_step.is_some_and(|last| seen.now.duration_since(last) < steps.cooldown);
        let change = figure.filter(|_| !cools).and_then(|figure| change(&steps.adjustments, figure));
        (change.map_or(seen.replicas, |change| changed(seen.replicas, change)), at)
    });
    // Of several metrics the one that needs most decides, as with autoscalers; of two that need the same the first.
    let most = wanted.max_by_key(|(replicas, at)| (*replicas, std::cmp::Reverse(*at)));
    let (wanted, why) = most.map_or((seen.replicas, Why::Stays), |(replicas, at)| (replicas, Why::Step(at)));
    let replicas = wanted.clamp(bounds.min, bounds.max);
    let stays_without = seen.replicas.clamp(bounds.min, bounds.max);
    let why = match why {
        _ if replicas == seen.replicas => Why::Stays,
        Why::Step(at) if replicas != stays_without => Why::Step(at),
        _ => Why::Bounds,
    };
    Plan { bounds, by, replicas, why, again: again(policy, seen.now) }
}

/// The bounds of now: those of the schedule that was due last, of two at once the later one of the list.
fn in_force(policy: &Policy, now: Timestamp) -> (Bounds, Option<(String, Timestamp)>) {
    let due = policy.schedules.iter().filter_map(|one| Some((last_due(&one.schedule, now)?, one)));
    let last = due.max_by_key(|(time, _)| *time);
    match last {
        Some((time, one)) => (one.bounds, Some((one.name.clone(), time))),
        None => (policy.bounds, None),
    }
}

/// The last time of a schedule that is not after `now`: the latest moment after which there is one still, found by halving.
pub(super) fn last_due(schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let due = |after: i64| {
        let after = Timestamp::from_second(after).ok()?;
        schedule.next(after).filter(|time| *time <= now)
    };
    let (mut low, mut high) = (now.as_second() - BACK.as_secs(), now.as_second());
    let mut found = due(low)?;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        match due(middle) {
            Some(time) => (low, found) = (middle, time),
            None => high = middle,
        }
    }
    Some(found)
}

/// The change of the first range that a figure is in.
fn change(all: &[Adjustment], figure: i64) -> Option<Change> {
    let is_in = |one: &&Adjustment| one.from.is_none_or(|from| from <= figure) && one.to.is_none_or(|to| figure < to);
    all.iter().find(is_in).map(|one| one.change)
}

/// A share of few is one at least: a policy that is to grow grows.
fn changed(replicas: i32, change: Change) -> i32 {
    match change {
        Change::Add(add) => replicas.saturating_add(add),
        Change::Set(set) => set,
        Change::AddPercent(percent) => {
            let share = i64::from(replicas) * i64::from(percent) / 100;
            let share = if share == 0 { i64::from(percent.signum()) } else { share };
            i32::try_from(i64::from(replicas) + share).unwrap_or(i32::MAX)
        }
    }
    .max(0)
}

fn again(policy: &Policy, now: Timestamp) -> Option<SignedDuration> {
    let times = policy.schedules.iter().filter_map(|one| one.schedule.next(now));
    let next = times.min().map(|time| time.duration_since(now).max(SignedDuration::from_secs(1)));
    let asks = (!policy.steps.is_empty()).then_some(PERIOD);
    next.into_iter().chain(asks).min()
}

#[cfg(test)]
mod tests;
