//! What was handed out, in a file, so that a kubelet that starts again knows it.

use crate::ledger::{Held, Holdings};
use prost::Message;
use serde::{Deserialize, Serialize};
use skiff_csi::deviceplugin::v1beta1::ContainerAllocateResponse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// The file's name. Not that of Kubernetes, whose format has a sum that only its own program can make.
const NAME: &str = "allocations.json";

#[derive(Default, Serialize, Deserialize)]
struct File {
    /// Resources that a plugin has offered.
    resources: BTreeSet<String>,
    held: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    pod: String,
    container: String,
    resource: String,
    devices: BTreeMap<String, Vec<i64>>,
    /// The plugin's answer, as it came, in hexadecimal digits.
    answer: String,
}

/// What the file in `folder` says; nothing if there is none.
pub(crate) fn read(folder: &Path) -> io::Result<(BTreeSet<String>, Holdings)> {
    let file: File = match fs::read(folder.join(NAME)) {
        Ok(text) => serde_json::from_slice(&text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => File::default(),
        Err(error) => return Err(error),
    };
    let mut held = Holdings::new();
    for entry in file.held {
        let wrong = |why: String| io::Error::new(ErrorKind::InvalidData, format!("held[].answer: {why}"));
        let bytes = hex::decode(&entry.answer).map_err(|error| wrong(error.to_string()))?;
        let answer = ContainerAllocateResponse::decode(bytes.as_slice()).map_err(|error| wrong(error.to_string()))?;
        let holder = held.entry((entry.pod, entry.container)).or_default();
        holder.insert(entry.resource, Held { devices: entry.devices, answer });
    }
    Ok((file.resources, held))
}

/// Writes the file so that it is whole or as before, also when the machine loses power (rename(2), fsync(2)).
pub(crate) fn write(folder: &Path, resources: BTreeSet<String>, held: &Holdings) -> io::Result<()> {
    let entries =
        held.iter().flat_map(|(holder, held)| held.iter().map(move |(resource, held)| (holder, resource, held)));
    let entry = |((pod, container), resource, held): (&(String, String), &String, &Held)| Entry {
        pod: pod.clone(),
        container: container.clone(),
        resource: resource.clone(),
        devices: held.devices.clone(),
        answer: hex::encode(held.answer.encode_to_vec()),
    };
    let file = File { resources, held: entries.map(entry).collect() };
    let beside = folder.join(format!(".{NAME}.new"));
    let mut new = fs::File::create(&beside)?;
    new.write_all(&serde_json::to_vec(&file)?)?;
    new.sync_all()?;
    fs::rename(&beside, folder.join(NAME))?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), (BTreeSet::new(), Holdings::new()));
        let answer =
            ContainerAllocateResponse { envs: [("A".to_owned(), "é\n".to_owned())].into(), ..Default::default() };
        let devices = BTreeMap::from([("d0".to_owned(), vec![0, 1]), ("d1".to_owned(), vec![])]);
        let held = BTreeMap::from([("example.com/gpu".to_owned(), Held { devices, answer })]);
        let held = Holdings::from([(("uid".to_owned(), "web".to_owned()), held)]);
        let resources = BTreeSet::from(["example.com/gpu".to_owned()]);
        write(folder.path(), resources.clone(), &held).unwrap();
        assert_eq!(read(folder.path()).unwrap(), (resources, held));
        fs::write(folder.path().join(NAME), "{").unwrap();
        assert!(read(folder.path()).is_err(), "half a file is told");
    }
}
