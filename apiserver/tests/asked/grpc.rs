//! The rows of gRPC.

use crate::common::World;
use serde_json::{Value, json};
use skiff_apiserver::asked::{Meaning, Place, Row, rows};
use skiff_client::Identity;
use skiff_proto::api::v1 as proto;
use skiff_proto::api::v1::objects_client::ObjectsClient;
use tonic::metadata::{AsciiMetadataKey, MetadataMap};
use tonic::{Request, Status};

/// What came of a call: REST's code, the audit id, and the object's data and finalizers afterwards.
type Seen = (u64, Option<String>, Option<Value>);

/// Fault N4: nothing with a meaning is passed over over gRPC either.
#[tokio::test]
async fn every_row_of_grpc_means_what_it_says() {
    let world = World::new().await;
    let (mut walked, mut names) = (0, 0);
    for row in rows().filter(|row| row.place == Place::Grpc) {
        for call in row.verbs {
            names += 2;
            let without = play(&world, call, &format!("c{names}"), None).await;
            let with = play(&world, call, &format!("c{}", names + 1), Some(row)).await;
            match row.meaning {
                Meaning::Refused(code) => assert_eq!(with.0, u64::from(code), "{} in {call}", row.name),
                Meaning::Honoured => assert_ne!(with, without, "{} in {call}", row.name),
                Meaning::WithoutEffect => assert_eq!(with, without, "{} in {call}", row.name),
            }
            walked += 1;
        }
    }
    assert!(walked > 30, "{walked}");
}

async fn play(world: &World, call: &str, name: &str, row: Option<&Row>) -> Seen {
    let path = "/api/v1/namespaces/default/configmaps";
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "1"}});
    if call != "Create" {
        world.must("POST", path, &object).await;
    }
    let (code, audit_id) = match make(world, call, name, row).await {
        Ok(headers) => (200, audit_id(&headers)),
        Err(status) => {
            let details =
                status.metadata().get_bin("status-json-bin").expect("a whole Status").to_bytes().expect("bytes");
            let details: Value = serde_json::from_slice(&details).expect("JSON");
            (details["code"].as_u64().expect("a code"), audit_id(status.metadata()))
        }
    };
    let (found, after) = world.get(&format!("{path}/{name}")).await;
    let after = found.is_success().then(|| json!([after["data"], after["metadata"]["finalizers"]]));
    (code, audit_id, after)
}

/// The audit id, if it is not one that the server made up.
fn audit_id(headers: &MetadataMap) -> Option<String> {
    let id = headers.get("audit-id")?.to_str().expect("text");
    (id.len() != 36).then(|| id.to_owned())
}

async fn make(world: &World, call: &str, name: &str, row: Option<&Row>) -> Result<MetadataMap, Status> {
    let service =
        tower::ServiceExt::map_request(world.server.router(), |mut request: http::Request<tonic::body::Body>| {
            request.extensions_mut().insert(Identity::component("test"));
            request.map(axum::body::Body::new)
        });
    let mut client = ObjectsClient::new(service);
    let field = |wanted: &str| row.filter(|row| row.name == wanted).map(|row| row.example.to_owned());
    let json = json!({"metadata": {"name": name}, "data": {"k": "2"}}).to_string().into_bytes();
    let write = |name: &str| proto::WriteRequest {
        address: address(name),
        object: Some(proto::Object { json: json.clone() }),
        dry_run: field("dry_run").is_some(),
        field_manager: field("field_manager").unwrap_or_default(),
    };
    Ok(match call {
        "Get" => client.get(said(proto::GetRequest { address: address(name) }, row)).await?.metadata().clone(),
        "List" => client
            .list(said(proto::ListRequest { address: address(""), ..Default::default() }, row))
            .await?
            .metadata()
            .clone(),
        "Watch" => client
            .watch(said(proto::WatchRequest { address: address(""), ..Default::default() }, row))
            .await?
            .metadata()
            .clone(),
        "Create" => client.create(said(write(""), row)).await?.metadata().clone(),
        "Update" => client.update(said(write(name), row)).await?.metadata().clone(),
        "Patch" => client.patch(said(patch(name, json, &field), row)).await?.metadata().clone(),
        "Delete" => client.delete(said(delete(name, &field), row)).await?.metadata().clone(),
        other => panic!("no call {other}"),
    })
}

fn address(name: &str) -> Option<proto::Address> {
    let (resource, namespace) = ("configmaps".to_owned(), "default".to_owned());
    let (version, name) = ("v1".to_owned(), name.to_owned());
    Some(proto::Address { version, resource, namespace, name, ..proto::Address::default() })
}

/// What the row has for a field of that name.
type Field<'a> = &'a dyn Fn(&str) -> Option<String>;

fn patch(name: &str, json: Vec<u8>, field: Field<'_>) -> proto::PatchRequest {
    proto::PatchRequest {
        address: address(name),
        patch_type: "application/merge-patch+json".to_owned(),
        patch: json,
        dry_run: field("dry_run").is_some(),
        field_manager: field("field_manager").unwrap_or_default(),
        force: field("force").is_some(),
    }
}

fn delete(name: &str, field: Field<'_>) -> proto::DeleteRequest {
    proto::DeleteRequest {
        address: address(name),
        grace_period_seconds: None,
        propagation_policy: field("propagation_policy").unwrap_or_default(),
        uid: field("uid").unwrap_or_default(),
        dry_run: field("dry_run").is_some(),
        resource_version: field("resource_version").unwrap_or_default(),
    }
}

/// A request, with the metadata that the row names.
fn said<T>(message: T, row: Option<&Row>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some((row, name)) = row.and_then(|row| Some((row, row.name.strip_prefix("metadata: ")?))) {
        let key: AsciiMetadataKey = name.parse().expect("a key");
        request.metadata_mut().insert(key, row.example.parse().expect("a value"));
    }
    request
}
