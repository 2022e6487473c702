//! The memory against a model that forgets nothing.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn wish(present: i32, wanted: i32, behavior: Option<&Behavior>) -> Wish<'_> {
    Wish { present, wanted, min: 1, max: 50, behavior, down_window: SignedDuration::from_mins(5) }
}

#[test]
fn without_rules_it_goes_up_by_twice_and_down_after_five_minutes() {
    let mut memory = Memory::default();
    memory.begin(3, at(0));
    let up = memory.limit(&wish(3, 20, None), at(0));
    assert_eq!((up.replicas, up.limited.1.0), (6, "ScaleUpLimit"));
    let down = memory.limit(&wish(6, 1, None), at(60));
    assert_eq!((down.replicas, down.able.0), (12, "ScaleDownStabilized"), "twenty were wanted a minute ago");
    let mut quiet = Memory::default();
    quiet.begin(6, at(0));
    assert_eq!(quiet.limit(&wish(6, 1, None), at(299)).replicas, 6);
    let over = quiet.limit(&wish(6, 0, None), at(300));
    assert_eq!((over.replicas, over.limited.1.0), (1, "DesiredWithinRange"), "one was wanted a second ago");
    assert_eq!(quiet.limit(&wish(1, 0, None), at(900)).limited.1.0, "TooFewReplicas");
}

#[test]
fn rules_are_read_with_their_defaults() {
    let behavior = Behavior::read(
        &json!({
        "scaleUp": {"stabilizationWindowSeconds": 5, "selectPolicy": "Min",
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 10}, {"type": "Percent", "value": 50, "periodSeconds": 30}]},
        "scaleDown": {"selectPolicy": "Disabled", "policies": []}}),
        SignedDuration::from_mins(5),
    );
    let seconds = SignedDuration::from_secs;
    assert_eq!(behavior.up.policies, [(Change::Pods(2), seconds(10)), (Change::Percent(50), seconds(30))]);
    assert_eq!((behavior.up.select, behavior.up.window), (Select::Least, seconds(5)));
    assert_eq!((behavior.down.select, behavior.down.window), (Select::Disabled, seconds(300)));
    let mut memory = Memory::default();
    assert_eq!(memory.limit(&wish(5, 1, Some(&behavior)), at(0)).replicas, 5, "it may not go down");
}

fn rules() -> impl Strategy<Value = Rules> {
    let change = prop_oneof![(1_i32..6).prop_map(Change::Pods), (1_i32..200).prop_map(Change::Percent)];
    let policy = (change, 1_i64..120).prop_map(|(change, period)| (change, SignedDuration::from_secs(period)));
    let select = prop_oneof![Just(Select::Most), Just(Select::Least), Just(Select::Disabled)];
    (0_i64..200, select, proptest::collection::vec(policy, 1..4)).prop_map(|(window, select, policies)| Rules {
        window: SignedDuration::from_secs(window),
        select,
        policies,
    })
}

/// Everything that ever happened, from which each answer is computed anew.
#[derive(Default)]
struct Model {
    first: i32,
    wanted: Vec<(Timestamp, i32)>,
    changes: Vec<(Timestamp, i32)>,
}

impl Model {
    /// How many there were that long ago.
    fn then(&self, ago: SignedDuration, now: Timestamp) -> i32 {
        self.first + self.changes.iter().filter(|(at, _)| now.duration_since(*at) >= ago).map(|(_, by)| by).sum::<i32>()
    }

    fn bound(&self, rules: &Rules, sign: i32, present: i32, now: Timestamp) -> i32 {
        let allowed = rules.policies.iter().map(|(change, period)| {
            let then = self.then(*period, now);
            let by = match change {
                Change::Pods(pods) => f64::from(*pods),
                Change::Percent(percent) => f64::from(then) * f64::from(*percent) / 100.0,
            };
            // Away from where it comes: up is rounded up, and so is what goes down.
            then + sign * by.ceil() as i32
        });
        let far = |one: &i32| one * sign;
        match rules.select {
            Select::Disabled => present,
            Select::Most => allowed.max_by_key(far).unwrap_or(present),
            Select::Least => allowed.min_by_key(far).unwrap_or(present),
        }
    }

    fn replicas(&self, wish: &Wish<'_>, behavior: &Behavior, now: Timestamp) -> i32 {
        let recent = |window: SignedDuration| {
            let all =
                self.wanted.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, wanted)| *wanted);
            all.chain([wish.wanted]).collect::<Vec<i32>>()
        };
        let least = recent(behavior.up.window).into_iter().min().unwrap_or(wish.wanted);
        let most = recent(behavior.down.window).into_iter().max().unwrap_or(wish.wanted);
        let steady = wish.present.max(least).min(most);
        if steady > wish.present {
            let bound = self.bound(&behavior.up, 1, wish.present, now).max(wish.present);
            return steady.min(bound).min(wish.max);
        }
        if steady < wish.present {
            let bound = self.bound(&behavior.down, -1, wish.present, now).min(wish.present);
            return steady.max(bound).max(wish.min);
        }
        steady
    }
}

proptest! {
    #[test]
    fn what_is_remembered_is_enough(
        up in rules(),
        down in rules(),
        looks in proptest::collection::vec((1_i64..90, 0_i32..40), 1..40),
        first in 1_i32..20,
    ) {
        let behavior = Behavior { up, down };
        let (mut memory, mut model) = (Memory::default(), Model { first, ..Model::default() });
        let (mut present, mut second) = (first, 0);
        memory.begin(present, at(0));
        model.wanted.push((at(0), present));
        for (wait, wanted) in looks {
            second += wait;
            let now = at(second);
            let wish = Wish { present, wanted, min: 1, max: 30, behavior: Some(&behavior), down_window: SignedDuration::from_mins(5) };
            let found = memory.limit(&wish, now);
            prop_assert_eq!(found.replicas, model.replicas(&wish, &behavior, now), "{:?} at {}", wish, second);
            prop_assert!((1..=30).contains(&found.replicas));
            model.wanted.push((now, wanted));
            if found.replicas != present {
                memory.changed(Some(&behavior), (present, found.replicas), now);
                model.changes.push((now, found.replicas - present));
                present = found.replicas;
            }
        }
    }

    /// Within any period there are never more new ones than a single policy allows. (Where they go up and down within one, Kubernetes
    /// counts from where they were at its beginning, and so do we.)
    #[test]
    fn a_policy_is_never_exceeded(looks in proptest::collection::vec((1_i64..40, 0_i32..90), 1..40), pods in 1_i32..5, period in 10_i64..100) {
        let rules = |window| Rules {
            window: SignedDuration::from_secs(window), select: Select::Most,
            policies: vec![(Change::Pods(pods), SignedDuration::from_secs(period))],
        };
        let behavior = Behavior { up: rules(0), down: rules(0) };
        let (mut memory, mut present, mut second) = (Memory::default(), 30, 0);
        let mut states = vec![(0, present)];
        for (wait, wanted) in looks {
            second += wait;
            let wish = Wish { present, wanted: wanted.max(present), min: 1, max: 90, behavior: Some(&behavior), down_window: SignedDuration::from_mins(5) };
            let next = memory.limit(&wish, at(second)).replicas;
            if next != present {
                memory.changed(Some(&behavior), (present, next), at(second));
                present = next;
            }
            states.push((second, present));
            let then = states.iter().rev().find(|(at, _)| second - at >= period).map_or(30, |(_, there)| *there);
            prop_assert!((present - then).abs() <= pods, "{} from {} within {} s", present, then, period);
        }
    }
}
