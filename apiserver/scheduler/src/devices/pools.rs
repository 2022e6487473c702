//! Which devices a node can have: slices of drivers, of which the newest generation of each pool counts. No I/O.

use super::{Id, list, text};
use k8s_openapi::api::core::v1::{Node, NodeSelectorTerm};
use serde_json::Value;
use skiff_client::affinity::any_term_holds;
use skiff_client::loose::ResourceSlice;
use skiff_proto::quantity::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// Devices that a node can have, and what is wrong with where they come from.
#[derive(Debug, Default)]
pub(super) struct Pools<'a> {
    pub(super) devices: Vec<Device<'a>>,
    /// Pools of which some slices are missing, `driver/pool`.
    pub(super) incomplete: Vec<String>,
    /// Slices that say what their pools' devices share.
    shared: Vec<&'a Value>,
    /// All devices of these pools, whoever can have them: what they have taken of counters is gone for all.
    all: Vec<Device<'a>>,
}

/// A device, and the slice that it stands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device<'a> {
    pub(super) value: &'a Value,
    pub(super) slice: &'a Value,
}

/// Counters by driver, pool, set and name.
pub(super) type Counters<'a> = BTreeMap<[&'a str; 4], usize>;

impl<'a> Device<'a> {
    pub(super) fn driver(&self) -> &'a str {
        text(self.slice, "driver")
    }

    pub(super) fn pool(&self) -> &'a str {
        text(&self.slice["pool"], "name")
    }

    pub(super) fn id(&self) -> Id {
        (self.driver().to_owned(), self.pool().to_owned(), text(self.value, "name").to_owned())
    }

    /// Who says which nodes have it.
    pub(super) fn reach(&self) -> &'a Value {
        if self.slice["perDeviceNodeSelection"] == true { self.value } else { self.slice }
    }

    /// Its attributes by their full names.
    pub(super) fn attributes(&self) -> BTreeMap<String, Value> {
        let full = |name: &String| match name.contains('/') {
            true => name.clone(),
            false => format!("{}/{name}", self.driver()),
        };
        let attributes = self.value["attributes"].as_object();
        attributes.into_iter().flatten().map(|(name, value)| (full(name), value.clone())).collect()
    }

    /// What it takes of counters. One that takes of what is not there takes more than there is.
    pub(super) fn consumes(&self, counters: &Counters<'a>) -> Vec<(usize, i128)> {
        let mut all = Vec::new();
        for set in list(self.value, "consumesCounters") {
            for (name, counter) in set["counters"].as_object().into_iter().flatten() {
                let key = [self.driver(), self.pool(), text(set, "counterSet"), name.as_str()];
                all.push(counters.get(&key).map_or((0, i128::MAX), |at| (*at, amount(counter))));
            }
        }
        all
    }
}

fn amount(counter: &Value) -> i128 {
    Quantity::parse(text(counter, "value")).map_or(0, Quantity::nanos)
}

/// Whether what a slice or a device says of nodes means this one.
fn reaches(reach: &Value, node: &Node) -> bool {
    let named = reach["nodeName"].as_str().filter(|name| !name.is_empty());
    if reach["allNodes"] == true || named.is_some() && named == node.metadata.name.as_deref() {
        return true;
    }
    let terms = reach["nodeSelector"].get("nodeSelectorTerms").cloned();
    let terms: Option<Vec<NodeSelectorTerm>> = terms.and_then(|terms| serde_json::from_value(terms).ok());
    terms.is_some_and(|terms| any_term_holds(&terms, node))
}

impl<'a> Pools<'a> {
    /// Those of `slices` that `node` can have something of.
    pub(super) fn of(slices: impl Iterator<Item = &'a ResourceSlice>, node: &Node) -> Self {
        let mut by_pool: BTreeMap<(&str, &str), Vec<&Value>> = BTreeMap::new();
        for slice in slices {
            let spec = &slice.fields["spec"];
            by_pool.entry((text(spec, "driver"), text(&spec["pool"], "name"))).or_default().push(spec);
        }
        let mut pools = Self::default();
        for ((driver, pool), slices) in by_pool {
            let generation = |slice: &Value| slice["pool"]["generation"].as_i64().unwrap_or(0);
            let newest = slices.iter().map(|slice| generation(slice)).max().unwrap_or(0);
            let current: Vec<&Value> = slices.into_iter().filter(|slice| generation(slice) == newest).collect();
            let devices = current.iter().flat_map(|slice| {
                let slice: &'a Value = slice;
                list(slice, "devices").iter().map(move |value| Device { value, slice })
            });
            let devices: Vec<_> = devices.collect();
            let here: Vec<_> = devices.iter().filter(|device| reaches(device.reach(), node)).copied().collect();
            if here.is_empty() {
                continue;
            }
            let names: BTreeSet<_> = devices.iter().map(|device| text(device.value, "name")).collect();
            let count = current.first().and_then(|slice| slice["pool"]["resourceSliceCount"].as_u64());
            // A name twice is no name.
            if count != u64::try_from(current.len()).ok() || names.len() != devices.len() {
                pools.incomplete.push(format!("{driver}/{pool}"));
                continue;
            }
            pools.devices.extend(here);
            pools.all.extend(devices);
            pools.shared.extend(current.iter().filter(|slice| !list(slice, "sharedCounters").is_empty()));
        }
        pools
    }

    /// What is left of each counter, and where it stands.
    pub(super) fn counters(&self, taken: &BTreeSet<Id>) -> (Vec<i128>, Counters<'a>) {
        let (mut free, mut counters) = (Vec::new(), Counters::new());
        for slice in &self.shared {
            let (driver, pool) = (text(slice, "driver"), text(&slice["pool"], "name"));
            for set in list(slice, "sharedCounters") {
                for (name, counter) in set["counters"].as_object().into_iter().flatten() {
                    counters.insert([driver, pool, text(set, "name"), name.as_str()], free.len());
                    free.push(amount(counter));
                }
            }
        }
        // For those who take of counters that are not there.
        if free.is_empty() {
            free.push(0);
        }
        for device in self.all.iter().filter(|device| taken.contains(&device.id())) {
            for (at, amount) in device.consumes(&counters).into_iter().filter(|(_, amount)| *amount != i128::MAX) {
                free[at] -= amount;
            }
        }
        (free, counters)
    }
}
