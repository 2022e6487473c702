//! Custom resources whose versions a webhook turns into each other: whoever asks in one sees what was written in another.

mod common;

use common::World;
use common::hook::Hook;
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/custom.example.com/v1/namespaces/default/paints";
const V2: &str = "/apis/custom.example.com/v2/namespaces/default/paints";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn version(name: &str, storage: bool, fields: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|field| ((*field).to_owned(), json!({"type": "string"}))).collect();
    let selectable: Vec<Value> = fields.iter().map(|field| json!({"jsonPath": format!(".spec.{field}")})).collect();
    json!({"name": name, "served": true, "storage": storage, "selectableFields": selectable, "schema": {"openAPIV3Schema":
        {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}}})
}

/// A world in which paints are kept in `v1` and served in `v2` too, as `path` of a hook converts them.
async fn world(path: &str) -> (World, Hook) {
    let (world, hook) = (World::new().await, Hook::new("127.0.0.1").await);
    let versions = [version("v1", true, &["color"]), version("v2", false, &["shade", "hue"])];
    let webhook = json!({"clientConfig": hook.client(path), "conversionReviewVersions": ["v1"]});
    let definition = json!({"metadata": {"name": "paints.custom.example.com"}, "spec": {
        "group": "custom.example.com", "scope": "Namespaced", "versions": versions,
        "names": {"plural": "paints", "kind": "Paint"}, "conversion": {"strategy": "Webhook", "webhook": webhook}}});
    world.must("POST", DEFINITIONS, &definition).await;
    let served = async {
        while world.get(V1).await.0 != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("the definition is served");
    (world, hook)
}

fn paint(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("custom.example.com/{version}"), "kind": "Paint", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn what_is_written_in_one_version_is_read_in_the_other() {
    let (world, hook) = world("/convert").await;
    world.must("POST", V1, &paint("v1", "a", &json!({"color": "dark-red"}))).await;
    assert!(hook.asked("/convert").is_empty(), "nothing is converted that is in its version");
    let read = world.must("GET", &format!("{V2}/a"), &json!({})).await;
    assert_eq!(
        (&read["apiVersion"], &read["spec"]),
        (&json!("custom.example.com/v2"), &json!({"shade": "dark", "hue": "red"}))
    );
    assert_eq!(read["metadata"]["generation"], 1, "a converter does not write metadata");
    world.must("POST", V2, &paint("v2", "b", &json!({"shade": "pale", "hue": "blue"}))).await;
    let read = world.must("GET", &format!("{V1}/b"), &json!({})).await;
    assert_eq!(read["spec"], json!({"color": "pale-blue"}));
    let mut next = world.must("GET", &format!("{V2}/a"), &json!({})).await;
    next["spec"]["hue"] = "green".into();
    world.must("PUT", &format!("{V2}/a"), &next).await;
    assert_eq!(world.must("GET", &format!("{V1}/a"), &json!({})).await["spec"], json!({"color": "dark-green"}));
    let before = hook.asked("/convert").len();
    let list = world.must("GET", V2, &json!({})).await;
    let hues: Vec<&Value> = list["items"].as_array().expect("items").iter().map(|item| &item["spec"]["hue"]).collect();
    assert_eq!(hues, [&json!("green"), &json!("blue")]);
    assert_eq!(hook.asked("/convert").len(), before + 1, "a list is converted at once");
}

#[tokio::test]
async fn fields_are_those_of_the_version_in_which_they_are_named() {
    let (world, _hook) = world("/convert").await;
    world.must("POST", V1, &paint("v1", "a", &json!({"color": "dark-red"}))).await;
    world.must("POST", V1, &paint("v1", "b", &json!({"color": "pale-blue"}))).await;
    for (path, name) in [
        (format!("{V2}?fieldSelector=spec.hue%3Dblue"), "b"),
        (format!("{V1}?fieldSelector=spec.color%3Ddark-red"), "a"),
    ] {
        let list = world.must("GET", &path, &json!({})).await;
        let names: Vec<&Value> =
            list["items"].as_array().expect("items").iter().map(|item| &item["metadata"]["name"]).collect();
        assert_eq!(names, [name], "{path}");
    }
    let watched = format!("{V2}?watch=true&timeoutSeconds=1&resourceVersion=0&fieldSelector=spec.hue%3Dblue");
    let (_, events) = world.get(&watched).await;
    let events = events.to_string();
    assert!(events.contains("pale") && !events.contains("dark"), "{events}");
}

#[tokio::test]
async fn a_converter_that_refuses_is_told() {
    let (world, _hook) = world("/refuse").await;
    world.must("POST", V1, &paint("v1", "a", &json!({"color": "dark-red"}))).await;
    for path in [format!("{V2}/a"), V2.to_owned()] {
        let (code, answer) = world.get(&path).await;
        assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(
            answer["message"],
            "Internal error occurred: conversion webhook for custom.example.com/v1, Kind=Paint failed: no such color"
        );
    }
    let (code, _) = world.post(V2, &paint("v2", "b", &json!({"shade": "pale"}))).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(world.get(&format!("{V1}/b")).await.0, StatusCode::NOT_FOUND);
}
