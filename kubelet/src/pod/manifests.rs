//! Follows a folder with the files of static pods.
//!
//! The folder is read every second; a file counts as changed when its size or time is another. What is no pod is said once, and a
//! pod that runs goes on until its file is a pod again or gone.

use super::static_pod;
use k8s_openapi::api::core::v1::Pod;
use skiff_client::sentence;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the folder is read.
pub(super) const PERIOD: Duration = Duration::from_secs(1);
/// How large a file may be.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What changed.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    /// A file names this pod.
    Here(Arc<Pod>),
    /// No file names the pod with this uid any more.
    Gone(Arc<Pod>),
}

/// By what a file is known again.
type Stamp = (u64, Option<SystemTime>);

/// A folder, and what was in it.
pub(super) struct Folder {
    path: PathBuf,
    node: String,
    known: BTreeMap<String, (Stamp, Option<Arc<Pod>>)>,
    complaint: Option<String>,
}

impl Folder {
    /// The folder `path` of the node `node`.
    pub(super) fn new(path: &Path, node: &str) -> Self {
        Self { path: path.to_owned(), node: node.to_owned(), known: BTreeMap::new(), complaint: None }
    }

    /// What has changed since the last time. A folder that cannot be read says nothing of its pods.
    pub(super) fn changes(&mut self) -> Vec<Change> {
        let stamps = match self.stamps() {
            Ok(stamps) => stamps,
            Err(error) => {
                self.complain(format!("read {}: {}", self.path.display(), sentence(&error)));
                return Vec::new();
            }
        };
        let mut changes = Vec::new();
        self.known.retain(|file, (_, pod)| {
            let stays = stamps.contains_key(file);
            changes.extend(pod.take_if(|_| !stays).map(Change::Gone));
            stays
        });
        for (file, stamp) in stamps {
            let before = self.known.get(&file);
            if before.is_some_and(|(known, _)| *known == stamp) {
                continue;
            }
            let old = before.and_then(|(_, pod)| pod.clone());
            let new = match self.read(&file) {
                Ok(pod) => Some(Arc::new(pod)),
                Err(why) => {
                    tracing::warn!("static pod {}: {why}", self.path.join(&file).display());
                    old.clone()
                }
            };
            let uid = |pod: &Option<Arc<Pod>>| pod.as_ref().and_then(|pod| pod.metadata.uid.clone());
            if uid(&old) != uid(&new) {
                changes.extend(old.map(Change::Gone));
                changes.extend(new.clone().map(Change::Here));
            }
            self.known.insert(file, (stamp, new));
        }
        changes
    }

    fn stamps(&self) -> io::Result<BTreeMap<String, Stamp>> {
        let mut stamps = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A file that goes meanwhile is not there.
            let Ok(meta) = fs::metadata(entry.path()) else { continue };
            // Editors keep their own files beside the one that is edited.
            if meta.is_file() && !name.starts_with('.') {
                stamps.insert(name, (meta.len(), meta.modified().ok()));
            }
        }
        Ok(stamps)
    }

    fn read(&self, file: &str) -> Result<Pod, String> {
        let path = self.path.join(file);
        let size = fs::metadata(&path).map_err(|error| sentence(&error))?.len();
        if size > FILE_BYTES_MAX {
            return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
        }
        let text = fs::read_to_string(&path).map_err(|error| sentence(&error))?;
        static_pod::read(&text, file, &self.node)
    }

    fn complain(&mut self, complaint: String) {
        if self.complaint.as_ref() != Some(&complaint) {
            tracing::warn!("static pods: {complaint}");
            self.complaint = Some(complaint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(changes: &[Change]) -> Vec<String> {
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap();
        let say = |change: &Change| match change {
            Change::Here(pod) => format!("+{}", name(pod)),
            Change::Gone(pod) => format!("-{}", name(pod)),
        };
        changes.iter().map(say).collect()
    }

    fn text(name: &str, image: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec: {{containers: [{{name: c, image: {image}}}]}}\n"
        )
    }

    #[test]
    fn files_come_change_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut folder = Folder::new(dir.path(), "n");
        assert_eq!(folder.changes(), []);
        fs::write(at("a.yaml"), text("a", "one")).unwrap();
        fs::write(at(".a.yaml.swp"), text("b", "one")).unwrap();
        assert_eq!(said(&folder.changes()), ["+a-n"]);
        assert_eq!(folder.changes(), []);
        fs::write(at("a.yaml"), text("a", "other")).unwrap();
        assert_eq!(said(&folder.changes()), ["-a-n", "+a-n"]);
        // What is no pod changes nothing of the pod that runs.
        fs::write(at("a.yaml"), "rubbish: [").unwrap();
        assert_eq!(folder.changes(), []);
        fs::remove_file(at("a.yaml")).unwrap();
        assert_eq!(said(&folder.changes()), ["-a-n"]);
    }

    #[test]
    fn a_folder_that_is_not_there_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut folder = Folder::new(&dir.path().join("absent"), "n");
        assert_eq!(folder.changes(), []);
    }
}
