//! The node service: puts volumes in the places that the kubelet names, and takes them away.

use crate::controller::{Volumes, blocking};
use crate::device::{self, FILESYSTEM};
use crate::error::{Done, During, Refusal, required};
use crate::mounts;
use crate::store::{Kind, Volume};
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::node_server::Node;
use skiff_csi::csi::v1::node_service_capability::rpc::Type as Can;
use skiff_csi::csi::v1::node_service_capability::{Rpc, Type};
use skiff_csi::csi::v1::volume_capability::AccessType;
use skiff_csi::csi::v1::volume_capability::access_mode::Mode;
use skiff_csi::csi::v1::volume_usage::Unit;
use std::path::{Path, PathBuf};
use tonic::{Request, Response, Status};

/// By which a kubelet says that a volume is made with its pod and goes with it.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";

impl Volumes {
    fn stage(&self, asked: &csi::NodeStageVolumeRequest) -> Done<csi::NodeStageVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let at = required("staging_target_path", &asked.staging_target_path)?;
        let capability = capability(asked.volume_capability.as_ref())?;
        let volume = self.store.get(id)?;
        check_kind(id, &volume, capability)?;
        if volume.kind == Kind::Folder {
            return Ok(csi::NodeStageVolumeResponse {});
        }
        let _alone = self.alone();
        let image = self.store.image(id)?;
        let device = device::attach(&image)?;
        if let (Kind::Image, AccessType::Mount(mount)) = (volume.kind, capability) {
            let kind = if mount.fs_type.is_empty() { FILESYSTEM } else { &mount.fs_type };
            if !mounts::is_mounted(Path::new(at))? {
                device::format(&device, kind)?;
                // Grown while it was nowhere mounted, its filesystem learns it now.
                if volume.filesystem != 0 && volume.filesystem < volume.bytes {
                    device::check(&device)?;
                    device::grow(&image, true)?;
                }
                self.store.describe(id, &Volume { filesystem: volume.bytes, ..volume.clone() })?;
            }
            mounts::filesystem(&device, kind, Path::new(at), &mount.mount_flags)?;
            // A loop device in use is not taken away before its last user: whoever unmounts takes it along.
            device::detach(&image)?;
        }
        Ok(csi::NodeStageVolumeResponse {})
    }

    fn unstage(&self, asked: &csi::NodeUnstageVolumeRequest) -> Done<csi::NodeUnstageVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let at = required("staging_target_path", &asked.staging_target_path)?;
        mounts::release(Path::new(at))?;
        if let Ok(image) = self.store.image(id)
            && image.exists()
        {
            device::detach(&image)?;
        }
        Ok(csi::NodeUnstageVolumeResponse {})
    }

    fn publish(&self, asked: &csi::NodePublishVolumeRequest) -> Done<csi::NodePublishVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let target = PathBuf::from(required("target_path", &asked.target_path)?);
        let capability = capability(asked.volume_capability.as_ref())?;
        let inline = asked.volume_context.get(EPHEMERAL).is_some_and(|value| value == "true");
        let volume = match self.store.get(id) {
            Err(Refusal::Absent(_)) if inline => self.make_inline(id)?,
            found => found?,
        };
        check_kind(id, &volume, capability)?;
        let from = match volume.kind {
            Kind::Folder => self.store.data(id)?,
            Kind::Image => PathBuf::from(required("staging_target_path", &asked.staging_target_path)?),
            Kind::Block => device::attach(&self.store.image(id)?)?,
        };
        let _alone = self.alone();
        let mode = asked.volume_capability.as_ref().and_then(|capability| capability.access_mode);
        if mode.is_some_and(|mode| mode.mode() == Mode::SingleNodeSingleWriter) {
            let others = self.store.published(id)?;
            if let Some(other) = others.iter().find(|other| **other != target) {
                return Err(Refusal::NotNow(format!(
                    "volume {id} is for one user and is in use at {}",
                    other.display()
                )));
            }
        }
        // Before it is there, so that it is not removed while it is.
        self.store.note_published(id, &target)?;
        mounts::bind(&from, &target, asked.readonly)?;
        Ok(csi::NodePublishVolumeResponse {})
    }

    fn make_inline(&self, id: &str) -> Done<Volume> {
        let volume = Volume {
            name: id.to_owned(),
            kind: Kind::Folder,
            bytes: 0,
            source: String::new(),
            inline: true,
            filesystem: 0,
        };
        self.store.create(id, &volume)?;
        Ok(volume)
    }

    fn unpublish(&self, asked: &csi::NodeUnpublishVolumeRequest) -> Done<csi::NodeUnpublishVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let target = required("target_path", &asked.target_path)?;
        let _alone = self.alone();
        mounts::release(Path::new(target))?;
        self.store.forget_published(id, Path::new(target))?;
        if matches!(self.store.get(id), Ok(volume) if volume.inline) {
            self.store.remove(id)?;
        }
        Ok(csi::NodeUnpublishVolumeResponse {})
    }

    fn grow_here(&self, asked: &csi::NodeExpandVolumeRequest) -> Done<csi::NodeExpandVolumeResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        required("volume_path", &asked.volume_path)?;
        let volume = self.store.get(id)?;
        let _alone = self.alone();
        if volume.kind != Kind::Folder {
            device::grow(&self.store.image(id)?, volume.kind == Kind::Image)?;
            self.store.describe(id, &Volume { filesystem: volume.bytes, ..volume.clone() })?;
        }
        Ok(csi::NodeExpandVolumeResponse { capacity_bytes: volume.bytes })
    }

    fn stats(&self, asked: &csi::NodeGetVolumeStatsRequest) -> Done<csi::NodeGetVolumeStatsResponse> {
        let id = required("volume_id", &asked.volume_id)?;
        let at = required("volume_path", &asked.volume_path)?;
        let volume = self.store.get(id)?;
        if !Path::new(at).exists() {
            return Err(Refusal::Absent(format!("{id} at {at}")));
        }
        if volume.kind == Kind::Block {
            let usage = csi::VolumeUsage { total: volume.bytes, unit: Unit::Bytes.into(), ..Default::default() };
            return Ok(csi::NodeGetVolumeStatsResponse { usage: vec![usage], volume_condition: None });
        }
        let stat = nix::sys::statvfs::statvfs(at).during(|| format!("look at {at}"))?;
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let bytes = |blocks: u64| number(blocks * stat.fragment_size());
        let usage = vec![
            csi::VolumeUsage {
                available: bytes(stat.blocks_available()),
                total: bytes(stat.blocks()),
                used: bytes(stat.blocks() - stat.blocks_free()),
                unit: Unit::Bytes.into(),
            },
            csi::VolumeUsage {
                available: number(stat.files_available()),
                total: number(stat.files()),
                used: number(stat.files() - stat.files_free()),
                unit: Unit::Inodes.into(),
            },
        ];
        Ok(csi::NodeGetVolumeStatsResponse { usage, volume_condition: None })
    }
}

fn capability(asked: Option<&csi::VolumeCapability>) -> Done<&AccessType> {
    let missing = || Refusal::Invalid("volume_capability is missing".to_owned());
    asked.ok_or_else(missing)?.access_type.as_ref().ok_or_else(missing)
}

fn check_kind(id: &str, volume: &Volume, asked: &AccessType) -> Done<()> {
    let fits = matches!(asked, AccessType::Block(_)) == (volume.kind == Kind::Block);
    if fits { Ok(()) } else { Err(Refusal::Invalid(format!("volume {id} is of the other kind"))) }
}

#[tonic::async_trait]
impl Node for Volumes {
    async fn node_stage_volume(
        &self,
        asked: Request<csi::NodeStageVolumeRequest>,
    ) -> Result<Response<csi::NodeStageVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.stage(&asked)).await
    }

    async fn node_unstage_volume(
        &self,
        asked: Request<csi::NodeUnstageVolumeRequest>,
    ) -> Result<Response<csi::NodeUnstageVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.unstage(&asked)).await
    }

    async fn node_publish_volume(
        &self,
        asked: Request<csi::NodePublishVolumeRequest>,
    ) -> Result<Response<csi::NodePublishVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.publish(&asked)).await
    }

    async fn node_unpublish_volume(
        &self,
        asked: Request<csi::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<csi::NodeUnpublishVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.unpublish(&asked)).await
    }

    async fn node_get_volume_stats(
        &self,
        asked: Request<csi::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<csi::NodeGetVolumeStatsResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.stats(&asked)).await
    }

    async fn node_expand_volume(
        &self,
        asked: Request<csi::NodeExpandVolumeRequest>,
    ) -> Result<Response<csi::NodeExpandVolumeResponse>, Status> {
        let (volumes, asked) = (self.clone(), asked.into_inner());
        blocking(move || volumes.grow_here(&asked)).await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<csi::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<csi::NodeGetCapabilitiesResponse>, Status> {
        let all = [Can::StageUnstageVolume, Can::GetVolumeStats, Can::ExpandVolume, Can::SingleNodeMultiWriter];
        let one = |can: Can| csi::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: can.into() })) };
        Ok(Response::new(csi::NodeGetCapabilitiesResponse { capabilities: all.map(one).into() }))
    }

    async fn node_get_info(
        &self,
        _: Request<csi::NodeGetInfoRequest>,
    ) -> Result<Response<csi::NodeGetInfoResponse>, Status> {
        Ok(Response::new(csi::NodeGetInfoResponse {
            node_id: self.node.clone(),
            max_volumes_per_node: 0,
            accessible_topology: Some(self.topology()),
        }))
    }
}
