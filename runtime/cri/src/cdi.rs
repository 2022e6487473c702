//! Devices that files describe (Container Device Interface): a name stands for device nodes, mounts, variables and hooks that a
//! vendor's file lists, and a container that asks for the name gets them.
//!
//! ```text
//!  /etc/cdi, /var/run/cdi ──read anew for each container──► [spec] ──by name──► edits ──[apply]──► config.json
//! ```
//!
//! The files are the operator's. A container's author names devices and nothing else: annotations do not count.

mod apply; // edits on a bundle's configuration; no I/O
mod spec; // what a file says; no I/O

pub(crate) use apply::apply;

use crate::error::{CriError, During};
use spec::{Edits, NodeKind, Spec};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The largest file that is read: 10,000 devices of 100 bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Everything that the folders describe.
#[derive(Debug, Default)]
pub(crate) struct Known {
    specs: Vec<Spec>,
    /// Devices by their full names: the spec's and the device's places; `None` for one that two files describe, neither of which
    /// comes before the other.
    devices: BTreeMap<String, Option<(usize, usize)>>,
    /// What could not be read; sentences.
    wrong: Vec<String>,
}

impl Known {
    /// Reads the files of `folders`: one in a later folder replaces devices of the same name in earlier ones. Folders that are not
    /// there describe nothing.
    pub(crate) fn read(folders: &[PathBuf]) -> Self {
        let mut known = Self::default();
        for folder in folders {
            let mut found = Vec::new();
            for file in files(folder) {
                match read(&file) {
                    Ok(spec) => found.push(spec),
                    Err(why) => known.wrong.push(format!("{}: {why}", file.display())),
                }
            }
            known.add(found);
        }
        known
    }

    /// Takes what the files of one folder say.
    fn add(&mut self, found: Vec<Spec>) {
        let mut of_folder: BTreeMap<String, Option<(usize, usize)>> = BTreeMap::new();
        for spec in found {
            let place = self.specs.len();
            for (index, device) in spec.devices.iter().enumerate() {
                let name = format!("{}={}", spec.kind, device.name);
                of_folder.entry(name).and_modify(|known| *known = None).or_insert(Some((place, index)));
            }
            self.specs.push(spec);
        }
        self.devices.extend(of_folder);
    }

    /// The edits that stand for `names`, in the order in which they are to be made: those of a file once, before those of its devices.
    pub(crate) fn resolve(&self, names: &[String]) -> Result<Vec<&Edits>, CriError> {
        let (mut edits, mut begun, mut missing) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            match self.devices.get(name) {
                Some(Some((spec, device))) => {
                    if !begun.contains(spec) {
                        begun.push(*spec);
                        edits.push(&self.specs[*spec].container_edits);
                    }
                    edits.push(&self.specs[*spec].devices[*device].container_edits);
                }
                Some(None) => missing.push(format!("{name} (two files describe it)")),
                None => missing.push(name.clone()),
            }
        }
        if missing.is_empty() {
            return Ok(edits);
        }
        let wrong = self.wrong.iter().map(|why| format!("; {why}")).collect::<String>();
        let missing = missing.join(", ");
        Err(CriError::Invalid(format!("CDI_devices: unresolvable CDI devices {missing}{wrong}")))
    }
}

/// The edits with what only the host knows: numbers and kinds of device nodes.
pub(crate) fn filled_in(edits: &[&Edits]) -> Result<Vec<Edits>, CriError> {
    let mut all = Vec::new();
    for edits in edits {
        let mut edits = (*edits).clone();
        for node in &mut edits.device_nodes {
            let on_host = node.host_path.clone().unwrap_or_else(|| node.path.clone());
            if node.kind.is_some() && (node.kind == Some(NodeKind::Fifo) || node.major.is_some()) {
                continue;
            }
            let about = fs::metadata(&on_host).during(|| format!("CDI_devices: device node {on_host}"))?;
            let kind = about.file_type();
            let found = match (kind.is_block_device(), kind.is_char_device(), kind.is_fifo()) {
                (true, _, _) => NodeKind::Block,
                (_, true, _) => NodeKind::Character,
                (_, _, true) => NodeKind::Fifo,
                _ => return Err(CriError::Invalid(format!("CDI_devices: {on_host} is no device"))),
            };
            if node.kind.is_some_and(|said| said != found && said != NodeKind::Unbuffered) {
                let why = format!("CDI_devices: {on_host} is another kind of device than its description says");
                return Err(CriError::Invalid(why));
            }
            node.kind = Some(found);
            node.major = Some(i64::try_from(nix::sys::stat::major(about.rdev())).unwrap_or(0));
            node.minor = Some(i64::try_from(nix::sys::stat::minor(about.rdev())).unwrap_or(0));
            node.file_mode.get_or_insert(about.mode() & 0o7777);
        }
        all.push(edits);
    }
    Ok(all)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let is_spec = |file: &PathBuf| file.extension().is_some_and(|end| end == "json" || end == "yaml");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).filter(is_spec).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Result<Spec, String> {
    let about = fs::metadata(file).map_err(|error| error.to_string())?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        return Err(format!("it is no file of at most {FILE_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
    let is_json = file.extension().is_some_and(|end| end == "json");
    Spec::read(&text, if is_json { spec::Form::Json } else { spec::Form::Yaml })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn write(folder: &Path, name: &str, kind: &str, devices: &[(&str, &str)]) {
        let device =
            |(name, value): &(&str, &str)| json!({"name": name, "containerEdits": {"env": [format!("V={value}")]}});
        let devices: Vec<_> = devices.iter().map(device).collect();
        let all = json!({"env": ["ALL=1"]});
        let text = json!({"cdiVersion": "0.6.0", "kind": kind, "devices": devices, "containerEdits": all});
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), text.to_string()).unwrap();
    }

    fn variables(known: &Known, names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let edits = known.resolve(&names).map_err(|error| error.to_string())?;
        Ok(edits.iter().flat_map(|edits| edits.env.clone()).collect())
    }

    #[test]
    fn a_later_folder_wins_and_two_files_of_one_folder_do_not() {
        let root = tempfile::tempdir().unwrap();
        let folders = [root.path().join("etc"), root.path().join("run"), root.path().join("none")];
        write(&folders[0], "a.json", "acme.com/gpu", &[("0", "etc"), ("1", "etc")]);
        write(&folders[1], "a.json", "acme.com/gpu", &[("0", "run"), ("twice", "run")]);
        write(&folders[1], "b.json", "acme.com/gpu", &[("twice", "b")]);
        fs::write(folders[1].join("broken.yaml"), "kind: [").unwrap();
        let known = Known::read(&folders);
        assert_eq!(variables(&known, &["acme.com/gpu=0"]).unwrap(), ["ALL=1", "V=run"]);
        // Both are of one file there, and of two here.
        let two = variables(&known, &["acme.com/gpu=1", "acme.com/gpu=0"]).unwrap();
        assert_eq!(two, ["ALL=1", "V=etc", "ALL=1", "V=run"]);
        let refused = variables(&known, &["acme.com/gpu=twice", "acme.com/gpu=9"]).unwrap_err();
        let expected = "unresolvable CDI devices acme.com/gpu=twice (two files describe it), acme.com/gpu=9; ";
        assert!(refused.contains(expected) && refused.contains("broken.yaml"), "{refused}");
    }

    #[test]
    fn numbers_of_nodes_are_the_hosts() {
        let spec = |node: serde_json::Value| {
            let edits = json!({"deviceNodes": [node]});
            let text =
                json!({"cdiVersion": "0.6.0", "kind": "a.com/b", "devices": [{"name": "x", "containerEdits": edits}]});
            Spec::read(&text.to_string(), spec::Form::Json).unwrap()
        };
        let filled = |node| filled_in(&[&spec(node).devices[0].container_edits]);
        let node =
            filled(json!({"path": "/dev/mine", "hostPath": "/dev/null"})).unwrap().remove(0).device_nodes.remove(0);
        assert_eq!((node.kind, node.major, node.minor), (Some(NodeKind::Character), Some(1), Some(3)));
        let refused = filled(json!({"path": "/dev/null", "type": "b"})).unwrap_err().to_string();
        assert!(refused.contains("another kind"), "{refused}");
        assert!(filled(json!({"path": "/etc/passwd"})).unwrap_err().to_string().contains("is no device"));
    }
}
