//! What one object takes, by kind, and under which names.

use crate::amounts::{Amounts, count};
use crate::{Kind, OwnedKind, pod};
use serde_json::Value;
use skiff_proto::quantity::Quantity;
use std::collections::BTreeSet;

/// Names of one storage class, behind its name.
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
/// Devices of one class, behind its name.
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
/// What a request for all devices of a node may get (resource.k8s.io, `AllocationResultsMaxSize`).
const DEVICES_MAX: i64 = 32;
const CLAIM_NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const SERVICE_NAMES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];
/// Kinds that are counted under their plural too, as in the first releases.
const OLD_NAMES: [&str; 4] = ["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

/// Kinds of the core group whose objects are looked into, and which are numbered on the way.
const LOOKED_INTO: [&str; 3] = ["persistentvolumeclaims", "pods", "services"];

/// The name under which objects of a kind are counted: `count/deployments.apps`.
fn number(kind: Kind<'_>) -> String {
    match kind {
        ("", plural) => format!("count/{plural}"),
        (group, plural) => format!("count/{plural}.{group}"),
    }
}

/// Whether objects of `kind` are counted under `name`, a name of `spec.hard`.
#[must_use]
pub fn counted_by(kind: Kind<'_>, name: &str) -> bool {
    let of_class = |name: &str| CLAIM_NAMES.iter().any(|own| name.ends_with(&format!("{OF_CLASS}{own}")));
    let special = match kind {
        ("", "pods") => pod::counts_under(name),
        ("", "services") => SERVICE_NAMES.contains(&name),
        ("", "persistentvolumeclaims") => CLAIM_NAMES.contains(&name) || of_class(name),
        ("resource.k8s.io", "resourceclaims") => name.ends_with(DEVICES),
        ("", plural) => OLD_NAMES.contains(&plural) && plural == name,
        _ => false,
    };
    special || name == number(kind)
}

/// The kinds that `quota` counts by their number only, whatever their objects say.
#[must_use]
pub fn counted_kinds(quota: &Value) -> BTreeSet<OwnedKind> {
    let kind = |name: &str| match name.strip_prefix("count/") {
        Some(named) => {
            let (plural, group) = named.split_once('.').unwrap_or((named, ""));
            let of_devices = (group, plural) == ("resource.k8s.io", "resourceclaims");
            let looked_into = of_devices || group.is_empty() && LOOKED_INTO.contains(&plural);
            (!looked_into).then(|| (group.to_owned(), plural.to_owned()))
        }
        None => OLD_NAMES.contains(&name).then(|| (String::new(), name.to_owned())),
    };
    Amounts::of(&quota["spec"]["hard"]).names().filter_map(kind).collect()
}

/// What `object` takes; `now` is in seconds since 1970.
#[must_use]
pub fn usage(kind: Kind<'_>, object: &Value, now: i64) -> Amounts {
    let mut amounts = match kind {
        ("", "pods") => pod::usage(object, now),
        ("", "services") => of_service(&object["spec"]),
        ("", "persistentvolumeclaims") => of_claim(object),
        ("resource.k8s.io", "resourceclaims") => of_devices(&object["spec"]["devices"]["requests"]),
        ("", plural) if OLD_NAMES.contains(&plural) => [(plural, count(1))].into_iter().collect(),
        _ => Amounts::default(),
    };
    amounts.set(&number(kind), count(1));
    amounts
}

fn of_service(spec: &Value) -> Amounts {
    let ports = spec["ports"].as_array().map_or(&[][..], Vec::as_slice);
    let asked = ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count();
    let (balancers, on_nodes) = match spec["type"].as_str() {
        Some("NodePort") => (0, ports.len()),
        Some("LoadBalancer") if spec["allocateLoadBalancerNodePorts"] == false => (1, asked),
        Some("LoadBalancer") => (1, ports.len()),
        _ => (0, 0),
    };
    let on_nodes = i64::try_from(on_nodes).unwrap_or(i64::MAX);
    [("services", count(1)), ("services.loadbalancers", count(balancers)), ("services.nodeports", count(on_nodes))]
        .into_iter()
        .collect()
}

/// Bytes are counted whole.
fn whole(amount: &Value) -> Option<Quantity> {
    let amount = Quantity::parse(amount.as_str()?).ok()?;
    Some(if amount.is_whole() { amount } else { count(amount.units()) })
}

fn of_claim(claim: &Value) -> Amounts {
    let old = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].as_str();
    let class = old.or(claim["spec"]["storageClassName"].as_str()).filter(|class| !class.is_empty());
    // While a claim grows it takes what it was promised, even if it asks for less again.
    let promised = whole(&claim["status"]["allocatedResources"]["storage"]);
    let storage = whole(&claim["spec"]["resources"]["requests"]["storage"]);
    let storage = storage.map(|asked| promised.filter(|more| more.nanos() > asked.nanos()).unwrap_or(asked));
    let mut amounts = Amounts::default();
    for (name, amount) in CLAIM_NAMES.into_iter().zip([Some(count(1)), storage]) {
        let Some(amount) = amount else { continue };
        amounts.set(name, amount);
        if let Some(class) = class {
            amounts.set(&format!("{class}{OF_CLASS}{name}"), amount);
        }
    }
    amounts
}

/// Of alternatives the one that takes most counts, class by class.
fn of_devices(requests: &Value) -> Amounts {
    let one = |request: &Value| -> Option<Amounts> {
        let class = request["deviceClassName"].as_str()?;
        let devices = match request["allocationMode"].as_str() {
            Some("All") => DEVICES_MAX,
            _ => request["count"].as_i64().unwrap_or(1),
        };
        Some([(format!("{class}{DEVICES}").as_str(), count(devices))].into_iter().collect())
    };
    let mut amounts = Amounts::default();
    for request in requests.as_array().into_iter().flatten() {
        let mut most = Amounts::default();
        let alternatives = request["firstAvailable"].as_array().into_iter().flatten();
        for asked in alternatives.chain([&request["exactly"]]).filter_map(one) {
            most.raise(&asked);
        }
        amounts.add(&most);
    }
    amounts
}
