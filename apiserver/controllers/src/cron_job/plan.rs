//! What a cron job needs now: a job to begin, jobs to delete, and its status. No I/O.

use super::schedule::{Schedule, zone};
use crate::context::EventKind;
use crate::job::end_of;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Looked at a little after the minute: clocks of two machines may differ (Kubernetes' `nextScheduleDelta`).
const AFTER_THE_MINUTE: SignedDuration = SignedDuration::from_millis(100);
/// More missed runs than these are told as too many.
const MISSED_MANY: i64 = 100;

/// An event: kind, reason and message.
pub(super) type Told = (EventKind, &'static str, String);

/// What to do now, in this order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) told: Vec<Told>,
    /// Jobs that run and make room for the next one.
    pub(super) replace: Vec<ObjectReference>,
    /// The time of which a job is to begin.
    pub(super) begin: Option<Timestamp>,
    /// Jobs that ended and are too many.
    pub(super) forget: Vec<Arc<Job>>,
    /// The status, but for what is done about `replace` and `begin`.
    pub(super) status: CronJobStatus,
    pub(super) again: Option<SignedDuration>,
}

/// Decides for `cron`, which owns `jobs`; the jobs `gone` are said to run and are not there.
pub(super) fn decide(cron: &CronJob, jobs: &[Arc<Job>], gone: &BTreeSet<String>, now: Timestamp) -> Plan {
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    for job in jobs {
        see(job, &mut plan);
    }
    drop_gone(gone, &mut plan);
    plan.forget = too_many(cron, jobs);
    if cron.metadata.deletion_timestamp.is_none() {
        schedule(cron, &mut plan, now);
    }
    plan
}

/// Takes in what a job has come to.
fn see(job: &Job, plan: &mut Plan) {
    let uid = job.metadata.uid.as_deref();
    let active = plan.status.active.iter().flatten().any(|known| known.uid.as_deref() == uid);
    let end = end_of(job);
    if end.is_none() && !active {
        let message = format!("Saw a job that the controller did not create or forgot: {}", job.name_any());
        plan.told.push((EventKind::Warning, "UnexpectedJob", message));
    }
    let Some(end) = end else { return };
    if active {
        remove(&mut plan.status, uid);
        let message = format!("Saw completed job: {}, condition: {}", job.name_any(), end.type_);
        plan.told.push((EventKind::Normal, "SawCompletedJob", message));
    }
    let completed = job.status.as_ref().and_then(|status| status.completion_time.clone());
    if end.type_ == "Complete" && completed > plan.status.last_successful_time {
        plan.status.last_successful_time = completed;
    }
}

/// Takes a job off the list of those that run.
pub(super) fn remove(status: &mut CronJobStatus, uid: Option<&str>) {
    let Some(active) = &mut status.active else { return };
    active.retain(|known| known.uid.as_deref() != uid);
    if active.is_empty() {
        status.active = None;
    }
}

fn drop_gone(gone: &BTreeSet<String>, plan: &mut Plan) {
    for uid in gone {
        let known = plan.status.active.iter().flatten().find(|known| known.uid.as_ref() == Some(uid));
        let Some(name) = known.map(|known| known.name.clone().unwrap_or_default()) else { continue };
        plan.told.push((EventKind::Normal, "MissingJob", format!("Active job went missing: {name}")));
        remove(&mut plan.status, Some(uid));
    }
}

/// The oldest of those that ended, beyond what the history keeps of each kind.
fn too_many(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let spec = &cron.spec;
    let limits = [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
    let old = limits.into_iter().flat_map(|(kind, limit)| {
        let ended = jobs.iter().filter(|job| end_of(job).is_some_and(|end| end.type_ == kind));
        let mut ended: Vec<Arc<Job>> = ended.cloned().collect();
        let start = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.clone());
        ended.sort_by_key(|job| (start(job).is_none(), start(job), job.name_any()));
        let keep = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(0));
        ended.truncate(ended.len().saturating_sub(keep));
        ended
    });
    old.collect()
}

/// Whether a run is due, and when to look again.
fn schedule(cron: &CronJob, plan: &mut Plan, now: Timestamp) {
    let spec = &cron.spec;
    if spec.suspend == Some(true) {
        return;
    }
    let mut warn = |reason, message| plan.told.push((EventKind::Warning, reason, message));
    if let Some(name) = &spec.time_zone
        && let Err(error) = zone(Some(name))
    {
        return warn("UnknownTimeZone", format!("invalid timeZone: \"{name}\": {error}"));
    }
    if spec.schedule.contains("TZ") {
        let message = format!(
            "CRON_TZ or TZ used in schedule \"{}\" is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        warn("UnsupportedSchedule", message);
    }
    let schedule = match Schedule::parse(&spec.schedule, spec.time_zone.as_deref()) {
        Ok(schedule) => schedule,
        Err(error) => {
            let message = format!("unparseable schedule: \"{}\" : {error}", spec.schedule);
            return warn("UnparseableSchedule", message);
        }
    };
    let Some(recent) = recent(cron, &schedule, now, Deadline::Counts) else {
        let words = "time difference between two schedules is less than 1 second";
        return warn("InvalidSchedule", format!("invalid schedule: {} : {words}", spec.schedule));
    };
    if recent.missed > MISSED_MANY && recent.due.is_some() {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        warn("TooManyMissedTimes", message.to_owned());
    }
    plan.again = next_look(cron, &schedule, now);
    if let Some(due) = recent.due {
        run(cron, plan, due, now);
    }
}

/// A run is due: whether it may begin.
fn run(cron: &CronJob, plan: &mut Plan, due: Timestamp, now: Timestamp) {
    let spec = &cron.spec;
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    if deadline.is_some_and(|deadline| due + deadline < now) {
        let at = due.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string();
        let message = format!("Missed scheduled time to start a job: {at}");
        return plan.told.push((EventKind::Warning, "MissSchedule", message));
    }
    let active = plan.status.active.as_deref().unwrap_or_default();
    let name = job_name(cron, due);
    if active.iter().any(|known| known.name.as_ref() == Some(&name))
        || plan.status.last_schedule_time == Some(Time(due))
    {
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
            return plan.told.push((EventKind::Normal, "JobAlreadyActive", message.to_owned()));
        }
        Some("Replace") => plan.replace = active.to_vec(),
        _ => {}
    }
    plan.begin = Some(due);
}

/// The name of the job of a time: the same for the same time, so that none is begun twice.
pub(super) fn job_name(cron: &CronJob, due: Timestamp) -> String {
    format!("{}-{}", cron.name_any(), due.as_second() / 60)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    /// What is older than `startingDeadlineSeconds` is no longer due.
    Counts,
    Ignored,
}

struct Recent {
    /// From when on runs were looked for.
    since: Timestamp,
    /// The last time that is due.
    due: Option<Timestamp>,
    /// How many there were, roughly.
    missed: i64,
}

/// What was due since the last run; `None`: the schedule is never due.
fn recent(cron: &CronJob, schedule: &Schedule, now: Timestamp, deadline: Deadline) -> Option<Recent> {
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let mut since = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    let limit = cron.spec.starting_deadline_seconds;
    if let Some(seconds) = limit.filter(|_| deadline == Deadline::Counts) {
        since = since.max(now - SignedDuration::from_secs(seconds));
    }
    let first = schedule.next(since)?;
    let second = schedule.next(first)?;
    if now < first {
        return Some(Recent { since, due: None, missed: 0 });
    }
    if now < second {
        return Some(Recent { since, due: Some(first), missed: 0 });
    }
    let between = second.duration_since(first).as_secs().max(1);
    let missed = now.duration_since(first).as_secs() / between + 1;
    Some(Recent { since, due: Some(last_until(schedule, first, now)), missed })
}

/// The last time of the schedule that is not after `now`; `first` is one of them. Looks back from `now`, twice as far each time, so that no
/// schedule needs many steps however long nobody looked. Kubernetes guesses from the first two times, and finds none if they lie closer
/// together than those after them.
fn last_until(schedule: &Schedule, first: Timestamp, now: Timestamp) -> Timestamp {
    let mut back = SignedDuration::from_mins(2);
    let mut due = loop {
        let from = now.checked_sub(back).unwrap_or(first).max(first);
        match schedule.next(from).filter(|time| *time <= now) {
            Some(time) => break time,
            None if from == first => return first,
            None => back += back,
        }
    };
    while let Some(time) = schedule.next(due).filter(|time| *time <= now) {
        due = time;
    }
    due
}

/// How long until the next run is due.
pub(super) fn next_look(cron: &CronJob, schedule: &Schedule, now: Timestamp) -> Option<SignedDuration> {
    let from = match recent(cron, schedule, now, Deadline::Ignored) {
        Some(Recent { due: Some(due), .. }) => due,
        Some(Recent { since, missed: 0, .. }) => since,
        _ => now,
    };
    let wait = schedule.next(from)?.duration_since(now) + AFTER_THE_MINUTE;
    Some(wait.max(AFTER_THE_MINUTE))
}

/// The job of the run that is due at `due`.
pub(super) fn job_of(cron: &CronJob, due: Timestamp) -> Option<Job> {
    let spec = &cron.spec;
    let template = &spec.job_template;
    let given = template.metadata.clone().unwrap_or_default();
    let mut annotations = given.annotations.unwrap_or_default();
    // RFC 3339, in the zone of the schedule; without one in UTC.
    let zone = zone(Some(spec.time_zone.as_deref().unwrap_or("UTC"))).ok()?;
    let text = due.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    let text = text.strip_suffix("+00:00").map_or(text.clone(), |utc| format!("{utc}Z"));
    annotations.insert("batch.kubernetes.io/cronjob-scheduled-timestamp".to_owned(), text);
    let mut job = Job { spec: template.spec.clone(), ..Job::default() };
    job.metadata.name = Some(job_name(cron, due));
    job.metadata.namespace = cron.namespace();
    job.metadata.labels = given.labels;
    job.metadata.annotations = Some(annotations);
    job.metadata.owner_references = Some(vec![crate::owned::owner_reference(cron)]);
    Some(job)
}

#[cfg(test)]
mod tests;
