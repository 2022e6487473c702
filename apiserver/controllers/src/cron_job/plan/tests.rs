//! Runs that are due, missed, forbidden and replaced.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + minute * 60).unwrap()
}

/// Made at minute 0.
fn cron(change: &Value, status: &Value) -> CronJob {
    let mut spec = json!({"schedule": "*/10 * * * *", "timeZone": "UTC", "concurrencyPolicy": "Allow",
        "successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"template": {}}}});
    spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let metadata = json!({"name": "c", "namespace": "n", "uid": "cron", "creationTimestamp": at(0).to_string()});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status})).unwrap()
}

fn job(name: &str, end: Option<&str>, start: i64) -> Arc<Job> {
    let conditions: Vec<Value> = end.map(|kind| json!({"type": kind, "status": "True"})).into_iter().collect();
    let done = (end == Some("Complete")).then(|| at(start + 1).to_string());
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": name},
        "status": {"startTime": at(start).to_string(), "completionTime": done, "conditions": conditions}}))
        .unwrap(),
    )
}

fn active(names: &[&str]) -> Value {
    names.iter().map(|name| json!({"name": name, "namespace": "n", "uid": name})).collect()
}

fn reasons(plan: &Plan) -> Vec<&'static str> {
    plan.told.iter().map(|(_, reason, _)| *reason).collect()
}

fn of(change: &Value, status: &Value, jobs: &[Arc<Job>], now: Timestamp) -> Plan {
    decide(&cron(change, status), jobs, &BTreeSet::new(), now)
}

#[test]
fn a_run_begins_when_it_is_due_and_only_once() {
    let early = of(&json!({}), &json!({}), &[], at(9));
    assert_eq!((early.begin, early.again), (None, Some(SignedDuration::from_millis(60_100))));
    let due = of(&json!({}), &json!({}), &[], at(10));
    assert_eq!((due.begin, due.again), (Some(at(10)), Some(SignedDuration::from_millis(600_100))));
    let done = of(&json!({}), &json!({"lastScheduleTime": at(10).to_string()}), &[], at(11));
    assert_eq!((done.begin, done.again), (None, Some(SignedDuration::from_millis(540_100))));
    assert_eq!(of(&json!({"suspend": true}), &json!({}), &[], at(10)).begin, None);
}

#[test]
fn of_missed_runs_the_last_one_begins_unless_it_is_too_late() {
    assert_eq!(of(&json!({}), &json!({}), &[], at(55)).begin, Some(at(50)));
    let late = of(&json!({"startingDeadlineSeconds": 60}), &json!({}), &[], at(55));
    assert_eq!((late.begin, reasons(&late).len()), (None, 0));
    let many = of(&json!({}), &json!({}), &[], at(60 * 24 * 7));
    assert_eq!((many.begin, reasons(&many)), (Some(at(60 * 24 * 7)), vec!["TooManyMissedTimes"]));
}

#[test]
fn a_run_that_is_under_way_is_respected() {
    let running = [job("old", None, 0)];
    let status = json!({"active": active(&["old"]), "lastScheduleTime": at(10).to_string()});
    let allowed = of(&json!({}), &status, &running, at(20));
    assert_eq!((allowed.begin, allowed.replace.len()), (Some(at(20)), 0));
    let forbidden = of(&json!({"concurrencyPolicy": "Forbid"}), &status, &running, at(20));
    assert_eq!((forbidden.begin, reasons(&forbidden)), (None, vec!["JobAlreadyActive"]));
    let replaced = of(&json!({"concurrencyPolicy": "Replace"}), &status, &running, at(20));
    assert_eq!((replaced.begin, replaced.replace[0].name.as_deref()), (Some(at(20)), Some("old")));
}

#[test]
fn what_jobs_come_to_stands_in_the_status() {
    let jobs = [job("done", Some("Complete"), 1), job("failed", Some("Failed"), 2), job("stray", None, 3)];
    let status = json!({"active": active(&["done", "failed", "lost"]), "lastScheduleTime": at(10).to_string()});
    let plan = decide(&cron(&json!({}), &status), &jobs, &BTreeSet::from(["lost".to_owned()]), at(11));
    assert_eq!(plan.status.active, None);
    assert_eq!(plan.status.last_successful_time, Some(Time(at(2))));
    assert_eq!(reasons(&plan), ["SawCompletedJob", "SawCompletedJob", "UnexpectedJob", "MissingJob"]);
    assert_eq!(plan.told[0].2, "Saw completed job: done, condition: Complete");
}

#[test]
fn the_oldest_of_each_kind_are_forgotten() {
    let jobs = [
        job("a", Some("Complete"), 3),
        job("b", Some("Complete"), 1),
        job("c", Some("Failed"), 0),
        job("d", None, 0),
        job("e", Some("Complete"), 2),
    ];
    let plan = of(&json!({}), &json!({"lastScheduleTime": at(10).to_string()}), &jobs, at(11));
    assert_eq!(plan.forget.iter().map(|job| job.name_any()).collect::<Vec<_>>(), ["b", "e"]);
}

#[test]
fn a_job_is_named_by_its_time() {
    let cron = cron(&json!({"timeZone": "Asia/Tokyo"}), &json!({}));
    let job = job_of(&cron, at(0)).unwrap();
    assert_eq!(job.name_any(), "c-29453760");
    assert_eq!(job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-01-01T09:00:00+09:00");
    assert_eq!(job.labels()["a"], "b");
    let utc = super::tests::cron(&json!({}), &json!({}));
    let job = job_of(&utc, at(0)).unwrap();
    assert_eq!(job.annotations()["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2026-01-01T00:00:00Z");
}

#[test]
fn what_is_no_schedule_is_told() {
    let told = |change: Value| reasons(&of(&change, &json!({}), &[], at(10)));
    assert_eq!(told(json!({"schedule": "59 23 31 2 *"})), ["InvalidSchedule"]);
    assert_eq!(told(json!({"timeZone": "Mars/Base"})), ["UnknownTimeZone"]);
    assert_eq!(told(json!({"schedule": "x"})), ["UnparseableSchedule"]);
    assert_eq!(told(json!({"schedule": "TZ=UTC 0 0 * * *", "timeZone": null})), ["UnsupportedSchedule"]);
}

proptest! {
    /// However late and however often it is looked at: each time is begun at most once, in order, and never early.
    #[test]
    fn each_run_begins_once(every in 1_i64..30, looks in proptest::collection::vec(1_i64..400, 1..40)) {
        let change = json!({"schedule": format!("*/{every} * * * *")});
        let (mut status, mut now, mut begun) = (json!({}), at(0), Vec::new());
        for seconds in looks {
            now += SignedDuration::from_secs(seconds);
            let plan = of(&change, &status, &[], now);
            prop_assert!(plan.again.is_some_and(|again| again.is_positive()));
            if let Some(due) = plan.begin {
                prop_assert!(due <= now && begun.last().is_none_or(|last| *last < due));
                begun.push(due);
                status = json!({"lastScheduleTime": due.to_string()});
            }
            let minute = now.as_second() / 60;
            let last_due = Timestamp::from_second((minute - minute % 60 + minute % 60 / every * every) * 60).unwrap();
            prop_assert!(last_due <= at(0) || begun.last() == Some(&last_due), "{last_due} {begun:?}");
        }
    }
}
