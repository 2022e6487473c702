//! One key, one owner.
//!
//! Addresses are IPAddress objects, as in Kubernetes (KEP-1880); an annotation says which service of that name has it, because the
//! next one may bear the same. Ports lie beside, one key each, where Kubernetes keeps one bitmap.

use super::title;
use crate::registry::object::{meta, now};
use crate::status::Status;
use bytes::Bytes;
use serde_json::{Value, json};
use skiff_store::backend::{Backend, BackendError, Entry, Revision, Swapped};
use std::net::Ipv4Addr;

pub(super) const ADDRESSES: &str = "/registry/ipaddresses/";
pub(super) const PORTS: &str = "/registry/ranges/servicenodeports/";

/// The service that claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    namespace: String,
    name: String,
    pub(super) uid: String,
}

impl Owner {
    pub(super) fn of(service: &Value) -> Self {
        let text = |field| meta(service, field).to_owned();
        Self { namespace: text("namespace"), name: text("name"), uid: text("uid") }
    }
}

/// The annotation of an address with the uid of its service.
const SERVICE_UID: &str = "skiff.dev/service-uid";

/// An address or port of an owner.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    key: Bytes,
    value: Bytes,
    uid: String,
}

/// Two are the same if the same service claims the same.
impl PartialEq for Claim {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.uid) == (&other.key, &other.uid)
    }
}

/// Whose it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Ours,
    Others,
}

/// The uid of the service that a claim's value names.
pub(super) fn owner_uid(value: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(value).ok()?;
    // Earlier versions wrote it into the reference, where no IPAddress has it.
    let places = [&value["metadata"]["annotations"][SERVICE_UID], &value["spec"]["parentRef"]["uid"]];
    places.into_iter().find_map(Value::as_str).map(ToOwned::to_owned)
}

/// Whether a claim's value is a whole object, as every version but the earliest wrote it.
pub(super) fn is_whole(value: &[u8]) -> bool {
    let value: Value = serde_json::from_slice(value).unwrap_or_default();
    !meta(&value, "uid").is_empty()
}

impl Claim {
    pub(super) fn address(owner: &Owner, address: Ipv4Addr) -> Self {
        let labels = json!({"ipaddress.kubernetes.io/ip-family": "IPv4",
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"});
        let metadata = json!({"name": address.to_string(), "labels": labels});
        let parent = json!({"group": "", "resource": "services", "namespace": owner.namespace, "name": owner.name});
        Self::new(format!("{ADDRESSES}{address}"), ["networking.k8s.io/v1", "IPAddress"], metadata, parent, owner)
    }

    pub(super) fn port(owner: &Owner, port: u16) -> Self {
        let metadata = json!({"name": port.to_string()});
        let parent = json!({"resource": "services", "namespace": owner.namespace, "name": owner.name});
        Self::new(format!("{PORTS}{port}"), ["skiff.dev/v1", "NodePort"], metadata, parent, owner)
    }

    fn new(key: String, [api_version, kind]: [&str; 2], mut metadata: Value, parent: Value, owner: &Owner) -> Self {
        metadata["uid"] = uuid::Uuid::new_v4().to_string().into();
        metadata["creationTimestamp"] = now().into();
        metadata["annotations"] = json!({ SERVICE_UID: owner.uid });
        let value =
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": {"parentRef": parent}});
        Self { key: key.into(), value: value.to_string().into(), uid: owner.uid.clone() }
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.key
    }

    fn whose(&self, entry: Option<&Entry>) -> Taken {
        match entry {
            Some(entry) if owner_uid(&entry.value).as_ref() != Some(&self.uid) => Taken::Others,
            _ => Taken::Ours,
        }
    }

    /// Makes the claim; also says whether it is new.
    pub(super) async fn make(&self, backend: &dyn Backend) -> Result<(Taken, bool), Status> {
        match backend.put(self.key.clone(), self.value.clone(), 0, 0).await? {
            Swapped::Done(_) => Ok((Taken::Ours, true)),
            // Without an entry it was just released: somebody else's turn is as likely, so try another.
            Swapped::Conflict(None) => Ok((Taken::Others, false)),
            Swapped::Conflict(entry) => Ok((self.whose(entry.as_ref()), false)),
        }
    }

    /// Whose it would be.
    pub(super) async fn look(&self, backend: &dyn Backend) -> Result<Taken, Status> {
        Ok(self.whose(backend.get(self.key.clone()).await?.entry.as_ref()))
    }

    /// Whether it is this service's.
    pub(super) fn is_of(&self, uid: &str) -> bool {
        self.uid == uid
    }

    #[cfg(test)]
    pub(super) fn value(&self) -> &Bytes {
        &self.value
    }

    /// Makes the claim in the place of what stands there at `expected` (0: nothing), if that is still so.
    pub(super) async fn put(&self, backend: &dyn Backend, expected: Revision) -> Result<(), BackendError> {
        backend.put(self.key.clone(), self.value.clone(), expected, 0).await.map(drop)
    }

    /// Frees it, if a service of the same name has claimed it.
    pub(super) async fn free_namesake(&self, backend: &dyn Backend) -> Result<(), BackendError> {
        let Some(entry) = backend.get(self.key.clone()).await?.entry else { return Ok(()) };
        let parent = |value: &[u8]| {
            let value: Value = serde_json::from_slice(value).unwrap_or_default();
            ["namespace", "name"].map(|field| value["spec"]["parentRef"][field].clone())
        };
        if parent(&entry.value) == parent(&self.value) {
            backend.delete(self.key.clone(), entry.mod_revision).await?;
        }
        Ok(())
    }

    /// Frees it, if it is ours. A failure leaves it claimed until the repair finds it, which is no reason to fail
    /// the write that went before.
    pub(super) async fn release(&self, backend: &dyn Backend) {
        if let Err(error) = self.try_release(backend).await {
            tracing::warn!(key = ?self.key, %error, "claim of a service not released");
        }
    }

    async fn try_release(&self, backend: &dyn Backend) -> Result<(), BackendError> {
        let Some(entry) = backend.get(self.key.clone()).await?.entry else { return Ok(()) };
        if self.whose(Some(&entry)) == Taken::Ours {
            backend.delete(self.key.clone(), entry.mod_revision).await?;
        }
        Ok(())
    }
}

/// What a stored service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Address(Ipv4Addr),
    Port(u16),
}

impl Held {
    /// The claim that `service` has on it.
    pub(super) fn claim(self, service: Option<&Value>) -> Claim {
        let service = service.unwrap_or(&Value::Null);
        let owner = Owner::of(service);
        tracing::trace!(service = title(service), held = ?self, "claim");
        match self {
            Self::Address(address) => Claim::address(&owner, address),
            Self::Port(port) => Claim::port(&owner, port),
        }
    }
}
