//! The framework's plugins by their names, and what one says of a node that it refuses.

use std::borrow::Cow;
use std::fmt;

/// A plugin of the scheduling framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Plugin {
    /// Holds pods back that have scheduling gates.
    SchedulingGates,
    /// Orders the queue: priority first, then age.
    PrioritySort,
    /// Cordoned nodes.
    NodeUnschedulable,
    /// A node asked for by name.
    NodeName,
    /// Taints that a pod does not tolerate.
    TaintToleration,
    /// Node selectors and affinity.
    NodeAffinity,
    /// Host ports in use.
    NodePorts,
    /// Room for what a pod requests.
    NodeResourcesFit,
    /// Disks and claims that only one may use.
    VolumeRestrictions,
    /// How many volumes a driver can attach to a node.
    NodeVolumeLimits,
    /// Claims, and the volumes that they can have on a node.
    VolumeBinding,
    /// Volumes of another zone.
    VolumeZone,
    /// Even spreading over zones, nodes and other domains.
    PodTopologySpread,
    /// Pods that want to be near others, or far from them.
    InterPodAffinity,
    /// Claims of devices.
    DynamicResources,
    /// Removes pods of lower priority.
    DefaultPreemption,
    /// Prefers nodes on which no resource is used much more than another.
    NodeResourcesBalancedAllocation,
    /// Prefers nodes that have the images.
    ImageLocality,
    /// Writes the binding.
    DefaultBinder,
    /// No plugin: what an extender refused.
    Extender,
}

const NAMES: [(Plugin, &str); 20] = [
    (Plugin::SchedulingGates, "SchedulingGates"),
    (Plugin::PrioritySort, "PrioritySort"),
    (Plugin::NodeUnschedulable, "NodeUnschedulable"),
    (Plugin::NodeName, "NodeName"),
    (Plugin::TaintToleration, "TaintToleration"),
    (Plugin::NodeAffinity, "NodeAffinity"),
    (Plugin::NodePorts, "NodePorts"),
    (Plugin::NodeResourcesFit, "NodeResourcesFit"),
    (Plugin::VolumeRestrictions, "VolumeRestrictions"),
    (Plugin::NodeVolumeLimits, "NodeVolumeLimits"),
    (Plugin::VolumeBinding, "VolumeBinding"),
    (Plugin::VolumeZone, "VolumeZone"),
    (Plugin::PodTopologySpread, "PodTopologySpread"),
    (Plugin::InterPodAffinity, "InterPodAffinity"),
    (Plugin::DynamicResources, "DynamicResources"),
    (Plugin::DefaultPreemption, "DefaultPreemption"),
    (Plugin::NodeResourcesBalancedAllocation, "NodeResourcesBalancedAllocation"),
    (Plugin::ImageLocality, "ImageLocality"),
    (Plugin::DefaultBinder, "DefaultBinder"),
    (Plugin::Extender, "Extender"),
];

impl Plugin {
    /// Its name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES[self as usize].1
    }

    /// The plugin of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, own)| *own == name).map(|(plugin, _)| *plugin)
    }
}

impl fmt::Display for Plugin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Some of the plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Plugins(u32);

impl Plugins {
    pub(crate) fn add(&mut self, plugin: Plugin) {
        self.0 |= 1 << plugin as u8;
    }

    pub(crate) fn has(self, plugin: Plugin) -> bool {
        self.0 & (1 << plugin as u8) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Plugin> {
        NAMES.iter().map(|(plugin, _)| *plugin).filter(move |plugin| self.has(*plugin))
    }
}

/// Whether a node could take the pod if other pods went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Perhaps.
    Preemption,
    /// No: something else has to change.
    None,
}

/// Why a node, or every node, is not for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) plugin: Plugin,
    pub(crate) remedy: Remedy,
    pub(crate) reasons: Vec<Cow<'static, str>>,
}

impl Refusal {
    /// Other pods are in the way.
    pub(crate) fn by_pods(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, remedy: Remedy::Preemption, reasons: vec![reason.into()] }
    }

    /// The removal of pods would not help.
    pub(crate) fn lasting(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, remedy: Remedy::None, reasons: vec![reason.into()] }
    }

    /// Its reasons in one line, as the framework joins them.
    pub(crate) fn message(&self) -> String {
        self.reasons.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is indexed by the number of the plugin.
    #[test]
    fn every_plugin_has_its_own_name() {
        for (at, (plugin, name)) in NAMES.iter().enumerate() {
            assert_eq!((*plugin as usize, Plugin::named(name)), (at, Some(*plugin)));
        }
    }
}
