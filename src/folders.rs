//! Where a node keeps things, and whose they are.
//!
//! Two folders hold everything: the data folder (what must survive the machine's restart) and the run folder (what must
//! not). A lock on a file in the data folder says that a node is using it, and which process that is.

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The default data folder.
pub(crate) const DATA_DIR: &str = "/var/lib/skiff";
/// The default run folder.
pub(crate) const RUN_DIR: &str = "/run/skiff";

/// The folders of other nodes, by number, in those of the first.
const NODES: &str = "nodes";

/// The folders of one node.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) data: PathBuf,
    pub(crate) run: PathBuf,
}

impl Folders {
    /// The folders asked for. A node with a data folder of its own gets a run folder of its own, so that two nodes on one
    /// machine do not meet.
    pub(crate) fn choose(data: Option<&Path>, run: Option<&Path>) -> anyhow::Result<Self> {
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("folder {}", path.display()));
        let data_chosen = data.map(absolute).transpose()?;
        let run = match (run, &data_chosen) {
            (Some(run), _) => absolute(run)?,
            (None, Some(data)) if data.as_path() != Path::new(DATA_DIR) => {
                PathBuf::from(format!("{RUN_DIR}-{}", short_hash(data)))
            }
            (None, _) => PathBuf::from(RUN_DIR),
        };
        Ok(Self { data: data_chosen.unwrap_or_else(|| PathBuf::from(DATA_DIR)), run })
    }

    /// Makes both folders, private to root.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        let folders =
            [self.data.clone(), self.run.clone(), self.bin(), self.store(), self.images(), self.pods(), self.pki()];
        for folder in folders {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .with_context(|| format!("create folder {}", folder.display()))?;
        }
        Ok(())
    }

    /// Those of one of the other nodes of `up --nodes`.
    pub(crate) fn member(&self, number: u8) -> Self {
        let of = |folder: &Path| folder.join(NODES).join(number.to_string());
        Self { data: of(&self.data), run: of(&self.run) }
    }

    /// The other nodes that there are, or were: any that has a folder.
    pub(crate) fn members(&self) -> Vec<Self> {
        let folders = [&self.data, &self.run].map(|folder| std::fs::read_dir(folder.join(NODES)));
        let names = folders.into_iter().flatten().flatten().flatten().map(|entry| entry.file_name());
        let numbers = names.filter_map(|name| name.to_str()?.parse::<u8>().ok());
        numbers.collect::<std::collections::BTreeSet<_>>().into_iter().map(|number| self.member(number)).collect()
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.data.join("bin")
    }

    /// Where the programs in [`Folders::bin`] are shown read-only.
    pub(crate) fn programs(&self) -> PathBuf {
        self.run.join("bin")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// What is said about registries: `REGISTRY/hosts.toml`.
    pub(crate) fn registries(&self) -> PathBuf {
        self.data.join("certs.d")
    }

    /// Credentials of the node for registries, in the form of container clients.
    pub(crate) fn registry_auth(&self) -> PathBuf {
        self.data.join("auth.json")
    }

    /// What is known of vulnerabilities.
    pub(crate) fn vulnerabilities(&self) -> PathBuf {
        self.data.join("vulnerabilities")
    }

    /// What a registry serves.
    pub(crate) fn registry(&self) -> PathBuf {
        self.data.join("registry")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.data.join("pods")
    }

    /// Where volumes of claims are.
    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("local-volumes")
    }

    /// Where the kubelet looks for drivers of volumes.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.data.join("plugins_registry")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// Who encrypts what is in the store, with the key that was made for it.
    pub(crate) fn encryption(&self) -> PathBuf {
        self.pki().join("encryption.yaml")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// With which a node talks to the cluster that it joined.
    pub(crate) fn node_kubeconfig(&self) -> PathBuf {
        self.data.join("node.kubeconfig")
    }

    /// The token with which one of the other nodes of `up --nodes` joins.
    pub(crate) fn bootstrap_kubeconfig(&self) -> PathBuf {
        self.run.join("bootstrap.kubeconfig")
    }

    pub(crate) fn cri_socket(&self) -> PathBuf {
        self.run.join("cri.sock")
    }

    pub(crate) fn network_state(&self) -> PathBuf {
        self.run.join("net")
    }

    /// The cgroup below which everything of this node lives: `/skiff`, or `/skiff-<hash>` for a node in other folders.
    fn cgroup_root(&self) -> String {
        match self.run.file_name().and_then(|name| name.to_str()) {
            Some(name) if self.run.starts_with("/run") && name.starts_with("skiff") => format!("/{name}"),
            _ => format!("/skiff-{}", short_hash(&self.run)),
        }
    }

    /// The cgroup root that the pods of this run folder stand below: the one asked for, else the one they were started
    /// with, else the default. Remembered in the run folder, so that `down` looks where `up` worked.
    pub(crate) fn settle_cgroup_root(&self, asked: Option<&str>) -> anyhow::Result<String> {
        let file = self.run.join("cgroup-root");
        let known = std::fs::read_to_string(&file).ok().filter(|text| !text.is_empty());
        match (asked, &known) {
            (Some(asked), Some(known)) if asked != known => {
                bail!(
                    "--cgroup-root {asked}: the pods of {} stand below {known}; run skiff down first",
                    self.run.display()
                )
            }
            (None, Some(known)) => return Ok(known.clone()),
            _ => {}
        }
        let root = asked.map_or_else(|| self.cgroup_root(), str::to_owned);
        if self.run.is_dir() {
            std::fs::write(&file, &root).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(root)
    }

    fn lock_file(&self) -> PathBuf {
        self.data.join("node.lock")
    }

    /// Takes the data folder for this process.
    pub(crate) fn lock(&self) -> anyhow::Result<NodeLock> {
        let path = self.lock_file();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0).with_context(|| format!("write {}", path.display()))?;
                write!(&mut *lock, "{}", std::process::id()).with_context(|| format!("write {}", path.display()))?;
                Ok(NodeLock { _held: lock })
            }
            Err((mut file, nix::errno::Errno::EWOULDBLOCK)) => {
                let owner = pid_in(&mut file).map_or_else(String::new, |pid| format!(" (pid {pid})"));
                bail!("data folder {} is in use by another node{owner}", self.data.display())
            }
            Err((_, error)) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }

    /// The process that holds the data folder, if one does.
    pub(crate) fn owner(&self) -> Option<i32> {
        let file = OpenOptions::new().read(true).write(true).open(self.lock_file()).ok()?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_free) => None,
            Err((mut file, _)) => pid_in(&mut file),
        }
    }
}

/// Held for as long as the node runs; the kernel lets go of it when the process ends, however it ends.
pub(crate) struct NodeLock {
    _held: Flock<File>,
}

fn pid_in(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Eight hexadecimal digits that tell one path from another (FNV-1a; no secret depends on it).
pub(crate) fn short_hash(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_other_folders_meets_no_other() {
        let default = Folders::choose(None, None).unwrap();
        assert_eq!((default.run.as_path(), default.cgroup_root().as_str()), (Path::new("/run/skiff"), "/skiff"));
        let other = Folders::choose(Some(Path::new("/tmp/a")), None).unwrap();
        assert_ne!(other.run, default.run);
        assert_ne!(other.cgroup_root(), default.cgroup_root());
        let third = Folders::choose(Some(Path::new("/tmp/a")), Some(Path::new("/tmp/b"))).unwrap();
        assert_eq!(third.run, Path::new("/tmp/b"));
        assert!(third.cgroup_root().starts_with("/skiff-"));
    }

    #[test]
    fn pods_are_looked_for_where_they_were_started() {
        let folder = tempfile::tempdir().unwrap();
        let folders = Folders::choose(Some(&folder.path().join("data")), Some(folder.path())).unwrap();
        assert_eq!(folders.settle_cgroup_root(Some("/mine")).unwrap(), "/mine");
        assert_eq!(folders.settle_cgroup_root(None).unwrap(), "/mine");
        let refusal = folders.settle_cgroup_root(Some("/other")).unwrap_err().to_string();
        assert!(refusal.contains("/other") && refusal.contains("/mine"), "{refusal}");
    }

    #[test]
    fn a_folder_in_use_names_its_user() {
        let data = tempfile::tempdir().unwrap();
        let folders = Folders::choose(Some(data.path()), Some(&data.path().join("run"))).unwrap();
        folders.create().unwrap();
        assert_eq!(folders.owner(), None);
        let held = folders.lock().unwrap();
        let refusal = folders.lock().err().unwrap().to_string();
        assert!(refusal.contains(&format!("in use by another node (pid {})", std::process::id())), "{refusal}");
        assert_eq!(folders.owner(), i32::try_from(std::process::id()).ok());
        drop(held);
        assert_eq!(folders.owner(), None);
    }
}
