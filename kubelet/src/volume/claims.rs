//! The volumes behind the claims of a pod: whether the pod may have them, and what they are.

use crate::agent::Agent;
use crate::pod::memory::Failure;
use k8s_openapi::api::core::v1::{Container, Node, PersistentVolumeClaim, Pod, Volume};
use kube::Api;
use serde_json::Value;
use skiff_client::affinity::{Place, reaches};
use skiff_client::loose::PersistentVolume;
use skiff_client::sentence;
use std::time::Duration;

/// How often and how long a claim is looked at that has no volume yet, before the pod is told: a volume that a driver makes on demand is there
/// in a moment.
const LOOKS: u32 = 12;
const BETWEEN: Duration = Duration::from_millis(150);

/// A volume that a claim of a pod has.
#[derive(Debug, Clone)]
pub(crate) struct Claimed {
    /// What the pod calls it.
    pub(crate) name: String,
    pub(crate) volume: PersistentVolume,
    pub(crate) claim: PersistentVolumeClaim,
    pub(crate) read_only: bool,
    pub(crate) block: bool,
}

/// Why a volume is not set up, in the words of Kubernetes.
pub(super) fn failed(volume: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new("FailedMount", format!("MountVolume.SetUp failed for volume \"{volume}\" : {why}"))
}

/// Name of the claim of a volume, whether it must be the pod's own, and whether it may only be read.
fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((source.claim_name.clone(), false, source.read_only == Some(true)));
    }
    volume.ephemeral.as_ref()?;
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Some((format!("{pod}-{}", volume.name), true, false))
}

/// The claimed volumes of `pod`. `stands` says which volumes have been set up before: what a running pod has is not taken from it because its claim
/// is going.
///
/// # Errors
/// A claim that cannot be used, or a server that does not answer.
pub(crate) async fn of(agent: &Agent, pod: &Pod, stands: impl Fn(&str) -> bool) -> Result<Vec<Claimed>, Failure> {
    let mut found = Vec::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let Some((name, own, read_only)) = claim_of(pod, volume) else { continue };
        let mut looks = 0;
        let claimed = loop {
            match one(agent, pod, volume, (&name, own), stands(&volume.name)).await {
                Err(Why::NotYet(_)) if looks < LOOKS => looks += 1,
                Err(Why::NotYet(why) | Why::Never(why)) => {
                    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                    return Err(failed(&volume.name, format!("error processing PVC {namespace}/{name}: {why}")));
                }
                Ok((claim, volume)) => break (claim, volume),
            }
            tokio::time::sleep(BETWEEN).await;
        };
        let (claim, of) = claimed;
        let block = of.text("/spec/volumeMode") == "Block";
        check_use(pod, volume, block).map_err(|why| failed(&volume.name, why))?;
        found.push(Claimed { name: volume.name.clone(), volume: of, claim, read_only, block });
    }
    if found.iter().any(|one| one.volume.fields.pointer("/spec/nodeAffinity").is_some_and(Value::is_object)) {
        check_place(agent, &found).await?;
    }
    Ok(found)
}

/// Why a claim cannot be used.
enum Why {
    /// It may become usable by itself at any moment.
    NotYet(String),
    Never(String),
}

async fn one(
    agent: &Agent,
    pod: &Pod,
    volume: &Volume,
    (name, own): (&str, bool),
    stands: bool,
) -> Result<(PersistentVolumeClaim, PersistentVolume), Why> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(agent.client.clone(), namespace);
    let refused = |what: &str, error: &kube::Error| {
        Why::NotYet(format!("failed to fetch {what} from API server: {}", sentence(error)))
    };
    let claim = claims.get(name).await.map_err(|error| refused("PVC", &error))?;
    let uid = pod.metadata.uid.as_ref();
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    if own && !owners.iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid) {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let why = format!("PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)");
        return Err(Why::Never(format!("ephemeral volume {}: {why}", volume.name)));
    }
    // Whoever deletes a claim waits for its users to end: no new one may begin meanwhile.
    if claim.metadata.deletion_timestamp.is_some() && !stands {
        return Err(Why::Never("PVC is being deleted".to_owned()));
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty());
    let Some(bound) = bound.filter(|_| phase == Some("Bound")) else {
        return Err(Why::NotYet("PVC is not bound".to_owned()));
    };
    let volumes: Api<PersistentVolume> = Api::all(agent.client.clone());
    let found = volumes.get(&bound).await.map_err(|error| refused(&format!("PV {bound}"), &error))?;
    if Some(found.text("/spec/claimRef/uid")) != claim.metadata.uid.as_deref() {
        return Err(Why::NotYet(format!("PersistentVolume {bound} is not bound to this claim")));
    }
    Ok((claim, found))
}

/// Whether the containers use the volume as what it is.
fn check_use(pod: &Pod, volume: &Volume, block: bool) -> Result<(), String> {
    let spec = pod.spec.as_ref();
    let containers = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    for container in containers {
        let Container { name, volume_mounts, volume_devices, .. } = container;
        let mounted = volume_mounts.iter().flatten().any(|mount| mount.name == volume.name);
        let as_device = volume_devices.iter().flatten().any(|device| device.name == volume.name);
        if block && mounted {
            return Err(format!("volume has volumeMode Block, but is specified in volumeMounts of container {name}"));
        }
        if !block && as_device {
            let why = "volume has volumeMode Filesystem, but is specified in volumeDevices";
            return Err(format!("{why} of container {name}"));
        }
    }
    Ok(())
}

/// Whether the volumes can be reached from here.
async fn check_place(agent: &Agent, found: &[Claimed]) -> Result<(), Failure> {
    let nodes: Api<Node> = Api::all(agent.client.clone());
    let node = nodes
        .get(&agent.node_name)
        .await
        .map_err(|error| Failure::new("FailedMount", format!("get node {}: {}", agent.node_name, sentence(&error))))?;
    let place = Place { name: agent.node_name.clone(), labels: node.metadata.labels.unwrap_or_default() };
    for one in found {
        let none = Value::Null;
        let terms = one.volume.fields.pointer("/spec/nodeAffinity/required/nodeSelectorTerms").unwrap_or(&none);
        if !reaches(terms, &place) {
            let name = one.volume.name();
            let why =
                format!("MountVolume.NodeAffinity check failed for volume \"{name}\" : no matching NodeSelectorTerms");
            return Err(Failure::new("FailedMount", why));
        }
    }
    Ok(())
}
