//! What devices there are and who holds them. Pure: the caller passes the time and asks plugins.

use crate::After;
use skiff_csi::deviceplugin::v1beta1 as words;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long devices of a plugin that is gone still count as there (the kubelet's `endpointStopGracePeriod`): it may be back.
const STOPPED_MAX: Duration = Duration::from_secs(300);

/// What a plugin calls a device that can be handed out.
const HEALTHY: &str = "Healthy";

/// How many devices of one resource a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// The resource's name, such as `example.com/gpu`.
    pub resource: String,
    /// All.
    pub capacity: usize,
    /// The healthy ones.
    pub allocatable: usize,
}

/// How a device of a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The resource's name.
    pub resource: String,
    /// The device.
    pub device: String,
    /// Whether its plugin says so; one that no plugin names any more counts as healthy, as in Kubernetes.
    pub healthy: bool,
}

/// What a container gets for its devices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Options {
    /// Environment variables.
    pub envs: BTreeMap<String, String>,
    /// Mounts, by their place in the container.
    pub mounts: BTreeMap<String, words::Mount>,
    /// Device nodes, by their place in the container.
    pub devices: BTreeMap<String, words::DeviceSpec>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Names of CDI devices.
    pub cdi: BTreeSet<String>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) healthy: bool,
    /// NUMA nodes that it is near to.
    pub(crate) nodes: Vec<i64>,
}

impl Device {
    /// Reads what a plugin says.
    pub(crate) fn of(device: words::Device) -> (String, Self) {
        let nodes = device.topology.map(|topology| topology.nodes).unwrap_or_default();
        let nodes = nodes.into_iter().map(|node| node.id).collect();
        (device.id, Self { healthy: device.health == HEALTHY, nodes })
    }
}

/// The devices of one resource.
#[derive(Debug, Clone, Default)]
struct Stock {
    devices: BTreeMap<String, Device>,
    /// Since when their plugin is gone.
    stopped_at: Option<Instant>,
}

impl Stock {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.stopped_at.is_some_and(|at| now.duration_since(at) > STOPPED_MAX)
    }

    fn healthy(&self) -> BTreeSet<String> {
        let healthy = self.devices.iter().filter(|(_, device)| device.healthy);
        healthy.map(|(id, _)| id.clone()).collect()
    }
}

/// Devices of one resource that a container holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Held {
    /// With the NUMA nodes that they are near to.
    pub(crate) devices: BTreeMap<String, Vec<i64>>,
    /// What the plugin said when they were handed out.
    pub(crate) answer: words::ContainerAllocateResponse,
}

/// Who holds devices: a pod's uid and a container's name.
pub(crate) type Holder = (String, String);

/// Everything that is held, by resource.
pub(crate) type Holdings = BTreeMap<Holder, BTreeMap<String, Held>>;

/// Which devices a container is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It has them.
    Nothing,
    /// These and no others.
    All(BTreeSet<String>),
    /// `taken` for certain, and as many more as are `missing`, of which its plugin may like some better.
    Among { taken: BTreeSet<String>, available: BTreeSet<String>, missing: usize },
}

/// The devices that a choice without a plugin's preference, or with it, comes to.
pub(crate) fn complete(
    mut taken: BTreeSet<String>,
    available: &BTreeSet<String>,
    missing: usize,
    preferred: &[String],
) -> BTreeSet<String> {
    let wanted = taken.len() + missing;
    let liked = preferred.iter().filter(|id| available.contains(*id));
    for id in liked.chain(available) {
        if taken.len() == wanted {
            break;
        }
        taken.insert(id.clone());
    }
    taken
}

/// Devices of a pod's init containers, which the containers after them may have.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reusable(BTreeMap<String, BTreeSet<String>>);

impl Reusable {
    pub(crate) fn of(&self, resource: &str) -> BTreeSet<String> {
        self.0.get(resource).cloned().unwrap_or_default()
    }

    /// A container has these now.
    pub(crate) fn note(&mut self, after: After, held: &BTreeMap<String, Held>) {
        for (resource, held) in held {
            let reusable = self.0.entry(resource.clone()).or_default();
            match after {
                After::GivenOn => reusable.extend(held.devices.keys().cloned()),
                After::Kept => reusable.retain(|id| !held.devices.contains_key(id)),
            }
        }
    }
}

/// What there is and who holds it.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    stocks: BTreeMap<String, Stock>,
    held: Holdings,
}

impl Ledger {
    /// As a kubelet before us left it at `now`: its plugins have to come again before anything can be handed out.
    pub(crate) fn restored(resources: BTreeSet<String>, held: Holdings, now: Instant) -> Self {
        let stock = Stock { devices: BTreeMap::new(), stopped_at: Some(now) };
        Self { stocks: resources.into_iter().map(|resource| (resource, stock.clone())).collect(), held }
    }

    /// A plugin for `resource` is there; says whether it is the first.
    pub(crate) fn connect(&mut self, resource: &str) -> bool {
        let is_first = !self.stocks.contains_key(resource);
        self.stocks.entry(resource.to_owned()).or_default().stopped_at = None;
        is_first
    }

    /// These are the devices of `resource` now.
    pub(crate) fn learn(&mut self, resource: &str, devices: BTreeMap<String, Device>) {
        self.stocks.entry(resource.to_owned()).or_default().devices = devices;
    }

    /// The plugin for `resource` is gone: none of its devices can be handed out.
    pub(crate) fn stop(&mut self, resource: &str, now: Instant) {
        let Some(stock) = self.stocks.get_mut(resource) else { return };
        stock.stopped_at = Some(now);
        stock.devices.values_mut().for_each(|device| device.healthy = false);
    }

    /// The names of all resources that a plugin has ever offered.
    pub(crate) fn resources(&self) -> BTreeSet<String> {
        self.stocks.keys().cloned().collect()
    }

    /// Whether `resource` is counted here, and not by the scheduler alone.
    pub(crate) fn knows(&self, resource: &str) -> bool {
        self.stocks.contains_key(resource) || self.held.values().any(|held| held.contains_key(resource))
    }

    /// How many there are. A resource whose plugin has been gone for long has none, which says that there were some.
    pub(crate) fn figures(&self, now: Instant) -> Vec<Figure> {
        let figure = |(resource, stock): (&String, &Stock)| {
            let there = if stock.is_forgotten(now) { 0 } else { stock.devices.len() };
            Figure { resource: resource.clone(), capacity: there, allocatable: there.min(stock.healthy().len()) }
        };
        self.stocks.iter().map(figure).collect()
    }

    /// The healthy devices.
    pub(crate) fn healthy(&self) -> BTreeMap<String, BTreeMap<String, Vec<i64>>> {
        let of = |stock: &Stock| {
            let healthy = stock.devices.iter().filter(|(_, device)| device.healthy);
            healthy.map(|(id, device)| (id.clone(), device.nodes.clone())).collect()
        };
        self.stocks.iter().map(|(resource, stock)| (resource.clone(), of(stock))).collect()
    }

    /// What `holder` holds.
    pub(crate) fn of(&self, holder: &Holder) -> BTreeMap<String, Held> {
        self.held.get(holder).cloned().unwrap_or_default()
    }

    /// Everything that is held.
    pub(crate) fn holdings(&self) -> &Holdings {
        &self.held
    }

    /// Which devices `holder` is to have, if it needs `required` of `resource` and may have the `reusable` ones.
    ///
    /// # Errors
    /// There are too few, in the words of Kubernetes.
    pub(crate) fn choose(
        &self,
        holder: &Holder,
        (resource, required): (&str, usize),
        reusable: &BTreeSet<String>,
        now: Instant,
    ) -> Result<Choice, String> {
        let own = self.held.get(holder).and_then(|held| held.get(resource));
        let own: BTreeSet<_> = own.into_iter().flat_map(|held| held.devices.keys().cloned()).collect();
        if !own.is_empty() && own.len() != required {
            let (pod, container) = holder;
            let (had, of) = (own.len(), "changed request for resource");
            return Err(format!(
                "pod \"{pod}\" container \"{container}\" {of} \"{resource}\" from {had} to {required}"
            ));
        }
        if required == 0 {
            return Ok(Choice::Nothing);
        }
        let stock = self.stocks.get(resource).filter(|stock| !stock.is_forgotten(now));
        let healthy = stock.ok_or_else(|| format!("cannot allocate unregistered device {resource}"))?.healthy();
        if healthy.is_empty() {
            return Err(format!("no healthy devices present; cannot allocate unhealthy devices {resource}"));
        }
        if !own.is_subset(&healthy) {
            let why = "previously allocated devices are no longer healthy";
            return Err(format!("{why}; cannot allocate unhealthy devices {resource}"));
        }
        if !own.is_empty() {
            return Ok(Choice::Nothing);
        }
        let taken: BTreeSet<_> = reusable.intersection(&healthy).take(required).cloned().collect();
        let missing = required - taken.len();
        if missing == 0 {
            return Ok(Choice::All(taken));
        }
        let in_use = self.in_use(resource);
        let available: BTreeSet<_> = healthy.difference(&in_use).cloned().collect();
        if available.len() < missing {
            let (there, what) = (available.len(), "requested number of devices unavailable for");
            return Err(format!("{what} {resource}. Requested: {missing}, Available: {there}"));
        }
        Ok(Choice::Among { taken, available, missing })
    }

    fn in_use(&self, resource: &str) -> BTreeSet<String> {
        let held = self.held.values().filter_map(|held| held.get(resource));
        held.flat_map(|held| held.devices.keys().cloned()).collect()
    }

    /// `holder` has these devices of `resource` from now on.
    pub(crate) fn hold(
        &mut self,
        holder: Holder,
        resource: &str,
        ids: BTreeSet<String>,
        answer: words::ContainerAllocateResponse,
    ) {
        let stock = self.stocks.get(resource);
        let nodes =
            |id: &String| stock.and_then(|stock| stock.devices.get(id)).map_or_else(Vec::new, |it| it.nodes.clone());
        let devices = ids.into_iter().map(|id| (id.clone(), nodes(&id))).collect();
        self.held.entry(holder).or_default().insert(resource.to_owned(), Held { devices, answer });
    }

    /// Pods that `keep` does not name hold nothing any more; says whether one did.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) -> bool {
        let before = self.held.len();
        self.held.retain(|(pod, _), _| keep(pod));
        self.held.len() != before
    }

    /// How the devices of `holder` are.
    pub(crate) fn healths(&self, holder: &Holder) -> Vec<Health> {
        let held = self.held.get(holder).into_iter().flatten();
        let ids = held.flat_map(|(resource, held)| held.devices.keys().map(move |id| (resource, id)));
        let healthy = |resource: &String, id: &String| {
            self.stocks.get(resource).and_then(|stock| stock.devices.get(id)).is_none_or(|device| device.healthy)
        };
        ids.map(|(resource, id)| Health {
            resource: resource.clone(),
            device: id.clone(),
            healthy: healthy(resource, id),
        })
        .collect()
    }

    /// What `holder` gets for what it holds. Where two plugins say something about one thing, that of the first name counts.
    pub(crate) fn options(&self, holder: &Holder) -> Options {
        let mut options = Options::default();
        for held in self.held.get(holder).into_iter().flat_map(BTreeMap::values) {
            let answer = held.answer.clone();
            for (name, value) in answer.envs {
                options.envs.entry(name).or_insert(value);
            }
            for mount in answer.mounts {
                options.mounts.entry(mount.container_path.clone()).or_insert(mount);
            }
            for device in answer.devices {
                options.devices.entry(device.container_path.clone()).or_insert(device);
            }
            for (name, value) in answer.annotations {
                options.annotations.entry(name).or_insert(value);
            }
            options.cdi.extend(answer.cdi_devices.into_iter().map(|device| device.name));
        }
        options
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
