//! Services: addresses and node ports are unique, kept across updates, freed on deletion and repaired after a crash.

mod common;

use common::World;
use http::StatusCode;
use serde_json::{Value, json};
use skiff_store::Backend;
use std::collections::BTreeSet;
use std::sync::Arc;

const SERVICES: &str = "/api/v1/namespaces/default/services";

/// Another server on the same store.
async fn another(world: &World) -> skiff_apiserver::ApiServer {
    let config = skiff_apiserver::Config {
        backend: world.store.backend(),
        service_cidr: "10.96.0.0/24".to_owned(),
        node_port_range: common::NODE_PORTS,
        pki: world.pki.clone(),
        advertise: world.address,
        authentication: skiff_apiserver::Authentication::default(),
        engine: skiff_step::Engine::off(),
    };
    skiff_apiserver::ApiServer::new(config).await.expect("restarts")
}

fn service(name: &str, mut spec: Value) -> Value {
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn the_cluster_has_its_own_service() {
    let world = World::new().await;
    let (_, own) = world.get(&format!("{SERVICES}/kubernetes")).await;
    assert_eq!(own["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(own["spec"]["ports"][0]["targetPort"], world.address.port());
    let (_, slice) = world.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
}

#[tokio::test]
async fn the_range_of_service_addresses_is_an_object_that_is_ready() {
    let world = World::new().await;
    let path = "/apis/networking.k8s.io/v1/servicecidrs/kubernetes";
    let (_, range) = world.get(path).await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/24"]));
    assert_eq!(range["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    world.must("DELETE", path, &json!({})).await;
    let other = json!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": ["10.97.0.0/24"]}});
    world.must("POST", "/apis/networking.k8s.io/v1/servicecidrs", &other).await;
    another(&world).await;
    let (_, range) = world.get(path).await;
    assert_eq!(range["spec"]["cidrs"], json!(["10.96.0.0/24"]), "what is served now");
}

#[tokio::test]
async fn many_services_at_once_get_addresses_of_their_own() {
    let world = World::new().await;
    let tasks = (0..20).map(|index| {
        let (router, body) = (world.server.router(), service(&format!("s{index}"), json!({})).to_string());
        tokio::spawn(common::send(router, common::request("POST", SERVICES, "application/json", &body)))
    });
    let mut addresses = BTreeSet::new();
    for task in tasks.collect::<Vec<_>>() {
        let (code, created) = task.await.expect("created");
        assert_eq!(code, StatusCode::CREATED, "{created}");
        assert!(addresses.insert(created["spec"]["clusterIP"].as_str().expect("address").to_owned()), "{addresses:?}");
        assert_eq!(created["spec"]["clusterIPs"][0], created["spec"]["clusterIP"]);
    }
}

#[tokio::test]
async fn a_taken_address_is_refused_and_a_freed_one_is_given() {
    let world = World::new().await;
    let wanted = json!({"clusterIP": "10.96.0.50"});
    world.must("POST", SERVICES, &service("a", wanted.clone())).await;
    let (code, status) = world.post(SERVICES, &service("b", wanted.clone())).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        status["message"],
        "Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.96.0.50\"]: failed to allocate IP 10.96.0.50: \
         provided IP is already allocated"
    );
    let (code, _) = world.post(SERVICES, &service("b", json!({"clusterIP": "10.97.0.1"}))).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY);
    world.must("DELETE", &format!("{SERVICES}/a"), &json!({})).await;
    world.must("POST", SERVICES, &service("b", wanted)).await;
}

#[tokio::test]
async fn node_ports_run_out_and_come_back() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        let created = world.must("POST", SERVICES, &service(name, json!({"type": "NodePort"}))).await;
        let port = created["spec"]["ports"][0]["nodePort"].as_u64().expect("a port");
        assert!((30000..=30002).contains(&port));
    }
    let (code, status) = world.post(SERVICES, &service("d", json!({"type": "NodePort"}))).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
    let update = service("a", json!({"type": "ClusterIP"}));
    let updated = world.must("PUT", &format!("{SERVICES}/a"), &update).await;
    assert!(updated["spec"]["ports"][0]["nodePort"].is_null(), "{updated}");
    world.must("POST", SERVICES, &service("d", json!({"type": "NodePort"}))).await;
}

#[tokio::test]
async fn updates_keep_what_was_given() {
    let world = World::new().await;
    let before = world.must("POST", SERVICES, &service("a", json!({"type": "NodePort"}))).await;
    let two = json!([{"name": "one", "port": 80}, {"name": "two", "port": 81}]);
    let after =
        world.must("PUT", &format!("{SERVICES}/a"), &service("a", json!({"type": "NodePort", "ports": two}))).await;
    assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
    assert_eq!(after["spec"]["ports"][0]["nodePort"], before["spec"]["ports"][0]["nodePort"]);
    assert!(after["spec"]["ports"][1]["nodePort"].is_u64(), "{after}");
}

/// What no service has is freed later, because another server may be making its service: `services/repair.rs` says when.
#[tokio::test]
async fn a_restart_claims_what_services_have() {
    let world = World::new().await;
    world.must("POST", SERVICES, &service("a", json!({"clusterIP": "10.96.0.60"}))).await;
    let backend: Arc<dyn Backend> = world.store.backend();
    let key = "/registry/ipaddresses/10.96.0.60";
    let lost = backend.get(key.into()).await.expect("read").entry.expect("claimed");
    backend.delete(key.into(), lost.mod_revision).await.expect("lost");
    let again = another(&world).await;
    let body = service("b", json!({"clusterIP": "10.96.0.60"})).to_string();
    let request = common::request("POST", SERVICES, "application/json", &body);
    let (code, answer) = common::send(again.router(), request).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
}
