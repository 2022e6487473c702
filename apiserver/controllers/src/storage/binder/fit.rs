//! Which volume fits a claim best. Pure.

use super::read::{Claim, Volume};
use kube::core::{Selector, SelectorExt};
use skiff_client::affinity::{Place, reaches};

/// Why a volume that a claim names cannot be its own; `None`: it can.
pub(super) fn mismatch(volume: &Volume, claim: &Claim) -> Option<String> {
    let why = match () {
        () if volume.deleting => return Some(format!("the volume is marked for deletion \"{}\"", volume.name)),
        () if volume.capacity < claim.request => "requested PV is too small",
        () if volume.class != claim.class() => "storageClassName does not match",
        () if volume.attributes != claim.attributes => "volumeAttributesClassName does not match",
        () if volume.block != claim.block => "incompatible volumeMode",
        () if !volume.modes.is_superset(&claim.modes) => "incompatible accessMode",
        () => return None,
    };
    Some(why.to_owned())
}

/// The volume that is kept for the claim, or else the smallest free one that fits with the fewest modes besides. A claim that
/// waits for its first consumer gets none but a kept one, until the consumer's place is known.
pub(super) fn best<'a>(
    claim: &Claim,
    volumes: &'a [Volume],
    delayed: bool,
    place: Option<&Place>,
) -> Option<&'a Volume> {
    // A selector that cannot be read chooses nothing.
    let selector = match claim.selector.clone().map(Selector::try_from) {
        None => None,
        Some(Ok(selector)) => Some(selector),
        Some(Err(_)) => return None,
    };
    let usable = |volume: &&Volume| {
        !volume.deleting
            && volume.capacity >= claim.request
            && volume.block == claim.block
            && volume.attributes == claim.attributes
            && volume.modes.is_superset(&claim.modes)
    };
    if let Some(kept) = volumes.iter().filter(usable).filter(|volume| volume.is_for(claim)).min_by_key(|it| &it.name) {
        return Some(kept);
    }
    if delayed && place.is_none() {
        return None;
    }
    let free = volumes.iter().filter(usable).filter(|volume| {
        volume.claim.is_none()
            && volume.phase == "Available"
            && volume.class == claim.class()
            && selector.as_ref().is_none_or(|selector| selector.matches(&volume.labels))
            && place.is_none_or(|place| reaches(&volume.affinity, place))
    });
    free.min_by_key(|volume| (volume.modes.len(), volume.capacity, &volume.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volume(name: &str, capacity: i128, modes: &[&str]) -> Volume {
        let modes = modes.iter().map(|mode| (*mode).to_owned()).collect();
        Volume { name: name.to_owned(), capacity, modes, phase: "Available".to_owned(), ..Volume::default() }
    }

    #[test]
    fn the_smallest_that_fits_wins_and_a_kept_one_before_it() {
        let claim = Claim {
            namespace: "n".to_owned(),
            name: "c".to_owned(),
            request: 5,
            modes: ["RWO".to_owned()].into(),
            ..Claim::default()
        };
        let mut all = vec![
            volume("small", 4, &["RWO"]),
            volume("large", 9, &["RWO"]),
            volume("fits", 6, &["RWO"]),
            volume("wide", 5, &["RWO", "RWX"]),
        ];
        let name = |all: &[Volume], delayed| best(&claim, all, delayed, None).map(|found| found.name.clone());
        assert_eq!(name(&all, false).as_deref(), Some("fits"), "fewest modes first, then size");
        assert_eq!(name(&all, true), None, "nobody uses it yet");
        all[1].claim =
            Some(super::super::read::Reference { namespace: "n".to_owned(), name: "c".to_owned(), uid: String::new() });
        assert_eq!(name(&all, true).as_deref(), Some("large"), "kept for it");
        let labelled = Claim {
            selector: Some(serde_json::from_value(json!({"matchLabels": {"a": "b"}})).unwrap()),
            name: "other".to_owned(),
            ..claim
        };
        assert_eq!(best(&labelled, &all, false, None), None);
        all[2].labels = [("a".to_owned(), "b".to_owned())].into();
        assert_eq!(best(&labelled, &all, false, None).map(|found| found.name.as_str()), Some("fits"));
    }
}
