//! Claims of devices.

use super::*;
use skiff_client::loose::ResourceClaim;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A slice of two devices of the node `a`.
fn slice(extra: Value) -> Object {
    let device = |name: &str, model: &str| json!({"name": name, "attributes": {"model": {"string": model}}});
    let mut whole = json!({"metadata": {"name": "s"}, "spec": {
        "driver": "gpu.example.com", "nodeName": "a",
        "pool": {"name": "a", "generation": 1, "resourceSliceCount": 1},
        "devices": [device("gpu-0", "old"), device("gpu-1", "new")],
    }});
    super::merge(&mut whole, extra);
    Object::Slice(object(whole))
}

fn class(extra: Value) -> Object {
    let own = json!({"cel": {"expression": "device.driver == 'gpu.example.com'"}});
    let mut whole = json!({"metadata": {"name": "gpu"}, "spec": {"selectors": [own]}});
    super::merge(&mut whole, extra);
    Object::DeviceClass(object(whole))
}

fn exactly(extra: Value) -> Value {
    let mut request = json!({"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1});
    super::merge(&mut request, extra);
    json!({"name": "r", "exactly": request})
}

fn claim(name: &str, requests: Value, status: Value) -> Object {
    let meta = json!({"name": name, "namespace": "ns", "uid": name});
    Object::DeviceClaim(object(
        json!({"metadata": meta, "spec": {"devices": {"requests": requests}}, "status": status}),
    ))
}

fn using(name: &str, claim: &str) -> Arc<PodInfo> {
    pod(name, json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimName": claim}]}}))
}

fn with(more: impl IntoIterator<Item = Object>) -> Cluster {
    let nodes = [node("a", json!({})), node("b", json!({}))];
    cluster(nodes.into_iter().chain([slice(json!({})), class(json!({}))]).chain(more), &[])
}

fn given(cluster: &Cluster, pod: &PodInfo) -> (String, Value) {
    let Decision::Bind(placement) = decide(cluster, pod) else { panic!("{}", said(cluster, pod)) };
    (placement.node, placement.devices.first().map(|(_, allocation)| allocation.clone()).unwrap_or_default())
}

fn allocated(device: &str, users: Value) -> Value {
    let result = json!({"request": "r", "driver": "gpu.example.com", "pool": "a", "device": device});
    let field = json!({"key": "metadata.name", "operator": "In", "values": ["a"]});
    json!({"reservedFor": users,
        "allocation": {"devices": {"results": [result]}, "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}}})
}

#[test]
fn a_claim_gets_the_device_that_it_means() {
    let new = "device.attributes['gpu.example.com'].model == 'new'";
    let wanted = exactly(json!({"selectors": [{"cel": {"expression": new}}]}));
    let (node, allocation) = given(&with([claim("x", json!([wanted]), json!({}))]), &using("p", "x"));
    assert_eq!((node.as_str(), allocation), ("a", allocated("gpu-1", json!(null))["allocation"].clone()));
}

#[test]
fn what_is_taken_is_taken_but_for_those_who_look() {
    let other = claim("other", json!([exactly(json!({}))]), allocated("gpu-0", json!([{"uid": "q"}])));
    let two = json!([exactly(json!({"count": 2}))]);
    let cluster = with([other.clone(), claim("x", two.clone(), json!({}))]);
    assert_eq!(said(&cluster, &using("p", "x")), "0/2 nodes are available: 2 cannot allocate all claims.");
    let admin = json!([exactly(json!({"allocationMode": "All", "count": null, "adminAccess": true}))]);
    let (_, allocation) = given(&with([other, claim("x", admin, json!({}))]), &using("p", "x"));
    assert_eq!(allocation["devices"]["results"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_allocated_claim_leads_to_its_node_and_has_room_for_some() {
    let free = with([claim("x", json!([exactly(json!({}))]), allocated("gpu-0", json!([])))]);
    assert_eq!(said(&free, &using("p", "x")), "on a");
    let users: Vec<Value> = (0..256).map(|number| json!({"uid": format!("u{number}")})).collect();
    let full = with([claim("x", json!([exactly(json!({}))]), allocated("gpu-0", json!(users)))]);
    assert_eq!(said(&full, &using("p", "x")), "0/2 nodes are available: resourceclaim in use. not found");
}

#[test]
fn what_is_missing_is_named() {
    let none = with([]);
    let not_found = "0/2 nodes are available: resourceclaim.resource.k8s.io \"x\" not found. not found";
    assert_eq!(said(&none, &using("p", "x")), not_found);
    let wanted = exactly(json!({"deviceClassName": "none"}));
    let no_class = "0/2 nodes are available: request r: device class none does not exist. not found";
    assert_eq!(said(&with([claim("x", json!([wanted]), json!({}))]), &using("p", "x")), no_class);
    let made = json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]}});
    let not_made = "0/2 nodes are available: pod \"ns/p\": ResourceClaim not created yet. not found";
    assert_eq!(said(&none, &pod("p", made)), not_made);
    let unneeded = json!({"spec": {"resourceClaims": [{"name": "c", "resourceClaimTemplateName": "t"}]},
        "status": {"resourceClaimStatuses": [{"name": "c"}]}});
    assert!(said(&none, &pod("p", unneeded)).starts_with("on "));
    let wrong =
        exactly(json!({"selectors": [{"cel": {"expression": "device.attributes['gpu.example.com'].none == 1"}}]}));
    let failed = "2 claim ns/x: selector #0: CEL runtime error: no such key: none.";
    let cluster = with([claim("x", json!([wrong]), json!({}))]);
    assert!(said(&cluster, &using("p", "x")).contains(&failed[2..]), "{}", said(&cluster, &using("p", "x")));
}

#[test]
fn a_pool_that_is_being_replaced_gives_nothing_for_all() {
    let all = || claim("x", json!([exactly(json!({"allocationMode": "All", "count": null}))]), json!({}));
    assert_eq!(given(&with([all()]), &using("p", "x")).0, "a");
    let half = slice(json!({"spec": {"pool": {"resourceSliceCount": 2}}}));
    let said = said(&with([half, all()]), &using("p", "x"));
    assert!(
        said.contains("asks for all devices, but resource pool gpu.example.com/a is currently being updated"),
        "{said}"
    );
}

#[test]
fn drivers_are_told_what_class_and_claim_say() {
    let opaque = |value: &str| json!({"opaque": {"driver": "gpu.example.com", "parameters": {"v": value}}});
    let class = class(json!({"spec": {"config": [opaque("class")]}}));
    let mut of_claim = opaque("claim");
    of_claim["requests"] = json!(["r"]);
    let mut other = opaque("other");
    other["requests"] = json!(["none"]);
    let meta = json!({"name": "x", "namespace": "ns", "uid": "x"});
    let devices = json!({"requests": [exactly(json!({}))], "config": [of_claim, other]});
    let claim = Object::DeviceClaim(object(json!({"metadata": meta, "spec": {"devices": devices}})));
    let (_, allocation) = given(&with([class, claim]), &using("p", "x"));
    let told = |source: &str, value: &str| {
        let mut told = opaque(value);
        (told["source"], told["requests"]) = (json!(source), json!(["r"]));
        told
    };
    assert_eq!(allocation["devices"]["config"], json!([told("FromClass", "class"), told("FromClaim", "claim")]));
}

#[test]
fn parts_of_a_device_share_what_it_has() {
    let part = |name: &str, memory: &str| {
        let takes = json!([{"counterSet": "card", "counters": {"memory": {"value": memory}}}]);
        json!({"name": name, "consumesCounters": takes})
    };
    let slices = |devices: Value| {
        let shared = json!([{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]);
        let pool = json!({"name": "a", "generation": 2, "resourceSliceCount": 2});
        let of_counters = json!({"metadata": {"name": "t"}, "spec": {"driver": "gpu.example.com", "nodeName": "a", "pool": pool, "sharedCounters": shared}});
        [slice(json!({"spec": {"pool": pool, "devices": devices}})), Object::Slice(object(of_counters))]
    };
    let two = || claim("x", json!([exactly(json!({"count": 2}))]), json!({}));
    let fits = with(slices(json!([part("p0", "20Gi"), part("p1", "20Gi")])).into_iter().chain([two()]));
    assert_eq!(given(&fits, &using("p", "x")).0, "a");
    let too_large = with(slices(json!([part("p0", "20Gi"), part("p1", "30Gi")])).into_iter().chain([two()]));
    assert_eq!(said(&too_large, &using("p", "x")), "0/2 nodes are available: 2 cannot allocate all claims.");
}

/// Until the claim is seen with its devices, they are nobody else's.
#[test]
fn what_was_decided_counts_at_once() {
    let one = |name: &str| claim(name, json!([exactly(json!({}))]), json!({}));
    let mut cluster = with([one("x"), one("y"), one("z")]);
    for (pod, device) in [("x", "gpu-0"), ("y", "gpu-1")] {
        let Decision::Bind(placement) = decide(&cluster, &using(pod, pod)) else { panic!("there is one left") };
        assert_eq!(placement.devices[0].1["devices"]["results"][0]["device"], device);
        cluster.devices.assume(&placement.devices);
    }
    assert_eq!(said(&cluster, &using("z", "z")), "0/2 nodes are available: 2 cannot allocate all claims.");
    let given: Vec<(Arc<ResourceClaim>, Value)> =
        cluster.devices.claim("ns", "x").map(|claim| (Arc::clone(claim), json!(null))).into_iter().collect();
    cluster.devices.forget(&given);
    assert_eq!(said(&cluster, &using("z", "z")), "on a");
}
