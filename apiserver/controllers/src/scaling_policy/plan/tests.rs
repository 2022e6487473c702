//! Days of a policy, and what holds whatever it says.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn plan(spec: &Value, replicas: i32, figures: &[Option<i64>], last_step: Option<Timestamp>, now: &str) -> Plan {
    let policy = Policy::read(spec).unwrap();
    decide(&policy, &Seen { replicas, figures, last_step, now: at(now) })
}

fn cpu(adjustments: Value) -> Value {
    let metric = json!({"type": "Resource", "resource": {"name": "cpu"}});
    json!({"minReplicas": 1, "maxReplicas": 10, "steps": [{"metric": metric, "cooldownSeconds": 60, "adjustments": adjustments}]})
}

fn usual() -> Value {
    cpu(json!([{"from": 70, "to": 90, "add": 1}, {"from": 90, "addPercent": 50}, {"to": 30, "add": -1}]))
}

#[test]
fn a_day_has_its_bounds() {
    let zone = "Europe/Berlin";
    let spec = json!({"minReplicas": 1, "maxReplicas": 6, "schedules": [
        {"name": "day", "schedule": "0 8 * * 1-5", "timeZone": zone, "minReplicas": 4},
        {"name": "night", "schedule": "0 20 * * *", "timeZone": zone, "maxReplicas": 0}]});
    // In winter Berlin is an hour ahead of UTC, in summer two; 2026-12-01 is a Tuesday.
    for (now, replicas, by, again) in [
        ("2026-12-01T06:59:59Z", 0, "night", 1),
        ("2026-12-01T07:00:00Z", 4, "day", 12 * 3600),
        ("2026-12-01T19:00:00Z", 0, "night", 12 * 3600),
        ("2026-12-05T12:00:00Z", 0, "night", 7 * 3600),
        ("2026-07-01T06:00:00Z", 4, "day", 12 * 3600),
    ] {
        let plan = plan(&spec, 2, &[], None, now);
        assert_eq!((plan.replicas, plan.by.unwrap().0.as_str(), plan.why), (replicas, by, Why::Bounds), "{now}");
        assert_eq!(plan.again, Some(SignedDuration::from_secs(again)), "{now}");
    }
    assert_eq!(plan(&spec, 5, &[], None, "2026-12-01T07:00:00Z").why, Why::Stays);
}

#[test]
fn steps_follow_figures() {
    let of = |replicas, percent: i64| {
        let plan = plan(&usual(), replicas, &[Some(percent * 1000)], None, "2026-12-01T00:00:00Z");
        (plan.replicas, plan.why)
    };
    assert_eq!(of(4, 69), (4, Why::Stays));
    assert_eq!(of(4, 70), (5, Why::Step(0)));
    assert_eq!(of(4, 90), (6, Why::Step(0)));
    assert_eq!(of(1, 200), (2, Why::Step(0)));
    assert_eq!(of(9, 200), (10, Why::Step(0)));
    assert_eq!(of(10, 200), (10, Why::Stays));
    assert_eq!(of(4, 29), (3, Why::Step(0)));
    assert_eq!(of(1, 0), (1, Why::Stays));
    assert_eq!(of(0, 50), (1, Why::Bounds));
}

#[test]
fn a_step_is_not_followed_by_another_before_its_cooldown_is_over() {
    let of = |seconds: i64, replicas| {
        let now = at("2026-12-01T00:00:00Z");
        let last = Some(now - SignedDuration::from_secs(seconds));
        plan(&usual(), replicas, &[Some(95_000)], last, "2026-12-01T00:00:00Z").replicas
    };
    assert_eq!((of(59, 4), of(60, 4)), (4, 6));
    // Bounds do not wait.
    assert_eq!((of(1, 0), of(1, 11)), (1, 10));
}

#[test]
fn the_most_that_any_metric_wants_is_done_and_silence_keeps_what_is_there() {
    let mut spec = usual();
    let external = json!({"type": "External", "external": {"metric": {"name": "queue"}}});
    let more = json!({"metric": external, "adjustments": [{"from": "100", "set": 8}, {"to": "10", "add": -1}]});
    spec["steps"].as_array_mut().unwrap().push(more);
    let of = |figures: [Option<i64>; 2]| {
        let plan = plan(&spec, 5, &figures, None, "2026-12-01T00:00:00Z");
        (plan.replicas, plan.why)
    };
    assert_eq!(of([Some(75_000), Some(500_000)]), (8, Why::Step(1)));
    assert_eq!(of([Some(75_000), Some(0)]), (6, Why::Step(0)));
    assert_eq!(of([Some(0), Some(0)]), (4, Why::Step(0)));
    assert_eq!(of([Some(0), None]), (5, Why::Stays));
    assert_eq!(of([None, Some(500_000)]), (8, Why::Step(1)));
}

fn changes() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-5..6_i32).prop_map(|add| json!({ "add": add })),
        (-100..200_i32).prop_map(|percent| json!({"addPercent": percent})),
        (0..20_i32).prop_map(|set| json!({ "set": set })),
    ]
}

fn ranges() -> impl Strategy<Value = Value> {
    let one = (proptest::option::of(0..100_i64), proptest::option::of(101..200_i64), changes());
    let one = one.prop_map(|(from, to, mut change)| {
        change["from"] = from.map_or(Value::Null, Value::from);
        change["to"] = to.map_or(Value::Null, Value::from);
        change
    });
    proptest::collection::vec(one, 0..4).prop_map(Value::from)
}

fn crons() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..60, 0..24, 1..29, 1..13).prop_map(|(minute, hour, day, month)| format!("{minute} {hour} {day} {month} *")),
        (0..60, 0..24, 0..7).prop_map(|(minute, hour, weekday)| format!("{minute} {hour} * * {weekday}")),
        (1..30, 0..12).prop_map(|(step, month)| format!("*/{step} * * {} *", month + 1)),
        Just("0 0 29 2 *".to_owned()),
    ]
}

proptest! {
    /// Whatever a policy says, there are as many as its bounds let there be, and no step is taken while the last one cools down.
    #[test]
    fn bounds_and_cooldowns_hold(
        ranges in ranges(), figure in proptest::option::of(-10..250_i64), replicas in 0..30_i32, since in 0..120_i64,
    ) {
        let policy = Policy::read(&cpu(ranges)).unwrap();
        let now = at("2026-12-01T00:00:00Z");
        let figures = [figure.map(|figure| figure * 1000)];
        let last_step = Some(now - SignedDuration::from_secs(since));
        let plan = decide(&policy, &Seen { replicas, figures: &figures, last_step, now });
        prop_assert!((1..=10).contains(&plan.replicas));
        prop_assert_eq!(plan.replicas == replicas, plan.why == Why::Stays);
        if since < 60 || figure.is_none() {
            prop_assert_eq!(plan.replicas, replicas.clamp(1, 10));
        }
    }

    /// Where more use never asks for fewer, neither does the whole policy.
    #[test]
    fn more_use_never_asks_for_fewer(
        mut adds in proptest::collection::vec(-5..6_i32, 3), replicas in 0..30_i32, low in 0..200_i64, more in 0..100_i64,
    ) {
        adds.sort_unstable();
        let spec = cpu(json!([{"to": 50, "add": adds[0]}, {"from": 50, "to": 100, "add": adds[1]}, {"from": 100, "add": adds[2]}]));
        let policy = Policy::read(&spec).unwrap();
        let now = at("2026-12-01T00:00:00Z");
        let of = |figure: i64| {
            let figures = [Some(figure * 1000)];
            decide(&policy, &Seen { replicas, figures: &figures, last_step: None, now }).replicas
        };
        prop_assert!(of(low) <= of(low + more));
    }

    /// The last time that was due is one of the schedule's, and there is none between it and now.
    #[test]
    fn the_last_time_is_the_last(cron in crons(), seconds in 0..200_000_000_i64, berlin: bool) {
        let zone = if berlin { "Europe/Berlin" } else { "UTC" };
        let schedule = Schedule::parse(&cron, Some(zone)).unwrap();
        let now = Timestamp::from_second(1_700_000_000 + seconds).unwrap();
        let last = last_due(&schedule, now).unwrap();
        prop_assert!(last <= now);
        prop_assert!(schedule.next(last).is_none_or(|next| next > now), "{last} {now}");
        let before = last - SignedDuration::from_secs(1);
        prop_assert_eq!(schedule.next(before), Some(last));
    }
}
