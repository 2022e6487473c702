//! The guest's disk: a sparse file with an ext4 filesystem, and on request a log of all that is written to it.

use crate::error::{Error, On, Result};
use crate::replay::Image;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The disk as it was before the machine started, in the folder of the log.
pub(crate) const BEFORE: &str = "before";
/// What was written to it since, in the folder of the log.
pub(crate) const WRITES: &str = "writes";

/// A disk that is still being described.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    /// The filesystem's size.
    pub(crate) mib: u64,
    /// What is left to nobody behind the filesystem.
    pub(crate) raw_mib: u64,
    /// The folder where writes are logged.
    pub(crate) log: Option<PathBuf>,
}

/// What QEMU is told of a disk.
#[derive(Debug, Clone)]
pub(crate) struct Drive {
    file: PathBuf,
    log: Option<PathBuf>,
}

impl Disk {
    /// Makes the disk's file in `folder`.
    pub(crate) fn make(&self, folder: &Path) -> Result<Drive> {
        let file = folder.join("disk");
        let made = File::create(&file).and_then(|disk| disk.set_len((self.mib + self.raw_mib) << 20));
        made.on("create", file.display())?;
        let filesystem = Command::new("mkfs.ext4").arg("-q").arg(&file).arg(format!("{}M", self.mib)).output();
        let filesystem = filesystem.map_err(|_| Error::Missing {
            what: "mkfs.ext4".to_owned(),
            remedy: "Debian has it in the package e2fsprogs".to_owned(),
        })?;
        if !filesystem.status.success() {
            return Err(Error::Refused(format!("mkfs.ext4: {}", String::from_utf8_lossy(&filesystem.stderr))));
        }
        if let Some(log) = &self.log {
            fs::create_dir_all(log).on("mkdir", log.display())?;
            copy(&file, &log.join(BEFORE))?;
        }
        Ok(Drive { file, log: self.log.clone() })
    }
}

impl Drive {
    /// Before each boot: what is logged begins with the disk as it was before the first.
    pub(crate) fn begin(&self) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        copy(&log.join(BEFORE), &self.file)?;
        let writes = log.join(WRITES);
        File::create(&writes).map(drop).on("create", writes.display())
    }

    /// Options of QEMU.
    pub(crate) fn arguments(&self) -> Vec<String> {
        // In QEMU's option syntax a comma in a value is doubled.
        let shown = |path: &Path| path.display().to_string().replace(',', ",,");
        let Some(log) = &self.log else {
            return words(["-drive", &format!("if=virtio,format=raw,cache=unsafe,file={}", shown(&self.file))]);
        };
        // The guest sees a disk with a write cache. Its flushes end in the log: what the host's own disk has does not matter.
        let file = |name: &str, path: &Path| {
            format!("driver=file,node-name={name},cache.no-flush=on,filename={}", shown(path))
        };
        let logged = "driver=blklogwrites,node-name=logged,log-sector-size=512,file=disk,log=writes";
        let device = "virtio-blk-pci,drive=logged,write-cache=on";
        let (disk, writes) = (file("disk", &self.file), file("writes", &log.join(WRITES)));
        words(["-blockdev", &disk, "-blockdev", &writes, "-blockdev", logged, "-device", device])
    }
}

/// Copies a disk, holes and all.
fn copy(from: &Path, to: &Path) -> Result<()> {
    Image::read(&File::open(from).on("open", from.display())?)?.save(to)
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
