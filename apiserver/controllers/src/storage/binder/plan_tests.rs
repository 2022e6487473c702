//! The binder's plan against a plain model of the objects that it writes.

use super::*;
use proptest::prelude::*;

/// The objects, each with a version that every write raises.
#[derive(Debug, Clone, Default)]
struct World {
    volumes: Vec<(Volume, u64)>,
    claims: Vec<(Claim, u64)>,
    classes: Vec<Class>,
}

impl World {
    fn volumes(&self) -> Vec<Volume> {
        self.volumes.iter().map(|(volume, _)| volume.clone()).collect()
    }

    fn plan_claim(&self, index: usize, users: &Users) -> Vec<Step> {
        let of = &self.claims[index].0;
        let named = self.classes.iter().find(|class| class.name == of.class()).cloned();
        claim(of, &self.volumes(), &Classes { named, default: None }, users)
    }

    fn plan_volume(&self, index: usize) -> Vec<Step> {
        let of = &self.volumes[index].0;
        let named = of
            .claim
            .as_ref()
            .and_then(|named| self.claims.iter().map(|(claim, _)| claim).find(|claim| claim.name == named.name));
        volume(of, named)
    }

    /// Performs one step that was planned on `seen`; false: somebody wrote meanwhile, and the write is refused.
    fn act(&mut self, step: &Step, claim: usize, seen: &mut World) -> bool {
        let named = match step {
            Step::Reserve { volume, .. } | Step::VolumePhase { volume, .. } | Step::Unbind { volume, .. } => volume,
            Step::Settle { .. } | Step::ClaimPhase { .. } | Step::SetClass(_) | Step::SelectNode(_) | Step::Ask(_) => {
                return self.act_on_claim(step, claim, seen);
            }
            Step::Look(_) | Step::Tell { .. } => return true,
        };
        let Some(at) = self.volumes.iter().position(|(volume, _)| volume.name == *named) else { return false };
        let (volume, version) = &mut self.volumes[at];
        if seen.volumes[at].1 != *version {
            return false;
        }
        match step {
            Step::Reserve { claim, ours, .. } => {
                assert!(volume.claim.as_ref().is_none_or(|of| of.uid.is_empty() || of.uid == claim.uid), "taken over");
                volume.claim = Some(claim.clone());
                volume.bound_by_controller |= ours;
            }
            Step::VolumePhase { phase, .. } => (*phase).clone_into(&mut volume.phase),
            Step::Unbind { keep, .. } => {
                volume.claim = volume.claim.take().filter(|_| *keep);
                volume.claim.iter_mut().for_each(|of| of.uid.clear());
                volume.bound_by_controller = false;
            }
            _ => {}
        }
        *version += 1;
        seen.volumes[at] = self.volumes[at].clone();
        true
    }

    fn act_on_claim(&mut self, step: &Step, at: usize, seen: &mut World) -> bool {
        let (claim, version) = &mut self.claims[at];
        if seen.claims[at].1 != *version {
            return false;
        }
        match step {
            Step::Settle { volume, ours } => {
                assert!(claim.volume.is_empty() || claim.volume == *volume, "a claim's volume never changes");
                claim.volume.clone_from(volume);
                claim.bind_completed = true;
                claim.bound_by_controller |= ours;
            }
            Step::ClaimPhase { phase, volume } => {
                (*phase).clone_into(&mut claim.phase);
                let of = volume.iter().find_map(|name| self.volumes.iter().find(|(volume, _)| volume.name == *name));
                claim.has = of.map(|(volume, _)| volume.modes.clone()).unwrap_or_default();
            }
            Step::SetClass(class) => claim.class = Some(class.clone()),
            Step::SelectNode(node) => claim.selected_node.clone_from(node),
            Step::Ask(by) => claim.provisioner.clone_from(by),
            _ => {}
        }
        *version += 1;
        seen.claims[at] = self.claims[at].clone();
        true
    }

    fn check(&self) {
        for (claim, _) in self.claims.iter().filter(|(claim, _)| claim.bind_completed) {
            let of = self.volumes.iter().find(|(volume, _)| volume.name == claim.volume).expect("its volume");
            assert_eq!(of.0.claim.as_ref().map(|of| &of.uid), Some(&claim.uid), "{claim:?} has another's volume");
            // Where both sides name each other, that is how somebody wanted it.
            let chosen = !claim.bound_by_controller && !of.0.bound_by_controller;
            assert!(chosen || of.0.capacity >= claim.request && of.0.modes.is_superset(&claim.modes));
        }
    }

    /// Everything until nothing more is written; how many rounds that took.
    fn converge(&mut self) -> usize {
        for round in 0..20 {
            let mut wrote = false;
            for index in 0..self.claims.len() {
                let users = Users::default();
                let steps = self.plan_claim(index, &users);
                wrote |= self.perform(&steps, index);
            }
            for index in 0..self.volumes.len() {
                let steps = self.plan_volume(index);
                wrote |= self.perform(&steps, 0);
            }
            self.check();
            if !wrote {
                return round;
            }
        }
        panic!("does not converge: {self:?}");
    }

    fn perform(&mut self, steps: &[Step], claim: usize) -> bool {
        let mut seen = self.clone();
        let mut wrote = false;
        for step in steps {
            assert!(self.act(step, claim, &mut seen));
            wrote |= !matches!(step, Step::Look(_) | Step::Tell { .. });
        }
        wrote
    }
}

fn modes(bits: u8) -> std::collections::BTreeSet<String> {
    let all = ["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"];
    all.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, mode)| (*mode).to_owned()).collect()
}

fn volumes() -> impl Strategy<Value = Vec<Volume>> {
    let one = (1..4_i128, 1..8_u8, 0..2_usize, 0..8_usize);
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let made = all.into_iter().enumerate().map(|(index, (capacity, bits, class, kept))| Volume {
            name: format!("v{index}"),
            capacity,
            modes: modes(bits),
            class: ["", "slow"][class].to_owned(),
            claim: (kept < 4).then(|| Reference {
                namespace: "n".into(),
                name: format!("c{kept}"),
                uid: String::new(),
            }),
            policy: "Retain".to_owned(),
            phase: "Pending".to_owned(),
            ..Volume::default()
        });
        made.collect()
    })
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let one = (1..4_i128, 1..8_u8, 0..2_usize, 0..12_usize);
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let made = all.into_iter().enumerate().map(|(index, (request, bits, class, named))| Claim {
            namespace: "n".to_owned(),
            name: format!("c{index}"),
            uid: format!("u{index}"),
            request,
            modes: modes(bits),
            class: Some(["", "slow"][class].to_owned()),
            volume: if named < 4 { format!("v{named}") } else { String::new() },
            ..Claim::default()
        });
        made.collect()
    })
}

/// One look of the controller: at what, from how old a cache, and how many of its writes before it is killed.
type Look = (bool, usize, bool, usize);

proptest! {
    #[test]
    fn no_claim_and_no_volume_is_bound_twice(
        volumes in volumes(),
        claims in claims(),
        looks in prop::collection::vec((any::<bool>(), 0..6_usize, any::<bool>(), 0..5_usize), 0..60),
    ) {
        let mut world = World {
            volumes: volumes.into_iter().map(|volume| (volume, 0)).collect(),
            claims: claims.into_iter().map(|claim| (claim, 0)).collect(),
            classes: Vec::new(),
        };
        let mut old = world.clone();
        for look in looks {
            one_look(&mut world, &mut old, look);
        }
        world.converge();
        prop_assert_eq!(world.converge(), 0, "a second run writes nothing");
        for (volume, _) in world.volumes.iter().filter(|(volume, _)| volume.phase == "Bound") {
            let of = volume.claim.as_ref().unwrap();
            let named = world.claims.iter().filter(|(claim, _)| claim.uid == of.uid && claim.volume == volume.name);
            prop_assert_eq!(named.count(), 1, "{:?}", volume);
        }
    }
}

fn one_look(world: &mut World, old: &mut World, (on_claim, index, stale, writes): Look) {
    let mut seen = if stale { old.clone() } else { world.clone() };
    let count = if on_claim { seen.claims.len() } else { seen.volumes.len() };
    if count == 0 {
        return;
    }
    let index = index % count;
    let steps = if on_claim { seen.plan_claim(index, &Users::default()) } else { seen.plan_volume(index) };
    for step in steps.iter().take(writes) {
        if !world.act(step, if on_claim { index } else { 0 }, &mut seen) {
            break;
        }
        world.check();
    }
    if !stale {
        *old = world.clone();
    }
}

fn bound() -> (Volume, Claim) {
    let claim = Claim {
        namespace: "n".to_owned(),
        name: "c".to_owned(),
        uid: "u".to_owned(),
        volume: "v".to_owned(),
        bind_completed: true,
        phase: "Bound".to_owned(),
        ..Claim::default()
    };
    let volume = Volume {
        name: "v".to_owned(),
        claim: Some(claim.reference()),
        phase: "Bound".to_owned(),
        policy: "Retain".to_owned(),
        ..Volume::default()
    };
    (volume, claim)
}

#[test]
fn what_becomes_of_a_volume_without_its_claim() {
    let (of, _) = bound();
    let reasons = |policy: &str, external: bool| {
        let steps = volume(&Volume { policy: policy.to_owned(), external, ..of.clone() }, None);
        let words = steps.iter().map(|step| match step {
            Step::VolumePhase { phase, .. } => (*phase).to_owned(),
            Step::Tell { reason, .. } => (*reason).to_owned(),
            other => format!("{other:?}"),
        });
        words.collect::<Vec<_>>()
    };
    assert_eq!(reasons("Retain", false), ["Released"]);
    assert_eq!(reasons("Delete", true), ["Released"], "its driver does the rest");
    assert_eq!(reasons("Delete", false), ["Failed", "VolumeFailedDelete"]);
    assert_eq!(reasons("Recycle", false), ["Failed", "VolumeFailedRecycle"]);
    assert_eq!(volume(&Volume { phase: "Failed".to_owned(), ..of }, None), []);
}

#[test]
fn a_claim_that_lost_its_volume_says_so_once() {
    let (of, with) = bound();
    assert_eq!(claim(&with, &[of], &Classes::default(), &Users::default()), []);
    let steps = claim(&with, &[], &Classes::default(), &Users::default());
    assert!(matches!(&steps[..], [Step::ClaimPhase { phase: "Lost", .. }, Step::Tell { reason: "ClaimLost", .. }]));
    let lost = Claim { phase: "Lost".to_owned(), ..with };
    assert_eq!(claim(&lost, &[], &Classes::default(), &Users::default()), []);
}

#[test]
fn a_delayed_claim_waits_for_its_first_consumer() {
    let of = Claim { phase: "Pending".to_owned(), class: Some("late".to_owned()), ..Claim::default() };
    let class = Class { name: "late".to_owned(), provisioner: "driver".to_owned(), delayed: true };
    let classes = Classes { named: Some(class), default: None };
    let reason = |users: &Users| match &claim(&of, &[], &classes, users)[..] {
        [Step::Tell { reason, .. }] => (*reason).to_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(reason(&Users::default()), "WaitForFirstConsumer");
    assert_eq!(reason(&Users { waiting: vec!["p".to_owned()], place: None }), "WaitForPodScheduled");
    let place = Some(Place { name: "n1".to_owned(), ..Place::default() });
    let steps = claim(&of, &[], &classes, &Users { place, waiting: Vec::new() });
    assert_eq!(steps, [Step::SelectNode("n1".to_owned())]);
    let chosen = Claim { selected_node: "n1".to_owned(), ..of };
    let steps = claim(&chosen, &[], &classes, &Users::default());
    assert!(matches!(&steps[..], [Step::Ask(by), Step::Tell { reason: "ExternalProvisioning", .. }] if by == "driver"));
}
