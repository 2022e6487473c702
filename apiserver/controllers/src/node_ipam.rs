//! Gives each node ranges of addresses for its pods (`spec.podCIDR`, `spec.podCIDRs`): the first free ones of the cluster's ranges.
//!
//! A node that has ranges keeps them, whoever gave them. Nodes are looked at one after the other, because two that were looked at at once
//! could get the same range.

mod plan; // which range is free

use crate::context::{Actor, Context, ControllerError, EventKind, On, is_status};
use crate::looking::{Again, Loop, Outcome};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use kube::api::{Api, Patch, PatchParams};
pub(crate) use plan::Pool;
use serde_json::json;
use skiff_client::{Cache, Caches, Key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The ranges that nodes get theirs of: of IPv4, of IPv6, or of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRanges(Vec<Pool>);

impl NodeRanges {
    /// Reads `ranges`, separated by commas, of which each node gets so many bits (`--cluster-cidr`, `--node-cidr-mask-size-ipv4` and
    /// `--node-cidr-mask-size-ipv6` of kube-controller-manager).
    ///
    /// # Errors
    /// One is no range, holds no range for a node, or there are two of one family.
    pub fn parse(ranges: &str, bits_v4: u8, bits_v6: u8) -> Result<Self, String> {
        let pools: Vec<Pool> = ranges
            .split(',')
            .map(|range| Pool::parse(range.trim(), if range.contains(':') { bits_v6 } else { bits_v4 }))
            .collect::<Result<_, _>>()?;
        match pools.as_slice() {
            [_] => Ok(Self(pools)),
            [one, two] if one.is_v6() != two.is_v6() => Ok(Self(pools)),
            _ => Err(format!("{ranges:?}: want one range, or one of IPv4 and one of IPv6")),
        }
    }
}

/// Gives nodes their ranges until `shutdown`; `caches` show what the API server behind `client` has.
pub async fn allocate_node_ranges(actor: Actor, caches: Caches, ranges: NodeRanges, shutdown: CancellationToken) {
    let mut looking = Loop::new(Context::new(actor, caches, "cidrAllocator").acting_as("node-controller"));
    let nodes = looking.context.caches.all::<Node>();
    // Whichever changes, all are looked at, those that wait longest first.
    looking.when(&nodes, |_| vec![Key::new("", "nodes")]);
    let context = looking.context.clone();
    let giver = Giver { context, nodes, ranges: ranges.0, given: BTreeMap::new(), told: BTreeSet::new() };
    let giver = Arc::new(Mutex::new(giver));
    looking.run(shutdown, move |_| look(giver.clone()).boxed()).await;
}

async fn look(giver: Arc<Mutex<Giver>>) -> Outcome {
    giver.lock().await.look().await.map(|()| Again::OnChange)
}

struct Giver {
    context: Context,
    nodes: Cache<Node>,
    ranges: Vec<Pool>,
    /// What was given and may not show yet, by the node's uid.
    given: BTreeMap<String, Vec<String>>,
    /// Nodes of which it was said that nothing is left for them.
    told: BTreeSet<String>,
}

impl Giver {
    async fn look(&mut self) -> Result<(), ControllerError> {
        let mut all = self.nodes.all();
        all.sort_by_key(|node| (node.metadata.creation_timestamp.clone(), node.metadata.name.clone()));
        let is_there = |uid: &String| all.iter().any(|node| node.uid().as_ref() == Some(uid));
        self.given.retain(|uid, _| is_there(uid));
        self.told.retain(is_there);
        for node in &all {
            let uid = node.uid().unwrap_or_default();
            if !ranges_of(node).is_empty() || self.given.contains_key(&uid) {
                continue;
            }
            let theirs = all.iter().flat_map(|node| ranges_of(node));
            let taken: Vec<String> = theirs.chain(self.given.values().flatten().cloned()).collect();
            let free: Option<Vec<String>> = self.ranges.iter().map(|pool| pool.free(&taken)).collect();
            match free {
                Some(free) => {
                    if self.write(node, &free).await? {
                        self.given.insert(uid, free);
                    }
                }
                None if !self.told.insert(uid) => {}
                None => {
                    let message = format!("Node {} status is now: CIDRNotAvailable", node.name_any());
                    self.context.tell(node.as_ref(), EventKind::Normal, "CIDRNotAvailable", message);
                }
            }
        }
        Ok(())
    }

    /// Whether the node has them now; `false`: it changed or went meanwhile, and its own event brings us back.
    async fn write(&self, node: &Node, ranges: &[String]) -> Result<bool, ControllerError> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        let name = node.name_any();
        let patch = json!({
            "metadata": {"resourceVersion": node.resource_version(), "uid": node.uid()},
            "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
        });
        match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(true),
            Err(error) if is_status(&error, 409) || is_status(&error, 404) => Ok(false),
            Err(error) => Err(error).on(|| format!("give node {name} the ranges {}", ranges.join(", "))),
        }
    }
}

fn ranges_of(node: &Node) -> Vec<String> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let many = spec.pod_cidrs.clone().unwrap_or_default();
    if many.is_empty() { spec.pod_cidr.iter().filter(|one| !one.is_empty()).cloned().collect() } else { many }
}
