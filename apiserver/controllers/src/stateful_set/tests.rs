//! The plan against a model: pods that start, fail, end and are evicted, claims that are collected with whom they belong to,
//! sets that are scaled, moved and changed, and a controller that is killed between any two of its writes.

use super::claims::names;
use super::plan::{Plan, Seen, Step, Version, plan};
use super::pod::ordinal;
use crate::owned::{is_available, is_going, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What happens to the model.
#[derive(Debug, Clone)]
enum Act {
    /// The controller looks, and is killed after so many writes.
    Look(usize),
    Ready(usize),
    Unready(usize),
    Fails(usize),
    /// A pod that was told to go is gone.
    Gone(usize),
    /// Somebody deletes a pod.
    Deleted(usize),
    /// The garbage collector deletes claims whose owners are gone.
    Collect,
    Scale(i32),
    Start(i32),
    Partition(i32),
    Change,
    Later(i64),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (0_usize..6).prop_map(Act::Look),
        5 => (0_usize..8).prop_map(Act::Ready),
        1 => (0_usize..8).prop_map(Act::Unready),
        1 => (0_usize..8).prop_map(Act::Fails),
        3 => (0_usize..8).prop_map(Act::Gone),
        1 => (0_usize..8).prop_map(Act::Deleted),
        1 => Just(Act::Collect),
        1 => (0_i32..6).prop_map(Act::Scale),
        1 => (0_i32..3).prop_map(Act::Start),
        1 => (0_i32..4).prop_map(Act::Partition),
        1 => Just(Act::Change),
        2 => (1_i64..60).prop_map(Act::Later),
    ]
}

struct Model {
    set: StatefulSet,
    version: u32,
    current: String,
    pods: BTreeMap<String, Arc<Pod>>,
    claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    made: u32,
    now: Timestamp,
}

fn set(policy: &str, min_ready: i32, retention: (&str, &str)) -> StatefulSet {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "set"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "serviceName": "web", "replicas": 3, "minReadySeconds": min_ready,
        "podManagementPolicy": policy, "ordinals": {"start": 0},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": retention.0, "whenScaled": retention.1},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}}))
    .unwrap()
}

impl Model {
    fn new(set: StatefulSet) -> Self {
        let (pods, claims, now) = (BTreeMap::new(), BTreeMap::new(), "2026-01-01T00:00:00Z".parse().unwrap());
        Self { set, version: 0, current: "web-0000".to_owned(), pods, claims, made: 0, now }
    }

    fn spec(&mut self) -> &mut k8s_openapi::api::apps::v1::StatefulSetSpec {
        self.set.spec.as_mut().unwrap()
    }

    fn is_ordered(&self) -> bool {
        self.set.spec.as_ref().unwrap().pod_management_policy.as_deref() != Some("Parallel")
    }

    fn wanted(&self) -> BTreeSet<String> {
        let spec = self.set.spec.as_ref().unwrap();
        let start = spec.ordinals.as_ref().unwrap().start.unwrap();
        (start..start + spec.replicas.unwrap()).map(|ordinal| format!("web-{ordinal}")).collect()
    }

    fn serves(&self, pod: &Pod) -> bool {
        let min_ready = self.set.spec.as_ref().unwrap().min_ready_seconds.unwrap();
        !is_going(pod) && is_available(pod, SignedDuration::from_secs(min_ready.into()), self.now)
    }

    fn update(&self) -> String {
        format!("web-{:04}", self.version)
    }

    fn plan(&self) -> Plan {
        let template = self.set.spec.as_ref().unwrap().template.clone();
        let version = |name: &str| Version { name: name.to_owned(), template: template.clone() };
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let claim = |name: &str| self.claims.get(name).cloned();
        let (current, update) = (version(&self.current), version(&self.update()));
        plan(&Seen {
            set: &self.set,
            current: &current,
            update: &update,
            collisions: 0,
            pods: &pods,
            claim: &claim,
            now: self.now,
        })
    }

    /// How many writes there were to do.
    fn look(&mut self, writes: usize) -> usize {
        let plan = self.plan();
        let all: Vec<Step> = plan.chains.iter().flatten().cloned().collect();
        for step in all.iter().take(writes) {
            if matches!(step, Step::Refuse { .. }) {
                break;
            }
            self.write(step);
        }
        if writes > all.len() {
            self.current = plan.status.current_revision.clone().unwrap();
            self.set.status = Some(plan.status);
        }
        all.len()
    }

    fn write(&mut self, step: &Step) {
        match step {
            Step::Claim { claim, .. } => {
                let before = self.claims.insert(claim.name_any(), Arc::new((**claim).clone()));
                assert!(before.is_none(), "{} is made twice", claim.name_any());
            }
            Step::Own { claim, owners } => {
                let claim = self.claims.get_mut(claim).map(Arc::make_mut).unwrap();
                claim.metadata.owner_references = Some(owners.clone());
            }
            Step::Create(pod) => self.create(pod),
            Step::Update { pod, patch } => panic!("{pod} is as it was made: {patch}"),
            Step::Delete(pod) => self.delete(&pod.name_any()),
            Step::Refuse { .. } | Step::Conflict { .. } => {}
        }
    }

    fn create(&mut self, pod: &Pod) {
        let name = pod.name_any();
        assert!(!self.pods.contains_key(&name), "{name} is made twice");
        assert!(self.wanted().contains(&name), "{name} is not wanted");
        let claims = names(&self.set, ordinal(pod).unwrap());
        assert!(claims.iter().all(|(_, claim)| self.claims.contains_key(claim)), "{name} has no claims");
        if self.is_ordered() {
            let lower = self.wanted().into_iter().filter(|one| number(one) < number(&name));
            for lower in lower {
                assert!(
                    self.pods.get(&lower).is_some_and(|pod| self.serves(pod)),
                    "{name} is made before {lower} serves"
                );
            }
        }
        self.made += 1;
        let mut pod = pod.clone();
        pod.metadata.uid = Some(format!("uid-{}", self.made));
        pod.status = serde_json::from_value(json!({"phase": "Pending"})).unwrap();
        self.pods.insert(name, Arc::new(pod));
    }

    fn delete(&mut self, name: &str) {
        let wanted = self.wanted();
        if self.is_ordered() && self.pods[name].status.as_ref().is_some_and(|_| phase(&self.pods[name]) != "Failed") {
            let others = self.pods.values().filter(|pod| pod.name_any() != name);
            let mut going = others.clone().filter(|pod| is_going(pod) && wanted.contains(&pod.name_any()));
            let strategy = self.set.spec.as_ref().unwrap().update_strategy.as_ref().unwrap();
            let one_by_one = strategy.rolling_update.as_ref().unwrap().max_unavailable.is_none();
            assert!(!one_by_one || going.next().is_none(), "{name} goes while another one does");
            if !wanted.contains(name) {
                let mut higher = others.filter(|pod| number(&pod.name_any()) > number(name));
                assert!(higher.all(|pod| wanted.contains(&pod.name_any())), "{name} goes before a higher one");
            }
        }
        self.going(name);
    }

    fn going(&mut self, name: &str) {
        let pod = self.pods.get_mut(name).map(Arc::make_mut).unwrap();
        assert!(pod.metadata.deletion_timestamp.is_none(), "{name} is deleted twice");
        pod.metadata.deletion_timestamp = Some(Time(self.now));
    }

    fn become_(&mut self, name: &str, phase: &str, ready: &str) {
        let since = self.now;
        let Some(pod) = self.pods.get_mut(name).map(Arc::make_mut) else { return };
        if crate::owned::phase(pod) == "Failed" || crate::owned::is_ready(pod) && ready == "True" {
            return;
        }
        let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": since});
        pod.status = serde_json::from_value(json!({"phase": phase, "conditions": [condition]})).unwrap();
    }

    fn collect(&mut self) {
        let pods: BTreeSet<String> = self.pods.values().filter_map(|pod| pod.uid()).chain(["set".to_owned()]).collect();
        self.claims.retain(|_, claim| {
            let owners = claim.owner_references();
            owners.is_empty() || owners.iter().any(|owner| pods.contains(&owner.uid))
        });
    }

    fn happen(&mut self, act: &Act) {
        let name = |number: &usize| format!("web-{number}");
        let is_going = |model: &Self, name: &str| model.pods.get(name).map(|pod| is_going(pod));
        match act {
            Act::Look(writes) => drop(self.look(*writes)),
            Act::Ready(number) => self.become_(&name(number), "Running", "True"),
            Act::Unready(number) => self.become_(&name(number), "Running", "False"),
            Act::Fails(number) => self.become_(&name(number), "Failed", "False"),
            Act::Gone(number) if is_going(self, &name(number)) == Some(true) => drop(self.pods.remove(&name(number))),
            Act::Deleted(number) if is_going(self, &name(number)) == Some(false) => self.going(&name(number)),
            Act::Gone(_) | Act::Deleted(_) => {}
            Act::Collect => self.collect(),
            Act::Scale(replicas) => self.spec().replicas = Some(*replicas),
            Act::Start(start) => self.spec().ordinals.as_mut().unwrap().start = Some(*start),
            Act::Partition(partition) => self.partition(*partition),
            Act::Change => self.version += 1,
            Act::Later(seconds) => self.now += SignedDuration::from_secs(*seconds),
        }
    }

    fn partition(&mut self, partition: i32) {
        let strategy = self.spec().update_strategy.as_mut().unwrap();
        strategy.rolling_update.as_mut().unwrap().partition = Some(partition);
    }

    /// Nothing is in the way any more: all pods start, all that are told to go do.
    fn calm(&mut self) {
        for _ in 0..200 {
            self.collect();
            let planned = self.look(usize::MAX);
            let quiet = planned == 0 && self.pods.values().all(|pod| self.serves(pod));
            self.pods.retain(|_, pod| !is_going(pod));
            let names: Vec<String> = self.pods.keys().cloned().collect();
            names.iter().for_each(|name| self.become_(name, "Running", "True"));
            self.now += SignedDuration::from_mins(1);
            if quiet {
                return;
            }
        }
        panic!("does not come to rest: {:?}", self.plan().chains);
    }
}

fn number(pod: &str) -> i32 {
    crate::claim::ordinal_of(pod).map_or(-1, |(_, ordinal)| ordinal)
}

fn policies() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["OrderedReady", "Parallel"])
}

fn kept() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Retain", "Delete"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever happens, in whatever order, and wherever the controller is killed: when it is over there is each pod that is
    /// wanted and no other, with its claims, of the version that its ordinal should have.
    #[test]
    fn every_ordinal_gets_its_pod(
        policy in policies(), min_ready in 0_i32..30, deleted in kept(), scaled in kept(),
        happens in prop::collection::vec(acts(), 0..80),
    ) {
        let mut model = Model::new(set(policy, min_ready, (deleted, scaled)));
        happens.iter().for_each(|act| model.happen(act));
        model.calm();
        let there: BTreeSet<String> = model.pods.keys().cloned().collect();
        prop_assert_eq!(&there, &model.wanted());
        let claims: BTreeSet<String> = model.claims.keys().cloned().collect();
        for pod in &there {
            let claim = format!("data-{pod}");
            prop_assert!(claims.contains(&claim), "{claim} is missing");
            let owners: Vec<_> = model.claims[&claim].owner_references().iter().map(|one| one.uid.as_str()).collect();
            let wanted = if deleted == "Delete" { vec!["set"] } else { vec![] };
            prop_assert_eq!(owners, wanted);
        }
        // A claim is left only where its pod went before it was given to it, by somebody else's hand.
        let surplus = claims.len() - there.len();
        prop_assert!(scaled == "Retain" || surplus == 0 || happens.iter().any(|act| matches!(act, Act::Deleted(_) | Act::Scale(_) | Act::Start(_))));
        model.partition(0);
        model.calm();
        let update = model.update();
        prop_assert!(model.pods.values().all(|pod| pod.labels()["controller-revision-hash"] == update));
        let status = model.set.status.clone().unwrap();
        let all = Some(i32::try_from(there.len()).unwrap());
        prop_assert_eq!((status.updated_replicas, status.ready_replicas, status.available_replicas), (all, all, all));
        prop_assert_eq!(status.current_revision, status.update_revision);
    }

    /// A rollout takes the highest first, one at a time or as many as may be unavailable, and none below the partition.
    #[test]
    fn a_rollout_keeps_its_limits(
        policy in policies(), limit in prop::option::of(1_usize..4), replicas in 1_i32..6, partition in 0_i32..6,
        happens in prop::collection::vec((0_usize..4, 0_usize..6, 0_usize..6, 0_i64..20), 0..60),
    ) {
        let mut model = Model::new(set(policy, 5, ("Retain", "Retain")));
        model.spec().replicas = Some(replicas);
        model.calm();
        let before: BTreeMap<_, _> = model.pods.iter().map(|(name, pod)| (name.clone(), pod.uid())).collect();
        model.partition(partition);
        let rolling = model.spec().update_strategy.as_mut().unwrap().rolling_update.as_mut().unwrap();
        rolling.max_unavailable = limit.map(|limit| serde_json::from_value(json!(limit)).unwrap());
        model.version += 1;
        let least = usize::try_from(replicas).unwrap().saturating_sub(limit.unwrap_or(1));
        for (writes, ready, gone, later) in happens {
            for act in [Act::Look(writes), Act::Ready(ready), Act::Gone(gone), Act::Later(later)] {
                model.happen(&act);
                let serving = model.pods.values().filter(|pod| model.serves(pod)).count();
                prop_assert!(serving >= least, "{serving} of {replicas} serve");
            }
        }
        model.calm();
        for (name, uid) in &before {
            let stays = number(name) < partition;
            prop_assert_eq!(model.pods[name].uid() == *uid, stays, "{} below {}", name, partition);
        }
    }
}

/// What a pod that is scaled away leaves goes with it only if the policy says so, and a pod that comes again waits for it.
#[test]
fn a_new_pod_waits_for_the_claim_of_the_old_one() {
    let mut model = Model::new(set("OrderedReady", 0, ("Retain", "Delete")));
    model.calm();
    model.spec().replicas = Some(2);
    model.look(usize::MAX);
    let owner = |model: &Model| model.claims["data-web-2"].owner_references()[0].kind.clone();
    assert_eq!(owner(&model), "Pod", "the claim is given away before its pod goes");
    model.pods.remove("web-2");
    model.spec().replicas = Some(3);
    assert_eq!(model.look(usize::MAX), 0, "the former pod's claim has not gone yet");
    model.collect();
    model.calm();
    assert!(model.pods.contains_key("web-2") && model.claims["data-web-2"].owner_references().is_empty());
}

/// A claim that is being deleted is said to be in the way.
#[test]
fn a_claim_that_goes_is_in_the_way() {
    let mut model = Model::new(set("OrderedReady", 0, ("Retain", "Retain")));
    model.look(1);
    let claim = model.claims.get_mut("data-web-0").map(Arc::make_mut).unwrap();
    claim.metadata.deletion_timestamp = Some(Time(model.now));
    let why = "pvc data-web-0 is being deleted".to_owned();
    assert_eq!(model.plan().chains, vec![vec![Step::Refuse { pod: "web-0".to_owned(), why }]]);
}

/// A pod that somebody made is given its labels; volumes that are not its claims are written, and refused by the server.
#[test]
fn an_adopted_pod_is_brought_in_line() {
    let mut model = Model::new(set("Parallel", 0, ("Retain", "Retain")));
    let pod: Value = json!({"metadata": {"name": "web-1", "namespace": "n", "uid": "p", "labels": {"app": "web"}},
        "spec": {"containers": []}, "status": {"phase": "Running"}});
    model.pods.insert("web-1".to_owned(), Arc::new(serde_json::from_value(pod).unwrap()));
    let chains = model.plan().chains;
    let updated: Vec<_> = chains
        .iter()
        .flatten()
        .filter_map(|step| match step {
            Step::Update { pod, patch } => {
                Some((pod.as_str(), patch["metadata"]["labels"]["apps.kubernetes.io/pod-index"].as_str()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(updated, [("web-1", Some("1"))]);
}
