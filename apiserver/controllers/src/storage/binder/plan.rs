//! Which writes bring a claim and a volume together, or apart. Pure.
//!
//! ```text
//!  volume.claimRef = claim ─► volume Bound ─► claim.volumeName = volume ─► claim Bound
//! ```
//!
//! Each arrow is one write and each write may be the last before a crash, so every state between them has to lead on to the end: a
//! volume that names the claim is the first that the claim is offered. A volume is taken by a write that fails if anybody
//! wrote to it meanwhile, so it never has two claims.

use super::fit::{best, mismatch};
use super::read::{BY_HAND, Claim, Class, Reference, Volume};
use skiff_client::affinity::Place;

/// One write, or one word to the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The volume names the claim; `ours`: it was our choice, and so may be undone.
    Reserve { volume: String, claim: Reference, ours: bool },
    /// The volume's phase becomes this.
    VolumePhase { volume: String, phase: &'static str, message: String },
    /// The claim names the volume.
    Settle { volume: String, ours: bool },
    /// The claim's phase becomes this; with a volume, it gets what the volume has.
    ClaimPhase { phase: &'static str, volume: Option<String> },
    /// The claim asks for this class.
    SetClass(String),
    /// The claim's volume is to be made for this node.
    SelectNode(String),
    /// A provisioner is asked for the claim's volume.
    Ask(String),
    /// The volume names no claim any more; `keep`: but remains reserved for one of its name.
    Unbind { volume: String, keep: bool },
    /// Somebody has to look at the claim.
    Look(Reference),
    /// The user is told something about the claim, or in a volume's plan about the volume.
    Tell { warning: bool, reason: &'static str, message: String },
}

/// Who uses a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Users {
    /// The node of the first user that has one.
    pub(super) place: Option<Place>,
    /// Pods that have none yet.
    pub(super) waiting: Vec<String>,
}

/// What classes there are for a claim.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Classes {
    /// The one that it names, if it is there.
    pub(super) named: Option<Class>,
    /// The name of the default one.
    pub(super) default: Option<String>,
}

fn tell(warning: bool, reason: &'static str, message: impl Into<String>) -> Step {
    Step::Tell { warning, reason, message: message.into() }
}

/// What has to be done about `claim`, in this order.
pub(super) fn claim(claim: &Claim, volumes: &[Volume], classes: &Classes, users: &Users) -> Vec<Step> {
    if claim.bind_completed {
        return completed(claim, volumes);
    }
    if claim.volume.is_empty() {
        return unbound(claim, volumes, classes, users);
    }
    let Some(volume) = volumes.iter().find(|volume| volume.name == claim.volume) else { return pending(claim) };
    if volume.is_for(claim) {
        return bind(claim, volume);
    }
    let refusal = if volume.claim.is_some() {
        tell(true, "FailedBinding", format!("volume \"{}\" already bound to a different claim.", volume.name))
    } else if let Some(why) = mismatch(volume, claim) {
        tell(true, "VolumeMismatch", format!("Cannot bind to requested volume \"{}\": {why}", volume.name))
    } else {
        return bind(claim, volume);
    };
    [vec![refusal], pending(claim)].concat()
}

/// A claim that had its volume already.
fn completed(claim: &Claim, volumes: &[Volume]) -> Vec<Step> {
    let lost = |reason, message: &str| {
        if claim.phase == "Lost" {
            return Vec::new();
        }
        vec![Step::ClaimPhase { phase: "Lost", volume: None }, tell(true, reason, message)]
    };
    if claim.volume.is_empty() {
        return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    }
    match volumes.iter().find(|volume| volume.name == claim.volume) {
        None => lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        Some(volume) if volume.claim.as_ref().is_none_or(|of| of.uid == claim.uid) => bind(claim, volume),
        Some(_) => lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
    }
}

fn unbound(claim: &Claim, volumes: &[Volume], classes: &Classes, users: &Users) -> Vec<Step> {
    let class = classes.named.as_ref();
    let delayed = class.is_some_and(|class| class.delayed);
    let place = users.place.as_ref().filter(|_| delayed);
    if let Some(volume) = best(claim, volumes, delayed, place) {
        return bind(claim, volume);
    }
    if let (None, Some(default)) = (&claim.class, &classes.default) {
        return vec![Step::SetClass(default.clone())];
    }
    let mut steps = match class {
        Some(class) if class.provisioner == BY_HAND && !delayed => {
            let message = format!("no volume plugin matched name: {BY_HAND}");
            vec![tell(true, "ProvisioningFailed", message)]
        }
        Some(class) if !delayed || !claim.selected_node.is_empty() => ask(claim, class),
        Some(class) => wait(class, users),
        None if claim.class().is_empty() => {
            let message = "no persistent volumes available for this claim and no storage class is set";
            vec![tell(false, "FailedBinding", message)]
        }
        None => {
            let message = format!("storageclass.storage.k8s.io \"{}\" not found", claim.class());
            vec![tell(true, "ProvisioningFailed", message)]
        }
    };
    steps.extend(pending(claim));
    steps
}

/// A claim that gets its volume with its first consumer.
fn wait(class: &Class, users: &Users) -> Vec<Step> {
    match &users.place {
        Some(place) if class.provisioner == BY_HAND => {
            let message = format!("no persistent volumes available for this claim on node {}", place.name);
            vec![tell(false, "FailedBinding", message)]
        }
        Some(place) => vec![Step::SelectNode(place.name.clone())],
        None => {
            let (reason, message) = match users.waiting.as_slice() {
                [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
                [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
                more => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", more.join(","))),
            };
            vec![tell(false, reason, message)]
        }
    }
}

fn ask(claim: &Claim, class: &Class) -> Vec<Step> {
    let by = &class.provisioner;
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{by}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    let step = Step::Ask(by.clone());
    let asked = claim.provisioner == *by;
    (!asked).then_some(step).into_iter().chain([tell(false, "ExternalProvisioning", message)]).collect()
}

/// The claim has nothing.
fn pending(claim: &Claim) -> Vec<Step> {
    if claim.phase == "Pending" && claim.has.is_empty() {
        return Vec::new();
    }
    vec![Step::ClaimPhase { phase: "Pending", volume: None }]
}

/// What is missing for `claim` and `volume` to be bound to each other.
fn bind(claim: &Claim, volume: &Volume) -> Vec<Step> {
    let (name, mut steps) = (volume.name.clone(), Vec::new());
    if volume.claim.as_ref() != Some(&claim.reference()) {
        let ours = !volume.is_for(claim);
        steps.push(Step::Reserve { volume: name.clone(), claim: claim.reference(), ours });
    }
    if volume.phase != "Bound" {
        steps.push(Step::VolumePhase { volume: name.clone(), phase: "Bound", message: String::new() });
    }
    let ours = claim.volume != name;
    if ours || !claim.bind_completed {
        steps.push(Step::Settle { volume: name.clone(), ours });
    }
    if claim.phase != "Bound" || claim.has != volume.modes {
        steps.push(Step::ClaimPhase { phase: "Bound", volume: Some(name) });
    }
    steps
}

/// What has to be done about `volume`; `claim` is the one of the name that it names, if that is there.
pub(super) fn volume(volume: &Volume, claim: Option<&Claim>) -> Vec<Step> {
    let Some(of) = &volume.claim else { return phase(volume, "Available") };
    if of.uid.is_empty() {
        return phase(volume, "Available");
    }
    let Some(claim) = claim.filter(|claim| claim.uid == of.uid) else { return released(volume) };
    if claim.volume.is_empty() {
        return if claim.block == volume.block {
            vec![Step::Look(of.clone())]
        } else {
            let message = format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"{}\" due to incompatible volumeMode.",
                claim.name
            );
            vec![tell(true, "VolumeMismatch", message)]
        };
    }
    if claim.volume == volume.name {
        return phase(volume, "Bound");
    }
    if volume.provisioned && volume.policy == "Delete" {
        return released(volume);
    }
    let keep = !volume.bound_by_controller;
    let mut steps = vec![Step::Unbind { volume: volume.name.clone(), keep }];
    steps.extend(phase(volume, "Available"));
    steps
}

fn phase(volume: &Volume, phase: &'static str) -> Vec<Step> {
    if volume.phase == phase {
        return Vec::new();
    }
    vec![Step::VolumePhase { volume: volume.name.clone(), phase, message: String::new() }]
}

/// A volume whose claim is gone: what its policy says is done. A failure that was reported stays to be seen.
fn released(volume: &Volume) -> Vec<Step> {
    if volume.phase == "Failed" {
        return Vec::new();
    }
    let failed = |reason, message: String| {
        let phase = Step::VolumePhase { volume: volume.name.clone(), phase: "Failed", message: message.clone() };
        vec![phase, tell(true, reason, message)]
    };
    match volume.policy.as_str() {
        // Who made it sees the phase and removes it.
        "Delete" if volume.external => phase(volume, "Released"),
        "Delete" => {
            let why = "no deletable volume plugin matched";
            failed(
                "VolumeFailedDelete",
                format!("error getting deleter volume plugin for volume \"{}\": {why}", volume.name),
            )
        }
        "Recycle" => failed("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => phase(volume, "Released"),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
