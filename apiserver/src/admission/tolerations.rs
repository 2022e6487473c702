//! What tolerations have to do with each other.

use super::reading::{items, text};
use serde_json::Value;

/// Both lists as one, without what another of them tolerates too. The list itself is left alone if it comes out as it was.
pub(super) fn merge(spec: &mut Value, more: &[Value]) {
    let all: Vec<&Value> = items(spec, "tolerations").iter().chain(more).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (at, one) in all.iter().enumerate() {
        let by_former = merged.iter().any(|other| covers(other, one));
        // Of two that are the same the first stays.
        let by_later = all[at + 1..].iter().any(|other| other != one && covers(other, one));
        if !by_former && !by_later {
            merged.push((*one).clone());
        }
    }
    if merged.as_slice() != items(spec, "tolerations") {
        spec["tolerations"] = merged.into();
    }
}

/// Whether `wide` tolerates all that `one` tolerates.
pub(super) fn covers(wide: &Value, one: &Value) -> bool {
    if wide == one {
        return true;
    }
    let (key, exists) = (text(wide, "key"), text(wide, "operator") == "Exists");
    // Without a key all of them exist.
    if text(one, "key") != key && !(key.is_empty() && exists) {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && text(one, "effect") != effect {
        return false;
    }
    let seconds = |toleration: &Value| toleration["tolerationSeconds"].as_i64();
    if effect == "NoExecute" && seconds(wide).is_some_and(|most| seconds(one).is_none_or(|seconds| seconds > most)) {
        return false;
    }
    match text(wide, "operator") {
        "Equal" | "" => text(one, "operator") == "Equal" && text(one, "value") == text(wide, "value"),
        operator => operator == "Exists",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_another_tolerates_too_is_left_out() {
        let merged = |first: Value, second: Value| {
            let mut spec = json!({"tolerations": first});
            merge(&mut spec, items(&json!({"l": second}), "l"));
            spec["tolerations"].clone()
        };
        let equal = |key: &str| json!({"key": key, "operator": "Equal", "value": "v", "effect": "NoSchedule"});
        let exists = |key: &str| json!({"key": key, "operator": "Exists"});
        assert_eq!(merged(json!([equal("a")]), json!([equal("a"), equal("b")])), json!([equal("a"), equal("b")]));
        assert_eq!(merged(json!([equal("a")]), json!([exists("a")])), json!([exists("a")]));
        assert_eq!(merged(json!([exists("a")]), json!([equal("a")])), json!([exists("a")]));
        assert_eq!(
            merged(json!([equal("a"), exists("b")]), json!([{"operator": "Exists"}])),
            json!([{"operator": "Exists"}])
        );
        let stays = |seconds: Value| json!({"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds});
        assert_eq!(merged(json!([stays(5.into())]), json!([stays(9.into())])), json!([stays(9.into())]));
        assert_eq!(merged(json!([stays(5.into())]), json!([])), json!([stays(5.into())]));
        assert_eq!(merged(Value::Null, json!([])), Value::Null);
    }
}
