//! Which pod goes when the node runs short, and what it is told (Kubernetes, "Node-pressure Eviction"). No I/O.

use super::signals::{Level, Measured, Signal};
use super::threshold::{Threshold, Thresholds};
use std::cmp::Reverse;

/// Pods of this priority and above are the system's, and stay.
pub(crate) const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// What one container takes of what is short, and asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) container: String,
    pub(super) used: i64,
    pub(super) requested: i64,
}

/// A pod that could go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) uid: String,
    pub(super) priority: i32,
    pub(super) containers: Vec<Use>,
    /// What its volumes take, which belong to no container.
    pub(super) volumes: i64,
}

impl Candidate {
    fn used(&self) -> i64 {
        self.containers.iter().map(|of| of.used).sum::<i64>() + self.volumes
    }

    fn requested(&self) -> i64 {
        self.containers.iter().map(|of| of.requested).sum()
    }
}

/// The thresholds that are met, memory first, as Kubernetes ranks them; then in the order of the flag.
pub(super) fn met(thresholds: &Thresholds, measured: &Measured) -> Vec<(Threshold, Level)> {
    let level = |signal| measured.iter().find(|(other, _)| *other == signal).map(|(_, level)| *level);
    let levels = thresholds.0.iter().filter_map(|threshold| Some((*threshold, level(threshold.signal)?)));
    let mut met: Vec<_> = levels.filter(|(threshold, level)| threshold.is_met(*level)).collect();
    met.sort_by_key(|(threshold, _)| threshold.signal != Signal::Memory);
    met
}

/// Who goes first: who takes more than it asked for, is of less importance, takes more above what it asked for.
pub(super) fn first(candidates: Vec<Candidate>) -> Option<Candidate> {
    let ranked = candidates.into_iter().filter(|pod| pod.priority < CRITICAL_PRIORITY);
    ranked.min_by_key(|pod| {
        let above = pod.used() - pod.requested();
        (Reverse(above > 0), pod.priority, Reverse(above))
    })
}

/// An amount in the largest binary unit in which it is whole, as Kubernetes writes it.
pub(super) fn amount(mut number: i64) -> String {
    let mut units = ["", "Ki", "Mi", "Gi", "Ti", "Pi"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while number != 0 && number % 1024 == 0 {
        let Some(larger) = units.next() else { break };
        (number, unit) = (number / 1024, larger);
    }
    format!("{number}{unit}")
}

/// What the pod is told, in Kubernetes' words, which people's tools look for; the spaces at the ends are theirs too.
pub(super) fn message(pod: &Candidate, threshold: Threshold, level: Level) -> String {
    let resource = threshold.signal.resource();
    let (least, available) = (amount(threshold.least(level.capacity)), amount(level.available));
    let mut text =
        format!("The node was low on resource: {resource}. Threshold quantity: {least}, available: {available}. ");
    for Use { container, used, requested } in pod.containers.iter().filter(|of| of.used > of.requested) {
        let (used, requested) = (amount(*used), amount(*requested));
        text += &format!(
            "Container {container} was using {used}, request is {requested}, has larger consumption of {resource}. "
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, priority: i32, used: i64, requested: i64) -> Candidate {
        let containers = vec![Use { container: "c".to_owned(), used, requested }];
        Candidate { uid: uid.to_owned(), priority, containers, volumes: 0 }
    }

    #[test]
    fn who_takes_more_than_asked_goes_first() {
        let first = |pods: &[Candidate]| first(pods.to_vec()).map(|pod| pod.uid);
        let modest = pod("modest", 0, 900, 1000);
        assert_eq!(first(&[modest.clone(), pod("greedy", 10, 100, 0)]).unwrap(), "greedy");
        assert_eq!(first(&[pod("more", 0, 300, 100), pod("less", 0, 250, 100)]).unwrap(), "more");
        assert_eq!(first(&[pod("important", 5, 300, 100), pod("plain", 0, 250, 100)]).unwrap(), "plain");
        assert_eq!(first(&[pod("system", CRITICAL_PRIORITY, 1 << 40, 0)]), None);
        let volumes = Candidate { volumes: 5_000, ..pod("volumes", 0, 0, 0) };
        assert_eq!(first(&[pod("other", 0, 4_000, 0), volumes]).unwrap(), "volumes");
    }

    /// Fault N2: the figures are told.
    #[test]
    fn a_pod_is_told_what_was_short() {
        let thresholds: Thresholds = "nodefs.available<10%".parse().unwrap();
        let level = Level { available: 500 << 20, capacity: 10 << 30 };
        let met = met(&thresholds, &vec![(Signal::NodeFs, level)]);
        let (threshold, level) = met[0];
        let wanted = "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 500Mi. \
                      Container c was using 300Mi, request is 0, has larger consumption of ephemeral-storage. ";
        assert_eq!(message(&pod("a", 0, 300 << 20, 0), threshold, level), wanted);
        assert_eq!([amount(0), amount(1000), amount(1536 << 10), amount(1 << 40)], ["0", "1000", "1536Ki", "1Ti"]);
    }

    #[test]
    fn memory_comes_first() {
        let thresholds: Thresholds = "nodefs.available<10%,memory.available<100Mi".parse().unwrap();
        let nothing = Level { available: 0, capacity: 1 << 30 };
        let measured = vec![(Signal::NodeFs, nothing), (Signal::Memory, nothing)];
        let met: Vec<_> = met(&thresholds, &measured).iter().map(|(threshold, _)| threshold.signal).collect();
        assert_eq!(met, [Signal::Memory, Signal::NodeFs]);
    }
}
