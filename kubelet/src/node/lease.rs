//! The node's heartbeat: `kube-node-lease/<node>` (KEP-589).

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

/// How long the lease lasts without renewal, seconds (the kubelet's nodeLeaseDurationSeconds).
const LEASE_SECONDS: i32 = 40;

fn now() -> MicroTime {
    // MicroTime has six digits; finer ones would be cut by the server.
    MicroTime(Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default())
}

/// Renews the lease of `node`, or makes it.
pub(super) async fn renew(client: &kube::Client, node: &Node) -> kube::Result<()> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
    let name = node.metadata.name.clone().unwrap_or_default();
    let patch = json!({"spec": {"renewTime": now(), "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS}});
    match leases.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        other => return other.map(drop),
    }
    let owner = node.metadata.uid.clone().map(|uid| OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.clone(),
        uid,
        ..Default::default()
    });
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some("kube-node-lease".to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..Default::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(now()),
            ..Default::default()
        }),
    };
    leases.create(&PostParams::default(), &lease).await.map(drop)
}
