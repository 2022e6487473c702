//! Why something does not do what it should: from what an API server and its nodes say to sentences with a cause, figures and what can
//! be done.
//!
//! ```text
//!  Target ──explain──► Step::Ask(paths) ──the caller asks──► Facts grow ──explain──► … ──► Step::Done(Answer)
//! ```
//!
//! Pure. What is known stands in [`Facts`] as answers to requests, by their paths; an explanation that lacks an answer says which, so
//! that whoever has a connection asks exactly for what the case at hand needs. What nobody answers is told as not known.

mod answer; // what comes out: findings, and what is not known
mod facts; // what is known, and what is asked for
mod look; // fields of JSON
mod paths; // where the API has what
mod select; // labels, selectors, taints
mod words; // amounts, times, lists

mod claims; // volumes that are not there yet
mod node; // a node and its kubelet
mod place; // nodes that do not take a pod
mod pod; // a pod, from its placement to its end
mod reach; // names and packets from a pod to somewhere
mod service; // a service that answers nothing
mod workload; // what makes pods: deployments, jobs and the like

pub use answer::{Answer, Finding, Style, Verdict};
pub use facts::{Facts, Told};
pub use look::condition;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which kind of object.
    pub kind: Kind,
    /// Its namespace; of a node it is not looked at.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// A name or address, with a port or not, that a pod is to reach.
    pub to: Option<String>,
}

/// The kinds that can be explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pod.
    Pod,
    /// A service.
    Service,
    /// A node.
    Node,
    /// What makes pods.
    Workload(Workload),
}

/// The kinds of objects that make pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Of the group `apps`.
    Deployment,
    /// Of the group `apps`.
    ReplicaSet,
    /// Of the group `apps`.
    StatefulSet,
    /// Of the group `apps`.
    DaemonSet,
    /// Of the group `batch`.
    Job,
    /// Of the group `batch`.
    CronJob,
    /// Of the core group.
    ReplicationController,
    /// Of the core group.
    Claim,
}

/// The names by which kinds go, the first one in front of a name in answers; and the kind.
const KINDS: &[(&[&str], Kind)] = &[
    (&["pod", "pods", "po"], Kind::Pod),
    (&["service", "services", "svc"], Kind::Service),
    (&["node", "nodes", "no"], Kind::Node),
    (
        &["deployment", "deployments", "deploy", "deployments.apps", "deployment.apps"],
        Kind::Workload(Workload::Deployment),
    ),
    (&["replicaset", "replicasets", "rs", "replicasets.apps", "replicaset.apps"], Kind::Workload(Workload::ReplicaSet)),
    (
        &["statefulset", "statefulsets", "sts", "statefulsets.apps", "statefulset.apps"],
        Kind::Workload(Workload::StatefulSet),
    ),
    (&["daemonset", "daemonsets", "ds", "daemonsets.apps", "daemonset.apps"], Kind::Workload(Workload::DaemonSet)),
    (&["job", "jobs", "jobs.batch", "job.batch"], Kind::Workload(Workload::Job)),
    (&["cronjob", "cronjobs", "cj", "cronjobs.batch", "cronjob.batch"], Kind::Workload(Workload::CronJob)),
    (&["replicationcontroller", "replicationcontrollers", "rc"], Kind::Workload(Workload::ReplicationController)),
    (&["persistentvolumeclaim", "persistentvolumeclaims", "pvc"], Kind::Workload(Workload::Claim)),
];

impl Kind {
    /// The kind of this name.
    ///
    /// # Errors
    /// There is none: the names that there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let wanted = name.to_lowercase();
        let found = KINDS.iter().find(|(names, _)| names.contains(&wanted.as_str()));
        found.map(|(_, kind)| *kind).ok_or_else(|| {
            let known: Vec<_> = KINDS.iter().map(|(names, _)| names[0]).collect();
            format!("{name}: nothing can be said about this kind of object, only about {}", known.join(", "))
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("object", |(names, _)| names[0])
    }
}

/// How far an explanation has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// These paths are to be asked for first (GET), and their answers told to [`Facts`].
    Ask(Vec<String>),
    /// It is complete.
    Done(Answer),
}

/// Explains `target` as far as `facts` go.
#[must_use]
pub fn explain(target: &Target, facts: &Facts) -> Step {
    let answer = match target.kind {
        Kind::Pod => pod::explain(facts, target),
        Kind::Service => service::explain(facts, target),
        Kind::Node => node::explain(facts, &target.name),
        Kind::Workload(kind) => workload::explain(facts, kind, target),
    };
    let asks = facts.take_asks();
    if asks.is_empty() { Step::Done(answer.with_unknown(facts.unknown())) } else { Step::Ask(asks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_go_by_the_names_that_kubectl_takes() {
        assert_eq!(Kind::named("po"), Ok(Kind::Pod));
        assert_eq!(Kind::named("Deploy").map(Kind::name), Ok("deployment"));
        let refused = Kind::named("secret").unwrap_err();
        assert!(
            refused.starts_with("secret: nothing can be said about this kind of object, only about pod, "),
            "{refused}"
        );
    }

    #[test]
    fn what_is_not_known_is_asked_for_once() {
        let target = Target { kind: Kind::Pod, namespace: "a".into(), name: "b".into(), to: None };
        let mut facts = Facts::at(jiff::Timestamp::UNIX_EPOCH);
        let Step::Ask(paths) = explain(&target, &facts) else { panic!("there is nothing to answer from") };
        assert!(paths.contains(&"/api/v1/namespaces/a/pods/b".to_owned()), "{paths:?}");
        for path in paths {
            facts.tell(path, Told::Unknown("the server is away".to_owned()));
        }
        let Step::Done(answer) = explain(&target, &facts) else { panic!("nobody will say more") };
        assert_eq!(answer.verdict(), Verdict::Unknown);
        assert!(answer.unknown.iter().any(|line| line.contains("the server is away")), "{answer:?}");
    }
}
