//! Where disks are judged: a loop device, whose filesystem is mounted as a computer does after a power failure.
//!
//! All of it is in a mount namespace of its own, the disk in memory.

use super::driver::{PATIENCE, open};
use super::plan::Plan;
use super::{DISK_MIB, STORE};
use crate::ask::options;
use crate::check::check;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::fsck::fsck;
use skiff_store::{Store, StoreError};
use skiff_vm::Image;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A place for one disk at a time. It belongs to the thread that made it.
pub(super) struct Bench {
    folder: tempfile::TempDir,
    device: PathBuf,
    runtime: Runtime,
}

impl Bench {
    /// An error is a reason why this machine has no place for it.
    pub(super) fn set_up() -> Result<Self, String> {
        let said = |what: &'static str| move |error: Errno| format!("{what}: {error}");
        let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
        unshare(CloneFlags::CLONE_NEWNS).map_err(said("a mount namespace"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(said("a private mount namespace"))?;
        mount(Some("disks"), folder.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).map_err(said("a tmpfs"))?;
        let disk = folder.path().join("disk");
        let made = std::fs::File::create(&disk).and_then(|file| file.set_len(DISK_MIB << 20));
        made.and_then(|()| std::fs::create_dir(folder.path().join("mounted"))).map_err(|error| error.to_string())?;
        let device = ran("losetup", &["--find", "--show"], &disk)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("a runtime: {error}"))?;
        Ok(Bench { folder, device: device.trim().into(), runtime })
    }

    /// Mounts the disk, which replays the filesystem's journal, opens its store and looks at everything. An error is what is wrong.
    pub(super) fn judge(
        &self,
        image: &Image,
        plan: &Plan,
        acknowledged: usize,
        chance: &mut StdRng,
    ) -> Result<(), String> {
        let mounted = self.folder.path().join("mounted");
        image.save(&self.folder.path().join("disk")).map_err(|error| error.to_string())?;
        mount(Some(&self.device), &mounted, Some("ext4"), MsFlags::empty(), None::<&str>)
            .map_err(|error| format!("has a filesystem that cannot be mounted: {error}"))?;
        let judged = self.runtime.block_on(judge(&mounted.join(STORE), plan, acknowledged, chance));
        let begun = Instant::now();
        while let Err(error) = umount(&mounted) {
            assert!(error == Errno::EBUSY && begun.elapsed() < PATIENCE, "umount: {error}");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Whoever else has the device open for a moment keeps the kernel's copy of its blocks alive, and the next disk is written
        // to the file behind them: what is mounted then would be half of each.
        ran("blockdev", &["--flushbufs"], &self.device).unwrap_or_else(|error| panic!("{error}"));
        judged
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(error) = ran("losetup", &["--detach"], &self.device) {
            eprintln!("{error}");
        }
        // Its folder can go only when nothing is mounted there.
        if let Err(error) = umount(self.folder.path()) {
            eprintln!("umount {}: {error}", self.folder.path().display());
        }
    }
}

/// What a program of util-linux said.
fn ran(program: &str, options: &[&str], operand: &Path) -> Result<String, String> {
    let ran = Command::new(program).args(options).arg(operand).output();
    let ran = ran.map_err(|error| format!("{program}: {error}"))?;
    match ran.status.success() {
        true => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        false => Err(format!("{program} {}: {}", operand.display(), String::from_utf8_lossy(&ran.stderr).trim())),
    }
}

async fn judge(folder: &Path, plan: &Plan, acknowledged: usize, chance: &mut StdRng) -> Result<(), String> {
    // Looking alone must find it sound as well, with what the crash left in the log.
    if chance.random_ratio(1, 4) && Store::is_in(folder) {
        sound(folder, "before it was opened")?;
    }
    let store = open(folder, options(chance)).await.map_err(|error| format!("is refused: {error}"))?;
    let possible = plan.possible(acknowledged);
    let checked = check(&store, &plan.model, &possible, chance).await.map_err(|trouble| trouble.to_string());
    let written = match chance.random_ratio(1, 3) && checked.is_ok() {
        true => store.grant(0, 100).await.map(drop).map_err(|why| format!("opens, and then refuses to write: {why}")),
        false => Ok(()),
    };
    store.close().await;
    checked.and(written)?;
    sound(folder, "after it was closed")
}

fn sound(folder: &Path, when: &str) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        return match fsck(folder) {
            Err(StoreError::InUse { .. }) if begun.elapsed() < PATIENCE => continue,
            Err(error) => Err(format!("cannot be checked {when}: {error}")),
            Ok(report) if report.is_sound() => Ok(()),
            Ok(report) => Err(format!("is not sound {when}: {report}")),
        };
    }
}
