//! Records as files, in the folders and the form that a kubelet of Kubernetes has.
//!
//! ```text
//! image_manager/pulling/sha256-<of the name>     a pull that has begun: what is there may be of it
//! image_manager/pulled/sha256-<of the image>     with whose credentials it succeeded
//! ```

use crate::name::without_tag;
use crate::record::{Account, Credentials, Record, Secret, Verdict};
use crate::{Policy, Source};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

const VERSION: &str = "kubelet.config.k8s.io/v1beta1";

/// The records of a node, and its policy. Blocking: a few small files.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    policy: Policy,
    /// Pulls under way by name; also keeps writers apart.
    under_way: Mutex<HashMap<String, usize>>,
}

impl Records {
    /// Those below `root`, the kubelet's folder.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn open(root: &Path, policy: Policy) -> io::Result<Self> {
        let folder = root.join("image_manager");
        for part in ["pulling", "pulled"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(part))?;
        }
        Ok(Self { folder, policy, under_way: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a pod has to show credentials before it uses `image`, which is there as `image_ref`. Where the records cannot be
    /// read it has to.
    pub fn asks(&self, image: &str, image_ref: &str) -> bool {
        let held = self.held();
        let pulled = match self.read(image_ref) {
            Ok(record) => record.is_some() || held.contains_key(image) || self.intent(image).exists(),
            Err(error) => {
                tracing::warn!("record of image {image_ref}: {error}; credentials are asked for");
                return true;
            }
        };
        self.policy.asks(image, pulled)
    }

    /// Whether a pod with these sources of credentials may use `image` without pulling it.
    pub fn may_use(&self, image: &str, image_ref: &str, sources: &[Source]) -> bool {
        let held = self.held();
        let Ok(Some(mut record)) = self.read(image_ref) else { return false };
        let secrets: Vec<Secret> = sources.iter().filter_map(secret).cloned().collect();
        let account: Option<&Account> = sources.iter().find_map(account);
        let name = without_tag(image);
        match record.verdict(name, &secrets, account) {
            Verdict::Use => true,
            Verdict::Pull => false,
            Verdict::UseAndNote(secret) => {
                let shown = Credentials { kubernetes_secrets: vec![secret], ..Credentials::default() };
                if record.add(name, &shown) {
                    self.noted(self.write(&mut record));
                }
                drop(held);
                true
            }
        }
    }

    /// A pull of `image` begins.
    ///
    /// # Errors
    /// It cannot be written down, so that after a restart nobody would know who pulled what is there then.
    pub fn begin(&self, image: &str) -> io::Result<()> {
        let mut held = self.held();
        let intent = json!({"kind": "ImagePullIntent", "apiVersion": VERSION, "image": image});
        replace(&self.intent(image), &intent)?;
        *held.entry(image.to_owned()).or_default() += 1;
        Ok(())
    }

    /// A pull of `image` succeeded, with credentials from `source`, and the image is there as `image_ref`.
    pub fn pulled(&self, image: &str, image_ref: &str, source: Option<&Source>) {
        let mut held = self.held();
        let mut record = self.read(image_ref).ok().flatten();
        let is_first = record.is_none();
        let record = record.get_or_insert_with(|| Record { image_ref: image_ref.to_owned(), ..Record::default() });
        if !record.add(without_tag(image), &shown_by(source)) && !is_first {
            return self.end(&mut held, image);
        }
        match self.write(record) {
            Ok(()) => self.end(&mut held, image),
            // The intent stays and says that a kubelet pulled it.
            failed => self.noted(failed),
        }
    }

    /// A pull of `image` failed.
    pub fn failed(&self, image: &str) {
        self.end(&mut self.held(), image);
    }

    fn end(&self, held: &mut HashMap<String, usize>, image: &str) {
        match held.get_mut(image) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(image);
                match fs::remove_file(self.intent(image)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => self.noted(Err(error)),
                    _ => {}
                }
            }
        }
    }

    /// The names of pulls that a predecessor began and did not live to see end.
    pub fn begun(&self) -> Vec<String> {
        let held = self.held();
        let entries = fs::read_dir(self.folder.join("pulling")).into_iter().flatten().flatten();
        let intents = entries.filter_map(|entry| serde_json::from_slice::<Value>(&fs::read(entry.path()).ok()?).ok());
        let names = intents.filter_map(|intent| Some(intent.get("image")?.as_str()?.to_owned()));
        names.filter(|name| !held.contains_key(name)).collect()
    }

    /// What is there of such a pull counts as pulled, with nobody's credentials.
    pub fn settle(&self, image: &str, image_ref: &str) {
        let _held = self.held();
        let written = match self.read(image_ref) {
            Ok(Some(_)) => Ok(()),
            _ => self.write(&mut Record { image_ref: image_ref.to_owned(), ..Record::default() }),
        };
        self.noted(written.and_then(|()| fs::remove_file(self.intent(image))));
    }

    /// Forgets images that were not there any more at `when`; what was written since may be of one that came.
    pub fn keep_only(&self, image_refs: &BTreeSet<&str>, when: SystemTime) {
        let _held = self.held();
        let entries = fs::read_dir(self.folder.join("pulled")).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let is_older = fs::metadata(&path).and_then(|about| about.modified()).is_ok_and(|written| written < when);
            let record = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
            if is_older && record.is_some_and(|record| !image_refs.contains(record.image_ref.as_str())) {
                self.noted(fs::remove_file(&path));
            }
        }
    }

    /// Whether `image` was pulled without credentials, or with the node's own: then nobody has to be asked for some.
    pub fn is_everybodys(&self, image: &str, image_ref: &str) -> bool {
        self.may_use(image, image_ref, &[])
    }

    fn noted(&self, written: io::Result<()>) {
        if let Err(error) = written {
            tracing::warn!("record of an image in {}: {error}", self.folder.display());
        }
    }

    fn intent(&self, image: &str) -> PathBuf {
        self.folder.join("pulling").join(file_name(image))
    }

    fn read(&self, image_ref: &str) -> io::Result<Option<Record>> {
        match fs::read(self.folder.join("pulled").join(file_name(image_ref))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Some(serde_json::from_slice(&read?)?)),
        }
    }

    fn write(&self, record: &mut Record) -> io::Result<()> {
        let now = jiff::Timestamp::now().to_string();
        record.last_updated_time =
            now.split('.').next().map_or_else(String::new, |whole| format!("{}Z", whole.trim_end_matches('Z')));
        let mut text = serde_json::to_value(&*record)?;
        (text["kind"], text["apiVersion"]) = ("ImagePulledRecord".into(), VERSION.into());
        replace(&self.folder.join("pulled").join(file_name(&record.image_ref)), &text)
    }
}

fn shown_by(source: Option<&Source>) -> Credentials {
    match source {
        None => Credentials { node_pods_accessible: true, ..Credentials::default() },
        Some(Source::Secret(secret)) => {
            Credentials { kubernetes_secrets: vec![secret.clone()], ..Credentials::default() }
        }
        Some(Source::Account(account)) => {
            Credentials { kubernetes_service_accounts: vec![account.clone()], ..Credentials::default() }
        }
    }
}

fn secret(source: &Source) -> Option<&Secret> {
    if let Source::Secret(secret) = source { Some(secret) } else { None }
}

fn account(source: &Source) -> Option<&Account> {
    if let Source::Account(account) = source { Some(account) } else { None }
}

fn file_name(text: &str) -> String {
    format!("sha256-{}", hex::encode(Sha256::digest(text.as_bytes())))
}

/// Whole or not at all: a rename replaces in one step (rename(2)).
fn replace(path: &Path, value: &Value) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    io::Write::write_all(&mut file, value.to_string().as_bytes())?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, sum: &str) -> Source {
        let (uid, namespace) = (format!("uid-{name}"), "ns".to_owned());
        Source::Secret(Secret { uid, namespace, name: name.to_owned(), credential_hash: sum.to_owned() })
    }

    #[test]
    fn what_one_pod_pulled_another_one_has_to_show_credentials_for() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path(), Policy::default()).unwrap();
        assert!(!records.asks("r.io/a:1", "sha256:1"), "it came with the node");
        records.begin("r.io/a:1").unwrap();
        assert!(records.asks("r.io/a:1", "sha256:1"), "what is there may be of the pull under way");
        records.pulled("r.io/a:1", "sha256:1", Some(&of("one", "1")));
        for records in [records, Records::open(dir.path(), Policy::default()).unwrap()] {
            assert!(records.asks("r.io/a:1", "sha256:1"));
            assert!(records.may_use("r.io/a:2", "sha256:1", &[of("one", "1")]));
            assert!(!records.may_use("r.io/a:1", "sha256:1", &[of("two", "2")]));
            assert!(!records.may_use("r.io/a:1", "sha256:1", &[]));
        }
        assert_eq!(fs::read_dir(dir.path().join("image_manager/pulling")).unwrap().count(), 0);
    }

    #[test]
    fn a_pull_that_nobody_saw_end_counts_as_pulled() {
        let dir = tempfile::tempdir().unwrap();
        Records::open(dir.path(), Policy::default()).unwrap().begin("r.io/a:1").unwrap();
        let records = Records::open(dir.path(), Policy::default()).unwrap();
        assert!(records.asks("r.io/a:1", "sha256:1"));
        assert_eq!(records.begun(), ["r.io/a:1"]);
        records.settle("r.io/a:1", "sha256:1");
        assert!(records.asks("r.io/a:1", "sha256:1") && records.begun().is_empty());
        assert!(!records.may_use("r.io/a:1", "sha256:1", &[of("one", "1")]));
        assert_eq!(fs::read_dir(dir.path().join("image_manager/pulling")).unwrap().count(), 0);
        records.keep_only(&BTreeSet::new(), SystemTime::UNIX_EPOCH);
        assert!(records.asks("r.io/a:1", "sha256:1"), "it was written since");
        records.keep_only(&BTreeSet::new(), SystemTime::now() + std::time::Duration::from_secs(1));
        assert!(!records.asks("r.io/a:1", "sha256:1"));
    }

    #[test]
    fn a_failed_pull_leaves_nothing_and_two_pulls_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path(), Policy::default()).unwrap();
        records.begin("r.io/a").unwrap();
        records.begin("r.io/a").unwrap();
        records.failed("r.io/a");
        assert!(records.asks("r.io/a", "sha256:1"));
        records.failed("r.io/a");
        assert!(!records.asks("r.io/a", "sha256:1"));
    }

    #[test]
    fn a_record_that_is_broken_is_no_permit() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path(), Policy::default()).unwrap();
        records.begin("r.io/a").unwrap();
        records.pulled("r.io/a", "sha256:1", None);
        assert!(records.may_use("r.io/a", "sha256:1", &[]));
        fs::write(dir.path().join("image_manager/pulled").join(file_name("sha256:1")), "{").unwrap();
        assert!(records.asks("r.io/a", "sha256:1") && !records.may_use("r.io/a", "sha256:1", &[]));
    }
}
