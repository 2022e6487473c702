//! Routes to the pods of other nodes: each node's range of pods by way of that node's address, as on every network whose members
//! reach each other without a router between them.
//!
//! Our routes are known by the number of the protocol that put them there, as the kernel keeps it: what somebody else has put into
//! the table is neither changed nor removed.

use crate::asking::open;
use crate::plan::Range;
use crate::{NetError, links};
use nix::errno::Errno;
use skiff_sys::netlink::{Attributes, Reply};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

/// A way to the pods of another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRoute {
    to: Ipv4Addr,
    prefix: u8,
    via: Ipv4Addr,
}

impl fmt::Display for NodeRoute {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{} via {}", self.to, self.prefix, self.via)
    }
}

impl NodeRoute {
    /// To the pods of the IPv4 range `pods` by way of the node at `node`.
    ///
    /// # Errors
    /// It is no such range.
    pub fn new(pods: &str, node: Ipv4Addr) -> Result<Self, NetError> {
        let range = Range::parse("podCIDR", pods)?;
        Ok(Self { to: range.base(), prefix: range.prefix(), via: node })
    }

    /// Reads one of our routes from the kernel's list.
    fn of(reply: &Reply) -> Option<Self> {
        let [family, prefix, _, _, table, protocol] = *reply.payload.get(..6)? else { return None };
        if (family, table, protocol) != (links::AF_INET, links::MAIN_TABLE, links::NODE_ROUTE_PROTOCOL) {
            return None;
        }
        let attributes = Attributes::of(reply.payload.get(links::ROUTE_HEADER_BYTES..)?);
        let address = |kind| Some(Ipv4Addr::from(<[u8; 4]>::try_from(attributes.get(kind)?).ok()?));
        Some(Self { to: address(links::RTA_DST)?, prefix, via: address(links::RTA_GATEWAY)? })
    }
}

/// What is to be removed, and what to be put there (in the place of a route to the same range, if there is one).
fn changes(wanted: &BTreeSet<NodeRoute>, present: &BTreeSet<NodeRoute>) -> (Vec<NodeRoute>, Vec<NodeRoute>) {
    let is_replaced = |old: &NodeRoute| wanted.iter().any(|new| (new.to, new.prefix) == (old.to, old.prefix));
    let gone = present.iter().filter(|route| !is_replaced(route)).copied().collect();
    (gone, wanted.difference(present).copied().collect())
}

/// Makes the routes to other nodes in the network namespace of the calling thread those that are `wanted`.
///
/// # Errors
/// The kernel refuses, most often because a node is not on any network of this one; the other routes were still made.
pub fn set_node_routes(wanted: &BTreeSet<NodeRoute>) -> Result<(), NetError> {
    let mut socket = open("routes to nodes")?;
    let listed = socket.dump(&links::list_routes()).map_err(NetError::kernel("list routes to", "nodes"))?;
    let present = listed.iter().filter_map(NodeRoute::of).collect();
    let (gone, new) = changes(wanted, &present);
    let mut first = Ok(());
    for route in gone {
        let removed = match socket.request(links::remove_node_route(route.to, route.prefix)) {
            Err(refusal) if refusal.errno == Errno::ESRCH => Ok(()),
            other => other.map(drop),
        };
        first = first.and(removed.map_err(NetError::kernel("remove route", route.to_string())));
    }
    for route in new {
        let added = socket.request(links::add_node_route(route.to, route.prefix, route.via)).map(drop);
        first = first.and(added.map_err(NetError::kernel("add route", route.to_string())));
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route() -> impl Strategy<Value = NodeRoute> {
        (0u8..4, 1u8..4).prop_map(|(range, node)| {
            NodeRoute::new(&format!("10.244.{range}.0/24"), Ipv4Addr::new(192, 0, 2, node)).expect("a range")
        })
    }

    /// As the kernel keeps them: one for each range.
    fn routes() -> impl Strategy<Value = BTreeSet<NodeRoute>> {
        proptest::collection::vec(route(), 0..6).prop_map(|all| {
            let by_range: std::collections::BTreeMap<_, _> = all.into_iter().map(|one| (one.to, one)).collect();
            by_range.into_values().collect()
        })
    }

    proptest! {
        #[test]
        fn changes_lead_from_any_routes_to_any_others(before in routes(), after in routes()) {
            let (gone, new) = changes(&after, &before);
            let mut kernel = before;
            for route in gone {
                prop_assert!(kernel.remove(&route), "{route} was not there");
            }
            for route in new {
                kernel.retain(|old| old.to != route.to);
                kernel.insert(route);
            }
            prop_assert_eq!(kernel, after);
        }
    }

    #[test]
    fn what_is_no_range_leads_nowhere() {
        for text in ["", "10.244.0.0", "fd00::/64", "10.244.0.1/24"] {
            assert!(NodeRoute::new(text, Ipv4Addr::LOCALHOST).is_err(), "{text}");
        }
    }
}
