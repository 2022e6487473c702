//! Volumes that show an image's files: the image has to be on the node, the runtime does the rest.

use super::PodDir;
use super::record::{self, Record};
use crate::agent::Agent;
use crate::cri::said;
use crate::events::Severity;
use crate::pod::act::blocking;
use crate::pod::memory::Failure;
use crate::pod::pulling;
use crate::pod::wanted::PullPolicy;
use k8s_openapi::api::core::v1::{ImageVolumeSource, Pod};
use skiff_proto::cri::v1 as cri;
use std::path::PathBuf;

/// Sees that the image is there, and notes which it is: what a pod sees of it stays while the pod stays.
pub(super) async fn set_up(
    agent: &Agent,
    pod: &Pod,
    dir: &PodDir,
    volume: &str,
    source: &ImageVolumeSource,
) -> Result<(), Failure> {
    let failed = |reason: &str, why: String| Failure::new(reason, format!("image volume \"{volume}\": {why}"));
    let io = |error: std::io::Error| failed("FailedMount", error.to_string());
    if record::read(dir, volume).map_err(io)?.is_some() {
        return Ok(());
    }
    let name = source.reference.clone().unwrap_or_default();
    let spec = cri::ImageSpec { image: name.clone(), user_specified_image: name.clone(), ..Default::default() };
    let inspect = |status: tonic::Status| failed("ImageInspectError", said(&status));
    let mut present = agent.cri.image(spec.clone()).await.map_err(inspect)?;
    let policy = PullPolicy::of(source.pull_policy.as_deref(), &name);
    if let Some(image) = &present
        && policy != PullPolicy::Always
        && !pulling::may_use(agent, pod, &name, &image.id).await
    {
        present = None;
    }
    if policy == PullPolicy::Never && present.is_none() {
        return Err(failed("ErrImageNeverPull", format!("image \"{name}\" is not present with pull policy of Never")));
    }
    if policy == PullPolicy::Always || present.is_none() {
        agent.recorder.pod(pod, None, Severity::Normal, "Pulling", format!("Pulling image \"{name}\""));
        match pulling::pull(agent, pod, &spec, &cri::PodSandboxConfig::default()).await {
            Ok(image) => present = image,
            Err(status) => {
                let why = format!("Failed to pull image \"{name}\": {}", said(&status));
                return Err(failed("ErrImagePull", why));
            }
        }
    }
    let image =
        present.ok_or_else(|| failed("ErrImagePull", format!("image \"{name}\" is not there after its pull")))?;
    let record = Record {
        path: PathBuf::new(),
        read_only: true,
        block: false,
        ready: true,
        image: Some(image.id),
        driver: None,
    };
    let (dir, volume) = (dir.clone(), volume.to_owned());
    blocking(move || {
        record::write(&dir, &volume, &record).map_err(|error| Failure::new("FailedMount", error.to_string()))
    })
    .await
}
