//! What a real kube-apiserver answered to definitions with rules in CEL and to objects of them, beside what we answer.

use super::super::Version;
use super::super::definition::{self, About};
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{list, text};
use serde_json::{Value, json};

const RECORDED: &str = include_str!("rules.json");

/// What is not compared: the order of fields in a rule that a message shows, and how Go writes signs in JSON.
fn told(field: &str, message: &str) -> String {
    let message = match message.split_once("Invalid value: {").and_then(|(_, rest)| rest.split_once("}: ")) {
        Some((_, rest)) => rest,
        None => message,
    };
    format!("{field}: {message}")
}

fn found(errors: Errors) -> Vec<String> {
    let mut found: Vec<String> = errors
        .into_inner()
        .iter()
        .map(|error| format!("{} {}", error.kind.reason(), told(&error.field, &error.body())))
        .collect();
    found.sort();
    found
}

fn expected(case: &Value) -> Vec<String> {
    let one = |cause: &Value| {
        let at = |index: usize| cause[index].as_str().unwrap_or_default();
        format!("{} {}", at(0), told(at(1), at(2)))
    };
    let mut expected: Vec<String> = list(case, "causes").iter().map(one).collect();
    expected.sort();
    expected
}

/// Writes out what the recording says in short: `@500a` is 500 times `a`.
fn long(value: &Value) -> Value {
    match value {
        Value::String(short) => match short.strip_prefix('@').and_then(|rest| rest.split_at_checked(rest.len() - 1)) {
            Some((times, letter)) if times.parse::<usize>().is_ok() => letter.repeat(times.parse().unwrap()).into(),
            _ => value.clone(),
        },
        Value::Object(map) if map.contains_key("@times") => {
            let times = map["@times"].as_u64().unwrap();
            (0..times).map(|_| long(&map["of"])).collect()
        }
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), long(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(long).collect(),
        other => other.clone(),
    }
}

fn definition_errors(case: &Value) -> Vec<String> {
    let mut errors = Errors::default();
    let (spec, about) = (Path::Root.field("spec"), About { has_status: case["status"] == true, unchanged: false });
    let validation = spec.field("validation");
    definition::check(&case["schema"], about, &validation.field("openAPIV3Schema"), &mut errors);
    found(errors)
}

fn object_errors(version: &Version, index: usize, case: &Value) -> (Vec<String>, Vec<String>) {
    let object = |written: &Value| {
        let mut object = json!({"apiVersion": format!("r{index}.rules.example.com/v1"), "kind": "Thing"});
        for (key, value) in long(written).as_object().unwrap() {
            object[key] = value.clone();
        }
        object["metadata"] = json!({"name": "t"});
        for (key, value) in written["metadata"].as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        version.form(object).unwrap_or_else(|_| panic!("{written}")).0
    };
    let (mut errors, new) = (Errors::default(), object(&case["new"]));
    match case.get("old") {
        None => version.validate(&without_status(version, new), &mut errors),
        Some(old) => {
            let old = object(old);
            let (part, mut next) = (text(case, "part"), new.clone());
            if part == "status" {
                next = old.clone();
                next["status"] = new["status"].clone();
            } else if version.has_status {
                next["status"] = old["status"].clone();
            }
            if next["status"].is_null() {
                next.as_object_mut().unwrap().remove("status");
            }
            version.validate_change(&next, &old, part, &mut errors);
        }
    }
    let warnings = errors.take_warnings();
    (found(errors), warnings)
}

fn without_status(version: &Version, mut object: Value) -> Value {
    if version.has_status {
        object.as_object_mut().unwrap().remove("status");
    }
    object
}

#[test]
fn rules_are_answered_as_a_real_server_answered() {
    let recorded: Value = serde_json::from_str(RECORDED).expect("the recording is JSON");
    let mut wrong = Vec::new();
    for (index, case) in recorded.as_array().into_iter().flatten().enumerate() {
        let (found, wanted) = (definition_errors(case), expected(case));
        if found != wanted {
            wrong.push(format!("{index} {}\n  found  {found:#?}\n  wanted {wanted:#?}", case["schema"]));
            continue;
        }
        if case["objects"].is_null() {
            continue;
        }
        let written = json!({"schema": {"openAPIV3Schema": case["schema"]},
            "subresources": if case["status"] == true { json!({"status": {}}) } else { json!({}) }});
        let version = Version::read(&written).expect("a real server served it");
        for one in list(case, "objects") {
            let (found, warnings) = object_errors(&version, index, one);
            let told: Vec<&str> = list(one, "warnings").iter().filter_map(Value::as_str).collect();
            if found != expected(one) || warnings != told {
                let wanted = expected(one);
                wrong.push(format!("{index} {one}\n  found  {found:#?} {warnings:#?}\n  wanted {wanted:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
