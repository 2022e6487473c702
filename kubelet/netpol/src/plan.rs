//! Decides what the table has to hold for policies, pods and namespaces, and the changes from one table to another. No I/O.
//!
//! Pods that the same policies are about share a chain. What a policy's rule lets through stands in sets, so that a packet costs as
//! much as its pod has rules, however many pods and policies there are.

use crate::pods::PodFacts;
use crate::rules::{self, Peers, Ports};
use crate::select::{Direction, Scene, covers};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skiff_sys::nft::{Block, Change, Contents, Data, Expression, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// The kernel takes names of 255 bytes; ours end with a word and numbers.
const NAME_BYTES_MAX: usize = 200;

/// What depends on policies: the rest of the table is always the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table(pub(crate) Contents);

/// The policies that are about one pod, by namespace and name.
type Policies = BTreeSet<(String, String)>;

/// One rule of a policy, of either direction.
struct PolicyRule<'a> {
    peers: &'a [NetworkPolicyPeer],
    ports: &'a [NetworkPolicyPort],
}

impl<'a> PolicyRule<'a> {
    fn ingress(rule: &'a NetworkPolicyIngressRule) -> Self {
        Self { peers: rule.from.as_deref().unwrap_or_default(), ports: rule.ports.as_deref().unwrap_or_default() }
    }

    fn egress(rule: &'a NetworkPolicyEgressRule) -> Self {
        Self { peers: rule.to.as_deref().unwrap_or_default(), ports: rule.ports.as_deref().unwrap_or_default() }
    }

    fn all(policy: &'a NetworkPolicy, direction: Direction) -> Vec<Self> {
        let Some(spec) = &policy.spec else { return Vec::new() };
        match direction {
            Direction::Ingress => spec.ingress.iter().flatten().map(Self::ingress).collect(),
            Direction::Egress => spec.egress.iter().flatten().map(Self::egress).collect(),
        }
    }
}

impl Table {
    /// What the table has to hold.
    pub(crate) fn of<'p>(policies: impl IntoIterator<Item = &'p NetworkPolicy>, scene: Scene<'_>) -> Self {
        let policies: Vec<&NetworkPolicy> = policies.into_iter().collect();
        let mut table = Self::default();
        for direction in Direction::BOTH {
            table.direction(&policies, scene, direction);
        }
        table
    }

    fn direction(&mut self, policies: &[&NetworkPolicy], scene: Scene<'_>, direction: Direction) {
        let mut about: BTreeMap<&str, (&PodFacts, Policies)> = BTreeMap::new();
        let mut rules: BTreeMap<(String, String), Vec<Vec<Expression>>> = BTreeMap::new();
        for policy in policies.iter().filter(|policy| covers(policy, direction)) {
            let subjects = scene.subjects(policy);
            if !subjects.iter().any(|pod| pod.is_here) {
                continue;
            }
            let key = key(policy);
            for pod in subjects.iter().filter(|pod| pod.is_here) {
                about.entry(&pod.uid).or_insert_with(|| (pod, Policies::new())).1.insert(key.clone());
            }
            rules.insert(key, self.policy(policy, &subjects, scene, direction));
        }
        for (pod, policies) in about.into_values() {
            let chain = class(direction, &policies);
            if !self.0.chains.contains_key(&chain) {
                let mut all: Vec<_> = policies.iter().filter_map(|key| rules.get(key)).flatten().cloned().collect();
                all.push(vec![Expression::Drop]);
                self.0.chains.insert(chain.clone(), all);
            }
            for address in &pod.addresses {
                self.element(direction.name(), rules::address_key(*address), Data::Goto(chain.clone()));
                self.element(rules::SELVES, rules::self_key(*address), Data::Nothing);
            }
        }
    }

    /// The rules of one policy, whose sets are made.
    fn policy(
        &mut self,
        policy: &NetworkPolicy,
        subjects: &[&PodFacts],
        scene: Scene<'_>,
        direction: Direction,
    ) -> Vec<Vec<Expression>> {
        let (namespace, name) = key(policy);
        let stem = short(format!("{}/{namespace}/{name}", direction.name()));
        let mut all = Vec::new();
        for (number, rule) in PolicyRule::all(policy, direction).into_iter().enumerate() {
            let stem = format!("{stem}/{number}");
            let pods: Vec<&PodFacts> = rule.peers.iter().flat_map(|peer| scene.peers(peer, &namespace)).collect();
            let peers = self.peers(&stem, rule.peers, &pods);
            let receivers = match (direction, rule.peers.is_empty()) {
                (Direction::Ingress, _) => subjects.to_vec(),
                // To anybody: to whichever pod has a port of that name.
                (Direction::Egress, true) => scene.pods.iter().collect(),
                // A block may hold pods, too; the rule looks at both.
                (Direction::Egress, false) if rule.peers.iter().any(|peer| peer.ip_block.is_some()) => {
                    scene.pods.iter().collect()
                }
                (Direction::Egress, false) => pods,
            };
            let ports = self.ports(&stem, rule.ports, &receivers);
            for peers in &peers {
                all.extend(ports.iter().map(|ports| rules::allow(direction, peers, ports)));
            }
        }
        all
    }

    fn peers(&mut self, stem: &str, peers: &[NetworkPolicyPeer], pods: &[&PodFacts]) -> Vec<Peers> {
        if peers.is_empty() {
            return vec![Peers::Anybody];
        }
        let mut all = Vec::new();
        if peers.iter().any(|peer| peer.ip_block.is_none()) {
            let set = format!("{stem}/pods");
            self.0.sets.insert(set.clone(), rules::address_set(&set));
            for address in pods.iter().flat_map(|pod| &pod.addresses) {
                self.element(&set, rules::address_key(*address), Data::Nothing);
            }
            all.push(Peers::Set(set));
        }
        for block in peers.iter().filter_map(|peer| peer.ip_block.as_ref()) {
            let Some(range) = Block::parse(&block.cidr) else { continue };
            let others = block.except.iter().flatten().filter_map(|text| Block::parse(text)).collect();
            all.push(Peers::Block(range, others));
        }
        all
    }

    /// `receivers` are the pods to which a port's name may lead.
    fn ports(&mut self, stem: &str, ports: &[NetworkPolicyPort], receivers: &[&PodFacts]) -> Vec<Ports> {
        if ports.is_empty() {
            return vec![Ports::Any];
        }
        let (numbered, named) = (format!("{stem}/ports"), format!("{stem}/named"));
        let mut all = Vec::new();
        for one in ports {
            let Some(protocol) = Transport::named(one.protocol.as_deref().unwrap_or("TCP")) else { continue };
            match &one.port {
                None => all.push(Ports::Protocol(protocol)),
                Some(IntOrString::Int(number)) => {
                    let Ok(first) = u16::try_from(*number) else { continue };
                    match one.end_port.and_then(|last| u16::try_from(last).ok()).filter(|last| *last > first) {
                        Some(last) => all.extend(rules::aligned(protocol, first, last)),
                        None => {
                            self.0.sets.entry(numbered.clone()).or_insert_with(|| rules::port_set(&numbered));
                            self.element(&numbered, rules::port_key(protocol, first), Data::Nothing);
                        }
                    }
                }
                Some(IntOrString::String(name)) => {
                    self.0.sets.entry(named.clone()).or_insert_with(|| rules::named_set(&named));
                    self.named(&named, name, protocol, receivers);
                }
            }
        }
        all.extend(self.0.sets.contains_key(&numbered).then_some(Ports::Set(numbered)));
        all.extend(self.0.sets.contains_key(&named).then_some(Ports::Named(named)));
        all
    }

    fn named(&mut self, set: &str, name: &str, protocol: Transport, receivers: &[&PodFacts]) {
        for pod in receivers {
            let meant = pod.ports.iter().filter(|port| port.0 == name && port.1 == protocol);
            for (_, _, number) in meant {
                for address in &pod.addresses {
                    self.element(set, rules::named_key(*address, protocol, *number), Data::Nothing);
                }
            }
        }
    }

    fn element(&mut self, set: &str, key: Vec<u8>, data: Data) {
        self.0.elements.insert((set.to_owned(), key), data);
    }

    /// Changes that replace whatever table is there by this one.
    pub(crate) fn replace(&self) -> Vec<Change> {
        self.0.replace(rules::frame())
    }

    /// Changes that make this table of `old`.
    pub(crate) fn changes_since(&self, old: &Self) -> Vec<Change> {
        self.0.changes_since(&old.0)
    }
}

fn key(policy: &NetworkPolicy) -> (String, String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    (text(&policy.metadata.namespace), text(&policy.metadata.name))
}

/// The chain of the pods that exactly these policies are about.
fn class(direction: Direction, policies: &Policies) -> String {
    let names: Vec<String> = policies.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
    short(format!("{}/{}", direction.name(), names.join(" ")))
}

/// The name itself, or as much of it as fits and a number that stands for the rest.
fn short(name: String) -> String {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let digest = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &name).hash(&mut hasher);
        hasher.finish()
    };
    let cut = name.get(..NAME_BYTES_MAX / 2).unwrap_or_default();
    format!("{cut}-{:016x}{:016x}", digest(0), digest(1))
}

#[cfg(test)]
mod tests;
