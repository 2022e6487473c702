//! The forms in which objects are sent and answered: the same object in each.

mod common;

use axum::body::{Body, to_bytes};
use common::World;
use futures::StreamExt;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use skiff_schema::{cbor, protobuf};
use tower::ServiceExt;

const PODS: &str = "/api/v1/namespaces/default/pods";
const PROTOBUF: &str = protobuf::CONTENT_TYPE;

async fn ask(world: &World, method: &str, path: &str, accept: &str, sent: Option<(&str, Vec<u8>)>) -> Response<Body> {
    let (content_type, body) = sent.unwrap_or_default();
    let mut request = common::request(method, path, content_type, "");
    *request.body_mut() = Body::from(body);
    request.headers_mut().insert(header::ACCEPT, accept.parse().expect("a header"));
    world.server.router().oneshot(request).await.expect("infallible")
}

/// An answer in Protobuf as JSON.
async fn read(response: Response<Body>) -> (StatusCode, Value) {
    assert_eq!(response.headers()[header::CONTENT_TYPE], PROTOBUF);
    let code = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (code, protobuf::to_json(&body).expect("Protobuf"))
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

#[tokio::test]
async fn typed_clients_get_the_protobuf_that_they_ask_for() {
    let world = World::new().await;
    let sent = protobuf::from_json(&pod("p")).expect("a body");
    let (code, created) = read(ask(&world, "POST", PODS, PROTOBUF, Some((PROTOBUF, sent))).await).await;
    assert_eq!(code, StatusCode::CREATED);
    let (_, as_json) = world.get(&format!("{PODS}/p")).await;
    assert_eq!(created, as_json);
    // client-go's Accept.
    let both = "application/vnd.kubernetes.protobuf,application/json";
    let (_, list) = read(ask(&world, "GET", PODS, both, None).await).await;
    assert_eq!((&list["kind"], &list["items"][0]["spec"]), (&"PodList".into(), &as_json["spec"]));
    let (code, refusal) = read(ask(&world, "GET", &format!("{PODS}/x"), both, None).await).await;
    assert_eq!(
        (code, &refusal["kind"], &refusal["reason"]),
        (StatusCode::NOT_FOUND, &"Status".into(), &"NotFound".into())
    );
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let (_, list) = read(ask(&world, "GET", PODS, metadata, None).await).await;
    assert_eq!(list["items"], json!([{"metadata": as_json["metadata"]}]));
}

#[tokio::test]
async fn a_watch_in_protobuf_is_made_of_frames() {
    let world = World::new().await;
    world.must("POST", PODS, &pod("p")).await;
    let path = format!("{PODS}?watch=true&resourceVersion=0");
    let response = ask(&world, "GET", &path, "application/vnd.kubernetes.protobuf;stream=watch", None).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut chunks = response.into_body().into_data_stream();
    let chunk = chunks.next().await.expect("an event").expect("bytes");
    let (length, frame) = chunk.split_at(4);
    assert_eq!(u32::from_be_bytes(length.try_into().expect("four bytes")), u32::try_from(frame.len()).expect("short"));
    let (_, stored) = world.get(&format!("{PODS}/p")).await;
    let body = protobuf::from_json(&stored).expect("a body");
    assert_eq!(chunk, protobuf::event("ADDED", &body));
}

const CBOR: &str = cbor::CONTENT_TYPE;

async fn read_cbor(response: Response<Body>) -> (StatusCode, Value) {
    assert_eq!(response.headers()[header::CONTENT_TYPE], CBOR);
    let code = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    (code, cbor::to_json(&body).expect("CBOR"))
}

#[tokio::test]
async fn cbor_is_spoken_where_it_is_asked_for() {
    let mut world = World::new().await;
    let sent = || cbor::from_json(&pod("p")).expect("a body");
    let refused = ask(&world, "POST", PODS, "*/*", Some((CBOR, sent()))).await;
    assert_eq!(refused.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(ask(&world, "GET", PODS, CBOR, None).await.status(), StatusCode::NOT_ACCEPTABLE);
    let both = "application/cbor, application/json;q=0.9";
    let json = ask(&world, "GET", PODS, both, None).await;
    assert_eq!(json.headers()[header::CONTENT_TYPE], "application/json");
    world.server = world.server.clone().with_cbor();
    let (code, created) = read_cbor(ask(&world, "POST", PODS, both, Some((CBOR, sent()))).await).await;
    assert_eq!((code, &created), (StatusCode::CREATED, &world.get(&format!("{PODS}/p")).await.1));
    let (_, list) = read_cbor(ask(&world, "GET", PODS, CBOR, None).await).await;
    assert_eq!((&list["kind"], &list["items"][0]["spec"]), (&"PodList".into(), &created["spec"]));
    let (code, refusal) = read_cbor(ask(&world, "GET", &format!("{PODS}/x"), CBOR, None).await).await;
    assert_eq!((code, &refusal["reason"]), (StatusCode::NOT_FOUND, &"NotFound".into()));
    let tables = "application/cbor;as=Table;v=v1;g=meta.k8s.io";
    let (_, table) = read_cbor(ask(&world, "GET", PODS, tables, None).await).await;
    assert_eq!(table["rows"][0]["cells"][0], "p");
    let labels = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}}});
    let patch = Some(("application/apply-patch+cbor", cbor::from_json(&labels).expect("a body")));
    let path = format!("{PODS}/p?fieldManager=m");
    let (code, applied) = read_cbor(ask(&world, "PATCH", &path, CBOR, patch).await).await;
    assert_eq!((code, &applied["metadata"]["labels"]), (StatusCode::OK, &json!({"a": "b"})));
    let broken = ask(&world, "POST", PODS, CBOR, Some((CBOR, vec![0xa1]))).await;
    assert_eq!(broken.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_watch_in_cbor_is_a_sequence() {
    let mut world = World::new().await;
    world.server = world.server.clone().with_cbor();
    world.must("POST", PODS, &pod("p")).await;
    let path = format!("{PODS}?watch=true&resourceVersion=0");
    let response = ask(&world, "GET", &path, CBOR, None).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], cbor::SEQUENCE);
    let chunk = response.into_body().into_data_stream().next().await.expect("an event").expect("bytes");
    let (_, stored) = world.get(&format!("{PODS}/p")).await;
    assert_eq!(cbor::to_json(&chunk), Ok(json!({"type": "ADDED", "object": stored})));
}

#[tokio::test]
async fn openapi_is_answered_in_protobuf() {
    let world = World::new().await;
    let path = "/openapi/v3/apis/apps/v1";
    let json = ask(&world, "GET", path, "application/json", None).await;
    let accept = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
    let protobuf = ask(&world, "GET", path, accept, None).await;
    assert_eq!(protobuf.headers()[header::CONTENT_TYPE], skiff_schema::openapi::V3_PROTOBUF);
    assert_eq!(protobuf.headers()[header::ETAG], json.headers()[header::ETAG]);
    let body = to_bytes(protobuf.into_body(), usize::MAX).await.expect("a body");
    assert!(body.starts_with(b"\x0a\x053.0.0"), "the version is field 1");
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let old = ask(&world, "GET", "/openapi/v2", accept, None).await;
    assert_eq!(old.headers()[header::CONTENT_TYPE], skiff_schema::openapi::V2_PROTOBUF);
    assert_eq!(ask(&world, "GET", path, "text/html", None).await.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn what_is_sent_as_yaml_is_answered_as_yaml() {
    let world = World::new().await;
    let text = "metadata:\n  name: y\nspec:\n  containers:\n  - {name: c, image: i}\n";
    let sent = Some(("application/yaml", text.as_bytes().to_vec()));
    let response = ask(&world, "POST", PODS, "application/yaml", sent).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    let created: Value = serde_norway::from_slice(&body).expect("YAML");
    assert_eq!(created, world.get(&format!("{PODS}/y")).await.1);
}

#[tokio::test]
async fn openapi_documents_are_kept_by_their_hash() {
    let world = World::new().await;
    let (_, index) = world.get("/openapi/v3").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL");
    let response = ask(&world, "GET", url, "application/json", None).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CACHE_CONTROL], "public, immutable");
    let tag = response.headers()[header::ETAG].clone();
    assert!(url.ends_with(tag.to_str().expect("text").trim_matches('"')), "{tag:?} {url}");
    let mut request = common::request("GET", "/openapi/v3/apis/apps/v1", "", "");
    request.headers_mut().insert(header::IF_NONE_MATCH, tag);
    let known = world.server.router().oneshot(request).await.expect("infallible");
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let old = ask(&world, "GET", "/openapi/v3/apis/apps/v1?hash=00", "*/*", None).await;
    assert_eq!(
        (old.status(), old.headers()[header::LOCATION].as_bytes()),
        (StatusCode::MOVED_PERMANENTLY, url.as_bytes())
    );
    let odd = ask(&world, "GET", url, "text/html", None).await;
    assert_eq!(odd.status(), StatusCode::NOT_ACCEPTABLE);
}
