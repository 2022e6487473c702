//! Makes claims and services agree again after a crash: the services are right.
//!
//! Runs when an API server starts. While it runs, another API server on the same store must not create services.

use super::claim::{ADDRESSES, Claim, PORTS, owner_uid};
use super::{Allocator, plan};
use crate::registry::{ListOptions, Registry};
use crate::status::Status;
use bytes::Bytes;
use skiff_store::backend::{Backend, Entry, ListRange};
use std::collections::BTreeMap;

impl Allocator {
    /// Claims what stored services have, and frees what no stored service has.
    pub(crate) async fn repair(&self, registry: &Registry) -> Result<(), Status> {
        let resource = skiff_schema::find("", "v1", "services").expect("the table of resources has services");
        let services = registry.list(resource, "", &ListOptions::default()).await?;
        let mut right: BTreeMap<Bytes, Claim> = BTreeMap::new();
        for service in services.items {
            let value = service.value()?;
            for claim in plan::held(&value).into_iter().map(|held| held.claim(Some(&value))) {
                right.insert(claim.key().clone(), claim);
            }
        }
        for prefix in [ADDRESSES, PORTS] {
            for entry in all(registry.backend(), prefix).await? {
                if !right.contains_key(&entry.key) && owner_uid(&entry.value).is_some() {
                    tracing::info!(key = ?entry.key, "claim without a service is freed");
                    registry.backend().delete(entry.key, entry.mod_revision).await?;
                }
            }
        }
        for claim in right.values() {
            claim.enforce(registry.backend()).await?;
        }
        Ok(())
    }
}

async fn all(backend: &dyn Backend, prefix: &'static str) -> Result<Vec<Entry>, Status> {
    let range = ListRange { prefix: Bytes::from_static(prefix.as_bytes()), from: None, limit: 0, revision: 0 };
    Ok(backend.list(range).await?.entries)
}
