//! The controller service: makes, grows, lists and removes volumes.

use crate::device;
use crate::error::{Done, Refusal, required};
use crate::store::{Kind, Store, Volume, id_of};
use crate::{KIND, TOPOLOGY};
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::controller_server::Controller;
use skiff_csi::csi::v1::controller_service_capability::rpc::Type as Can;
use skiff_csi::csi::v1::controller_service_capability::{Rpc, Type};
use skiff_csi::csi::v1::validate_volume_capabilities_response::Confirmed;
use skiff_csi::csi::v1::volume_capability::AccessType;
use skiff_csi::csi::v1::volume_capability::access_mode::Mode;
use skiff_csi::csi::v1::volume_content_source;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Response, Status};

/// The size of an image that nobody gave one.
const BYTES: i64 = 1 << 30;

/// What several calls need.
#[derive(Clone)]
pub(crate) struct Volumes {
    pub(crate) store: Store,
    pub(crate) node: String,
    /// Held while a volume is made, grown or removed: the same call may come twice at once.
    changing: Arc<Mutex<()>>,
}

impl Volumes {
    pub(crate) fn new(store: Store, node: String) -> Self {
        Self { store, node, changing: Arc::default() }
    }

    pub(crate) fn alone(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the volumes are: on this node and nowhere else.
    pub(crate) fn topology(&self) -> csi::Topology {
        csi::Topology { segments: HashMap::from([(TOPOLOGY.to_owned(), self.node.clone())]) }
    }

    fn shown(&self, id: &str, volume: &Volume) -> csi::Volume {
        let source = csi::VolumeContentSource {
            r#type: Some(volume_content_source::Type::Volume(volume_content_source::VolumeSource {
                volume_id: volume.source.clone(),
            })),
        };
        csi::Volume {
            capacity_bytes: volume.bytes,
            volume_id: id.to_owned(),
            volume_context: HashMap::new(),
            content_source: (!volume.source.is_empty()).then_some(source),
            accessible_topology: vec![self.topology()],
        }
    }
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Done<T> + Send + 'static,
) -> Result<Response<T>, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(Response::new(done?)),
        Err(error) => Err(Status::internal(format!("the work ended early: {error}"))),
    }
}

/// Whether all of `capabilities` can be had, and whether a device is asked for.
fn check_capabilities(capabilities: &[csi::VolumeCapability]) -> Done<bool> {
    if capabilities.is_empty() {
        return Err(Refusal::Invalid("volume_capabilities is missing".to_owned()));
    }
    let mut block = None;
    for one in capabilities {
        let is_block = match &one.access_type {
            Some(AccessType::Block(_)) => true,
            Some(AccessType::Mount(_)) => false,
            None => return Err(Refusal::Invalid("volume_capability.access_type is missing".to_owned())),
        };
        if one.access_mode.is_none_or(|mode| mode.mode() == Mode::Unknown) {
            return Err(Refusal::Invalid("volume_capability.access_mode is missing".to_owned()));
        }
        if block.is_some_and(|block| block != is_block) {
            return Err(Refusal::Invalid("a volume is a filesystem or a device, not both".to_owned()));
        }
        block = Some(is_block);
    }
    Ok(block == Some(true))
}

/// What kind of volume a class and its use ask for.
fn kind(parameters: &HashMap<String, String>, block: bool) -> Done<Kind> {
    if let Some(unknown) = parameters.keys().find(|key| *key != KIND && !key.starts_with("csi.storage.k8s.io/")) {
        return Err(Refusal::Invalid(format!("parameters.{unknown} is not known; there is {KIND}: folder or image")));
    }
    match (parameters.get(KIND).map(String::as_str), block) {
        (None | Some("folder" | "image"), true) => Ok(Kind::Block),
        (None | Some("folder"), false) => Ok(Kind::Folder),
        (Some("image"), false) => Ok(Kind::Image),
        (Some(other), _) => Err(Refusal::Invalid(format!("parameters.{KIND}: {other} is neither folder nor image"))),
    }
}

/// How large a volume becomes.
fn size(range: Option<&csi::CapacityRange>, kind: Kind) -> Done<i64> {
    let range = range.copied().unwrap_or_default();
    let (least, most) = (range.required_bytes, range.limit_bytes);
    if least < 0 || most < 0 || (most > 0 && least > most) {
        return Err(Refusal::Size(format!("capacity_range: no size is at least {least} and at most {most}")));
    }
    let unsaid = if kind == Kind::Folder { 0 } else { BYTES };
    let chosen = if least > 0 { least } else { unsaid };
    Ok(if most > 0 { chosen.min(most) } else { chosen })
}

impl Volumes {
    fn create(&self, asked: &csi::CreateVolumeRequest) -> Done<csi::CreateVolumeResponse> {
        let name = required("name", &asked.name)?;
        let block = check_capabilities(&asked.volume_capabilities)?;
        let kind = kind(&asked.parameters, block)?;
        let bytes = size(asked.capacity_range.as_ref(), kind)?;
        self.check_place(asked.accessibility_requirements.as_ref())?;
        let source = match asked.volume_content_source.as_ref().and_then(|source| source.r#type.as_ref()) {
            None => String::new(),
            Some(volume_content_source::Type::Volume(of)) => of.volume_id.clone(),
            Some(volume_content_source::Type::Snapshot(_)) => {
                return Err(Refusal::Invalid("volume_content_source: there are no snapshots here".to_owned()));
            }
        };
        let _alone = self.alone();
        let id = id_of(name);
        match self.store.get(&id) {
            Ok(present) => {
                let most = asked.capacity_range.map_or(0, |range| range.limit_bytes);
                let fits = present.bytes >= bytes && (most == 0 || present.bytes <= most);
                if present.kind != kind || present.source != source || !fits {
                    let why = format!("volume {name} is there, and is of another size, kind or origin");
                    return Err(Refusal::Different(why));
                }
                return Ok(csi::CreateVolumeResponse { volume: Some(self.shown(&id, &present)) });
            }
            Err(Refusal::Absent(_)) => {}
            Err(error) => return Err(error),
        }
        let free = self.store.free()?;
        if bytes > free {
            return Err(Refusal::Full(format!("{bytes} bytes are asked for and {free} are free")));
        }
        let mut filesystem = 0;
        if !source.is_empty() {
            let from = self.store.get(&source)?;
            filesystem = from.filesystem;
            if from.kind != kind || from.bytes > bytes {
                return Err(Refusal::Size(format!("a copy of volume {source} is of its kind and at least its size")));
            }
        }
        let volume = Volume { name: name.to_owned(), kind, bytes, source, inline: false, filesystem };
        self.store.create(&id, &volume)?;
        Ok(csi::CreateVolumeResponse { volume: Some(self.shown(&id, &volume)) })
    }

    /// Whether this node is where the volume is wanted.
    fn check_place(&self, asked: Option<&csi::TopologyRequirement>) -> Done<()> {
        let Some(asked) = asked.filter(|asked| !asked.requisite.is_empty()) else { return Ok(()) };
        if asked.requisite.iter().any(|one| *one == self.topology()) {
            return Ok(());
        }
        Err(Refusal::Full(format!("volumes of this driver are on node {} only", self.node)))
    }

    fn grow(&self, asked: &csi::ControllerExpandVolumeRequest) -> Done<csi::ControllerExpandVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let range = asked.capacity_range.as_ref();
        let range = range.ok_or_else(|| Refusal::Invalid("capacity_range is missing".to_owned()))?;
        let _alone = self.alone();
        let mut volume = self.store.get(id)?;
        let bytes = size(Some(range), volume.kind)?.max(volume.bytes);
        if range.limit_bytes > 0 && bytes > range.limit_bytes {
            return Err(Refusal::Size(format!("volume {id} has {} bytes already", volume.bytes)));
        }
        let (more, free) = (bytes - volume.bytes, self.store.free()?);
        if more > free {
            return Err(Refusal::Full(format!("{more} bytes more are asked for and {free} are free")));
        }
        if volume.kind != Kind::Folder {
            self.store.resize(id, bytes)?;
        }
        volume.bytes = bytes;
        self.store.describe(id, &volume)?;
        let on_node = volume.kind != Kind::Folder;
        Ok(csi::ControllerExpandVolumeResponse { capacity_bytes: bytes, node_expansion_required: on_node })
    }

    fn remove(&self, id: &str) -> Done<csi::DeleteVolumeResponse> {
        let id = required("volume_id", id)?;
        let _alone = self.alone();
        let image = self.store.image(id).ok().filter(|image| image.exists());
        if let Some(image) = image
            && device::of(&image)?.is_some()
        {
            return Err(Refusal::NotNow(format!("volume {id} is in use: it has a loop device")));
        }
        if let Some(target) = self.store.published(id)?.first() {
            return Err(Refusal::NotNow(format!("volume {id} is in use at {}", target.display())));
        }
        self.store.remove(id)?;
        Ok(csi::DeleteVolumeResponse {})
    }

    fn validate(&self, asked: csi::ValidateVolumeCapabilitiesRequest) -> Done<csi::ValidateVolumeCapabilitiesResponse> {
        let volume = self.store.get(required("volume_id", &asked.volume_id)?)?;
        let block = check_capabilities(&asked.volume_capabilities)?;
        if block != (volume.kind == Kind::Block) {
            let message = "the volume is of the other kind".to_owned();
            return Ok(csi::ValidateVolumeCapabilitiesResponse { confirmed: None, message });
        }
        let confirmed = Confirmed {
            volume_context: asked.volume_context,
            volume_capabilities: asked.volume_capabilities,
            parameters: asked.parameters,
            mutable_parameters: asked.mutable_parameters,
        };
        Ok(csi::ValidateVolumeCapabilitiesResponse { confirmed: Some(confirmed), message: String::new() })
    }

    fn list(&self, asked: &csi::ListVolumesRequest) -> Done<csi::ListVolumesResponse> {
        if asked.max_entries < 0 {
            return Err(Refusal::Invalid("max_entries is negative".to_owned()));
        }
        let all = self.store.all()?;
        // A token is the id of the volume that was shown last.
        if !asked.starting_token.is_empty() && all.iter().all(|(id, _)| *id != asked.starting_token) {
            return Err(Refusal::Stale(format!("starting_token {} names no volume any more", asked.starting_token)));
        }
        let rest = all.iter().filter(|(id, _)| *id > asked.starting_token);
        let most = if asked.max_entries == 0 { usize::MAX } else { asked.max_entries.unsigned_abs() as usize };
        let shown: Vec<_> = rest.clone().take(most).collect();
        let more = rest.count() > shown.len();
        let entries = shown.iter().map(|(id, volume)| csi::list_volumes_response::Entry {
            volume: Some(self.shown(id, volume)),
            status: None,
        });
        let next_token = shown.last().filter(|_| more).map(|(id, _)| id.clone()).unwrap_or_default();
        Ok(csi::ListVolumesResponse { entries: entries.collect(), next_token })
    }
}

fn unimplemented<T>(what: &str) -> Result<Response<T>, Status> {
    Err(Status::unimplemented(format!("{what} is not implemented by this driver")))
}

#[tonic::async_trait]
impl Controller for Volumes {
    async fn create_volume(
        &self,
        asked: Request<csi::CreateVolumeRequest>,
    ) -> Result<Response<csi::CreateVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.create(&asked)).await
    }

    async fn delete_volume(
        &self,
        asked: Request<csi::DeleteVolumeRequest>,
    ) -> Result<Response<csi::DeleteVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.remove(&asked.volume_id)).await
    }

    async fn controller_publish_volume(
        &self,
        _: Request<csi::ControllerPublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerPublishVolumeResponse>, Status> {
        unimplemented("ControllerPublishVolume")
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<csi::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<csi::ControllerUnpublishVolumeResponse>, Status> {
        unimplemented("ControllerUnpublishVolume")
    }

    async fn validate_volume_capabilities(
        &self,
        asked: Request<csi::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<csi::ValidateVolumeCapabilitiesResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.validate(asked)).await
    }

    async fn list_volumes(
        &self,
        asked: Request<csi::ListVolumesRequest>,
    ) -> Result<Response<csi::ListVolumesResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.list(&asked)).await
    }

    async fn get_capacity(
        &self,
        _: Request<csi::GetCapacityRequest>,
    ) -> Result<Response<csi::GetCapacityResponse>, Status> {
        let volumes = self.clone();
        blocking(move || {
            Ok(csi::GetCapacityResponse { available_capacity: volumes.store.free()?, ..Default::default() })
        })
        .await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<csi::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<csi::ControllerGetCapabilitiesResponse>, Status> {
        let all = [
            Can::CreateDeleteVolume,
            Can::ListVolumes,
            Can::GetCapacity,
            Can::CloneVolume,
            Can::ExpandVolume,
            Can::GetVolume,
            Can::SingleNodeMultiWriter,
        ];
        let one = |can: Can| csi::ControllerServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: can.into() })) };
        Ok(Response::new(csi::ControllerGetCapabilitiesResponse { capabilities: all.map(one).into() }))
    }

    async fn create_snapshot(
        &self,
        _: Request<csi::CreateSnapshotRequest>,
    ) -> Result<Response<csi::CreateSnapshotResponse>, Status> {
        unimplemented("CreateSnapshot")
    }

    async fn delete_snapshot(
        &self,
        _: Request<csi::DeleteSnapshotRequest>,
    ) -> Result<Response<csi::DeleteSnapshotResponse>, Status> {
        unimplemented("DeleteSnapshot")
    }

    async fn list_snapshots(
        &self,
        _: Request<csi::ListSnapshotsRequest>,
    ) -> Result<Response<csi::ListSnapshotsResponse>, Status> {
        unimplemented("ListSnapshots")
    }

    async fn controller_expand_volume(
        &self,
        asked: Request<csi::ControllerExpandVolumeRequest>,
    ) -> Result<Response<csi::ControllerExpandVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.grow(&asked)).await
    }

    async fn controller_get_volume(
        &self,
        asked: Request<csi::ControllerGetVolumeRequest>,
    ) -> Result<Response<csi::ControllerGetVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || {
            let id = required("volume_id", &asked.volume_id)?;
            let volume = volumes.shown(id, &volumes.store.get(id)?);
            Ok(csi::ControllerGetVolumeResponse { volume: Some(volume), status: Some(Default::default()) })
        })
        .await
    }

    async fn controller_modify_volume(
        &self,
        _: Request<csi::ControllerModifyVolumeRequest>,
    ) -> Result<Response<csi::ControllerModifyVolumeResponse>, Status> {
        unimplemented("ControllerModifyVolume")
    }
}
