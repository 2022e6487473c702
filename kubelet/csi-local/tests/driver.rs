//! The driver as others see it: by its socket and in CSI's words.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use skiff_csi::call::channel;
use skiff_csi::csi::v1 as csi;
use skiff_csi::csi::v1::controller_client::ControllerClient;
use skiff_csi::csi::v1::identity_client::IdentityClient;
use skiff_csi::csi::v1::node_client::NodeClient;
use skiff_csi::csi::v1::volume_capability::access_mode::Mode;
use skiff_csi::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use skiff_csi_local::{Config, Driver, NAME, TOPOLOGY};
use std::collections::HashMap;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

struct Running {
    folder: TempDir,
    channel: Channel,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn start() -> Running {
    let folder = tempfile::tempdir().unwrap();
    let config =
        Config { folder: folder.path().join("local"), registry: folder.path().join("registry"), node: "n1".to_owned() };
    let driver = Driver::bind(&config).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(driver.run(stop.clone()));
    let channel = channel(&config.socket());
    Running { folder, channel, stop }
}

impl Running {
    fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel.clone())
    }

    fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel.clone())
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn capability(block: bool) -> csi::VolumeCapability {
    let access = if block { AccessType::Block(BlockVolume {}) } else { AccessType::Mount(MountVolume::default()) };
    let mode = AccessMode { mode: Mode::SingleNodeWriter.into() };
    csi::VolumeCapability { access_type: Some(access), access_mode: Some(mode) }
}

fn create(name: &str, bytes: i64) -> csi::CreateVolumeRequest {
    csi::CreateVolumeRequest {
        name: name.to_owned(),
        capacity_range: Some(csi::CapacityRange { required_bytes: bytes, limit_bytes: 0 }),
        volume_capabilities: vec![capability(false)],
        ..Default::default()
    }
}

#[tokio::test]
async fn it_says_who_and_where_it_is() {
    let driver = start();
    let info = IdentityClient::new(driver.channel.clone()).get_plugin_info(csi::GetPluginInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().name, NAME);
    let node = driver.node().node_get_info(csi::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(node.accessible_topology.unwrap().segments, HashMap::from([(TOPOLOGY.to_owned(), "n1".to_owned())]));
}

#[tokio::test]
async fn the_same_volume_is_made_once() {
    let driver = start();
    let mut controller = driver.controller();
    let made = controller.create_volume(create("a", 1 << 20)).await.unwrap().into_inner().volume.unwrap();
    let again = controller.create_volume(create("a", 1 << 20)).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(made, again);
    let larger = controller.create_volume(create("a", 2 << 20)).await.unwrap_err();
    assert_eq!(larger.code(), Code::AlreadyExists);
    assert_eq!(controller.create_volume(create("", 1)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(controller.create_volume(create("huge", i64::MAX)).await.unwrap_err().code(), Code::ResourceExhausted);
    for _ in 0..2 {
        let gone = csi::DeleteVolumeRequest { volume_id: made.volume_id.clone(), ..Default::default() };
        controller.delete_volume(gone).await.unwrap();
    }
}

#[tokio::test]
async fn volumes_are_listed_page_by_page() {
    let driver = start();
    let mut controller = driver.controller();
    for name in ["a", "b", "c"] {
        controller.create_volume(create(name, 1)).await.unwrap();
    }
    let mut names = Vec::new();
    let mut token = String::new();
    for _ in 0..2 {
        let asked = csi::ListVolumesRequest { max_entries: 2, starting_token: token };
        let page = controller.list_volumes(asked).await.unwrap().into_inner();
        names.extend(page.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id));
        token = page.next_token;
    }
    assert_eq!((names, token), (vec!["a".to_owned(), "b".to_owned(), "c".to_owned()], String::new()));
}

#[tokio::test]
async fn a_folder_is_put_in_its_place_and_taken_away() {
    let driver = start();
    driver.controller().create_volume(create("a", 1 << 20)).await.unwrap();
    let target = driver.at("pod/mount");
    let publish = |readonly: bool| csi::NodePublishVolumeRequest {
        volume_id: "a".to_owned(),
        staging_target_path: driver.at("staging"),
        target_path: target.clone(),
        volume_capability: Some(capability(false)),
        readonly,
        ..Default::default()
    };
    let mut node = driver.node();
    node.node_publish_volume(publish(false)).await.unwrap();
    node.node_publish_volume(publish(false)).await.unwrap();
    std::fs::write(format!("{target}/file"), "kept").unwrap();
    let remove = || csi::DeleteVolumeRequest { volume_id: "a".to_owned(), ..Default::default() };
    let busy = driver.controller().delete_volume(remove()).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition, "somebody uses it");
    let unpublish = || csi::NodeUnpublishVolumeRequest { volume_id: "a".to_owned(), target_path: target.clone() };
    node.node_unpublish_volume(unpublish()).await.unwrap();
    node.node_unpublish_volume(unpublish()).await.unwrap();
    assert!(!std::path::Path::new(&target).exists());
    node.node_publish_volume(publish(true)).await.unwrap();
    assert_eq!(std::fs::read_to_string(format!("{target}/file")).unwrap(), "kept");
    assert!(std::fs::write(format!("{target}/file"), "x").is_err(), "it is read-only");
    node.node_unpublish_volume(unpublish()).await.unwrap();
    driver.controller().delete_volume(remove()).await.unwrap();
    let missing = node.node_publish_volume(publish(false)).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_missing_in_a_request_is_named() {
    let driver = start();
    let mut node = driver.node();
    let empty = node.node_publish_volume(csi::NodePublishVolumeRequest::default()).await.unwrap_err();
    assert_eq!((empty.code(), empty.message()), (Code::InvalidArgument, "volume_id is missing"));
    let asked = csi::CreateVolumeRequest {
        parameters: HashMap::from([("speed".to_owned(), "x".to_owned())]),
        ..create("a", 1)
    };
    let refused = driver.controller().create_volume(asked).await.unwrap_err();
    assert!(refused.message().contains("parameters.speed"), "{}", refused.message());
    let snapshot = driver.controller().create_snapshot(csi::CreateSnapshotRequest::default()).await.unwrap_err();
    assert_eq!(snapshot.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_device_grows_and_is_copied() {
    let driver = start();
    let mut controller = driver.controller();
    let asked = csi::CreateVolumeRequest { volume_capabilities: vec![capability(true)], ..create("disk", 1 << 20) };
    controller.create_volume(asked.clone()).await.unwrap();
    let grown = csi::ControllerExpandVolumeRequest {
        volume_id: "disk".to_owned(),
        capacity_range: Some(csi::CapacityRange { required_bytes: 2 << 20, limit_bytes: 0 }),
        ..Default::default()
    };
    let grown = controller.controller_expand_volume(grown).await.unwrap().into_inner();
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (2 << 20, true));
    let source = csi::volume_content_source::VolumeSource { volume_id: "disk".to_owned() };
    let copy = csi::CreateVolumeRequest {
        name: "copy".to_owned(),
        capacity_range: Some(csi::CapacityRange { required_bytes: 2 << 20, limit_bytes: 0 }),
        volume_content_source: Some(csi::VolumeContentSource {
            r#type: Some(csi::volume_content_source::Type::Volume(source)),
        }),
        ..asked
    };
    let made = controller.create_volume(copy).await.unwrap().into_inner().volume.unwrap();
    assert_eq!(made.capacity_bytes, 2 << 20);
}

#[tokio::test]
async fn a_volume_for_one_user_is_given_to_one() {
    let driver = start();
    driver.controller().create_volume(create("a", 1 << 20)).await.unwrap();
    let mut alone = capability(false);
    alone.access_mode = Some(AccessMode { mode: Mode::SingleNodeSingleWriter.into() });
    let publish = |at: &str| csi::NodePublishVolumeRequest {
        volume_id: "a".to_owned(),
        target_path: driver.at(at),
        volume_capability: Some(alone.clone()),
        ..Default::default()
    };
    let unpublish =
        |at: &str| csi::NodeUnpublishVolumeRequest { volume_id: "a".to_owned(), target_path: driver.at(at) };
    let mut node = driver.node();
    node.node_publish_volume(publish("one")).await.unwrap();
    assert_eq!(node.node_publish_volume(publish("two")).await.unwrap_err().code(), Code::FailedPrecondition);
    node.node_unpublish_volume(unpublish("one")).await.unwrap();
    node.node_publish_volume(publish("two")).await.unwrap();
    node.node_unpublish_volume(unpublish("two")).await.unwrap();
}

#[tokio::test]
async fn a_page_of_a_list_that_has_gone_is_asked_for_anew() {
    let driver = start();
    let asked = csi::ListVolumesRequest { max_entries: 1, starting_token: "gone".to_owned() };
    assert_eq!(driver.controller().list_volumes(asked).await.unwrap_err().code(), Code::Aborted);
}
