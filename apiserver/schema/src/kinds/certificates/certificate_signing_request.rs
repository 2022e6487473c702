//! CertificateSigningRequest. Who asks is who makes it, whatever it says; conditions without a time have that of their write.

mod pem; // what the texts in it hold
mod validate;

use crate::kinds::{Part, READ_WRITE, Row, Rules, Selectable, Stamp, status};
use crate::table::text::{age, duration, name, or};
use crate::table::{AGE, Column, NAME, Printer};
use crate::validate::names::Format;
use crate::view::{list, list_mut, object_mut, text};
use serde_json::Value;

const GVK: [&str; 3] = ["certificates.k8s.io", "v1", "CertificateSigningRequest"];

/// What it is called, and what it adds to its schema.
pub(super) static ROW: Row = Row {
    short_names: &["csr"],
    subresources: &[Part { name: "approval", body: GVK, verbs: READ_WRITE }, status(GVK)],
    rules: Rules {
        // Whatever fits into a path.
        name: Format::PathSegment,
        prepare,
        stamp: Some(stamp),
        validate: validate::whole,
        printer: &PRINTER,
        fields: &[Selectable::at("spec.signerName")],
        ..Rules::PLAIN
    },
    ..Row::cluster(
        GVK,
        ["certificatesigningrequests", "certificatesigningrequest"],
        "io.k8s.api.certificates.v1.CertificateSigningRequest",
    )
};

static PRINTER: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName", "Who is to sign."),
        Column::text("Requestor", "Who asks."),
        Column::text("RequestedDuration", "How long the certificate is to last."),
        Column::text("Condition", "What became of the request."),
    ],
    cells: |it, now| {
        let spec = &it["spec"];
        let lasting = spec["expirationSeconds"].as_i64().map_or_else(|| "<none>".to_owned(), duration);
        vec![
            name(it),
            age(it, now),
            or(text(spec, "signerName"), "<none>"),
            text(spec, "username").into(),
            lasting.into(),
            condition(&it["status"]).into(),
        ]
    },
};

fn condition(status: &Value) -> String {
    let has = |kind: &str| list(status, "conditions").iter().any(|it| text(it, "type") == kind);
    let decision = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if text(status, "certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}")
}

/// After its creation a request changes through its parts only: the approval writes conditions, the status everything but the decision.
fn prepare(new: &mut Value, old: Option<&Value>, part: &str) {
    let Some(old) = old else {
        if let Some(spec) = object_mut(new, "spec").and_then(Value::as_object_mut) {
            for field in ["username", "uid", "groups", "extra"] {
                spec.remove(field);
            }
        }
        return;
    };
    if !new.is_object() {
        return;
    }
    new["spec"] = old["spec"].clone();
    match part {
        "approval" => {
            let conditions = new["status"]["conditions"].take();
            new["status"] = old["status"].clone();
            if let Some(status) = object_mut(new, "status").and_then(Value::as_object_mut) {
                match conditions {
                    Value::Null => status.remove("conditions"),
                    conditions => status.insert("conditions".to_owned(), conditions),
                };
            }
        }
        "status" => {
            for kind in ["Approved", "Denied"] {
                keep_conditions(&mut new["status"], &old["status"], kind);
            }
        }
        _ => new["status"] = old["status"].clone(),
    }
}

/// Restores the conditions of a type, unless there are more or fewer of them now, which the validation refuses.
fn keep_conditions(new: &mut Value, old: &Value, kind: &str) {
    let is = |condition: &Value| text(condition, "type") == kind;
    let before: Vec<&Value> = list(old, "conditions").iter().filter(|it| is(it)).collect();
    let Some(all) = new.get_mut("conditions").and_then(Value::as_array_mut) else { return };
    let after: Vec<&mut Value> = all.iter_mut().filter(|it| is(it)).collect();
    if after.len() == before.len() {
        for (after, before) in after.into_iter().zip(before) {
            *after = before.clone();
        }
    }
}

/// A new request says who asks; later its conditions say since when.
fn stamp(new: &mut Value, old: Option<&Value>, stamp: &Stamp<'_>) {
    match old {
        None => {
            let spec = object_mut(new, "spec").and_then(Value::as_object_mut);
            let who = stamp.who.as_object().into_iter().flatten();
            if let Some(spec) = spec {
                spec.extend(who.map(|(field, value)| (field.clone(), value.clone())));
            }
        }
        Some(old) => date(new, &old["status"], stamp.now),
    }
}

fn date(new: &mut Value, old: &Value, now: &str) {
    let Some(status) = object_mut(new, "status") else { return };
    for condition in list_mut(status, "conditions").iter_mut().filter(|condition| condition.is_object()) {
        if condition["lastUpdateTime"].is_null() {
            condition["lastUpdateTime"] = now.into();
        }
        if condition["lastTransitionTime"].is_null() {
            let same = |before: &&Value| ["type", "status"].iter().all(|field| before[*field] == condition[*field]);
            let before = list(old, "conditions").iter().find(|it| same(it) && !it["lastTransitionTime"].is_null());
            condition["lastTransitionTime"] = before.map_or(now.into(), |before| before["lastTransitionTime"].clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_asks_and_since_when_is_written() {
        let mut new = json!({"spec": {"username": "other"}});
        stamp(&mut new, None, &Stamp { who: &json!({"username": "me"}), now: "now" });
        assert_eq!(new["spec"], json!({"username": "me"}));
        let old = json!({"status": {"conditions": [{"type": "A", "status": "True", "lastTransitionTime": "then"}]}});
        let mut new =
            json!({"status": {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}});
        stamp(&mut new, Some(&old), &Stamp { who: &json!({}), now: "now" });
        let since = |at: usize| new["status"]["conditions"][at]["lastTransitionTime"].clone();
        assert_eq!([since(0), since(1)], ["then", "now"]);
    }
}
