//! What the server finds out about a definition: whether its names are free, whether it is served.
//!
//! Pure: given all definitions, the status of one. The API server writes it.

use super::approval;
use super::approval::State;
use crate::view::{list, text};
use serde_json::{Value, json};

/// The status that `definition` should have beside the `others`, at `now` (RFC 3339); `None`: the one it has.
pub fn settle(definition: &Value, others: &[&Value], now: &str) -> Option<Value> {
    let mut status = definition["status"].clone();
    let names = &definition["spec"]["names"];
    // Names that it has already nobody else can have: of a thousand definitions nearly all have theirs.
    let has_all = FIELDS.iter().all(|field| names[*field] == status["acceptedNames"][*field]);
    let same_group = others.iter().filter(|_| !has_all).filter(|other| {
        other["spec"]["group"] == definition["spec"]["group"]
            && other["metadata"]["name"] != definition["metadata"]["name"]
    });
    let (mut resources, mut kinds) = (Vec::new(), Vec::new());
    for other in same_group {
        let accepted = &other["status"]["acceptedNames"];
        resources.extend([text(accepted, "plural"), text(accepted, "singular")]);
        resources.extend(list(accepted, "shortNames").iter().filter_map(Value::as_str));
        kinds.extend([text(accepted, "kind"), text(accepted, "listKind")]);
    }
    let (accepted, conflict) = accepted(names, &status["acceptedNames"], &resources, &kinds);
    status["acceptedNames"] = accepted;
    match conflict {
        Some((reason, message)) => {
            set(&mut status, ["NamesAccepted", "False", reason, &message], now);
            if !is_true(&status, "Established") {
                set(&mut status, ["Established", "False", "NotAccepted", "not all names are accepted"], now);
            }
        }
        None => {
            set(&mut status, ["NamesAccepted", "True", "NoConflicts", "no conflicts found"], now);
            if !is_true(&status, "Established") {
                let message = "the initial names have been accepted";
                set(&mut status, ["Established", "True", "InitialNamesAccepted", message], now);
            }
        }
    }
    if let Some((state, reason)) = approval::of(definition) {
        let conforms = if state == State::Approved { "True" } else { "False" };
        set(&mut status, ["KubernetesAPIApprovalPolicyConformant", conforms, state.reason(), &reason], now);
    }
    (status != definition["status"]).then_some(status)
}

/// The fields of `names` that may be another's.
const FIELDS: [&str; 5] = ["plural", "singular", "shortNames", "kind", "listKind"];

/// The names that a definition may use, and why it may not use another.
fn accepted(
    wanted: &Value,
    had: &Value,
    resources: &[&str],
    kinds: &[&str],
) -> (Value, Option<(&'static str, String)>) {
    let mut accepted = if had.is_object() { had.clone() } else { json!({}) };
    let mut conflict = None;
    let in_use = |name: &str| format!("{name:?} is already in use");
    for (field, reason, used) in [
        ("plural", "PluralConflict", resources),
        ("singular", "SingularConflict", resources),
        ("shortNames", "ShortNamesConflict", resources),
        ("kind", "KindConflict", kinds),
        ("listKind", "ListKindConflict", kinds),
    ] {
        let taken: Vec<String> = match &wanted[field] {
            Value::Array(names) => {
                let fresh = names.iter().filter(|name| !list(had, field).contains(name)).filter_map(Value::as_str);
                fresh.filter(|name| used.contains(name)).map(in_use).collect()
            }
            Value::String(name) if had[field] != *name && used.contains(&name.as_str()) => vec![in_use(name)],
            _ => Vec::new(),
        };
        if taken.is_empty() {
            copy(&mut accepted, wanted, field);
        } else if taken.len() == 1 {
            conflict = Some((reason, taken[0].clone()));
        } else {
            conflict = Some((reason, format!("[{}]", taken.join(", "))));
        }
    }
    copy(&mut accepted, wanted, "categories");
    (accepted, conflict)
}

fn copy(to: &mut Value, from: &Value, field: &str) {
    let Some(to) = to.as_object_mut() else { return };
    match from.get(field) {
        Some(value) if !value.is_null() => to.insert(field.to_owned(), value.clone()),
        _ => to.remove(field),
    };
}

/// The finalizer that holds a definition until its instances are gone.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Whether a condition is true.
pub fn is_true(status: &Value, name: &str) -> bool {
    let mut conditions = list(status, "conditions").iter();
    conditions.any(|condition| text(condition, "type") == name && text(condition, "status") == "True")
}

/// Sets a condition; the time of its last transition changes only when its status does.
pub fn set(status: &mut Value, [name, is, reason, message]: [&str; 4], now: &str) {
    let mut conditions = list(status, "conditions").to_vec();
    let new = |since: &Value| json!({"type": name, "status": is, "reason": reason, "message": message, "lastTransitionTime": since});
    match conditions.iter_mut().find(|condition| text(condition, "type") == name) {
        Some(condition) => {
            let now = Value::from(now);
            let since = if text(condition, "status") == is { &condition["lastTransitionTime"] } else { &now };
            *condition = new(since);
        }
        None => conditions.push(new(&now.into())),
    }
    status["conditions"] = conditions.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str, short: &str) -> Value {
        json!({"metadata": {"name": format!("{plural}.a.b")}, "spec": {"group": "a.b",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List"),
                "shortNames": [short]}}, "status": {"storedVersions": ["v1"]}})
    }

    #[test]
    fn the_first_to_ask_has_the_name() {
        let mut first = definition("widgets", "Widget", "w");
        first["status"] = settle(&first, &[], "t1").expect("everything is new");
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        assert!(is_true(&first["status"], "Established"));
        assert_eq!(settle(&first, &[&first], "t2"), None, "nothing has changed");
        let mut second = definition("wheels", "Wheel", "w");
        second["status"] = settle(&second, &[&first, &second], "t2").expect("everything is new");
        let conditions = list(&second["status"], "conditions");
        assert_eq!(conditions[0]["reason"], "ShortNamesConflict");
        assert_eq!(conditions[0]["message"], "\"w\" is already in use");
        assert_eq!(conditions[1]["reason"], "NotAccepted");
        assert_eq!(second["status"]["acceptedNames"]["plural"], "wheels", "what is free is accepted");
        let freed = settle(&second, &[&second], "t3").expect("the name is free");
        assert!(is_true(&freed, "NamesAccepted") && is_true(&freed, "Established"));
        assert_eq!(freed["conditions"][0]["lastTransitionTime"], "t3");
        let mut third = definition("frames", "Widget", "f");
        third["spec"]["group"] = "other.b".into();
        let status = settle(&third, &[&first], "t1").expect("everything is new");
        assert!(is_true(&status, "Established"), "another group has names of its own");
    }

    #[test]
    fn a_protected_group_needs_approval() {
        let mut it = definition("widgets", "Widget", "w");
        it["spec"]["group"] = "a.k8s.io".into();
        for (said, is, reason) in [
            (json!({}), "False", "MissingAnnotation"),
            (json!({approval::ANNOTATION: "unapproved, a test"}), "False", "UnapprovedAnnotation"),
            (json!({approval::ANNOTATION: "https://example.com/1"}), "True", "ApprovedAnnotation"),
            (json!({approval::ANNOTATION: "yes"}), "False", "InvalidAnnotation"),
        ] {
            it["metadata"]["annotations"] = said;
            let status = settle(&it, &[], "t").expect("everything is new");
            let condition = &list(&status, "conditions")[2];
            assert_eq!((text(condition, "status"), text(condition, "reason")), (is, reason));
        }
    }
}
