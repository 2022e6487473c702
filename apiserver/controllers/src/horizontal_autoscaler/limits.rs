//! How fast and how far replicas may change, given what is wanted. Pure: the caller passes the time.
//!
//! ```text
//!  wanted ─► not below (above) what was wanted a moment ago ─► not faster than the policies ─► between min and max
//! ```

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Without rules of its own an autoscaler makes at most twice as many, or four.
const UP_FACTOR: i32 = 2;
const UP_LEAST: i32 = 4;

/// Which of several policies counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Select {
    Most,
    Least,
    Disabled,
}

/// How much may change within a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Pods(i32),
    Percent(i32),
}

/// The rules of one direction.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rules {
    pub(super) window: SignedDuration,
    pub(super) select: Select,
    pub(super) policies: Vec<(Change, SignedDuration)>,
}

/// The rules of both.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Behavior {
    pub(super) up: Rules,
    pub(super) down: Rules,
}

impl Behavior {
    /// `spec.behavior`; the API server has filled in what was not said, but for the window of scaling down.
    pub(super) fn read(behavior: &Value, down_window: SignedDuration) -> Self {
        let up = Rules::read(&behavior["scaleUp"], SignedDuration::ZERO);
        Self { up, down: Rules::read(&behavior["scaleDown"], down_window) }
    }
}

impl Rules {
    fn read(rules: &Value, window: SignedDuration) -> Self {
        let policy = |policy: &Value| {
            let value = i32::try_from(policy["value"].as_i64()?).ok()?;
            let change = if policy["type"] == "Percent" { Change::Percent(value) } else { Change::Pods(value) };
            Some((change, SignedDuration::from_secs(policy["periodSeconds"].as_i64()?)))
        };
        let select = match rules["selectPolicy"].as_str() {
            Some("Min") => Select::Least,
            Some("Disabled") => Select::Disabled,
            _ => Select::Most,
        };
        let window = rules["stabilizationWindowSeconds"].as_i64().map_or(window, SignedDuration::from_secs);
        Self {
            window,
            select,
            policies: rules["policies"].as_array().into_iter().flatten().filter_map(policy).collect(),
        }
    }

    fn longest(&self) -> SignedDuration {
        self.policies.iter().map(|(_, period)| *period).max().unwrap_or_default()
    }
}

/// What has to be remembered of one autoscaler.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    /// What was wanted when.
    wanted: Vec<(Timestamp, i32)>,
    /// By how much there were more, or fewer, since when.
    ups: Vec<(Timestamp, i32)>,
    downs: Vec<(Timestamp, i32)>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) present: i32,
    pub(super) wanted: i32,
    pub(super) min: i32,
    pub(super) max: i32,
    pub(super) behavior: Option<&'a Behavior>,
    /// The window of scaling down where no behavior says one.
    pub(super) down_window: SignedDuration,
}

/// A reason and its message.
pub(super) type Said = (&'static str, &'static str);

/// What of it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// Of the condition AbleToScale.
    pub(super) able: Said,
    /// Of the condition ScalingLimited, and whether it is true.
    pub(super) limited: (bool, Said),
}

const WITHIN: Said = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: Said = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Said = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: Said = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Said =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const READY: Said = ("ReadyForNewScale", "recommended size matches current size");
const UP_WAITS: Said = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_WAITS: Said = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);

impl Memory {
    /// The first thing that is known of it is how many there are: after a start nothing goes down at once.
    pub(super) fn begin(&mut self, present: i32, now: Timestamp) {
        if self.wanted.is_empty() {
            self.wanted.push((now, present));
        }
    }

    /// What of a wish is done now; it is remembered.
    pub(super) fn limit(&mut self, wish: &Wish<'_>, now: Timestamp) -> Limited {
        let (steady, waits) = self.steady(wish, now);
        let able = if steady == wish.wanted { READY } else { waits };
        let (replicas, said) = match wish.behavior {
            Some(behavior) => self.within(&Wish { wanted: steady, ..*wish }, behavior, now),
            None => plainly(&Wish { wanted: steady, ..*wish }),
        };
        Limited { replicas, able, limited: (replicas != steady, said) }
    }

    /// The wish, held against those of the time before.
    fn steady(&mut self, wish: &Wish<'_>, now: Timestamp) -> (i32, Said) {
        let plain = (SignedDuration::ZERO, wish.down_window);
        let (up, down) = wish.behavior.map_or(plain, |rules| (rules.up.window, rules.down.window));
        self.wanted.retain(|(at, _)| now.duration_since(*at) < up.max(down));
        let within = |window| {
            self.wanted.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, wanted)| *wanted)
        };
        let least = within(up).min().unwrap_or(wish.wanted).min(wish.wanted);
        let most = within(down).max().unwrap_or(wish.wanted).max(wish.wanted);
        self.wanted.push((now, wish.wanted));
        let steady = if wish.behavior.is_some() { wish.present.max(least).min(most) } else { most };
        (steady, if wish.behavior.is_some() && wish.wanted >= wish.present { UP_WAITS } else { DOWN_WAITS })
    }

    /// The wish, no faster than the rules allow.
    fn within(&self, wish: &Wish<'_>, behavior: &Behavior, now: Timestamp) -> (i32, Said) {
        if wish.wanted > wish.present {
            let limit = self.most(wish.present, &behavior.up, now).max(wish.present);
            let (most, said) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
            return if wish.wanted > most { (most, said) } else { (wish.wanted, WITHIN) };
        }
        if wish.wanted < wish.present {
            let limit = self.least(wish.present, &behavior.down, now).min(wish.present);
            let (least, said) = if wish.min < limit { (limit, DOWN_LIMIT) } else { (wish.min, TOO_FEW) };
            return if wish.wanted < least { (least, said) } else { (wish.wanted, WITHIN) };
        }
        (wish.wanted, WITHIN)
    }

    /// How many there were at the beginning of a period.
    fn before(&self, present: i32, period: SignedDuration, now: Timestamp) -> i32 {
        let sum = |changes: &[(Timestamp, i32)]| -> i32 {
            changes.iter().filter(|(at, _)| now.duration_since(*at) < period).map(|(_, by)| by).sum()
        };
        present - sum(&self.ups) + sum(&self.downs)
    }

    fn most(&self, present: i32, rules: &Rules, now: Timestamp) -> i32 {
        let allowed = rules.policies.iter().map(|(change, period)| {
            let before = self.before(present, *period, now);
            match change {
                Change::Pods(pods) => before.saturating_add(*pods),
                // Rounded up, because a small number would never grow otherwise.
                Change::Percent(percent) => share(before, 100 + i64::from(*percent), 99),
            }
        });
        match rules.select {
            Select::Disabled => Some(present),
            Select::Most => allowed.max(),
            Select::Least => allowed.min(),
        }
        .unwrap_or(present)
    }

    fn least(&self, present: i32, rules: &Rules, now: Timestamp) -> i32 {
        let allowed = rules.policies.iter().map(|(change, period)| {
            let before = self.before(present, *period, now);
            match change {
                Change::Pods(pods) => before.saturating_sub(*pods),
                Change::Percent(percent) => share(before, 100 - i64::from(*percent), 0),
            }
        });
        match rules.select {
            Select::Disabled => Some(present),
            Select::Most => allowed.min(),
            Select::Least => allowed.max(),
        }
        .unwrap_or(present)
    }

    /// There are `to` now and not `from`.
    pub(super) fn changed(&mut self, behavior: Option<&Behavior>, (from, to): (i32, i32), now: Timestamp) {
        let Some(behavior) = behavior else { return };
        // Both directions look at all changes, each as far back as its longest period.
        let longest = behavior.up.longest().max(behavior.down.longest());
        for changes in [&mut self.ups, &mut self.downs] {
            changes.retain(|(at, _)| now.duration_since(*at) < longest);
        }
        if to > from { self.ups.push((now, to - from)) } else { self.downs.push((now, from - to)) }
    }
}

/// So many hundredths of a number, with `more` hundredths before what is left over is cut off.
fn share(number: i32, hundredths: i64, more: i64) -> i32 {
    i32::try_from((i64::from(number) * hundredths + more).div_euclid(100)).unwrap_or(i32::MAX)
}

/// Without rules.
fn plainly(wish: &Wish<'_>) -> (i32, Said) {
    let limit = wish.present.saturating_mul(UP_FACTOR).max(UP_LEAST);
    let (most, said) = if wish.max > limit { (limit, UP_LIMIT) } else { (wish.max, TOO_MANY) };
    match wish.wanted {
        wanted if wanted < wish.min => (wish.min, TOO_FEW),
        wanted if wanted > most => (most, said),
        wanted => (wanted, WITHIN),
    }
}

#[cfg(test)]
mod tests;
