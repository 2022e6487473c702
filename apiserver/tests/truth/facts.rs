//! What of an answer is compared: its code, reason, causes (field and reason), number of warnings, and its object without what
//! every server makes up for itself.

use crate::server::Answer;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An answer's comparable part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) code: u16,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Field and reason of each cause, sorted, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) warnings: usize,
    /// The object; of a refusal its `details` without causes.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) object: Value,
    /// Message and warnings, for who reads a difference.
    #[serde(skip)]
    pub(crate) said: String,
}

/// A difference: its class, where it is without indices and names that the test made up; and what exactly it is.
pub(crate) struct Difference {
    pub(crate) class: String,
    pub(crate) detail: String,
}

impl Difference {
    fn plain(class: String) -> Self {
        Self { class, detail: String::new() }
    }

    fn of(class: String, wanted: &Value, got: &Value) -> Self {
        let detail = format!("{} → {}", short(wanted), short(got));
        Self { class, detail }
    }
}

/// The beginning of it.
fn short(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Facts {
    /// What `answer` says, with `namespace` called `NS`.
    pub(crate) fn of(answer: &Answer, namespace: &str) -> Self {
        let mut object = normal(&answer.value, namespace);
        let mut facts = Self {
            code: answer.code,
            reason: String::new(),
            causes: Vec::new(),
            warnings: answer.warnings.len(),
            object: Value::Null,
            said: answer.warnings.join("; "),
        };
        if answer.code >= 400 {
            facts.said += object["message"].as_str().unwrap_or_default();
            facts.reason = object["reason"].as_str().unwrap_or("no Status").to_owned();
            let mut details = object.get_mut("details").map(Value::take).unwrap_or_default();
            if let Some(Value::Array(causes)) = details.as_object_mut().and_then(|all| all.remove("causes")) {
                let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or_default().to_owned();
                facts.causes = causes.iter().map(|cause| (text(cause, "field"), text(cause, "reason"))).collect();
                facts.causes.sort();
                // The real server looks at metadata twice in an update, and then says everything twice.
                facts.causes.dedup();
            }
            object = details;
        }
        facts.object = object;
        facts
    }

    /// How `other` differs.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let (good, fine) = (self.code < 400, other.code < 400);
        if good != fine {
            let (word, facts) = if fine { ("accepted", self) } else { ("refused", other) };
            if facts.causes.is_empty() {
                found.push(Difference::plain(format!("{word}: {} {}", facts.code, facts.reason)));
            }
            found.extend(facts.causes.iter().map(|cause| Difference::plain(format!("{word}: {}", told(cause)))));
        } else if (self.code, &self.reason) != (other.code, &other.reason) {
            let class = format!("{} {} instead of {} {}", other.code, other.reason, self.code, self.reason);
            found.push(Difference::plain(class));
        } else {
            let missing = self.causes.iter().filter(|cause| !other.causes.contains(cause));
            found.extend(missing.map(|cause| Difference::plain(format!("cause missing: {}", told(cause)))));
            let more = other.causes.iter().filter(|cause| !self.causes.contains(cause));
            found.extend(more.map(|cause| Difference::plain(format!("cause too many: {}", told(cause)))));
            compare(&self.object, &other.object, "", &mut found);
        }
        if self.warnings != other.warnings && good == fine {
            found.push(Difference::plain(format!("{} warnings instead of {}", other.warnings, self.warnings)));
        }
        found
    }
}

fn told((field, reason): &(String, String)) -> String {
    format!("{} {reason}", general(field))
}

/// A field's path without indices and keys.
fn general(field: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    for character in field.chars() {
        match character {
            '[' => {
                if depth == 0 {
                    text.push_str("[]");
                }
                depth += 1;
            }
            ']' => depth -= 1,
            other if depth == 0 => text.push(other),
            _ => {}
        }
    }
    text
}

/// Entries of a document about kinds, by name.
fn named(list: &[Value]) -> Option<Map<String, Value>> {
    let name = |one: &Value| {
        let is_about_kinds =
            one["singularName"].is_string() || one["singularResource"].is_string() || one["versions"].is_array();
        let known =
            one["name"].as_str().or_else(|| one["resource"].as_str()).or_else(|| one["metadata"]["name"].as_str());
        known.filter(|_| is_about_kinds).map(|name| (name.to_owned(), one.clone()))
    };
    list.iter().map(name).collect()
}

/// Collects where two objects differ.
fn compare(wanted: &Value, got: &Value, path: &str, found: &mut Vec<Difference>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for (key, value) in wanted {
                let path = below(path, key);
                match got.get(key) {
                    Some(other) => compare(value, other, &path, found),
                    None => found.push(Difference::of(format!("object lacks {path}"), value, &Value::Null)),
                }
            }
            for (key, value) in got.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                found.push(Difference::of(format!("object has {}", below(path, key)), &Value::Null, value));
            }
        }
        (Value::Array(all), Value::Array(these)) if named(all).is_some() && named(these).is_some() => {
            let (all, these) = (named(all).unwrap_or_default(), named(these).unwrap_or_default());
            compare(&all.into(), &these.into(), path, found);
        }
        (Value::Array(all), Value::Array(these)) if all.len() == these.len() => {
            for (wanted, got) in all.iter().zip(these) {
                compare(wanted, got, &format!("{path}[]"), found);
            }
        }
        _ if wanted == got => {}
        (Value::Array(_), Value::Array(_)) => {
            found.push(Difference::of(format!("object has another number of {path}"), wanted, got));
        }
        _ => found.push(Difference::of(format!("object has another {path}"), wanted, got)),
    }
}

fn below(path: &str, key: &str) -> String {
    // Keys of maps that the test made up would make a class each.
    let key = if path.ends_with("labels") || path.ends_with("annotations") { "*" } else { key };
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The object without uids, revisions, times of now, addresses and ports that the server chose.
fn normal(value: &Value, namespace: &str) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (key, value) in map {
                // Sentences of columns are each server's own.
                let is_column = key == "description" && map.contains_key("priority") && map.contains_key("format");
                // Its controller writes it when it likes.
                let is_racing = key == "status" && RACING.contains(&text(map.get("kind").unwrap_or(&Value::Null)));
                if key != "managedFields" && !is_column && !is_foreign(key) && !is_racing {
                    out.insert(key.replace(namespace, "NS"), member(key, value, namespace));
                }
            }
            generated(&mut out);
            Value::Object(out)
        }
        Value::Array(items) => {
            let ours = |item: &&Value| !is_foreign(text(&item["name"])) && !is_foreign(text(&item["metadata"]["name"]));
            items.iter().filter(ours).map(|item| normal(item, namespace)).collect()
        }
        Value::String(text) => text_of(text, namespace).into(),
        other => other.clone(),
    }
}

/// Kinds whose status comes from within the server, a moment later.
const RACING: &[&str] = &["CustomResourceDefinition", "APIService", "FlowSchema"];

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Groups of custom resources that somebody else made in the real server meanwhile.
fn is_foreign(name: &str) -> bool {
    name.ends_with("example.com") || name.starts_with("apis/") && name.contains(".example")
}

fn member(key: &str, value: &Value, namespace: &str) -> Value {
    match (key, value) {
        ("resourceVersion", Value::String(text)) if !text.is_empty() => "REVISION".into(),
        ("continue", Value::String(text)) if !text.is_empty() => "CONTINUE".into(),
        ("serverAddress", Value::String(_)) => "ADDRESS".into(),
        ("nodePort" | "healthCheckNodePort", Value::Number(number)) if number.as_u64() > Some(29_999) => "PORT".into(),
        _ => normal(value, namespace),
    }
}

fn text_of(text: &str, namespace: &str) -> String {
    let is_uid = text.len() == 36 && uuid::Uuid::parse_str(text).is_ok();
    if is_uid {
        return "UID".to_owned();
    }
    if text.starts_with("20") && text.ends_with('Z') && text.parse::<Timestamp>().is_ok_and(is_now) {
        return "NOW".to_owned();
    }
    if text.starts_with("10.96.") && text.parse::<std::net::Ipv4Addr>().is_ok() {
        return "SERVICE".to_owned();
    }
    // The hash of a document of OpenAPI.
    if let Some((path, _)) = text.split_once("?hash=") {
        return path.to_owned();
    }
    // An age in a table: a moment.
    if text.len() <= 3 && text.ends_with('s') && text[..text.len() - 1].parse::<u32>().is_ok() {
        return "0s".to_owned();
    }
    // What happened at a time that the case names is a day older tomorrow.
    if is_years(text) {
        return "YEARS".to_owned();
    }
    within(text).replace(namespace, "NS")
}

/// An age of years, and perhaps days: `6y335d`, `9y`.
fn is_years(text: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().is_ok();
    text.split_once('y')
        .is_some_and(|(years, rest)| number(years) && (rest.is_empty() || rest.strip_suffix('d').is_some_and(number)))
}

/// A text of several parts, such as a cell of a table: a uid behind a label's key, a node port behind a port.
fn within(text: &str) -> String {
    let is_port = |part: &str| part.len() == 5 && part.parse::<u16>().is_ok_and(|port| port > 29_999);
    let part = |part: &str| match part {
        part if part.len() == 36 && uuid::Uuid::parse_str(part).is_ok() => "UID".to_owned(),
        part if is_port(part) => "PORT".to_owned(),
        part => part.to_owned(),
    };
    text.split_inclusive(['=', ':', '/', ','])
        .map(|piece| {
            let end = piece.trim_end_matches(['=', ':', '/', ',']);
            part(end) + &piece[end.len()..]
        })
        .collect()
}

fn is_now(time: Timestamp) -> bool {
    time.duration_since(Timestamp::now()).as_secs().abs() < 86_400
}

/// The end of a name that the server made up.
fn generated(map: &mut Map<String, Value>) {
    let Some(prefix) = map.get("generateName").and_then(Value::as_str).map(str::to_owned) else { return };
    if let Some(Value::String(name)) = map.get_mut("name")
        && name.starts_with(&prefix)
    {
        *name = format!("{prefix}*");
    }
}
