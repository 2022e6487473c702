//! What becomes of a claim of devices. No I/O.

use crate::owned::{has_ended, is_going};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use skiff_client::loose::ResourceClaim;

/// Keeps a claim as long as it has devices.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Pods that may have one claim.
const RESERVED_MAX: usize = 256;

/// Somebody who is said to have a claim, and whether that is so.
#[derive(Debug, Clone)]
pub(super) struct Reserved {
    pub(super) user: Value,
    pub(super) has_it: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Upkeep {
    Nothing,
    /// These fields of the status, then perhaps the finalizer goes.
    Write {
        status: Option<Value>,
        release: bool,
    },
    Delete,
}

/// Whether a pod runs nothing and will not: it has ended, or is being deleted and never came to a node.
pub(super) fn is_done(pod: &Pod) -> bool {
    let placed = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|name| !name.is_empty());
    has_ended(pod) || is_going(pod) && !placed
}

/// What is to be done about a claim. `owner_done`: it was made for a pod that has ended.
pub(super) fn upkeep(claim: &ResourceClaim, reserved: &[Reserved], owner_done: bool) -> Upkeep {
    let users: Vec<&Value> = reserved.iter().filter(|one| one.has_it).map(|one| &one.user).collect();
    let held = claim.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
    let (going, unused) = (claim.metadata.deletion_timestamp.is_some(), users.is_empty());
    let allocated = !claim.fields["status"]["allocation"].is_null();
    let lost_some = users.len() < reserved.len();
    // A claim that never had a user keeps what it has: a scheduler is about to give it to one.
    let gives_back = unused && (lost_some || going);
    let status = match (lost_some, gives_back && allocated) {
        (true, true) => Some(json!({"reservedFor": users, "allocation": null})),
        (true, false) => Some(json!({"reservedFor": users})),
        (false, true) => Some(json!({"allocation": null})),
        (false, false) => None,
    };
    let release = gives_back && held;
    if status.is_some() || release {
        return Upkeep::Write { status, release };
    }
    if unused && owner_done && !going { Upkeep::Delete } else { Upkeep::Nothing }
}

/// Those who have a claim, with a pod that has not got it yet; `None`: it has, or cannot.
pub(super) fn with(claim: &ResourceClaim, pod: &Pod) -> Option<Vec<Value>> {
    let status = &claim.fields["status"];
    let users = status["reservedFor"].as_array().cloned().unwrap_or_default();
    let uid = pod.metadata.uid.as_deref()?;
    let has_it = users.iter().any(|user| user["uid"] == uid);
    if status["allocation"].is_null()
        || has_it
        || users.len() >= RESERVED_MAX
        || claim.metadata.deletion_timestamp.is_some()
    {
        return None;
    }
    let user = json!({"resource": "pods", "name": pod.metadata.name, "uid": uid});
    Some(users.into_iter().chain([user]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(going: bool, held: bool, allocated: bool) -> ResourceClaim {
        let allocation = if allocated { json!({"devices": {}}) } else { Value::Null };
        let finalizers: &[&str] = if held { &[FINALIZER] } else { &[] };
        let deleted = going.then_some("2026-01-01T00:00:00Z");
        let meta = json!({"name": "c", "finalizers": finalizers, "deletionTimestamp": deleted});
        serde_json::from_value(json!({"metadata": meta, "status": {"allocation": allocation}})).unwrap()
    }

    fn users(has: &[bool]) -> Vec<Reserved> {
        has.iter().enumerate().map(|(at, has_it)| Reserved { user: json!({"uid": at}), has_it: *has_it }).collect()
    }

    #[test]
    fn the_last_one_gives_the_devices_back() {
        let claim = claim(false, true, true);
        let one_left = Upkeep::Write { status: Some(json!({"reservedFor": [{"uid": 1}]})), release: false };
        assert_eq!(upkeep(&claim, &users(&[false, true]), false), one_left);
        let none_left = Upkeep::Write { status: Some(json!({"reservedFor": [], "allocation": null})), release: true };
        assert_eq!(upkeep(&claim, &users(&[false]), true), none_left);
        assert_eq!(upkeep(&claim, &[], false), Upkeep::Nothing, "a scheduler is about to use it");
    }

    #[test]
    fn a_claim_that_goes_waits_for_those_who_have_it() {
        assert_eq!(upkeep(&claim(true, true, true), &users(&[true]), false), Upkeep::Nothing);
        let back = Upkeep::Write { status: Some(json!({"allocation": null})), release: true };
        assert_eq!(upkeep(&claim(true, true, true), &[], false), back);
        assert_eq!(upkeep(&claim(true, true, false), &[], false), Upkeep::Write { status: None, release: true });
        assert_eq!(upkeep(&claim(true, false, false), &[], false), Upkeep::Nothing);
    }

    #[test]
    fn what_was_made_for_a_pod_goes_with_it() {
        assert_eq!(upkeep(&claim(false, false, false), &[], true), Upkeep::Delete);
        assert_eq!(upkeep(&claim(false, false, false), &users(&[true]), true), Upkeep::Nothing);
    }

    /// However it stands, it settles, and nobody who has a claim loses it.
    #[test]
    fn every_state_settles() {
        for bits in 0..64 {
            let bit = |at: u32| bits >> at & 1 == 1;
            let (mut claim, mut reserved) = (claim(bit(0), bit(1), bit(2)), users(&[bit(3), bit(4)]));
            let had = reserved.iter().filter(|one| one.has_it).count();
            let mut steps = 0;
            loop {
                match upkeep(&claim, &reserved, bit(5)) {
                    Upkeep::Nothing => break,
                    Upkeep::Delete => {
                        assert_eq!(had, 0);
                        break;
                    }
                    Upkeep::Write { status, release } => {
                        let status = status.unwrap_or_default();
                        assert!(status.get("allocation").is_none() || had == 0);
                        if status.get("reservedFor").is_some() {
                            reserved.retain(|one| one.has_it);
                        }
                        if status.get("allocation").is_some() {
                            claim.fields["status"]["allocation"] = Value::Null;
                        }
                        if release {
                            claim.metadata.finalizers = None;
                        }
                    }
                }
                steps += 1;
                assert!(steps < 4, "{bits:06b}");
            }
        }
    }
}
