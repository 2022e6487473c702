//! What was set up for a volume that is not a folder of the pod: kept beside the pod's folders, so that a kubelet that starts anew knows
//! what stands and takes it away by the same way.
//!
//! A record is written before a driver is called and once more when it has answered: between the two a volume may stand or not,
//! and is taken away as if it stood.

use super::PodDir;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What containers see: a folder or file, or the device.
    pub(crate) path: PathBuf,
    /// Whether it may only be read.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// Whether it is a device.
    #[serde(default)]
    pub(crate) block: bool,
    /// Whether it stands.
    #[serde(default)]
    pub(crate) ready: bool,
    /// The image whose files it shows, as the runtime names it.
    #[serde(default)]
    pub(crate) image: Option<String>,
    /// What a driver has to be told to take it away.
    #[serde(default)]
    pub(crate) driver: Option<Published>,
}

/// A volume that a driver has put in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// The driver's name.
    pub(crate) driver: String,
    /// What the driver calls the volume.
    pub(crate) handle: String,
    /// Where the driver was told to put it for the pod.
    pub(crate) target: PathBuf,
    /// Where the driver put it for the whole node before that.
    #[serde(default)]
    pub(crate) staging: Option<PathBuf>,
    /// Whether it had to be attached to the node.
    #[serde(default)]
    pub(crate) attached: bool,
}

fn folder(dir: &PodDir) -> PathBuf {
    dir.path().join("records")
}

fn file(dir: &PodDir, volume: &str) -> PathBuf {
    folder(dir).join(format!("{volume}.json"))
}

/// The record of a volume, if there is one.
pub(crate) fn read(dir: &PodDir, volume: &str) -> io::Result<Option<Record>> {
    let at = file(dir, volume);
    let text = match fs::read(&at) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let wrong = |error: serde_json::Error| io::Error::other(format!("read {}: {error}", at.display()));
    serde_json::from_slice(&text).map(Some).map_err(wrong)
}

/// All of a pod's, with the volumes' names.
pub(crate) fn all(dir: &PodDir) -> io::Result<Vec<(String, Record)>> {
    let entries = match fs::read_dir(folder(dir)) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(volume) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
        found.extend(read(dir, volume)?.map(|record| (volume.to_owned(), record)));
    }
    Ok(found)
}

/// The records of all pods below `root`.
pub(crate) fn of_all_pods(root: &Path) -> io::Result<Vec<Record>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let uid = entry?.file_name();
        found.extend(all(&PodDir::of(root, &uid.to_string_lossy()))?.into_iter().map(|(_, record)| record));
    }
    Ok(found)
}

/// Keeps the record of a volume; after a power cut there is the old one or the new one.
pub(crate) fn write(dir: &PodDir, volume: &str, record: &Record) -> io::Result<()> {
    fs::create_dir_all(folder(dir))?;
    let (at, next) = (file(dir, volume), folder(dir).join(format!(".{volume}.next")));
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    let mut written = fs::File::create(&next)?;
    io::Write::write_all(&mut written, &text)?;
    written.sync_all()?;
    fs::rename(&next, &at)
}

/// Forgets a volume that was taken away.
pub(crate) fn forget(dir: &PodDir, volume: &str) -> io::Result<()> {
    match fs::remove_file(file(dir, volume)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_up_is_known_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let dir = PodDir::of(root.path(), "uid");
        assert_eq!((read(&dir, "v").unwrap(), all(&dir).unwrap().len()), (None, 0));
        let driver = Published {
            driver: "d".to_owned(),
            handle: "h".to_owned(),
            target: "/t".into(),
            staging: None,
            attached: false,
        };
        let record = Record {
            path: "/p".into(),
            read_only: true,
            block: false,
            ready: false,
            image: None,
            driver: Some(driver),
        };
        write(&dir, "v", &record).unwrap();
        write(&dir, "v", &Record { ready: true, ..record.clone() }).unwrap();
        assert!(read(&dir, "v").unwrap().unwrap().ready);
        assert_eq!(of_all_pods(root.path()).unwrap().len(), 1);
        forget(&dir, "v").unwrap();
        forget(&dir, "v").unwrap();
        assert_eq!(all(&dir).unwrap(), []);
    }
}
