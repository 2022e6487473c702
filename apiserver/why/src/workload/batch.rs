//! Jobs and cron jobs: what does not start, and what has failed.

use super::{is_owned, of_pods, pods_of, refused};
use crate::answer::{Answer, Finding};
use crate::facts::Facts;
use crate::look::{condition, is_true, list, name, number, text};
use crate::pod;
use crate::words::{ago, listed, sentence, since, time};
use crate::{paths, place};
use serde_json::Value;
use skiff_proto::age::duration;

/// A job.
pub(super) fn job(facts: &Facts, object: &Value, about: String) -> Answer {
    let at = |pointer: &str| number(object, pointer).unwrap_or(0);
    let (done, failed, active) = (at("/status/succeeded"), at("/status/failed"), at("/status/active"));
    let wanted = number(object, "/spec/completions").map_or_else(|| "1".to_owned(), |wanted| wanted.to_string());
    let summary = format!("{done} of {wanted} completions, {active} pods active, {failed} failed.");
    let is = |kind: &str| condition(object, kind).is_some_and(|one| one["status"] == "True");
    if is("Complete") {
        return Answer::new(about, format!("Complete: {summary}"), true);
    }
    let mut found = Vec::new();
    found.extend(suspended(object, "job", "it has no pods", &about));
    if let Some(one) = ["Failed", "FailureTarget"]
        .iter()
        .find_map(|kind| condition(object, kind).filter(|one| one["status"] == "True"))
    {
        found.push(over(facts, object, one, failed, &about));
    }
    found.extend(refused(facts, object, &about));
    let pods = pods_of(facts, object);
    let bad: Vec<_> =
        pods.iter().copied().filter(|pod| !place::is_over(pod) || text(pod, "/status/phase") == "Failed").collect();
    found.extend(of_pods(facts, &bad));
    let well = found.is_empty() && active > 0;
    Answer::new(about, summary, well).with(found)
}

/// That somebody has suspended it, and what comes of that.
fn suspended(object: &Value, kind: &str, effect: &str, about: &str) -> Option<Finding> {
    let cause = format!("It is suspended (spec.suspend is true): {effect} until somebody resumes it.");
    let patch = format!(
        "kubectl patch {kind} {} -n {} -p '{{\"spec\":{{\"suspend\":false}}}}'",
        name(object),
        text(object, "/metadata/namespace")
    );
    is_true(object, "/spec/suspend").then(|| Finding::new("Suspended", about, cause).advice(patch))
}

fn over(facts: &Facts, object: &Value, one: &Value, failed: i64, about: &str) -> Finding {
    let age = ago(facts.now, text(one, "/lastTransitionTime"));
    let (reason, message) = (text(one, "/reason"), sentence(text(one, "/message")));
    let figures = match reason {
        "BackoffLimitExceeded" => {
            format!("{failed} pods failed, and backoffLimit is {}.", number(object, "/spec/backoffLimit").unwrap_or(6))
        }
        "DeadlineExceeded" => {
            format!("activeDeadlineSeconds is {}.", number(object, "/spec/activeDeadlineSeconds").unwrap_or(0))
        }
        _ => String::new(),
    };
    Finding::new("JobFailed", about, format!("It failed {age} ago ({reason}): {message}"))
        .fact(figures)
        .advice("Mend what its pods say, and make the job anew: one that has failed does not start again.")
}

/// A cron job.
pub(super) fn cron_job(facts: &Facts, object: &Value, about: String) -> Answer {
    let last = text(object, "/status/lastScheduleTime");
    let zone = Some(text(object, "/spec/timeZone"))
        .filter(|zone| !zone.is_empty())
        .unwrap_or("that of the controller, mostly UTC");
    let run = since(facts.now, last)
        .map_or_else(|| "It has never run".to_owned(), |age| format!("It ran {age} ago for the last time"));
    let summary = format!("{run}; its schedule is \"{}\", time zone {zone}.", text(object, "/spec/schedule"));
    let mut found = Vec::new();
    found.extend(suspended(object, "cronjob", "no job is made", &about));
    found.extend(forbidden(facts, object, &about));
    found.extend(missed(facts, object, &about));
    let jobs =
        facts.list(&paths::of_group("batch/v1", text(object, "/metadata/namespace"), "jobs")).unwrap_or_default();
    let newest = jobs
        .iter()
        .filter(|job| is_owned(job, object))
        .max_by_key(|job| text(job, "/metadata/creationTimestamp").to_owned());
    if let Some(newest) = newest.filter(|newest| condition(newest, "Complete").is_none()) {
        let of =
            super::batch::job(facts, newest, format!("job {}/{}", text(newest, "/metadata/namespace"), name(newest)));
        found.extend(of.findings);
    }
    let well = found.is_empty();
    Answer::new(about, summary, well).with(found)
}

/// A run that may not begin beside one that goes on.
fn forbidden(facts: &Facts, object: &Value, about: &str) -> Option<Finding> {
    let active: Vec<_> = list(object, "/status/active").iter().map(|one| text(one, "/name")).collect();
    if active.is_empty() || text(object, "/spec/concurrencyPolicy") != "Forbid" {
        return None;
    }
    let age = since(facts.now, text(object, "/status/lastScheduleTime"))
        .map(|age| format!(", begun {age} ago"))
        .unwrap_or_default();
    let cause = format!(
        "Its concurrencyPolicy is Forbid, and job {} is still active{age}: the next one waits until that has ended.",
        listed(&active)
    );
    Some(
        Finding::new("StillActive", about, cause)
            .advice("Mend or delete that job, or set concurrencyPolicy to Allow or Replace."),
    )
}

/// What its controller complained of: time zones, schedules, missed starts.
fn missed(facts: &Facts, object: &Value, about: &str) -> Option<Finding> {
    const REASONS: [&str; 6] = [
        "UnknownTimeZone",
        "UnparseableSchedule",
        "UnParseableCronJobSchedule",
        "InvalidSchedule",
        "MissSchedule",
        "TooManyMissedTimes",
    ];
    let event = pod::events_about(facts, object).into_iter().find(|event| REASONS.contains(&text(event, "/reason")))?;
    let at = pod::last_time(event);
    // What was said before a run that was made has no effect any more.
    if time(at).zip(time(text(object, "/status/lastScheduleTime"))).is_some_and(|(said, run)| said < run) {
        return None;
    }
    let age = ago(facts.now, at);
    let (what, advice) = match text(event, "/reason") {
        "UnknownTimeZone" => ("Its time zone is not known", "Write it as in the IANA database, such as Europe/Berlin."),
        "MissSchedule" => (
            "A start was missed for longer than startingDeadlineSeconds",
            "Raise startingDeadlineSeconds, and see why the controllers were late.",
        ),
        "TooManyMissedTimes" => {
            ("More than 100 starts were missed", "Set startingDeadlineSeconds, so that only recent ones count.")
        }
        _ => ("Its schedule cannot be read", "Write it as minute, hour, day of month, month, day of week."),
    };
    let deadline = number(object, "/spec/startingDeadlineSeconds")
        .map(|seconds| format!("startingDeadlineSeconds is {seconds} ({}).", duration(seconds)))
        .unwrap_or_else(|| "startingDeadlineSeconds is not set.".to_owned());
    Some(
        Finding::new("NotScheduled", about, format!("{what} ({age} ago): {}", sentence(text(event, "/message"))))
            .fact(deadline)
            .advice(advice),
    )
}
