//! Two API servers on one store behave as one, also while the second one starts.

mod common;
#[path = "common/held.rs"]
mod held; // a store that keeps writes waiting
#[path = "../store/tests/peers/keys.rs"]
mod keys; // of a cluster with certificates
#[path = "../store/tests/peers/three.rs"]
mod three; // an etcd of three members

use common::{World, peer, request, send};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use held::Held;
use http::StatusCode;
use kube::api::{Api, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use serde_json::{Value, json};
use skiff_apiserver::ApiServer;
use skiff_client::{Identity, in_process};
use skiff_store::Backend;
use skiff_store::backend::Entry;
use skiff_store::etcd::Remote;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use three::{Elections, Three};
use tokio_util::sync::CancellationToken;

const SERVICES: &str = "/api/v1/namespaces/default/services";
/// More than the services of a test.
const PORTS: std::ops::RangeInclusive<u16> = 30000..=30199;
/// Longer than anything here takes, on however slow a machine.
const BOUNDED: Duration = Duration::from_secs(60);

fn service(metadata: Value, mut spec: Value) -> String {
    spec["ports"] = json!([{"port": 80}]);
    json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}).to_string()
}

async fn create(server: &ApiServer, body: String) -> (StatusCode, Value) {
    send(server.router(), request("POST", SERVICES, "application/json", &body)).await
}

async fn entry(backend: &Arc<dyn Backend>, key: &str) -> Option<Entry> {
    backend.get(key.to_owned().into()).await.expect("read").entry
}

/// The first server has claimed an address and not yet stored its service when the second one starts and repairs.
#[tokio::test]
async fn a_start_frees_no_claim_of_a_service_that_is_being_made() {
    let world = World::new().await;
    let held = Arc::new(Held::of(world.store.backend(), b"/registry/services/specs/default/held"));
    let first = world.another(held.clone(), PORTS).await;
    let wanted = json!({"clusterIP": "10.96.0.61"});
    let body = service(json!({"name": "held"}), wanted.clone());
    let making = tokio::spawn({
        let first = first.clone();
        async move { create(&first, body).await }
    });
    let store = world.store.backend();
    while entry(&store, "/registry/ipaddresses/10.96.0.61").await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = world.another(store.clone(), PORTS).await;
    held.gate.add_permits(1);
    assert_eq!(making.await.expect("made").0, StatusCode::CREATED);
    let (code, answer) = create(&second, service(json!({"name": "other"}), wanted)).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
}

/// So many services by both servers at once, each of which keeps what it was told.
async fn services(servers: &[ApiServer], each: usize) -> Vec<(StatusCode, Value)> {
    let makers = servers.iter().cycle().take(servers.len() * each);
    let made = makers.map(|server| {
        let body = service(json!({"generateName": "s-"}), json!({"type": "NodePort"}));
        let server = server.clone();
        tokio::spawn(async move { create(&server, body).await })
    });
    join_all(made.collect::<Vec<_>>()).await.into_iter().map(|made| made.expect("a task")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_addresses_and_ports_are_given_once() {
    let world = World::new().await;
    let store = world.store.backend();
    let servers = [world.another(store.clone(), PORTS).await, world.another(store.clone(), PORTS).await];
    let starting = async {
        let mut started = Vec::new();
        for _ in 0..5 {
            started.push(world.another(store.clone(), PORTS).await);
        }
        started
    };
    let (made, started) = tokio::join!(services(&servers, 40), starting);
    let more = services(&[&servers[..], &started[..]].concat(), 5).await;
    assert!(made.iter().chain(&more).all(|(code, _)| *code == StatusCode::CREATED), "{made:?} {more:?}");
    let services: Vec<&Value> = made.iter().chain(&more).map(|(_, service)| service).collect();
    assert_given_once(&services);
    assert_eq!(services.len(), 115);
}

/// No name, address or port twice.
#[track_caller]
fn assert_given_once(services: &[&Value]) {
    let (mut names, mut addresses, mut ports) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for service in services {
        assert!(names.insert(service["metadata"]["name"].to_string()), "{service}");
        assert!(addresses.insert(service["spec"]["clusterIP"].to_string()), "{service}");
        assert!(ports.insert(service["spec"]["ports"][0]["nodePort"].to_string()), "{service}");
    }
}

/// On an empty store; and again where a server ended between the claim of its own address and its service.
#[tokio::test(flavor = "multi_thread")]
async fn servers_start_together() {
    let world = World::new().await;
    let store = world.store.backend();
    let own = ["/registry/services/specs/default/kubernetes", "/registry/ipaddresses/10.96.0.1"];
    for lost in [&own[..], &own[..1]] {
        for key in lost {
            let there = entry(&store, key).await.expect("there");
            store.delete(there.key, there.mod_revision).await.expect("deleted");
        }
        let starting = (0..6).map(|_| world.another(store.clone(), PORTS));
        let servers = join_all(starting).await;
        let (code, service) =
            send(servers[5].router(), request("GET", &format!("{SERVICES}/kubernetes"), "", "")).await;
        assert_eq!((code, &service["spec"]["clusterIP"]), (StatusCode::OK, &json!("10.96.0.1")));
        let claim = entry(&store, own[1]).await.expect("claimed");
        let claim: Value = serde_json::from_slice(&claim.value).expect("JSON");
        assert_eq!(claim["metadata"]["annotations"]["skiff.dev/service-uid"], service["metadata"]["uid"]);
    }
}

/// The addresses of the service `kubernetes`, as both kinds of endpoints have them.
async fn endpoints(server: &ApiServer) -> [Vec<String>; 2] {
    let get = async |path: &str| send(server.router(), request("GET", path, "", "")).await.1;
    let old = get("/api/v1/namespaces/default/endpoints/kubernetes").await;
    let new = get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await;
    let each = |list: &Value, one: fn(&Value) -> &Value| {
        list.as_array().into_iter().flatten().filter_map(|it| one(it).as_str().map(str::to_owned)).collect()
    };
    [each(&old["subsets"][0]["addresses"], |it| &it["ip"]), each(&new["endpoints"], |it| &it["addresses"][0])]
}

/// Each server has its place among the endpoints of the service, and gives it up when it ends.
#[tokio::test]
async fn every_server_is_an_endpoint_while_it_serves() {
    let world = World::new().await;
    let other = world.beside([192, 0, 2, 2]).await;
    let both = || vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()];
    assert_eq!(endpoints(&other).await, [both(), both()]);
    let key = "/registry/masterleases/192.0.2.2";
    assert!(entry(&world.store.backend(), key).await.is_some());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let ended = CancellationToken::new();
    ended.cancel();
    other.serve(listener, ended).await.expect("served");
    let one = || vec!["192.0.2.1".to_owned()];
    assert_eq!(endpoints(&world.server).await, [one(), one()]);
    assert!(entry(&world.store.backend(), key).await.is_none());
}

fn config_maps(server: &ApiServer) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    Api::namespaced_with(in_process(server.router(), Identity::component("test")), "default", &kind)
}

fn config_map(name: &str) -> DynamicObject {
    serde_json::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}))
        .expect("an object")
}

/// A watch on one server shows what is written on both, in the order of revisions.
#[tokio::test]
async fn a_watch_on_one_shows_what_is_written_on_the_other() {
    let world = World::new().await;
    let other = world.another(world.store.backend(), PORTS).await;
    assert_watched(&world.server, &other).await;
}

async fn assert_watched(one: &ApiServer, other: &ApiServer) {
    let (here, there) = (config_maps(one), config_maps(other));
    let since = here.list(&ListParams::default()).await.expect("a list").metadata.resource_version.expect("a revision");
    let events = here.watch(&WatchParams::default(), &since).await.expect("a watch");
    let mut written = Vec::new();
    for number in 0..50 {
        let writer = if number % 3 == 0 { &here } else { &there };
        let made = writer.create(&PostParams::default(), &config_map(&format!("c{number}"))).await.expect("made");
        written.push(made.metadata.resource_version.expect("a revision"));
    }
    let seen = events.try_filter_map(|event| async move {
        Ok(match event {
            WatchEvent::Added(object) => object.metadata.resource_version,
            WatchEvent::Bookmark(_) => None,
            other => panic!("{other:?}"),
        })
    });
    let seen: Vec<_> =
        tokio::time::timeout(BOUNDED, seen.take(50).try_collect::<Vec<_>>()).await.expect("all").expect("sound");
    assert_eq!(seen, written);
}

/// What is defined on one server is served by the other, and gone from it as well.
#[tokio::test]
async fn definitions_of_one_are_served_by_the_other() {
    let world = World::new().await;
    let other = world.another(world.store.backend(), PORTS).await;
    assert_defined(&world.server, &other).await;
}

async fn assert_defined(one: &ApiServer, other: &ApiServer) {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let ask = async |server: &ApiServer, method: &str, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        send(server.router(), request(method, path, "application/json", &body)).await
    };
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let becomes = async |wanted: StatusCode| {
        while ask(other, "GET", widgets, &Value::Null).await.0 != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(ask(one, "POST", definitions, &definition).await.0, StatusCode::CREATED);
    tokio::time::timeout(BOUNDED, becomes(StatusCode::OK)).await.expect("served");
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "size": 3});
    let made = ask(other, "POST", widgets, &widget).await;
    assert_eq!(made.0, StatusCode::CREATED, "{}", made.1);
    assert_eq!(ask(one, "GET", &format!("{widgets}/w"), &Value::Null).await.1["size"], 3);
    let gone = ask(one, "DELETE", &format!("{definitions}/widgets.example.com"), &json!({})).await;
    assert_eq!(gone.0, StatusCode::OK, "{}", gone.1);
    tokio::time::timeout(BOUNDED, becomes(StatusCode::NOT_FOUND)).await.expect("gone");
}

/// The same on an external etcd of three members, one of which is killed while both servers make services and a third one starts.
#[tokio::test(flavor = "multi_thread")]
async fn servers_on_an_etcd_of_three_are_one() {
    let Some(program) = peer("etcd-3.5") else { return };
    let mut three = Three::start(&program, Elections::Usual).await;
    let world = World::new().await;
    let options = three.options();
    let open = async || Arc::new(Remote::open(&options).await.expect("a cluster")) as Arc<dyn Backend>;
    let servers = [world.another(open().await, PORTS).await, world.another(open().await, PORTS).await];
    let starting = async {
        three.kill(0);
        three.until_healthy(1).await;
        world.another(open().await, PORTS).await
    };
    let (made, third) = tokio::join!(services(&servers, 40), starting);
    // Nobody knows what became of those whose member died; the list does.
    let known = made.iter().filter(|(code, _)| *code == StatusCode::CREATED).count();
    assert!(made.iter().all(|(code, _)| *code == StatusCode::CREATED || code.is_server_error()), "{made:?}");
    let mut listed = send(third.router(), request("GET", SERVICES, "", "")).await.1;
    let listed = listed["items"].as_array_mut().expect("a list");
    listed.retain(|service| service["spec"]["type"] == "NodePort");
    assert_given_once(&listed.iter().collect::<Vec<_>>());
    assert!(listed.len() >= known, "{} of {known}", listed.len());
    let more = services(&[&servers[..], std::slice::from_ref(&third)].concat(), 10).await;
    assert!(more.iter().all(|(code, _)| *code == StatusCode::CREATED), "{more:?}");
    assert_given_once(&listed.iter().chain(more.iter().map(|(_, service)| service)).collect::<Vec<_>>());
    assert_watched(&servers[0], &servers[1]).await;
    assert_defined(&servers[1], &third).await;
}
