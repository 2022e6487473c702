//! What is written into a claim that gets devices (resource.k8s.io, `AllocationResult`). No I/O.

use super::pools::Pools;
use super::search::{Pick, Wanted};
use super::{alternatives, list, text};
use serde_json::{Value, json};
use skiff_client::loose::DeviceClass;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The allocation of a claim with the spec `devices`.
pub(super) fn allocation(
    devices: &Value,
    wanted: &Wanted,
    picks: &[Pick],
    pools: &Pools<'_>,
    classes: &BTreeMap<String, Arc<DeviceClass>>,
) -> Value {
    let requests = list(devices, "requests");
    let mut chosen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut results = Vec::new();
    for pick in picks {
        chosen.insert(pick.request, pick.alternative);
        let want = &wanted.requests[pick.request][pick.alternative];
        let (driver, pool, device) = pools.devices[pick.device].id();
        let mut result = json!({"request": want.name, "driver": driver, "pool": pool, "device": device});
        if want.admin {
            result["adminAccess"] = json!(true);
        }
        let asked = alternatives(&requests[pick.request]);
        let tolerations = asked.get(pick.alternative).map_or(&Value::Null, |(_, asked)| &asked["tolerations"]);
        if !tolerations.is_null() {
            result["tolerations"] = tolerations.clone();
        }
        results.push(result);
    }
    let mut allocation = json!({"devices": {"results": results}});
    let config = configuration(devices, &chosen, classes);
    if !config.is_empty() {
        allocation["devices"]["config"] = Value::Array(config);
    }
    if let Some(selector) = node_selector(picks, pools) {
        allocation["nodeSelector"] = selector;
    }
    allocation
}

/// What drivers are told: of each class once, then of the claim.
fn configuration(
    devices: &Value,
    chosen: &BTreeMap<usize, usize>,
    classes: &BTreeMap<String, Arc<DeviceClass>>,
) -> Vec<Value> {
    let requests = list(devices, "requests");
    let mut by_class: Vec<(&str, Vec<String>)> = Vec::new();
    let mut names = Vec::new();
    for (request, alternative) in chosen {
        let of_request = alternatives(&requests[*request]);
        let Some((name, asked)) = of_request.get(*alternative) else { continue };
        names.extend([text(&requests[*request], "name").to_owned(), name.clone()]);
        let class = text(asked, "deviceClassName");
        match by_class.iter_mut().find(|(known, _)| *known == class) {
            Some((_, requests)) => requests.push(name.clone()),
            None => by_class.push((class, vec![name.clone()])),
        }
    }
    let mut all = Vec::new();
    for (class, requests) in by_class {
        let config = classes.get(class).map_or(&[][..], |class| list(&class.fields["spec"], "config"));
        all.extend(config.iter().map(|one| entry("FromClass", one, json!(requests))));
    }
    for one in list(devices, "config") {
        let meant = list(one, "requests");
        let is_meant = |name: &Value| name.as_str().is_some_and(|name| names.iter().any(|known| known == name));
        if meant.is_empty() || meant.iter().any(is_meant) {
            all.push(entry("FromClaim", one, json!(meant)));
        }
    }
    all
}

fn entry(source: &str, config: &Value, requests: Value) -> Value {
    let mut entry = json!({"source": source, "opaque": config["opaque"]});
    if requests.as_array().is_some_and(|requests| !requests.is_empty()) {
        entry["requests"] = requests;
    }
    entry
}

/// The nodes where the devices can be used; `None`: everywhere.
fn node_selector(picks: &[Pick], pools: &Pools<'_>) -> Option<Value> {
    let reaches = || picks.iter().map(|pick| pools.devices[pick.device].reach());
    let named = reaches().find_map(|reach| reach["nodeName"].as_str().filter(|name| !name.is_empty()));
    if let Some(name) = named {
        let field = json!({"key": "metadata.name", "operator": "In", "values": [name]});
        return Some(json!({"nodeSelectorTerms": [{"matchFields": [field]}]}));
    }
    let mut term = json!({});
    for one in reaches().flat_map(|reach| list(&reach["nodeSelector"], "nodeSelectorTerms")) {
        for kind in ["matchFields", "matchExpressions"] {
            for requirement in list(one, kind) {
                if !list(&term, kind).contains(requirement) {
                    let known = term[kind].as_array().cloned().unwrap_or_default();
                    term[kind] = known.into_iter().chain([requirement.clone()]).collect();
                }
            }
        }
    }
    term.as_object().is_some_and(|term| !term.is_empty()).then(|| json!({"nodeSelectorTerms": [term]}))
}
