//! Has a driver put a volume in its place for a pod.

use super::super::PodDir;
use super::super::ownership::{self, When};
use super::super::record::{self, Published, Record};
use super::asked::{SecretAt, Source, pod_info};
use super::driver::{Driver, call};
use super::node_object;
use crate::agent::Agent;
use crate::pod::act::blocking;
use crate::pod::memory::Failure;
use crate::volume::clear::is_mounted;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skiff_client::loose::{CSIDriver, VolumeAttachment};
use skiff_client::sentence;
use skiff_csi::call::said;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::node_service_capability::rpc::Type as Can;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is to be put where.
pub(crate) struct Wanted<'a> {
    pub(crate) agent: &'a Arc<Agent>,
    pub(crate) pod: &'a Pod,
    pub(crate) dir: PodDir,
    /// What the pod calls the volume.
    pub(crate) name: &'a str,
    pub(crate) source: &'a Source,
}

/// How it went.
pub(crate) struct Placed {
    /// Whether the driver wants to be called again from time to time.
    pub(crate) again: bool,
    /// A later call failed; what stood stands.
    pub(crate) complaint: Option<String>,
}

/// Puts the volume in its place, or sees that it is there.
///
/// # Errors
/// Why it is not there, as a sentence without the volume's name.
pub(crate) async fn publish(wanted: &Wanted<'_>) -> Result<Placed, String> {
    let (agent, source) = (wanted.agent, wanted.source);
    let object = agent.plugins.object(agent, &source.driver).await;
    let says = |field: &str| object.as_ref().and_then(|object| object.fields["spec"][field].as_bool());
    let again = says("requiresRepublish") == Some(true);
    let io = |error: std::io::Error| format!("read what was set up: {error}");
    let before = record::read(&wanted.dir, wanted.name).map_err(io)?.filter(|record| record.ready);
    let stands = before.as_ref().is_some_and(|record| is_mounted(&record.path));
    if stands && !again {
        return Ok(Placed { again, complaint: None });
    }
    Placed::after(place(wanted, object.as_deref(), before.filter(|_| stands)).await, again, stands)
}

impl Placed {
    /// What became of a volume that stood before, or did not.
    fn after(done: Result<(), String>, again: bool, stood: bool) -> Result<Self, String> {
        match done {
            Err(why) if stood => Ok(Self { again, complaint: Some(why) }),
            done => done.map(|()| Self { again, complaint: None }),
        }
    }
}

async fn place(wanted: &Wanted<'_>, object: Option<&CSIDriver>, before: Option<Record>) -> Result<(), String> {
    let (agent, source) = (wanted.agent, wanted.source);
    let driver = agent
        .plugins
        .driver(&source.driver)
        .map_err(|why| format!("kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: {why}"))?;
    check_lifecycle(source, object)?;
    let lock = agent.plugins.lock(&source.driver, &source.handle);
    let _held = lock.lock().await;
    let attached = !source.inline && object.and_then(|it| it.fields["spec"]["attachRequired"].as_bool()) != Some(false);
    let context = if attached { publish_context(agent, source).await? } else { HashMap::new() };
    let group = group_of(wanted.pod);
    let policy = object.and_then(|it| it.fields["spec"]["fsGroupPolicy"].as_str()).unwrap_or_default().to_owned();
    let by_driver = group.map(|(group, _)| group).filter(|_| driver.can(Can::VolumeMountGroup));
    let capability = source.capability(by_driver, driver.can(Can::SingleNodeMultiWriter));
    let staging = (!source.inline && driver.can(Can::StageUnstageVolume)).then(|| staging(agent, source));
    let target = target(wanted);
    let mut record = Record {
        path: target.clone(),
        read_only: source.read_only,
        block: source.block,
        ready: before.is_some(),
        image: None,
        driver: Some(Published {
            driver: source.driver.clone(),
            handle: source.handle.clone(),
            target: target.clone(),
            staging: staging.clone(),
            attached,
        }),
    };
    keep(wanted, record.clone()).await?;
    if attached && before.is_none() {
        node_object::tell_in_use(agent).await?;
    }
    if let Some(staging) = staging.as_deref().filter(|_| before.is_none()) {
        stage(agent, &driver, source, staging, &context, &capability).await?;
    }
    let request = csi::NodePublishVolumeRequest {
        volume_id: source.handle.clone(),
        publish_context: context,
        staging_target_path: staging.map(|path| path.display().to_string()).unwrap_or_default(),
        target_path: target.display().to_string(),
        volume_capability: Some(capability),
        readonly: source.read_only,
        ..attributes(wanted, object).await?
    };
    make_parent(&target).await?;
    driver.node().node_publish_volume(call(request)).await.map_err(|status| said(&status))?;
    if let Some((group, when)) = group.filter(|_| before.is_none() && by_driver.is_none() && source.is_given(&policy)) {
        let read_only = source.read_only;
        let give = move || ownership::give(&target, group, read_only, when).map_err(|error| failed(&error));
        blocking(give)
            .await
            .map_err(|failure| format!("applyFSGroup failed for vol {}: {}", source.handle, failure.message))?;
    }
    record.ready = true;
    keep(wanted, record).await
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new("FailedMount", error.to_string())
}

async fn keep(wanted: &Wanted<'_>, record: Record) -> Result<(), String> {
    let (dir, name) = (wanted.dir.clone(), wanted.name.to_owned());
    let kept = blocking(move || record::write(&dir, &name, &record).map_err(|error| failed(&error))).await;
    kept.map_err(|failure| format!("note what is set up: {}", failure.message))
}

async fn make_parent(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(path).to_owned();
    tokio::fs::create_dir_all(&parent).await.map_err(|error| format!("create {}: {error}", parent.display()))
}

/// Whether the driver does volumes of this kind.
fn check_lifecycle(source: &Source, object: Option<&CSIDriver>) -> Result<(), String> {
    let mode = if source.inline { "Ephemeral" } else { "Persistent" };
    let modes = object.and_then(|object| object.fields["spec"]["volumeLifecycleModes"].as_array().cloned());
    let modes = modes.unwrap_or_else(|| vec!["Persistent".into()]);
    if modes.iter().any(|one| one == mode) {
        return Ok(());
    }
    Err(format!("volume mode \"{mode}\" not supported by driver {} (only supports {})", source.driver, json!(modes)))
}

/// The group that the pod's volumes are given to, and when they are looked through for that.
pub(crate) fn group_of(pod: &Pod) -> Option<(u32, When)> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref())?;
    let when = match context.fs_group_change_policy.as_deref() {
        Some("OnRootMismatch") => When::Mismatch,
        _ => When::Always,
    };
    Some((u32::try_from(context.fs_group?).ok()?, when))
}

/// Where the volume is for the whole node.
fn staging(agent: &Agent, source: &Source) -> PathBuf {
    let digest = hex::encode(Sha256::digest(&source.handle));
    agent.plugins.folder.join(&source.driver).join(digest).join("globalmount")
}

/// Where the driver puts it for the pod: in the places that drivers know.
fn target(wanted: &Wanted<'_>) -> PathBuf {
    let (name, uid) = (&wanted.source.name, wanted.pod.metadata.uid.as_deref().unwrap_or_default());
    if wanted.source.block {
        return wanted.agent.plugins.folder.join("volumeDevices").join("publish").join(name).join(uid);
    }
    wanted.dir.path().join("volumes").join("kubernetes.io~csi").join(name).join("mount")
}

/// What the driver's controller said when it attached the volume.
async fn publish_context(agent: &Agent, source: &Source) -> Result<HashMap<String, String>, String> {
    let digest = Sha256::digest(format!("{}{}{}", source.handle, source.driver, agent.node_name));
    let name = format!("csi-{}", hex::encode(digest));
    let api: Api<VolumeAttachment> = Api::all(agent.client.clone());
    let found = api.get(&name).await.map_err(|error| format!("get volumeattachment {name}: {}", sentence(&error)))?;
    if found.fields.pointer("/status/attached") != Some(&Value::Bool(true)) {
        let why = found.text("/status/attachError/message");
        let why = if why.is_empty() { String::new() } else { format!(": {why}") };
        return Err(format!("volume attachment {name} is not attached yet{why}"));
    }
    let pairs = found.fields.pointer("/status/attachmentMetadata").and_then(Value::as_object).into_iter().flatten();
    Ok(pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

async fn stage(
    agent: &Agent,
    driver: &Driver,
    source: &Source,
    at: &Path,
    context: &HashMap<String, String>,
    capability: &csi::VolumeCapability,
) -> Result<(), String> {
    tokio::fs::create_dir_all(at).await.map_err(|error| format!("create {}: {error}", at.display()))?;
    let request = csi::NodeStageVolumeRequest {
        volume_id: source.handle.clone(),
        publish_context: context.clone(),
        staging_target_path: at.display().to_string(),
        volume_capability: Some(capability.clone()),
        secrets: secret(agent, source.stage_secret.as_ref()).await?,
        volume_context: source.attributes.clone(),
    };
    let staged = driver.node().node_stage_volume(call(request)).await;
    let about = |status| format!("MountVolume.MountDevice failed for volume \"{}\" : {}", source.name, said(&status));
    staged.map(drop).map_err(about)
}

/// The part of a request that says what the volume is and for whom.
async fn attributes(wanted: &Wanted<'_>, object: Option<&CSIDriver>) -> Result<csi::NodePublishVolumeRequest, String> {
    let (agent, pod, source) = (wanted.agent, wanted.pod, wanted.source);
    let mut secrets = secret(agent, source.publish_secret.as_ref()).await?;
    let mut volume_context = source.attributes.clone();
    let spec = object.map(|object| object.fields["spec"].clone()).unwrap_or_default();
    if spec["podInfoOnMount"] == true {
        volume_context.extend(pod_info(pod, source.inline));
    }
    let asked = spec["tokenRequests"].as_array().cloned().unwrap_or_default();
    if !asked.is_empty() {
        let tokens = tokens(agent, pod, &asked).await?;
        let into = if spec["serviceAccountTokenInSecrets"] == true { &mut secrets } else { &mut volume_context };
        into.insert("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), tokens.to_string());
    }
    Ok(csi::NodePublishVolumeRequest { secrets, volume_context, ..Default::default() })
}

async fn tokens(agent: &Agent, pod: &Pod, asked: &[Value]) -> Result<Value, String> {
    let mut all = json!({});
    for one in asked {
        let audience = one["audience"].as_str().unwrap_or_default();
        let seconds = one["expirationSeconds"].as_i64().unwrap_or(3600);
        let (token, ends) =
            agent.tokens.token(agent, pod, audience, seconds).await.map_err(|failure| failure.message)?;
        all[audience] = json!({"token": token, "expirationTimestamp": ends.to_string()});
    }
    Ok(all)
}

/// The contents of a secret that a driver is given.
pub(super) async fn secret(agent: &Agent, at: Option<&SecretAt>) -> Result<HashMap<String, String>, String> {
    let Some((namespace, name)) = at else { return Ok(HashMap::new()) };
    let secrets: Api<Secret> = Api::namespaced(agent.client.clone(), namespace);
    let found = secrets.get(name).await;
    let found = found.map_err(|error| format!("fetching secret {namespace}/{name} failed: {}", sentence(&error)))?;
    let pairs = found.data.unwrap_or_default().into_iter();
    Ok(pairs.map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Others have taken a volume from its pod because its driver would not refresh it once.
    #[test]
    fn what_stands_is_kept_when_a_later_call_fails() {
        let failed = || Err("no token today".to_owned());
        let kept = Placed::after(failed(), true, true).unwrap();
        assert_eq!((kept.again, kept.complaint.as_deref()), (true, Some("no token today")));
        assert_eq!(Placed::after(failed(), true, false).err().as_deref(), Some("no token today"));
        assert!(Placed::after(Ok(()), true, true).unwrap().complaint.is_none());
    }
}
