//! Makes claims and services agree again after a crash: the services are right.
//!
//! Other servers may be at work on the same store, so a claim without a service is not yet a leak: it may be a creation's that is
//! under way, or the service may have come after our list. It is freed when two looks, [`EVERY`] apart, find it unchanged and without
//! a service; no write takes so long, because each of its calls to the store is given up after seconds. What a stored service has
//! and nobody claims is claimed at once. (kube-apiserver's repair loops do the same at the same pace.)

use super::claim::{ADDRESSES, Claim, PORTS, is_whole, owner_uid};
use super::{Allocator, plan};
use crate::app::App;
use crate::registry::{ListOptions, Registry, built_in};
use crate::status::Status;
use bytes::Bytes;
use skiff_store::backend::{Backend, BackendError, Entry, ListRange, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(180);

/// Claims that no service had at the last look, with their revisions.
pub(crate) type Orphans = BTreeMap<Bytes, Revision>;

/// What stored services have: usually one claim each.
type Right = BTreeMap<Bytes, Vec<Claim>>;

/// What makes a claim agree with the services; each is a compare-and-swap.
#[derive(Debug, PartialEq)]
enum Step {
    /// A service has it, and its claim stands at this revision, or nowhere (0).
    Take(Claim, Revision),
    /// No service has it.
    Free(Bytes, Revision),
}

/// Looks again and again until the server stops; `orphans` are those of the first look.
pub(crate) fn follow(app: &Arc<App>, mut orphans: Orphans, until: CancellationToken) {
    let app = app.clone();
    tokio::spawn(until.run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            match app.registry.services().repair(&app.registry, &orphans).await {
                Ok(found) => orphans = found,
                Err(status) => tracing::warn!(message = status.message, "claims of services not looked through"),
            }
        }
    }));
}

impl Allocator {
    /// One look: claims what stored services have, and frees what `before` and this look find without one.
    pub(crate) async fn repair(&self, registry: &Registry, before: &Orphans) -> Result<Orphans, Status> {
        // Claims first: a service is stored after its claims are made, so a finished creation's service is in the later list.
        let mut claims = all(registry.backend(), ADDRESSES).await?;
        claims.extend(all(registry.backend(), PORTS).await?);
        let (steps, orphans) = compare(&claims, &held(registry).await?, before);
        for step in steps {
            // A swap that fails means that somebody was faster; the next look finds what is left to do.
            match step {
                Step::Take(claim, revision) => claim.put(registry.backend(), revision).await?,
                Step::Free(key, revision) => {
                    tracing::info!(key = %String::from_utf8_lossy(&key), "claim without a service is freed");
                    registry.backend().delete(key, revision).await?;
                }
            }
        }
        Ok(orphans)
    }
}

/// What stored services have.
async fn held(registry: &Registry) -> Result<Right, Status> {
    let services = registry.list(built_in("", "services")?, "", &ListOptions::default()).await?;
    let mut right = Right::new();
    for service in services.items {
        let value = service.value()?;
        for claim in plan::held(&value).into_iter().map(|held| held.claim(Some(&value))) {
            right.entry(claim.key().clone()).or_default().push(claim);
        }
    }
    Ok(right)
}

/// What to do, and which claims have no service. No I/O.
fn compare(claims: &[Entry], right: &Right, before: &Orphans) -> (Vec<Step>, Orphans) {
    let (mut steps, mut orphans) = (Vec::new(), Orphans::new());
    for entry in claims {
        // An IPAddress object of somebody else's says nothing of a service's uid.
        let Some(uid) = owner_uid(&entry.value) else { continue };
        let having = right.get(&entry.key).map(Vec::as_slice).unwrap_or_default();
        if having.len() > 1 {
            tracing::warn!(key = %String::from_utf8_lossy(&entry.key), services = having.len(), "several services have the same");
        }
        let claimed_twice = before.get(&entry.key) == Some(&entry.mod_revision);
        match having.iter().find(|claim| claim.is_of(&uid)) {
            Some(_) if is_whole(&entry.value) => {}
            // As the earliest versions wrote it.
            Some(claim) => steps.push(Step::Take(claim.clone(), entry.mod_revision)),
            None if !claimed_twice => drop(orphans.insert(entry.key.clone(), entry.mod_revision)),
            None => steps.push(match having.first() {
                Some(claim) => Step::Take(claim.clone(), entry.mod_revision),
                None => Step::Free(entry.key.clone(), entry.mod_revision),
            }),
        }
    }
    let unclaimed = right.iter().filter(|(key, _)| claims.iter().all(|entry| entry.key != *key));
    steps.extend(unclaimed.filter_map(|(_, having)| having.first().map(|claim| Step::Take(claim.clone(), 0))));
    (steps, orphans)
}

async fn all(backend: &dyn Backend, prefix: &'static str) -> Result<Vec<Entry>, BackendError> {
    let range = ListRange { prefix: Bytes::from_static(prefix.as_bytes()), from: None, limit: 0, revision: 0 };
    Ok(backend.list(range).await?.entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::services::claim::Owner;
    use serde_json::json;

    fn claim(uid: &str, port: u16) -> Claim {
        Claim::port(&Owner::of(&json!({"metadata": {"namespace": "n", "name": uid, "uid": uid}})), port)
    }

    fn entry(uid: &str, port: u16, mod_revision: Revision) -> Entry {
        let claim = claim(uid, port);
        Entry { key: claim.key().clone(), value: claim.value().clone(), create_revision: 1, mod_revision }
    }

    fn right(have: &[(&str, u16)]) -> Right {
        let mut right = Right::new();
        for (uid, port) in have {
            let claim = claim(uid, *port);
            right.entry(claim.key().clone()).or_default().push(claim);
        }
        right
    }

    #[test]
    fn what_a_service_has_is_left_alone_and_what_it_lacks_is_claimed() {
        let (steps, orphans) = compare(&[entry("a", 1, 5)], &right(&[("a", 1), ("a", 2)]), &Orphans::new());
        assert_eq!((steps, orphans), (vec![Step::Take(claim("a", 2), 0)], Orphans::new()));
    }

    /// The creation may be under way on another server.
    #[test]
    fn a_claim_without_a_service_is_freed_at_the_second_look() {
        let key = claim("a", 1).key().clone();
        let (steps, orphans) = compare(&[entry("a", 1, 5)], &right(&[]), &Orphans::new());
        assert_eq!((steps.len(), &orphans), (0, &Orphans::from([(key.clone(), 5)])));
        let (steps, later) = compare(&[entry("a", 1, 5)], &right(&[]), &orphans);
        assert_eq!((steps, later), (vec![Step::Free(key.clone(), 5)], Orphans::new()));
        // Freed and claimed again meanwhile: another creation.
        let (steps, later) = compare(&[entry("b", 1, 7)], &right(&[]), &orphans);
        assert_eq!((steps.len(), later), (0, Orphans::from([(key, 7)])));
        assert_eq!(compare(&[entry("a", 1, 5)], &right(&[("a", 1)]), &orphans), (Vec::new(), Orphans::new()));
    }

    #[test]
    fn a_claim_that_names_another_service_is_handed_over_at_the_second_look() {
        let (steps, orphans) = compare(&[entry("a", 1, 5)], &right(&[("b", 1)]), &Orphans::new());
        assert_eq!((steps.len(), orphans.len()), (0, 1));
        assert_eq!(compare(&[entry("a", 1, 5)], &right(&[("b", 1)]), &orphans).0, [Step::Take(claim("b", 1), 5)]);
        // Two services have it, and one of them the claim: there is nothing to hand over.
        assert_eq!(compare(&[entry("a", 1, 5)], &right(&[("b", 1), ("a", 1)]), &orphans).0, []);
    }

    #[test]
    fn addresses_of_others_are_no_claims() {
        let foreign = Entry { value: br#"{"metadata": {"uid": "u"}}"#.as_slice().into(), ..entry("a", 1, 5) };
        let key = foreign.key.clone();
        let (steps, orphans) = compare(&[foreign], &right(&[]), &Orphans::from([(key, 5)]));
        assert_eq!((steps.len(), orphans.len()), (0, 0));
    }
}
