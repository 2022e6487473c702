//! Conditions (meta/v1), and statuses that are the same but for their times.

use serde_json::{Value, json};

/// A condition, without its time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) kind: &'static str,
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Condition {
    pub(super) fn new(kind: &'static str, holds: bool, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds, reason, message: message.into() }
    }

    /// As it is written; its time comes later.
    pub(super) fn value(&self, generation: i64) -> Value {
        json!({
            "type": self.kind,
            "status": if self.holds { "True" } else { "False" },
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": generation,
        })
    }
}

/// Whether two statuses say the same, whatever the times of their conditions.
pub(crate) fn is_same(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let rest = |key: &&String| *key != "lastTransitionTime";
            before.keys().filter(rest).count() == after.keys().filter(rest).count()
                && after
                    .iter()
                    .filter(|(key, _)| rest(key))
                    .all(|(key, value)| before.get(key).is_some_and(|before| is_same(before, value)))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| is_same(before, after))
        }
        _ => before == after,
    }
}

/// Gives each condition in `after` the time at which it became what it is: that of `before` if it was the same there, else now.
pub(crate) fn dated(before: &Value, after: &mut Value, now: &str) {
    match after {
        Value::Object(fields) if fields.contains_key("observedGeneration") && fields.contains_key("type") => {
            let same = before["status"] == fields["status"] && before["type"] == fields["type"];
            let then = before["lastTransitionTime"].as_str().filter(|_| same).unwrap_or(now).to_owned();
            fields.insert("lastTransitionTime".to_owned(), then.into());
        }
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                dated(&before[key], value, now);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                let is_of_type = |one: &&Value| item.get("type").is_some() && one["type"] == item["type"];
                let own = before.as_array().and_then(|all| all.iter().find(is_of_type).or_else(|| all.get(at)));
                dated(own.unwrap_or(&Value::Null), item, now);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_while_conditions_do() {
        let of = |holds| json!({"conditions": [Condition::new("A", holds, "R", "m").value(1)]});
        let mut first = of(true);
        dated(&Value::Null, &mut first, "t1");
        assert!(is_same(&first, &of(true)) && !is_same(&first, &of(false)));
        let (mut same, mut other) = (of(true), of(false));
        dated(&first, &mut same, "t2");
        dated(&first, &mut other, "t2");
        assert_eq!(same["conditions"][0]["lastTransitionTime"], "t1");
        assert_eq!(other["conditions"][0]["lastTransitionTime"], "t2");
    }
}
