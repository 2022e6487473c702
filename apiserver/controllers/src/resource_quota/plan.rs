//! What a quota shall say of itself, without a server.

use serde_json::{Value, json};
use skiff_quota::{Amounts, OwnedKind, counted_by};
use std::time::{Duration, Instant};

/// How long a charge is left alone: many times what lies between a charge and the commit of its object.
const SETTLED: Duration = Duration::from_millis(250);
/// How long a quota that is charged again and again is left alone.
const PATIENCE: Duration = Duration::from_secs(2);

/// So many objects of a kind, by the quota's names for them.
pub(super) fn number(quota: &Value, (group, plural): &OwnedKind, count: usize) -> Amounts {
    let hard = Amounts::of(&quota["spec"]["hard"]);
    let names = hard.names().filter(|name| counted_by((group, plural), name));
    let entries = names.map(|name| (name.to_owned(), json!(count.to_string())));
    Amounts::of(&Value::Object(entries.collect()))
}

/// The status that says what was `counted`; `None`: it says so already. What was not counted stays as it was.
pub(super) fn status(quota: &Value, counted: Amounts) -> Option<Value> {
    let (hard, old) = (Amounts::of(&quota["spec"]["hard"]), &quota["status"]);
    let names: Vec<&str> = hard.names().collect();
    let mut used = Amounts::of(&old["used"]);
    used.extend(counted);
    let used = used.only(&names);
    let said = old["hard"].is_object() && old["used"].is_object();
    let same = said && Amounts::of(&old["hard"]) == hard && Amounts::of(&old["used"]) == used;
    (!same).then(|| json!({"hard": quota["spec"]["hard"], "used": used.value()}))
}

/// Whether something is less used by `status` than the quota says.
pub(super) fn lowers(quota: &Value, status: &Value) -> bool {
    let mut more = Amounts::of(&quota["status"]["used"]);
    more.take(&Amounts::of(&status["used"]));
    let names = Amounts::of(&quota["spec"]["hard"]);
    let names: Vec<&str> = names.names().collect();
    !more.only(&names).without_zeros().is_empty()
}

/// A quota that shall say less than it does.
pub(super) struct Lowering {
    revision: String,
    /// Since when it has this revision.
    still: Instant,
    since: Instant,
}

impl Lowering {
    pub(super) fn new(revision: &str, now: Instant) -> Self {
        Self { revision: revision.to_owned(), still: now, since: now }
    }

    /// How long to wait before it may be lowered.
    pub(super) fn wait(&mut self, revision: &str, now: Instant) -> Option<Duration> {
        if self.revision != revision {
            revision.clone_into(&mut self.revision);
            self.still = now;
        }
        let until = (self.still + SETTLED).min(self.since + PATIENCE);
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skiff_quota::counted_kinds;

    fn quota(hard: &Value, status: &Value) -> Value {
        json!({"spec": {"hard": hard}, "status": status})
    }

    #[test]
    fn a_quota_says_what_is_counted() {
        let hard = json!({"pods": "3", "count/deployments.apps": "2"});
        let fresh = quota(&hard, &json!({}));
        assert_eq!(counted_kinds(&fresh), [("apps".to_owned(), "deployments".to_owned())].into());
        let deployments = number(&fresh, &("apps".to_owned(), "deployments".to_owned()), 1);
        let said = status(&fresh, deployments.clone()).unwrap();
        assert_eq!(said, json!({"hard": hard, "used": {"count/deployments.apps": "1"}}));
        assert!(!lowers(&fresh, &said));
        let counted = quota(&hard, &said);
        assert_eq!(status(&counted, deployments), None);
        // Names that the quota does not limit any more go.
        let fewer = quota(&json!({"pods": "3"}), &said);
        assert_eq!(status(&fewer, Amounts::default()).unwrap(), json!({"hard": {"pods": "3"}, "used": {}}));
        assert!(!lowers(&fewer, &json!({"used": {}})));
    }

    #[test]
    fn what_is_counted_by_number_is_known_by_name() {
        let hard = json!({"secrets": "1", "count/widgets.example.com": "1", "count/pods": "1", "cpu": "1"});
        let kinds = counted_kinds(&quota(&hard, &json!({})));
        let names: Vec<String> = kinds.into_iter().map(|(group, plural)| format!("{plural}.{group}")).collect();
        assert_eq!(names, ["secrets.", "widgets.example.com"]);
    }

    /// A charge whose object is not to be seen yet is not given to somebody else.
    #[test]
    fn what_was_charged_lately_is_left_alone() {
        let before = quota(&json!({"pods": "3"}), &json!({"hard": {"pods": "3"}, "used": {"pods": "2"}}));
        assert!(lowers(&before, &json!({"used": {"pods": "1"}})) && !lowers(&before, &json!({"used": {"pods": "3"}})));
        let start = Instant::now();
        let at = |millis: u64| start + Duration::from_millis(millis);
        let mut lowering = Lowering::new("5", start);
        assert_eq!(lowering.wait("5", at(100)), Some(Duration::from_millis(150)));
        assert_eq!(lowering.wait("6", at(200)), Some(Duration::from_millis(250)));
        assert_eq!(lowering.wait("6", at(450)), None);
        // Charges without an end hold it up for a while only.
        let mut busy = Lowering::new("0", start);
        let waits = (0..30_u64).map(|step| busy.wait(&step.to_string(), at(step * 100)).is_some()).collect::<Vec<_>>();
        assert_eq!(waits.iter().position(|waits| !waits), Some(20));
    }
}
