//! One image that is a folder, mounted with a real overlay; and pods whose only interface is the loopback.

use futures::future::BoxFuture;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use oci_spec::image::ImageConfiguration;
use skiff_cri::{CriError, Images, Networks};
use skiff_image::{Credentials, Image, ImageError, Pulled, Usage, Users};
use skiff_net::{Attached, PodNetwork};
use skiff_sys::overlay::{Durability, Overlay};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// The only image: its name and its id.
pub(crate) const IMAGE: &str = "test.local/busybox:1";
const IMAGE_ID: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

pub(crate) struct Folder {
    pub(crate) rootfs: PathBuf,
    pub(crate) snapshots: PathBuf,
}

impl Folder {
    fn image() -> Image {
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []},
            "config": {"Env": ["PATH=/bin", "FROM_IMAGE=yes"], "Cmd": ["sleep", "1000"], "User": "web"},
        });
        let config: ImageConfiguration = serde_json::from_value(config).expect("the configuration above is valid");
        Image {
            id: IMAGE_ID.to_owned(),
            repo_tags: vec![IMAGE.to_owned()],
            repo_digests: vec![],
            size_bytes: 1,
            pinned: false,
            config,
        }
    }
}

fn failed(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> ImageError {
    ImageError::Io { operation, path: path.to_owned(), source: source.into() }
}

impl Images for Folder {
    fn resolve(&self, name: &str) -> Result<Option<Image>, ImageError> {
        Ok((name == IMAGE || name == IMAGE_ID).then(Self::image))
    }
    fn list(&self) -> Result<Vec<Image>, ImageError> {
        Ok(vec![Self::image()])
    }
    fn pull<'a>(&'a self, name: &'a str, _: Option<Credentials>) -> BoxFuture<'a, Pulled> {
        Box::pin(async move { Ok(self.resolve(name)?.ok_or_else(|| ImageError::NotFound(name.to_owned()))?) })
    }
    fn remove(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }
    fn usage(&self) -> Result<Usage, ImageError> {
        Ok(Usage { at: self.rootfs.clone(), bytes_used: 1, inodes_used: 1 })
    }
    fn mount(&self, _: &str, id: &str, at: &Path, users: Option<&Users>, _: Option<&str>) -> Result<(), ImageError> {
        let (upper, work) = (self.snapshots.join(id).join("upper"), self.snapshots.join(id).join("work"));
        for folder in [&upper, &work, &at.to_owned()] {
            std::fs::create_dir_all(folder).map_err(|error| failed("make folder", folder, error))?;
        }
        if let Some(users) = users {
            let (lower, durability) = ([self.rootfs.clone()], Durability::Volatile);
            let overlay = Overlay { lower: &lower, upper: &upper, work: &work, durability };
            let (uid, gid) = (skiff_image::outside(&users.uids, 0), skiff_image::outside(&users.gids, 0));
            std::os::unix::fs::chown(&upper, uid, gid).map_err(|error| failed("chown", &upper, error))?;
            let mounted = overlay.mount_for(users.namespace.as_fd(), at);
            return mounted.map_err(|error| failed("mount overlay", at, io::Error::other(error)));
        }
        let options =
            format!("lowerdir={},upperdir={},workdir={}", self.rootfs.display(), upper.display(), work.display());
        mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|error| failed("mount overlay", at, error))
    }
    fn unmount(&self, at: &Path) -> Result<(), ImageError> {
        match umount2(at, MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
            Err(error) => Err(failed("unmount", at, error)),
        }
    }
    fn release(&self, id: &str) -> Result<(), ImageError> {
        match std::fs::remove_dir_all(self.snapshots.join(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &self.snapshots, error)),
            _ => Ok(()),
        }
    }
    fn written(&self, _: &str) -> Result<Option<Usage>, ImageError> {
        Ok(Some(Usage { at: self.snapshots.clone(), bytes_used: 4096, inodes_used: 1 }))
    }
    fn snapshots(&self) -> Result<Vec<String>, ImageError> {
        let Ok(entries) = std::fs::read_dir(&self.snapshots) else { return Ok(vec![]) };
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }
}

pub(crate) struct NoNetwork;

impl Networks for NoNetwork {
    fn attach<'a>(&'a self, pod: &'a PodNetwork) -> BoxFuture<'a, Result<Attached, CriError>> {
        let netns = pod.netns.clone();
        Box::pin(async move {
            assert_ne!(std::fs::read_link(netns).ok(), std::fs::read_link("/proc/self/ns/net").ok());
            Ok(Attached { ips: vec![[10, 0, 0, 7].into()] })
        })
    }
    fn detach<'a>(&'a self, _: &'a PodNetwork) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async { Ok(()) })
    }
    fn ready(&self) -> Result<(), CriError> {
        Ok(())
    }
    fn retain<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async { Ok(()) })
    }
    fn use_pod_cidr<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), CriError>> {
        Box::pin(async { Ok(()) })
    }
}
