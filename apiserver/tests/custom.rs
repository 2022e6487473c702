//! Custom resources from their definition to their end.

mod common;

use common::World;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_apiserver::{ApiServer, Config};
use std::net::SocketAddr;
use std::time::Duration;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GROUP: &str = "/apis/custom.example.com";
/// Far more than it takes: the test fails when it passes, and never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["color"], "properties": {
            "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
            "replicas": {"type": "integer", "minimum": 0},
            "size": {"type": "string", "default": "m"}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}}})
}

fn version(name: &str, storage: bool) -> Value {
    json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": schema()},
        "selectableFields": [{"jsonPath": ".spec.color"}],
        "additionalPrinterColumns": [{"name": "Color", "type": "string", "jsonPath": ".spec.color"}],
        "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}}})
}

fn definition(plural: &str, kind: &str, versions: &[Value]) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.custom.example.com")},
        "spec": {"group": "custom.example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "kind": kind, "shortNames": ["wd"]}}})
}

fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "custom.example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

/// Asks until the answer is as it should be.
async fn until(world: &World, path: &str, wanted: impl Fn(StatusCode, &Value) -> bool) -> Value {
    let asked = async {
        loop {
            let (code, answer) = world.get(path).await;
            if wanted(code, &answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{path} never answered as it should"))
}

fn is(definition: &Value, name: &str, status: &str) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|condition| condition["type"] == name && condition["status"] == status)
}

async fn established(world: &World, plural: &str) -> Value {
    let path = format!("{DEFINITIONS}/{plural}.custom.example.com");
    until(world, &path, |_, answer| is(answer, "Established", "True")).await
}

async fn with_widgets() -> World {
    let world = World::new().await;
    world.must("POST", DEFINITIONS, &definition("widgets", "Widget", &[version("v1", true)])).await;
    established(&world, "widgets").await;
    world
}

const WIDGETS: &str = "/apis/custom.example.com/v1/namespaces/default/widgets";

#[tokio::test]
async fn a_definition_is_served_while_it_is_there() {
    let world = with_widgets().await;
    let definition = established(&world, "widgets").await;
    assert_eq!(definition["status"]["acceptedNames"], definition["spec"]["names"]);
    assert_eq!(definition["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    let (_, list) = world.get(&format!("{GROUP}/v1")).await;
    let names: Vec<&Value> = list["resources"].as_array().into_iter().flatten().map(|it| &it["name"]).collect();
    assert_eq!(json!(names), json!(["widgets", "widgets/scale", "widgets/status"]));
    world.must("POST", WIDGETS, &widget("a", &json!({}))).await;
    let (code, _) = world.delete(&format!("{DEFINITIONS}/widgets.custom.example.com"), &json!({})).await;
    assert_eq!(code, StatusCode::OK);
    until(&world, &format!("{DEFINITIONS}/widgets.custom.example.com"), |code, _| code == StatusCode::NOT_FOUND).await;
    until(&world, WIDGETS, |code, _| code == StatusCode::NOT_FOUND).await;
    world.must("POST", DEFINITIONS, &self::definition("widgets", "Widget", &[version("v1", true)])).await;
    established(&world, "widgets").await;
    let (_, list) = world.get(WIDGETS).await;
    assert_eq!(list["items"], json!([]), "the instances went with their definition");
}

#[tokio::test]
async fn objects_are_defaulted_pruned_and_validated() {
    let world = with_widgets().await;
    let made = world.must("POST", WIDGETS, &widget("a", &json!({"unknown": 1}))).await;
    assert_eq!(made["spec"], json!({"color": "red", "size": "m"}));
    assert_eq!(made["metadata"]["generation"], 1);
    let (code, refused) = world.post(WIDGETS, &widget("b", &json!({"color": "blue"}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.color");
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let (code, refused) = world.post(&strict, &widget("b", &json!({"unknown": 1}))).await;
    assert_eq!((code, &refused["reason"]), (StatusCode::BAD_REQUEST, &json!("BadRequest")));
    assert!(
        refused["message"].as_str().is_some_and(|text| text.contains("unknown field \"spec.unknown\"")),
        "{refused}"
    );
    let one = format!("{WIDGETS}/a");
    let patch = json!({"spec": {"replicas": 2}});
    let (_, patched) = world.ask("PATCH", &one, "application/merge-patch+json", &patch.to_string()).await;
    assert_eq!((&patched["spec"]["replicas"], &patched["metadata"]["generation"]), (&json!(2), &json!(2)));
    let patch = json!([{"op": "replace", "path": "/spec/color", "value": "green"}]);
    let (_, patched) = world.ask("PATCH", &one, "application/json-patch+json", &patch.to_string()).await;
    assert_eq!(patched["spec"]["color"], "green");
    let (code, _) = world.ask("PATCH", &one, "application/strategic-merge-patch+json", "{}").await;
    assert_eq!(code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut without = patched.clone();
    without["metadata"]["resourceVersion"] = Value::Null;
    let (code, refused) = world.put(&one, &without).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["details"]["causes"][0]["field"], "metadata.resourceVersion");
    for (selector, found) in [("spec.color=green", 1), ("spec.color=red", 0)] {
        let (_, list) = world.get(&format!("{WIDGETS}?fieldSelector={selector}")).await;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(found), "{selector}");
    }
}

#[tokio::test]
async fn status_and_scale_are_parts_of_their_own() {
    let world = with_widgets().await;
    let mut object = widget("a", &json!({"replicas": 1}));
    object["status"] = json!({"phase": "made up"});
    let mut made = world.must("POST", WIDGETS, &object).await;
    assert!(made.get("status").is_none(), "a creation says no status");
    made["status"] = json!({"phase": "good", "replicas": 1});
    made["spec"]["color"] = "green".into();
    let written = world.must("PUT", &format!("{WIDGETS}/a/status"), &made).await;
    assert_eq!((&written["status"]["phase"], &written["spec"]["color"]), (&json!("good"), &json!("red")));
    assert_eq!(written["metadata"]["generation"], 1);
    let mut scale = world.must("GET", &format!("{WIDGETS}/a/scale"), &json!({})).await;
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(1), &json!(1)));
    scale["spec"]["replicas"] = 3.into();
    world.must("PUT", &format!("{WIDGETS}/a/scale"), &scale).await;
    let (_, object) = world.get(&format!("{WIDGETS}/a")).await;
    assert_eq!((&object["spec"]["replicas"], &object["metadata"]["generation"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn names_belong_to_who_came_first() {
    let world = with_widgets().await;
    world.must("POST", DEFINITIONS, &definition("wheels", "Wheel", &[version("v1", true)])).await;
    let path = format!("{DEFINITIONS}/wheels.custom.example.com");
    let refused = until(&world, &path, |_, answer| is(answer, "NamesAccepted", "False")).await;
    assert!(is(&refused, "Established", "False"), "{refused}");
    let (code, _) = world.get(&format!("{GROUP}/v1/namespaces/default/wheels")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    world.delete(&format!("{DEFINITIONS}/widgets.custom.example.com"), &json!({})).await;
    established(&world, "wheels").await;
}

#[tokio::test]
async fn versions_are_views_of_one_object() {
    let world = with_widgets().await;
    world.must("POST", WIDGETS, &widget("a", &json!({}))).await;
    let path = format!("{DEFINITIONS}/widgets.custom.example.com");
    let (_, mut changed) = world.get(&path).await;
    changed["spec"]["versions"] = json!([version("v1", false), version("v2", true)]);
    let changed = world.must("PUT", &path, &changed).await;
    assert_eq!(changed["status"]["storedVersions"], json!(["v1", "v2"]));
    let second = format!("{GROUP}/v2/namespaces/default/widgets/a");
    let seen = until(&world, &second, |code, _| code == StatusCode::OK).await;
    assert_eq!(seen["apiVersion"], "custom.example.com/v2");
    let (_, before) = world.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(before["apiVersion"], "custom.example.com/v1");
    let after = world.must("PUT", &second, &seen).await;
    assert_ne!(
        before["metadata"]["resourceVersion"], after["metadata"]["resourceVersion"],
        "a write of the same moves the object to the storage version"
    );
    let again = world.must("PUT", &second, &after).await;
    assert_eq!(after["metadata"]["resourceVersion"], again["metadata"]["resourceVersion"], "it is there now");
    let (_, mut changed) = world.get(&path).await;
    changed["spec"]["versions"] = json!([version("v2", true)]);
    let (code, refused) = world.put(&path, &changed).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "objects may still be stored as v1: {refused}");
    changed["status"]["storedVersions"] = json!(["v2"]);
    let moved = world.must("PUT", &format!("{path}/status"), &changed).await;
    changed["metadata"]["resourceVersion"] = moved["metadata"]["resourceVersion"].clone();
    world.must("PUT", &path, &changed).await;
    until(&world, WIDGETS, |code, _| code == StatusCode::NOT_FOUND).await;
}

/// A definition of widgets whose spec has one rule.
fn ruled(rule: &Value) -> Value {
    let mut version = version("v1", true);
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = json!([rule]);
    definition("widgets", "Widget", &[version])
}

#[tokio::test]
async fn rules_of_a_definition_are_enforced() {
    let world = World::new().await;
    let rule = json!({"rule": "!has(self.replicas) || self.replicas < 3", "message": "at most two replicas"});
    world.must("POST", DEFINITIONS, &ruled(&rule)).await;
    established(&world, "widgets").await;
    let (code, refused) = world.post(WIDGETS, &widget("a", &json!({"replicas": 3}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let causes = json!([{"reason": "FieldValueInvalid", "field": "spec",
        "message": "Invalid value: at most two replicas"}]);
    assert_eq!(refused["details"]["causes"], causes, "{refused}");
    assert_eq!(
        refused["message"],
        "Widget.custom.example.com \"a\" is invalid: spec: Invalid value: at most two replicas"
    );
    let (code, _) = world.get(&format!("{WIDGETS}/a")).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    world.must("POST", WIDGETS, &widget("a", &json!({"replicas": 2}))).await;
    world.must("POST", WIDGETS, &widget("b", &json!({}))).await;
}

#[tokio::test]
async fn a_definition_that_cannot_be_served_is_refused_by_name() {
    let world = World::new().await;
    let (code, refused) = world.post(DEFINITIONS, &ruled(&json!({"rule": "self.replicas <"}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let rule = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule";
    assert_eq!(refused["details"]["causes"][0]["field"], rule, "{refused}");
    let mut webhook = definition("widgets", "Widget", &[version("v1", true)]);
    webhook["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}});
    let (code, refused) = world.post(DEFINITIONS, &webhook).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.conversion.webhookClientConfig");
}

#[tokio::test]
async fn two_servers_on_one_store_agree() {
    let world = with_widgets().await;
    let config = Config {
        backend: world.store.backend(),
        service_cidr: "10.96.0.0/24".to_owned(),
        node_port_range: common::NODE_PORTS,
        pki: world.pki.clone(),
        advertise: SocketAddr::from(([192, 0, 2, 2], 6443)),
        authentication: skiff_apiserver::Authentication::default(),
        engine: skiff_step::Engine::off(),
    };
    let second = ApiServer::new(config).await.expect("a second server");
    let ask = |method: &'static str, path: String, body: String| {
        let router = second.router();
        async move { common::send(router, common::request(method, &path, "application/json", &body)).await }
    };
    let (code, _) = ask("GET", WIDGETS.to_owned(), String::new()).await;
    assert_eq!(code, StatusCode::OK, "what the store has is served before the server is ready");
    let wheels = definition("wheels", "Wheel", &[version("v1", true)]).to_string().replace("\"wd\"", "\"wh\"");
    let (code, answer) = ask("POST", DEFINITIONS.to_owned(), wheels).await;
    assert_eq!(code, StatusCode::CREATED, "{answer}");
    established(&world, "wheels").await;
    until(&world, &format!("{GROUP}/v1/namespaces/default/wheels"), |code, _| code == StatusCode::OK).await;
}

#[tokio::test]
async fn a_table_has_the_columns_of_the_definition() {
    let world = with_widgets().await;
    world.must("POST", WIDGETS, &widget("a", &json!({}))).await;
    let mut request = common::request("GET", WIDGETS, "", "");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io".parse().expect("a header");
    request.headers_mut().insert("accept", accept);
    let (_, table) = common::send(world.server.router(), request).await;
    assert_eq!(table["rows"][0]["cells"], json!(["a", "red"]));
    assert_eq!(table["columnDefinitions"][1]["name"], "Color");
}

/// A definition with lists and maps of each kind, in two versions.
fn gadgets() -> Value {
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}});
    let spec = json!({
        "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "blob": {"type": "array", "items": {"type": "integer"}},
        "fixed": {"type": "object", "x-kubernetes-map-type": "atomic",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "replicas": {"type": "integer"}});
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
    let versions = [("v1", false), ("v2", true)].map(|(name, storage)| {
        let mut version = version(name, storage);
        version["schema"]["openAPIV3Schema"] = schema.clone();
        version["selectableFields"] = Value::Null;
        version
    });
    definition("gadgets", "Gadget", &versions)
}

const GADGETS: [&str; 2] = [
    "/apis/custom.example.com/v1/namespaces/default/gadgets",
    "/apis/custom.example.com/v2/namespaces/default/gadgets",
];

/// Applies the spec of a gadget in one of its versions.
async fn apply(world: &World, version: usize, query: &str, spec: &Value) -> (StatusCode, Value) {
    let api_version = format!("custom.example.com/v{}", version + 1);
    let body = json!({"apiVersion": api_version, "kind": "Gadget", "metadata": {"name": "g"}, "spec": spec});
    let path = format!("{}/g?fieldManager={query}", GADGETS[version]);
    world.ask("PATCH", &path, "application/apply-patch+yaml", &body.to_string()).await
}

/// Managers, each with its version and its fields of the spec.
fn owners(object: &Value) -> Vec<(Value, Value, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let each = |it: &Value| (it["manager"].clone(), it["apiVersion"].clone(), it["fieldsV1"]["f:spec"].clone());
    entries.into_iter().map(each).collect()
}

#[tokio::test]
async fn custom_objects_are_applied_by_their_schema() {
    let world = World::new().await;
    world.must("POST", DEFINITIONS, &gadgets()).await;
    established(&world, "gadgets").await;
    let whole = json!({"parts": [{"name": "a", "size": 1}], "tags": ["x"], "blob": [1], "fixed": {"a": 1},
        "free": {"k": {"l": 1}}, "replicas": 1});
    let (code, made) = apply(&world, 0, "one", &whole).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let of_one = json!({"f:blob": {}, "f:fixed": {}, "f:free": {"f:k": {".": {}, "f:l": {}}},
        "f:parts": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:size": {}}}, "f:replicas": {}, "f:tags": {"v:\"x\"": {}}});
    let (v1, v2) = (json!("custom.example.com/v1"), json!("custom.example.com/v2"));
    assert_eq!(owners(&made), [(json!("one"), v1.clone(), of_one.clone())]);
    for (spec, field) in [(json!({"blob": [2]}), ".spec.blob"), (json!({"fixed": {"b": 1}}), ".spec.fixed")] {
        let (code, refused) = apply(&world, 0, "two", &spec).await;
        let sentence = format!("Apply failed with 1 conflict: conflict with \"one\": {field}");
        assert_eq!((code, &refused["message"]), (StatusCode::CONFLICT, &json!(sentence)));
    }
    let more = json!({"parts": [{"name": "b"}], "tags": ["x", "y"], "free": {"k": {"m": [1]}}});
    let (_, merged) = apply(&world, 0, "two", &more).await;
    let spec = json!({"parts": [{"name": "a", "size": 1}, {"name": "b"}], "tags": ["x", "y"], "blob": [1], "fixed": {"a": 1},
        "free": {"k": {"l": 1, "m": [1]}}, "replicas": 1});
    assert_eq!(merged["spec"], spec);
    let of_two = json!({"f:free": {"f:k": {".": {}, "f:m": {}}}, "f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}}},
        "f:tags": {"v:\"x\"": {}, "v:\"y\"": {}}});
    assert_eq!(owners(&merged), [(json!("one"), v1.clone(), of_one.clone()), (json!("two"), v1.clone(), of_two)]);
    // Who applies in another version is still the same manager; what it says no more goes.
    let (_, other) = apply(&world, 1, "two", &json!({"parts": [{"name": "c"}], "tags": ["y"]})).await;
    let of_two = json!({"f:parts": {"k:{\"name\":\"c\"}": {".": {}, "f:name": {}}}, "f:tags": {"v:\"y\"": {}}});
    assert_eq!(owners(&other), [(json!("one"), v1, of_one), (json!("two"), v2, of_two)]);
    let (_, less) = apply(&world, 1, "one", &json!({"tags": ["x"]})).await;
    assert_eq!(less["spec"], json!({"parts": [{"name": "c"}], "tags": ["x", "y"]}));
}

#[tokio::test]
async fn what_no_schema_of_a_custom_object_can_read_is_not_applied() {
    let world = World::new().await;
    world.must("POST", DEFINITIONS, &gadgets()).await;
    established(&world, "gadgets").await;
    for (spec, why) in [
        (json!({"parts": [{"name": "b"}, {"name": "b"}]}), ".spec.parts: duplicate entries for key [name=\"b\"]"),
        (
            json!({"parts": [{"size": 2}]}),
            ".spec.parts: element 0: associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have \
             default values for any key fields)",
        ),
        (json!({"strange": 1}), ".spec.strange: field not declared in schema"),
    ] {
        let (code, refused) = apply(&world, 0, "one", &spec).await;
        let sentence = format!("failed to create typed patch object (/g; custom.example.com/v1, Kind=Gadget): {why}");
        assert_eq!((code, &refused["message"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(sentence)));
    }
    let (_, made) = apply(&world, 1, "one", &json!({"replicas": 1})).await;
    assert_eq!(made["spec"], json!({"replicas": 1}));
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "g"}, "spec": {"replicas": 4}});
    let path = |query: &str| format!("{}/g/scale?fieldManager={query}", GADGETS[1]);
    let kind = "application/apply-patch+yaml";
    let (code, _) = world.ask("PATCH", &path("scaler"), kind, &scale.to_string()).await;
    assert_eq!(code, StatusCode::CONFLICT);
    let (code, scaled) = world.ask("PATCH", &path("scaler&force=true"), kind, &scale.to_string()).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (StatusCode::OK, &json!(4)));
    let (_, now) = world.get(&format!("{}/g", GADGETS[1])).await;
    let api_version = json!("custom.example.com/v2");
    assert_eq!(
        (&now["spec"]["replicas"], owners(&now)),
        (&json!(4), vec![(json!("scaler"), api_version, json!({"f:replicas": {}}))])
    );
}
