//! Which endpoints of a service this node uses: the near ones where a service asks for them, those of this node alone where it says so. No I/O.
//!
//! Kubernetes' rules: ready endpoints, or else those that serve while they end (KEP-1669); hints count only if every ready endpoint has some and one
//! is for us (KEP-4444, KEP-3015), because nobody must be left without an endpoint.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

/// Where this node is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Here {
    /// The node's name.
    pub(crate) node: String,
    /// What its label says of the zone.
    pub(crate) zone: Option<String>,
}

/// What an endpoint can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    /// For new connections.
    Ready,
    /// Only if nobody is ready: it ends.
    ServingWhileEnding,
    /// For nothing.
    NotServing,
}

/// An endpoint that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its address and the port behind the service's.
    pub(crate) at: SocketAddrV4,
    /// What it can be used for.
    pub(crate) condition: Condition,
    /// Whether it is on this node.
    pub(crate) is_local: bool,
    /// Nodes that it is meant for; none: nobody says.
    pub(crate) nodes: Vec<String>,
    /// Zones that it is meant for.
    pub(crate) zones: Vec<String>,
}

/// Where traffic goes, and what happens to it if there is nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Any of them.
    pub(crate) endpoints: BTreeSet<SocketAddrV4>,
    /// What happens if there is none.
    pub(crate) otherwise: Otherwise,
}

/// What happens if there is nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Otherwise {
    /// Whoever asks is told.
    #[default]
    Refuse,
    /// Nothing: others have endpoints, and a balancer that has not noticed yet tries again.
    Drop,
}

/// The endpoints of one service port.
#[derive(Debug, Default)]
pub(crate) struct Candidates(pub(crate) Vec<Candidate>);

impl Candidates {
    fn having(&self, condition: Condition, fits: impl Fn(&Candidate) -> bool) -> BTreeSet<SocketAddrV4> {
        self.0.iter().filter(|one| one.condition == condition && fits(one)).map(|one| one.at).collect()
    }

    /// The ready ones; if there is none, those that serve while they end.
    fn usable(&self, fits: impl Fn(&Candidate) -> bool) -> BTreeSet<SocketAddrV4> {
        let ready = self.having(Condition::Ready, &fits);
        if ready.is_empty() { self.having(Condition::ServingWhileEnding, fits) } else { ready }
    }

    /// For the traffic policy `Cluster`.
    pub(crate) fn of_cluster(&self, here: &Here) -> Targets {
        let is_for_node = |one: &Candidate| one.nodes.contains(&here.node);
        let is_for_zone = |one: &Candidate| here.zone.as_ref().is_some_and(|zone| one.zones.contains(zone));
        let ready = || self.0.iter().filter(|one| one.condition == Condition::Ready);
        let near = if ready().all(|one| !one.nodes.is_empty()) && ready().any(is_for_node) {
            Some(self.having(Condition::Ready, is_for_node))
        } else if ready().all(|one| !one.zones.is_empty()) && ready().any(is_for_zone) {
            Some(self.having(Condition::Ready, is_for_zone))
        } else {
            None
        };
        let endpoints = near.unwrap_or_else(|| self.usable(|_| true));
        Targets { endpoints, otherwise: Otherwise::Refuse }
    }

    /// For the traffic policy `Local`.
    pub(crate) fn of_node(&self) -> Targets {
        let elsewhere = self.0.iter().any(|one| one.condition != Condition::NotServing);
        let otherwise = if elsewhere { Otherwise::Drop } else { Otherwise::Refuse };
        Targets { endpoints: self.usable(|one| one.is_local), otherwise }
    }

    /// How many of this node are ready: what balancers are told.
    pub(crate) fn ready_here(&self) -> usize {
        self.having(Condition::Ready, |one| one.is_local).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(host: u8, condition: Condition, is_local: bool, nodes: &[&str], zones: &[&str]) -> Candidate {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let at = SocketAddrV4::new([10, 1, 0, host].into(), 80);
        Candidate { at, condition, is_local, nodes: own(nodes), zones: own(zones) }
    }

    fn here() -> Here {
        Here { node: "n1".to_owned(), zone: Some("z1".to_owned()) }
    }

    fn hosts(targets: &Targets) -> Vec<u8> {
        targets.endpoints.iter().map(|at| at.ip().octets()[3]).collect()
    }

    #[test]
    fn near_endpoints_are_used_if_everybody_has_some() {
        use Condition::Ready;
        let all = Candidates(vec![
            one(1, Ready, true, &["n1"], &["z1"]),
            one(2, Ready, false, &["n2"], &["z1"]),
            one(3, Ready, false, &["n3"], &["z2"]),
        ]);
        assert_eq!(hosts(&all.of_cluster(&here())), [1]);
        let other = Here { node: "n9".to_owned(), zone: Some("z1".to_owned()) };
        assert_eq!(hosts(&all.of_cluster(&other)), [1, 2], "nothing is for this node, so the zone counts");
        let far = Here { node: "n9".to_owned(), zone: None };
        assert_eq!(hosts(&all.of_cluster(&far)), [1, 2, 3]);
        let mut some = all.0.clone();
        some.push(one(4, Ready, false, &[], &[]));
        assert_eq!(hosts(&Candidates(some).of_cluster(&here())), [1, 2, 3, 4], "one without a hint and none counts");
    }

    #[test]
    fn local_means_local() {
        use Condition::{NotServing, Ready, ServingWhileEnding};
        let of = |all: &[Candidate]| Candidates(all.to_vec()).of_node();
        let (near, far) = (one(1, Ready, true, &[], &[]), one(2, Ready, false, &[], &[]));
        assert_eq!(hosts(&of(&[near, far.clone()])), [1]);
        let ending = one(3, ServingWhileEnding, true, &[], &[]);
        assert_eq!(hosts(&of(&[ending, far.clone()])), [3], "it drains here although others are ready elsewhere");
        assert_eq!(of(&[far]), Targets { endpoints: BTreeSet::new(), otherwise: Otherwise::Drop });
        assert_eq!(of(&[one(4, NotServing, true, &[], &[])]).otherwise, Otherwise::Refuse);
    }

    prop_compose! {
        fn any_candidate()(
            host in 1u8..9,
            condition in prop_oneof![
                Just(Condition::Ready), Just(Condition::ServingWhileEnding), Just(Condition::NotServing)
            ],
            is_local: bool,
            nodes in proptest::sample::subsequence(vec!["n1", "n2"], 0..=2),
            zones in proptest::sample::subsequence(vec!["z1", "z2"], 0..=2),
        ) -> Candidate {
            one(host, condition, is_local, &nodes, &zones)
        }
    }

    proptest! {
        #[test]
        fn nobody_is_left_without_an_endpoint(all in proptest::collection::vec(any_candidate(), 0..8)) {
            let usable = all.iter().any(|one| one.condition != Condition::NotServing);
            let targets = Candidates(all.clone()).of_cluster(&here());
            prop_assert_eq!(!targets.endpoints.is_empty(), usable);
            let ready = all.iter().any(|one| one.condition == Condition::Ready);
            let is_ready = |at| all.iter().any(|one| one.at == at && one.condition == Condition::Ready);
            prop_assert!(!ready || targets.endpoints.iter().all(|at| is_ready(*at)));
        }
    }
}
