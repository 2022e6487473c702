//! Routes to the pods of other nodes, as long as nodes come and go.

use super::components::Components;
use crate::exit::sentence;
use anyhow::Context;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use skiff_client::Caches;
use skiff_net::{NodeRoute, set_node_routes};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often we look whether the routes are still there.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long after a refusal it is tried again.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Keeps a route to the pods of every node but `own`.
pub(super) fn start_routes(components: &mut Components, own: &str, caches: &Caches) {
    let (own, nodes) = (own.to_owned(), caches.all::<Node>());
    components.spawn("routes", |token| async move {
        let changed = Arc::new(Notify::new());
        let _subscription = nodes.wakes(&changed);
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            () = nodes.synced() => {}
        }
        loop {
            let wanted: BTreeSet<_> =
                nodes.all().iter().filter(|node| node.name_any() != own).filter_map(|node| route(node)).collect();
            let set = tokio::task::spawn_blocking(move || set_node_routes(&wanted)).await;
            let pause = match set.context("the task was cut off").and_then(|set| Ok(set?)) {
                Ok(()) => CHECK_INTERVAL,
                Err(error) => {
                    tracing::warn!(
                        error = sentence(&error),
                        "pods of another node cannot be reached; is it on a network of this one?"
                    );
                    RETRY_DELAY
                }
            };
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    });
}

/// Where a node's pods are, and by way of which address.
fn route(node: &Node) -> Option<NodeRoute> {
    let range = pod_range(node)?;
    let addresses = node.status.as_ref()?.addresses.iter().flatten();
    let mut internal = addresses.filter(|address| address.type_ == "InternalIP");
    let via: Ipv4Addr = internal.find_map(|address| address.address.parse().ok())?;
    NodeRoute::new(&range, via)
        .inspect_err(|error| tracing::debug!(error = skiff_client::sentence(error), "no route"))
        .ok()
}

/// The IPv4 range of a node's pods.
pub(crate) fn pod_range(node: &Node) -> Option<String> {
    let spec = node.spec.as_ref()?;
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    all.into_iter().find(|range| !range.contains(':') && !range.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_without_a_range_or_an_address_has_no_route() {
        let of = |spec: serde_json::Value, addresses: serde_json::Value| {
            let node = json!({"spec": spec, "status": {"addresses": addresses}});
            route(&serde_json::from_value(node).unwrap()).map(|route| route.to_string())
        };
        let internal = json!([{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "fd00::2"},
            {"type": "InternalIP", "address": "192.0.2.2"}]);
        let both = json!({"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24", "fd00:1::/64"]});
        assert_eq!(of(both.clone(), internal.clone()).as_deref(), Some("10.244.1.0/24 via 192.0.2.2"));
        assert_eq!(of(json!({}), internal), None);
        assert_eq!(of(both, json!([])), None);
    }
}
