//! Scenes of several managers, with what a real server answers.

use super::{Applied, ApplyError, Author, apply, settle, track};
use crate::{Resource, apply_defaults, find};
use serde_json::{Value, json};

fn deployments() -> &'static Resource {
    find("apps", "v1", "deployments").expect("served")
}

fn author<'a>(manager: &'a str, part: &'a str) -> Author<'a> {
    Author { manager, part, time: "2026-01-02T03:04:05Z" }
}

fn config(replicas: Option<u32>) -> Value {
    let mut config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "a",
        "labels": {"app": "web"}}, "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata":
        {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]}]}}}});
    if let Some(replicas) = replicas {
        config["spec"]["replicas"] = replicas.into();
    }
    config
}

/// What is stored after an application.
fn stored(Applied { mut object, managed_fields }: Applied) -> Value {
    apply_defaults(deployments(), &mut object);
    if let Some(fields) = managed_fields {
        object["metadata"]["managedFields"] = fields;
    }
    object
}

fn applied(live: Option<&Value>, config: &Value, manager: &str, force: bool) -> Result<Value, ApplyError> {
    apply(deployments(), live, config, &author(manager, ""), force).map(stored)
}

#[test]
fn an_application_owns_what_it_says() {
    let made = applied(None, &config(Some(2)), "m", false).expect("applied");
    let entry = json!({"manager": "m", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:05Z",
        "fieldsType": "FieldsV1", "fieldsV1": {
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}}}}}}});
    assert_eq!(made["metadata"]["managedFields"], json!([entry]));
    let mut again =
        apply(deployments(), Some(&made), &config(Some(2)), &Author { time: "2027", ..author("m", "") }, false)
            .map(stored)
            .expect("applied");
    settle(&made, &mut again);
    assert_eq!(again, made, "applied twice is applied once");
}

#[test]
fn others_fields_are_a_conflict_until_they_are_forced() {
    let made = applied(None, &config(Some(2)), "one", false).expect("applied");
    let error = applied(Some(&made), &config(Some(3)), "two", false).expect_err("a conflict");
    let wanted = ApplyError::Conflict {
        message: "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas".to_owned(),
        causes: vec![("conflict with \"one\"".to_owned(), ".spec.replicas".to_owned())],
    };
    assert_eq!(error, wanted);
    let forced = applied(Some(&made), &config(Some(3)), "two", true).expect("forced");
    assert_eq!(forced["spec"]["replicas"], 3);
    let owners = forced["metadata"]["managedFields"].as_array().expect("owners");
    let owns = |at: usize| !owners[at]["fieldsV1"]["f:spec"]["f:replicas"].is_null();
    assert_eq!((owners[0]["manager"].as_str(), owns(0), owns(1)), (Some("one"), false, true));
    // What one applies no longer and the other still does stays.
    let mut less = config(None);
    less["metadata"]["labels"] = json!({});
    let shared = applied(Some(&forced), &less, "two", false).expect("applied");
    assert_eq!(shared["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(shared["spec"]["replicas"], 1, "nobody's, so the default");
}

#[test]
fn what_nobody_applies_any_longer_goes() {
    let mut wanted = config(Some(2));
    wanted["metadata"]["labels"]["b"] = "c".into();
    wanted["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .expect("a list")
        .push(json!({"name": "d", "image": "x"}));
    let made = applied(None, &wanted, "m", false).expect("applied");
    let less = applied(Some(&made), &config(Some(2)), "m", false).expect("applied");
    assert_eq!(less["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(less["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn updates_are_tracked_by_what_they_change() {
    let mut new = config(Some(2));
    apply_defaults(deployments(), &mut new);
    let fields = track(deployments(), None, &new, None, &author("kubectl-create", "")).expect("tracked");
    assert_eq!(fields[0]["operation"], "Update");
    assert_eq!(fields[0]["fieldsV1"]["f:metadata"], json!({"f:labels": {".": {}, "f:app": {}}}));
    let spec = &fields[0]["fieldsV1"]["f:spec"];
    assert_eq!(
        spec["f:strategy"],
        json!({"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}})
    );
    assert_eq!(spec["f:selector"], json!({}));
    new["metadata"]["managedFields"] = fields;
    let mut scaled = new.clone();
    scaled["spec"]["replicas"] = 5.into();
    let fields = track(deployments(), Some(&new), &scaled, None, &author("hpa", "scale")).expect("tracked");
    let owners = fields.as_array().expect("owners");
    let hpa = owners.iter().find(|owner| owner["manager"] == "hpa").expect("the new owner");
    assert_eq!((&hpa["subresource"], &hpa["fieldsV1"]), (&json!("scale"), &json!({"f:spec": {"f:replicas": {}}})));
    assert_eq!(
        track(deployments(), Some(&new), &new, None, &author("x", "")),
        new["metadata"].get("managedFields").cloned()
    );
    assert_eq!(track(deployments(), Some(&new), &scaled, Some(json!([{}])), &author("x", "")), None, "reset");
}

#[test]
fn of_many_who_updated_the_oldest_become_one() {
    let mut object = config(Some(2));
    for count in 0..15 {
        let mut next = object.clone();
        next["metadata"]["annotations"][format!("a{count}")] = "x".into();
        let (name, time) = (format!("m{count:02}"), format!("2026-01-02T03:04:{count:02}Z"));
        let author = Author { manager: &name, part: "", time: &time };
        let old = (count > 0).then_some(&object);
        next["metadata"]["managedFields"] = track(deployments(), old, &next, None, &author).expect("tracked");
        object = next;
    }
    let owners = object["metadata"]["managedFields"].as_array().expect("owners");
    assert_eq!(owners.len(), 10);
    assert_eq!(owners[0]["manager"], "ancient-changes");
}

#[test]
fn kubectl_takes_over_what_it_applied_before() {
    let mut old = config(Some(2));
    old["metadata"]["annotations"] = json!({super::LAST_APPLIED: config(Some(2)).to_string()});
    apply_defaults(deployments(), &mut old);
    let fields = track(deployments(), None, &old, None, &author("kubectl-client-side-apply", "")).expect("tracked");
    old["metadata"]["managedFields"] = fields;
    let error = applied(Some(&old), &config(Some(3)), "other", false).expect_err("a conflict");
    let ApplyError::Conflict { message, .. } = error else { panic!("no conflict") };
    assert_eq!(
        message,
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    let mine = applied(Some(&old), &config(Some(3)), "kubectl", false).expect("its own");
    assert_eq!(mine["spec"]["replicas"], 3);
    assert_eq!(mine["metadata"]["annotations"][super::LAST_APPLIED], format!("{}\n", config(Some(3))));
}

#[test]
fn what_the_schema_does_not_know_is_refused() {
    let mut wrong = config(None);
    wrong["spec"]["foo"] = 1.into();
    let error = applied(None, &wrong, "m", false).expect_err("unknown");
    let wanted = "failed to create typed patch object (a/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema";
    assert_eq!(error, ApplyError::Failed(wanted.to_owned()));
    // A list of tolerations has one owner, and its elements have a schema all the same.
    let mut wrong = config(None);
    wrong["spec"]["template"]["spec"]["tolerations"] = json!([{"key": "a"}, {"strange": "b"}]);
    let ApplyError::Failed(error) = applied(None, &wrong, "m", false).expect_err("unknown") else { panic!("failed") };
    assert!(error.ends_with(": .spec.template.spec.tolerations[1].strange: field not declared in schema"), "{error}");
}
