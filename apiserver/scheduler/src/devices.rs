//! Claims of devices: what drivers offer, what is given to whom, and what a pod's claims would get on a node. No I/O.
//!
//! ```text
//!  slices ─[pools]─► devices of a node ─[select]─► candidates of each request ─[search]─► picks ─[answer]─► allocation
//! ```
//!
//! As kube-scheduler's plugin DynamicResources with structured parameters; features that are alpha in Kubernetes 1.36 (taints of
//! devices by rules, consumable capacity, binding conditions) are not there.

mod answer; // what is written into a claim
mod pools; // which devices a node can have
mod search; // which of them
mod select; // which a request means

use crate::cluster::{Name, name_of};
use crate::node::NodeInfo;
use answer::allocation;
use pools::Pools;
use search::{Amount, Facts, Same, Want, Wanted};
use select::Selector;
use serde_json::Value;
use skiff_client::loose::{DeviceClass, ResourceClaim, ResourceSlice};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Pods that may have one claim (resource.k8s.io, `ResourceClaimReservedForMaxSize`).
pub(crate) const RESERVED_MAX: usize = 256;

/// A device by its driver, pool and name.
pub(crate) type Id = (String, String, String);

/// What is known of devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct Devices {
    slices: BTreeMap<String, Arc<ResourceSlice>>,
    classes: BTreeMap<String, Arc<DeviceClass>>,
    claims: BTreeMap<Name, Arc<ResourceClaim>>,
    /// As they will be once what was decided is written.
    assumed: BTreeMap<Name, Arc<ResourceClaim>>,
    /// Expressions that have been compiled; clones are the same.
    selectors: Arc<Mutex<HashMap<String, Compiled>>>,
}

type Compiled = Arc<Result<Selector, String>>;

/// A claim, and what it is given.
pub(crate) type Given = (Arc<ResourceClaim>, Value);

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

impl Devices {
    pub(crate) fn put_slice(&mut self, slice: &Arc<ResourceSlice>) {
        self.slices.insert(slice.name().to_owned(), Arc::clone(slice));
    }

    pub(crate) fn remove_slice(&mut self, slice: &ResourceSlice) {
        self.slices.remove(slice.name());
    }

    pub(crate) fn put_class(&mut self, class: &Arc<DeviceClass>) {
        self.classes.insert(class.name().to_owned(), Arc::clone(class));
    }

    pub(crate) fn remove_class(&mut self, class: &DeviceClass) {
        self.classes.remove(class.name());
    }

    /// What was assumed of a claim ends with its next state that has an allocation, or with the claim.
    pub(crate) fn put_claim(&mut self, claim: &Arc<ResourceClaim>) {
        let name = name_of(&**claim);
        if !claim.fields["status"]["allocation"].is_null() {
            self.assumed.remove(&name);
        }
        self.claims.insert(name, Arc::clone(claim));
    }

    pub(crate) fn remove_claim(&mut self, claim: &ResourceClaim) {
        let name = name_of(claim);
        self.assumed.remove(&name);
        self.claims.remove(&name);
    }

    /// A claim by its name, as it will be.
    pub(crate) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<ResourceClaim>> {
        let name = (namespace.to_owned(), name.to_owned());
        self.assumed.get(&name).or_else(|| self.claims.get(&name))
    }

    /// What a pod's claims are given counts before it is written.
    pub(crate) fn assume(&mut self, given: &[Given]) {
        for (claim, allocation) in given {
            let mut claim = ResourceClaim::clone(claim);
            claim.fields["status"]["allocation"] = allocation.clone();
            self.assumed.insert(name_of(&claim), Arc::new(claim));
        }
    }

    /// What was decided of these is not written.
    pub(crate) fn forget(&mut self, given: &[Given]) {
        for (claim, _) in given {
            self.assumed.remove(&name_of(&**claim));
        }
    }

    /// The devices that somebody has, but for those who only look.
    fn taken(&self) -> BTreeSet<Id> {
        let claims = self.claims.iter().map(|(name, claim)| self.assumed.get(name).unwrap_or(claim));
        let results = claims.flat_map(|claim| list(&claim.fields["status"]["allocation"]["devices"], "results"));
        let own = results.filter(|result| result["adminAccess"] != true);
        own.map(|result| ["driver", "pool", "device"].map(|field| text(result, field).to_owned()).into()).collect()
    }

    /// The first class that a claim names and that is not there, with the request.
    pub(crate) fn missing_class(&self, claim: &ResourceClaim) -> Option<(String, String)> {
        let requests = list(&claim.fields["spec"]["devices"], "requests");
        requests.iter().flat_map(alternatives).find_map(|(name, asked)| {
            let class = text(asked, "deviceClassName");
            (!self.classes.contains_key(class)).then(|| (name, class.to_owned()))
        })
    }

    /// What `claims` get on a node, all at once; `None`: they cannot.
    ///
    /// # Errors
    /// An expression fails, or it is not known what there is.
    pub(crate) fn allocate(
        &self,
        claims: &[Arc<ResourceClaim>],
        node: &NodeInfo,
    ) -> Result<Option<Vec<Given>>, String> {
        let pools = Pools::of(self.slices.values().map(|slice| &**slice), &node.node);
        let taken = self.taken();
        let (free, counters) = pools.counters(&taken);
        let facts: Vec<Facts> = pools
            .devices
            .iter()
            .map(|device| Facts {
                taken: taken.contains(&device.id()),
                attributes: device.attributes(),
                consumes: device.consumes(&counters),
            })
            .collect();
        let wanted = claims.iter().map(|claim| self.wanted(claim, &pools)).collect::<Result<Vec<_>, _>>()?;
        let found = search::search(&wanted, &facts, &free);
        let found = found.map_err(|_| format!("node {}: timed out trying to allocate devices", node.name))?;
        let Some(picks) = found else { return Ok(None) };
        let given = claims.iter().zip(&wanted).zip(&picks).map(|((claim, wanted), picks)| {
            let allocation = allocation(&claim.fields["spec"]["devices"], wanted, picks, &pools, &self.classes);
            (Arc::clone(claim), allocation)
        });
        Ok(Some(given.collect()))
    }

    fn wanted(&self, claim: &ResourceClaim, pools: &Pools<'_>) -> Result<Wanted, String> {
        let devices = &claim.fields["spec"]["devices"];
        let (namespace, name) = name_of(claim);
        let about = format!("claim {namespace}/{name}");
        let mut wanted = Wanted::default();
        for request in list(devices, "requests") {
            let one = |(name, asked): (String, &Value)| self.want(&about, name, asked, pools);
            wanted.requests.push(alternatives(request).into_iter().map(one).collect::<Result<_, _>>()?);
        }
        for (index, constraint) in list(devices, "constraints").iter().enumerate() {
            let attribute = constraint["matchAttribute"].as_str();
            let unknown = || format!("{about}, constraint #{index}: empty constraint (unsupported constraint type?)");
            let requests = list(constraint, "requests").iter().filter_map(Value::as_str).map(str::to_owned).collect();
            wanted.constraints.push(Same { attribute: attribute.ok_or_else(unknown)?.to_owned(), requests });
        }
        Ok(wanted)
    }

    fn want(&self, about: &str, name: String, asked: &Value, pools: &Pools<'_>) -> Result<Want, String> {
        let class = text(asked, "deviceClassName");
        let of_class = self.classes.get(class);
        let of_class = of_class.ok_or_else(|| {
            format!("{about}, request {name}: could not retrieve device class {class}: it does not exist")
        })?;
        let amount = match text(asked, "allocationMode") {
            "All" => {
                if let Some(pool) = pools.incomplete.first() {
                    let why = "asks for all devices, but resource pool";
                    return Err(format!("{about}, request {name}: {why} {pool} is currently being updated"));
                }
                Amount::All
            }
            "ExactCount" | "" => {
                let count = asked["count"].as_u64().unwrap_or(1);
                Amount::Exactly(usize::try_from(count).unwrap_or(usize::MAX))
            }
            other => return Err(format!("{about}, request {name}: unsupported count mode {other}")),
        };
        let mut candidates = Vec::new();
        for (at, device) in pools.devices.iter().enumerate() {
            let (driver, value) = (device.driver(), device.value);
            let chosen = select::tolerates(&asked["tolerations"], &value["taints"])
                && self.all_mean(&format!("class {class}"), &of_class.fields["spec"], driver, value)?
                && self.all_mean(about, asked, driver, value)?;
            if chosen {
                candidates.push(at);
            }
        }
        Ok(Want { name, amount, admin: asked["adminAccess"] == true, candidates })
    }

    /// Whether all selectors of `holder` mean a device.
    fn all_mean(&self, about: &str, holder: &Value, driver: &str, device: &Value) -> Result<bool, String> {
        for (index, selector) in list(holder, "selectors").iter().enumerate() {
            let compiled = self.compiled(text(&selector["cel"], "expression"));
            let wrong = |why: &String| format!("{about}: selector #{index}: {why}");
            let means = match &*compiled {
                Ok(selector) => selector.means(driver, device).map_err(|why| wrong(&why))?,
                Err(why) => return Err(wrong(why)),
            };
            if !means {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn compiled(&self, expression: &str) -> Compiled {
        let mut known = self.selectors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(expression) {
            return Arc::clone(found);
        }
        // Classes name few; users may think of more.
        if known.len() >= SELECTORS_MAX {
            known.clear();
        }
        let compiled = Arc::new(Selector::compile(expression));
        known.insert(expression.to_owned(), Arc::clone(&compiled));
        compiled
    }
}

/// Expressions that are kept compiled.
const SELECTORS_MAX: usize = 1000;

/// A request's alternatives with their full names; itself if it has none.
fn alternatives(request: &Value) -> Vec<(String, &Value)> {
    let name = text(request, "name");
    match list(request, "firstAvailable") {
        [] => vec![(name.to_owned(), &request["exactly"])],
        all => all.iter().map(|one| (format!("{name}/{}", text(one, "name")), one)).collect(),
    }
}

/// Whether a claim is kept for a pod.
pub(crate) fn is_reserved_for(claim: &ResourceClaim, uid: &str) -> bool {
    list(&claim.fields["status"], "reservedFor").iter().any(|user| text(user, "uid") == uid)
}

/// How many have a claim.
pub(crate) fn reservations(claim: &ResourceClaim) -> usize {
    list(&claim.fields["status"], "reservedFor").len()
}
