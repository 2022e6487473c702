//! Devices of claims (KEP-4381): drivers on the node set them up before a pod has a sandbox, and take them down after its last container.
//!
//! ```text
//!  socket in plugins_registry ─► DRAPlugin                                        [plugin]
//!  claim, allocated and reserved ─► NodePrepareResources ─► names of devices      [record]
//!  container that names the claim ─► CRI, CDI_devices
//!  pod ended, the last that had it ─► NodeUnprepareResources ─► record gone
//! ```
//!
//! Devices that are asked for by number come from plugins of another kind; see [`counted`].
//!
//! What a driver was told to set up is in a file before it is told, so it is taken down whatever happens in between.

pub(crate) mod counted; // those that plugins count, without claims
mod plugin; // one driver, and how it is called
mod record; // what was set up, on the disk

pub(crate) use plugin::Plugin;

use crate::agent::Agent;
use crate::pod::memory::Failure;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::Api;
use record::Record;
use serde_json::Value;
use skiff_client::loose::ResourceClaim;
use skiff_client::sentence;
use skiff_proto::cri::v1 as cri;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The drivers of devices that the node has, and what they have set up.
pub(crate) struct Drivers {
    /// Where the records are.
    folder: PathBuf,
    known: Mutex<BTreeMap<String, Plugin>>,
    /// Held while claims are set up or taken down: two pods may share one.
    busy: tokio::sync::Mutex<()>,
}

impl Drivers {
    /// Those of a kubelet whose pods are below `root`.
    pub(crate) fn new(root: &Path) -> Self {
        let folder = root.parent().unwrap_or(root).join("dra");
        Self { folder, known: Mutex::default(), busy: tokio::sync::Mutex::default() }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, BTreeMap<String, Plugin>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plugin(&self, name: &str) -> Result<Plugin, String> {
        let found = self.known().get(name).cloned();
        found.ok_or_else(|| format!("DRA driver {name} is not registered"))
    }
}

/// The name of a pod's claim; `None`: it needed none.
fn claim_name(pod: &Pod, name: &str) -> Result<Option<String>, String> {
    let claims = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let claim = claims.into_iter().find(|claim| claim.name == name);
    let claim = claim.ok_or_else(|| format!("the pod has no claim \"{name}\""))?;
    if let Some(name) = &claim.resource_claim_name {
        return Ok(Some(name.clone()));
    }
    let made = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let made = made.into_iter().find(|made| made.name == name);
    made.map(|made| made.resource_claim_name.clone()).ok_or_else(|| "ResourceClaim not created yet".to_owned())
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

/// Has drivers set up the devices of a pod's claims; those that are set up stay as they are.
///
/// # Errors
/// A claim is not the pod's to use, or a driver does not do it.
pub(crate) async fn prepare(agent: &Agent, pod: &Pod) -> Result<(), Failure> {
    let claims = pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default();
    if claims.is_empty() {
        return Ok(());
    }
    let wrong = |why: String| Failure::new("FailedPrepareDynamicResources", why);
    let _held = agent.drivers.busy.lock().await;
    for claim in claims {
        let name = claim_name(pod, &claim.name);
        let about =
            |why: String| wrong(format!("Failed to prepare dynamic resources: claim \"{}\": {why}", claim.name));
        let Some(name) = name.map_err(about)? else { continue };
        prepare_one(agent, pod, &name).await.map_err(about)?;
    }
    Ok(())
}

async fn prepare_one(agent: &Agent, pod: &Pod, name: &str) -> Result<(), String> {
    let api: Api<ResourceClaim> = Api::namespaced(agent.client.clone(), namespace(pod));
    let claim = api.get(name).await.map_err(|error| format!("get ResourceClaim {name}: {}", sentence(&error)))?;
    let drivers = drivers_of(&claim, pod)?;
    let record = Record {
        namespace: namespace(pod).to_owned(),
        name: name.to_owned(),
        uid: claim.metadata.uid.clone().unwrap_or_default(),
        pods: BTreeSet::new(),
        drivers,
        ready: false,
        devices: Vec::new(),
    };
    let folder = &agent.drivers.folder;
    let known = record::read(folder, &record.uid).map_err(|error| format!("read what was set up: {error}"))?;
    let mut record = known.unwrap_or(record);
    if record.ready && record.pods.contains(uid(pod)) {
        return Ok(());
    }
    let write =
        |record: &Record| record::write(folder, record).map_err(|error| format!("write what is set up: {error}"));
    // Nothing is to be taken down of a driver that was never told anything.
    let plugins = record.drivers.iter().map(|driver| agent.drivers.plugin(driver)).collect::<Result<Vec<_>, _>>();
    let plugins = if record.ready { Vec::new() } else { plugins? };
    record.pods.insert(uid(pod).to_owned());
    write(&record)?;
    if !record.ready {
        let mut devices = Vec::new();
        for plugin in plugins {
            devices.extend(plugin.prepare(&record).await?);
        }
        (record.devices, record.ready) = (devices, true);
        write(&record)?;
    }
    Ok(())
}

/// Whose devices a claim has, if it has some and a pod may use them.
fn drivers_of(claim: &ResourceClaim, pod: &Pod) -> Result<BTreeSet<String>, String> {
    let status = &claim.fields["status"];
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    if status["allocation"].is_null() {
        return Err(format!("ResourceClaim {} is not allocated", claim.name()));
    }
    if !list(&status["reservedFor"]).iter().any(|user| user["uid"] == uid(pod)) {
        let (claim, pod) = (claim.name(), pod.metadata.name.as_deref().unwrap_or_default());
        return Err(format!("pod {pod} is not allowed to use ResourceClaim {claim}"));
    }
    let results = list(&status["allocation"]["devices"]["results"]);
    Ok(results.iter().filter_map(|result| result["driver"].as_str()).map(str::to_owned).collect())
}

/// The devices of the claims that a container names, by the names that the runtime knows them by.
///
/// # Errors
/// A claim is not set up.
pub(crate) fn of_container(agent: &Agent, pod: &Pod, container: &Container) -> Result<Vec<cri::CdiDevice>, Failure> {
    let wanted = container.resources.as_ref().and_then(|resources| resources.claims.as_deref()).unwrap_or_default();
    let wrong = |why: String| Failure::new("CreateContainerConfigError", why);
    let mut names: Vec<String> = Vec::new();
    for claim in wanted {
        let about = |why: String| wrong(format!("container {}: claim \"{}\": {why}", container.name, claim.name));
        let Some(name) = claim_name(pod, &claim.name).map_err(about)? else { continue };
        let records = record::all(&agent.drivers.folder).map_err(|error| about(error.to_string()))?;
        let is_it = |record: &&Record| {
            record.ready && record.namespace == namespace(pod) && record.name == name && record.pods.contains(uid(pod))
        };
        let record = records.iter().find(is_it).ok_or_else(|| about("it has not been set up".to_owned()))?;
        for id in record.devices.iter().filter(|device| device.is_for(claim.request.as_deref())).flat_map(|it| &it.ids)
        {
            if !names.contains(id) {
                names.push(id.clone());
            }
        }
    }
    Ok(names.into_iter().map(|name| cri::CdiDevice { name }).collect())
}

/// Has drivers take down what only the pod `pod` had.
///
/// # Errors
/// A driver does not do it; it is to be tried again.
pub(crate) async fn unprepare(agent: &Agent, pod: &str) -> Result<(), String> {
    let folder = &agent.drivers.folder;
    let about = |error: std::io::Error| format!("what was set up for claims of devices: {error}");
    let records = record::all(folder).map_err(about)?;
    if !records.iter().any(|record| record.pods.contains(pod)) {
        return Ok(());
    }
    let _held = agent.drivers.busy.lock().await;
    for mut record in record::all(folder).map_err(about)?.into_iter().filter(|record| record.pods.contains(pod)) {
        if record.pods.len() > 1 {
            record.pods.remove(pod);
            record::write(folder, &record).map_err(about)?;
            continue;
        }
        for driver in &record.drivers {
            agent.drivers.plugin(driver)?.unprepare(&record).await?;
        }
        record::remove(folder, &record.uid).map_err(about)?;
    }
    Ok(())
}
