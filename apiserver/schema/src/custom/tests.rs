//! What a real kube-apiserver answered, beside what we answer.

mod rules;

use super::Version;
use super::definition;
use crate::path::Path;
use crate::validate::errors::Errors;
use crate::view::{list, text};
use serde_json::{Value, json};

/// A version of a definition, and what a real server said to objects of it: 422 with causes, 400, or the object and warnings.
const WIDGET: &str = include_str!("tests/widget.json");
/// Schemas of definitions, and what a real server said to them.
const DEFINITIONS: &str = include_str!("tests/definitions.json");

/// Kubernetes' texts of names carry examples and expressions, its texts of schemas all fields in Go's form, and its texts of broken
/// expressions what Go's parser says; ours do not.
fn short(text: &str) -> String {
    let text = text.split(" (e.g.").next().unwrap_or_default();
    let text = text.split("error parsing regexp:").next().unwrap_or_default();
    text.split_once("}: only [").map_or(text, |(_, rest)| rest).to_owned()
}

fn causes(errors: Errors) -> Vec<[String; 3]> {
    let causes = errors.into_inner().into_iter();
    causes.map(|error| [error.kind.reason().to_owned(), error.field.clone(), short(&error.body())]).collect()
}

fn expected(case: &Value) -> Vec<[String; 3]> {
    let one = |cause: &Value| [0, 1, 2].map(|at| short(cause[at].as_str().unwrap_or_default()));
    list(case, "causes").iter().map(one).collect()
}

#[test]
fn objects_are_answered_as_a_real_server_answered() {
    let recorded: Value = serde_json::from_str(WIDGET).expect("the recording is JSON");
    let version = Version::read(&recorded["version"]).expect("a real server served it");
    let mut wrong = Vec::new();
    for case in list(&recorded, "cases") {
        let object = json!({"apiVersion": "custom.example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
            "spec": case["spec"]});
        let formed = version.form(object);
        if case["code"] == 400 {
            assert!(formed.is_err(), "{case}");
            continue;
        }
        let Ok((object, unknown)) = formed else { panic!("{case}") };
        let mut errors = Errors::default();
        version.validate(&object, &mut errors);
        let found = causes(errors);
        let warnings: Vec<Value> = unknown.iter().map(|path| format!("unknown field {path:?}").into()).collect();
        let same = case["code"] == 422 || object["spec"] == case["result"] && warnings == list(case, "warnings");
        if found != expected(case) || !same {
            wrong.push(format!("{case}\n  {found:?} {warnings:?} {}", object["spec"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn definitions_are_refused_as_a_real_server_refused_them() {
    let recorded: Value = serde_json::from_str(DEFINITIONS).expect("the recording is JSON");
    let mut wrong = Vec::new();
    for case in recorded.as_array().expect("a list") {
        let mut errors = Errors::default();
        let (spec, status) = (Path::Root.field("spec"), case["status"] == true);
        let validation = spec.field("validation");
        let about = definition::About { has_status: status, unchanged: false };
        definition::check(&case["schema"], about, &validation.field("openAPIV3Schema"), &mut errors);
        let found = causes(errors);
        if found != expected(case) {
            wrong.push(format!("{case}\n  {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_was_wrong_before_may_stay() {
    let recorded: Value = serde_json::from_str(WIDGET).expect("the recording is JSON");
    let version = Version::read(&recorded["version"]).expect("a real server served it");
    let object = |spec: Value| json!({"spec": spec});
    let faults = |new: Value, old: Value| {
        let mut errors = Errors::default();
        version.validate_change(&object(new), &object(old), "", &mut errors);
        causes(errors).into_iter().map(|[_, field, _]| field).collect::<Vec<_>>()
    };
    let old = json!({"color": "blue", "tags": ["a", "a"], "parts": [{"id": "a", "size": 9}]});
    let mut new = old.clone();
    new["step"] = 3.into();
    assert_eq!(faults(new.clone(), old.clone()), [] as [&str; 0], "nothing that is wrong has changed");
    new["parts"] = json!([{"id": "b", "size": 1}, {"id": "a", "size": 9}]);
    assert_eq!(faults(new.clone(), old.clone()), [] as [&str; 0], "an element is found by its key");
    new["parts"] = json!([{"id": "a", "size": 8}]);
    assert_eq!(faults(new.clone(), old.clone()), ["spec.parts[0].size"]);
    new["color"] = "black".into();
    assert_eq!(faults(new, old), ["spec.color", "spec.parts[0].size"]);
}

#[test]
fn a_status_is_validated_alone() {
    let recorded: Value = serde_json::from_str(WIDGET).expect("the recording is JSON");
    let version = Version::read(&recorded["version"]).expect("a real server served it");
    let new = json!({"spec": {"color": "blue"}, "status": {"phase": "C", "replicas": -1}});
    let mut errors = Errors::default();
    version.validate_change(&new, &json!({"spec": {"color": "blue"}}), "status", &mut errors);
    let found = causes(errors);
    let fields: Vec<&str> = found.iter().map(|[_, field, _]| field.as_str()).collect();
    assert_eq!(fields, ["status.phase", ".status.replicas"]);
}

#[test]
fn a_scale_reads_and_writes_the_paths_of_its_definition() {
    let recorded: Value = serde_json::from_str(WIDGET).expect("the recording is JSON");
    let version = Version::read(&recorded["version"]).expect("a real server served it");
    let scale = version.scale.as_ref().expect("it has a scale");
    let mut object = json!({"metadata": {"name": "w", "namespace": "n"}, "spec": {"replicas": 2},
        "status": {"replicas": 1, "selector": "a=b"}});
    let found = scale.of(&object).expect("it has replicas");
    assert_eq!(found["spec"]["replicas"], 2);
    assert_eq!(found["status"], json!({"replicas": 1, "selector": "a=b"}));
    assert_eq!(text(&found["metadata"], "namespace"), "n");
    scale.set(&mut object, 5);
    assert_eq!(object["spec"]["replicas"], 5);
    assert!(scale.of(&json!({"spec": {}})).is_err(), "no replicas, no scale");
}
