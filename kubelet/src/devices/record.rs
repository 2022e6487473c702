//! What was set up for claims of devices: a file each, which is there before a driver is told.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A claim whose devices are set up, or are being.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// Uids of the pods that have it.
    pub(super) pods: BTreeSet<String>,
    /// Whose devices it has.
    pub(super) drivers: BTreeSet<String>,
    /// Whether all drivers have set up what is theirs.
    pub(super) ready: bool,
    pub(super) devices: Vec<Device>,
}

/// A device that is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    /// The claim's requests that it is for; none: for all.
    pub(super) requests: Vec<String>,
    /// How the runtime knows it.
    pub(super) ids: Vec<String>,
}

impl Device {
    /// Whether it is for `request` of the claim, or one of its alternatives; no request means all.
    pub(super) fn is_for(&self, request: Option<&str>) -> bool {
        let Some(request) = request.filter(|request| !request.is_empty()) else { return true };
        let is_it = |name: &String| name.split('/').next() == Some(request);
        self.requests.is_empty() || self.requests.iter().any(is_it)
    }
}

fn file(folder: &Path, uid: &str) -> PathBuf {
    folder.join(format!("{uid}.json"))
}

/// The record of a claim, if there is one.
pub(super) fn read(folder: &Path, uid: &str) -> io::Result<Option<Record>> {
    match fs::read(file(folder, uid)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// All records.
pub(super) fn all(folder: &Path) -> io::Result<Vec<Record>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            all.push(serde_json::from_slice(&fs::read(&path)?)?);
        }
    }
    Ok(all)
}

/// Writes a record so that it is whole or as before, also when the machine loses power (rename(2), fsync(2)).
pub(super) fn write(folder: &Path, record: &Record) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".{}.new", record.uid));
    let mut new = fs::File::create(&beside)?;
    new.write_all(&serde_json::to_vec(record)?)?;
    new.sync_all()?;
    fs::rename(&beside, file(folder, &record.uid))?;
    fs::File::open(folder)?.sync_all()
}

/// Removes a record; none is fine.
pub(super) fn remove(folder: &Path, uid: &str) -> io::Result<()> {
    match fs::remove_file(file(folder, uid)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join("dra");
        assert_eq!(all(&at).unwrap(), Vec::new());
        let record = Record {
            namespace: "ns".to_owned(),
            name: "c".to_owned(),
            uid: "u".to_owned(),
            pods: ["p".to_owned()].into(),
            drivers: ["d".to_owned()].into(),
            ready: true,
            devices: vec![Device { requests: vec!["r".to_owned()], ids: vec!["acme.com/gpu=0".to_owned()] }],
        };
        write(&at, &record).unwrap();
        assert_eq!((read(&at, "u").unwrap(), all(&at).unwrap()), (Some(record.clone()), vec![record]));
        remove(&at, "u").unwrap();
        remove(&at, "u").unwrap();
        assert_eq!(read(&at, "u").unwrap(), None);
    }

    #[test]
    fn a_device_is_for_its_requests() {
        let device = |requests: &[&str]| Device {
            requests: requests.iter().map(|&name| name.to_owned()).collect(),
            ids: Vec::new(),
        };
        assert!(device(&[]).is_for(Some("r")) && device(&["r"]).is_for(None));
        assert!(device(&["r/large"]).is_for(Some("r")) && !device(&["other"]).is_for(Some("r")));
    }
}
