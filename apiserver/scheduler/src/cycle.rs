//! One decision about one pod: which nodes could have it, and which of them should. No I/O.
//!
//! As in the scheduling framework: what is the same for all nodes is counted once ([`Cycle::prepare`]), then each node is held
//! against the filters ([`Cycle::find`]), and those that fit are scored ([`Cycle::scores`]). Preemption repeats the second step
//! with pods taken off, which is why the counts can follow a pod that comes or goes.

use crate::cluster::Cluster;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Plugins, Refusal};
use crate::plugins::{self, Counts};
use crate::pod::PodInfo;
use crate::profile::Profile;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// What one decision is about.
#[derive(Clone, Copy)]
pub(crate) struct Cycle<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) profile: &'a Profile,
    pub(crate) pod: &'a PodInfo,
}

/// Which nodes fit.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Where they stand among the cluster's nodes.
    pub(crate) fit: Vec<usize>,
    /// Why others do not.
    pub(crate) refused: Vec<(usize, Refusal)>,
    /// Why those do not that are in neither list.
    pub(crate) others: Option<Refusal>,
}

/// A node with what each plugin gives it, weighted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scored {
    pub(crate) at: usize,
    pub(crate) parts: Vec<(Plugin, i64)>,
    pub(crate) total: i64,
}

impl<'a> Cycle<'a> {
    /// Counts what is the same for all nodes.
    ///
    /// # Errors
    /// No node can have the pod.
    pub(crate) fn prepare(&self) -> Result<Counts, Refusal> {
        let mut counts = Counts::default();
        let mut by_pods = None;
        for plugin in &self.profile.filters {
            let Some(before) = plugins::before(*plugin) else { continue };
            match before(self, &mut counts) {
                Ok(()) => {}
                Err(refusal) if refusal.remedy == crate::plugin::Remedy::Preemption => by_pods = Some(refusal),
                Err(refusal) => return Err(refusal),
            }
        }
        by_pods.map_or(Ok(counts), Err)
    }

    /// Holds nodes against the filters, from the `start`th on, until enough fit.
    pub(crate) fn find(&self, counts: &Counts, start: usize) -> Found {
        let nodes = &self.cluster.nodes;
        if let Some(at) = self.nominated(counts) {
            return Found { fit: vec![at], ..Found::default() };
        }
        let mut found = Found::default();
        if counts.only.is_some() {
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", Plugin::NodeAffinity);
            found.others = Some(Refusal::lasting(Plugin::NodeAffinity, reason));
        }
        let named = |node: &NodeInfo| counts.only.as_ref().is_none_or(|names| names.contains(&node.name));
        let enough = match &counts.only {
            Some(names) => names.len(),
            None => self.profile.enough(nodes.len()),
        };
        for step in 0..nodes.len() {
            let at = (start + step) % nodes.len();
            if !named(&nodes[at]) {
                continue;
            }
            match self.obstacle(counts, &nodes[at]) {
                Some(refusal) => found.refused.push((at, refusal)),
                None => found.fit.push(at),
            }
            if found.fit.len() >= enough {
                break;
            }
        }
        found
    }

    /// The node that was cleared for the pod, if the pod fits there by now.
    fn nominated(&self, counts: &Counts) -> Option<usize> {
        let name = self.pod.nominated()?;
        let at = self.cluster.nodes.iter().position(|node| node.name == name)?;
        self.obstacle(counts, &self.cluster.nodes[at]).is_none().then_some(at)
    }

    /// Why `node` cannot have the pod. It must fit both with and without the pods of at least its priority that the node is
    /// being cleared for: they may come, and they may go elsewhere.
    pub(crate) fn obstacle(&self, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
        let pod = self.pod;
        let coming = self.cluster.nominated_to(&node.name);
        let mut coming = coming.filter(|other| other.priority >= pod.priority && other.uid != pod.uid).peekable();
        if coming.peek().is_some() {
            let (mut counts, mut node) = (counts.clone(), node.clone());
            for other in coming {
                node.add(Arc::clone(other));
                self.count(&mut counts, other, &node, 1);
            }
            if let Some(refusal) = self.first_obstacle(&counts, &node) {
                return Some(refusal);
            }
        }
        self.first_obstacle(counts, node)
    }

    fn first_obstacle(&self, counts: &Counts, node: &NodeInfo) -> Option<Refusal> {
        self.profile.filters.iter().find_map(|plugin| plugins::filter(*plugin)?(self, counts, node))
    }

    /// Follows `other`, which comes to `node` (1) or leaves it (-1).
    pub(crate) fn count(&self, counts: &mut Counts, other: &PodInfo, node: &NodeInfo, by: i64) {
        plugins::count(self, counts, other, node, by);
    }

    /// What each plugin gives each node.
    pub(crate) fn scores(&self, fit: &[usize]) -> Vec<Scored> {
        let nodes: Vec<&NodeInfo> = fit.iter().map(|at| &self.cluster.nodes[*at]).collect();
        let mut scored: Vec<Scored> = fit.iter().map(|at| Scored { at: *at, parts: Vec::new(), total: 0 }).collect();
        for (plugin, weight) in &self.profile.scores {
            let Some(scores) = plugins::score(*plugin).and_then(|score| score(self, &nodes)) else { continue };
            for (node, score) in scored.iter_mut().zip(scores) {
                node.parts.push((*plugin, score * weight));
                node.total += score * weight;
            }
        }
        scored
    }

    /// The best of them. Among equals chance decides, and chance is the seed with the names: the same input gives the same
    /// answer, and no node is favoured by its name.
    pub(crate) fn choose(&self, scored: &[Scored], seed: u64) -> Option<usize> {
        let best = scored.iter().max_by_key(|one| {
            let name = &self.cluster.nodes[one.at].name;
            (one.total, chance(seed, &[&self.pod.namespace, &self.pod.name, name]), name)
        });
        best.map(|one| one.at)
    }
}

fn chance(seed: u64, words: &[&str]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    seed.hash(&mut hasher);
    words.hash(&mut hasher);
    hasher.finish()
}

impl Found {
    /// The plugins that refused something.
    pub(crate) fn rejectors(&self) -> Plugins {
        let mut plugins = Plugins::default();
        for refusal in self.refused.iter().map(|(_, refusal)| refusal).chain(&self.others) {
            plugins.add(refusal.plugin);
        }
        plugins
    }
}

/// What was known when no node fitted.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    pub(crate) nodes: usize,
    /// What was said of all nodes before any was looked at.
    pub(crate) before: Option<Refusal>,
    pub(crate) found: Found,
    /// What preemption said.
    pub(crate) after: String,
}

impl Diagnosis {
    /// The message of kube-scheduler.
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut message = match &self.before {
            Some(refusal) => format!("0/{} nodes are available: {}.", self.nodes, refusal.message()),
            None => histogram(self.nodes, &self.found),
        };
        if !self.after.is_empty() {
            message.push(' ');
            message.push_str(&self.after);
        }
        message
    }

    pub(crate) fn rejectors(&self) -> Plugins {
        let mut plugins = self.found.rejectors();
        if let Some(refusal) = &self.before {
            plugins.add(refusal.plugin);
        }
        plugins
    }
}

/// Each reason with the number of nodes that it holds for.
pub(crate) fn histogram(nodes: usize, found: &Found) -> String {
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for reason in found.refused.iter().flat_map(|(_, refusal)| &refusal.reasons) {
        *reasons.entry(reason).or_default() += 1;
    }
    let rest = nodes.saturating_sub(found.refused.len());
    if rest > 0 {
        for reason in found.others.iter().flat_map(|refusal| &refusal.reasons) {
            *reasons.entry(reason).or_default() += rest;
        }
    }
    let mut lines: Vec<String> = reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
    lines.sort();
    let text = if lines.is_empty() { String::new() } else { format!(" {}.", lines.join(", ")) };
    format!("0/{nodes} nodes are available:{text}")
}
