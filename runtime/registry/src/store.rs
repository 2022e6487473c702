//! The registry's content: what is on the disk, in one order with what the journal says of it.
//!
//! Bytes come first: they are durable under their digest before the journal says that a repository holds them, and a tag is written in one
//! line with its manifest. So after a crash everything that was acknowledged is there, and a tag never points nowhere; bytes that
//! nobody holds are garbage. Everything here blocks.

use crate::digest::Digest;
use crate::disk::Disk;
use crate::error::{On, StorageError};
use crate::journal::{self, Journal};
use crate::name::Name;
use crate::plan::{self, Push};
use crate::refusal::{Code, Refusal};
use crate::rules::Rules;
use crate::state::{Record, State};
use crate::uploads::{Taken, Uploads};
use skiff_step::Engine;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// A registry's folder, open.
///
/// Many threads may use it at a time. Changes are made durable one after the other, in the order of the journal's lock; whoever reads
/// sees what is durable, and never half a change.
pub struct Store {
    pub(crate) disk: Disk,
    pub(crate) uploads: Uploads,
    state: RwLock<State>,
    journal: Mutex<Journal>,
    /// Content that is being placed, and how many are at it: nobody may take it for garbage.
    arriving: Mutex<HashMap<Digest, u32>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Store {
    /// Opens a folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be used, another registry has it, or its journal is damaged.
    pub fn open(root: &Path, engine: Engine) -> Result<Self, StorageError> {
        let disk = Disk::open(root, engine)?;
        let (journal, state) = Journal::open(&disk)?;
        let there: HashSet<Digest> = disk.blobs_there()?.into_iter().map(|(digest, _)| digest).collect();
        for digest in state.held().filter(|digest| !there.contains(digest)) {
            // It was durable when it was acknowledged, so somebody has removed it since.
            tracing::error!(%digest, "content that repositories hold is not in the folder; pulls of it will fail");
        }
        Ok(Self {
            disk,
            uploads: Uploads::default(),
            state: RwLock::new(state),
            journal: Mutex::new(journal),
            arriving: Mutex::default(),
        })
    }

    /// What the folder of a registry knows, which may be running.
    ///
    /// # Errors
    /// There is none, or its journal is damaged.
    pub fn look(root: &Path) -> Result<State, StorageError> {
        journal::look(&root.join("journal"))
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.disk.root()
    }

    /// What the registry knows.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what it knows, durably, and says how many changes that were; none is fine, and costs nothing.
    ///
    /// `plan` sees the state, which nobody else changes meanwhile.
    pub(crate) fn commit(&self, plan: impl FnOnce(&State) -> Result<Vec<Record>, Refusal>) -> Result<u64, Refusal> {
        let mut journal = lock(&self.journal);
        let records = plan(&self.state())?;
        if records.is_empty() {
            return Ok(0);
        }
        journal.append(&self.disk, &records)?;
        let count = records.len() as u64;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        records.into_iter().for_each(|record| state.apply(record));
        drop(state);
        if let Err(error) = journal.renew_if_long(&self.disk, &self.state()) {
            // What was asked for is done; the next change finds out whether the journal can go on.
            let _logged = Refusal::from(error);
        }
        Ok(count)
    }

    /// Ends an upload, whatever comes of it.
    ///
    /// What has come is a blob of its repository, if it has that digest. It is durable: it came from `receive::append`, which syncs the
    /// file also where it has nothing to add.
    pub(crate) fn finish(&self, upload: Taken, digest: &Digest, rules: &Rules) -> Result<(), Refusal> {
        let found = upload.digest(digest.algorithm())?;
        if found != *digest {
            self.uploads.end(upload)?;
            let text = format!("what was sent has the digest {found}, not {digest}");
            return Err(Refusal::new(400, Code::DigestInvalid, text));
        }
        let bytes = upload.bytes;
        let repository = upload.repository.clone();
        let _kept = self.keep(digest);
        self.disk.place(&upload.data(), digest)?;
        let held = self.commit(|state| plan::hold(state, rules, &repository, (digest, bytes), now()));
        self.uploads.end(upload)?;
        held.map(drop)
    }

    /// Gives a repository a blob that another one has; `false`: there is none.
    pub(crate) fn mount(
        &self,
        repository: &Name,
        rules: &Rules,
        digest: &Digest,
        from: Option<&Name>,
        may_read: &dyn Fn(&Name) -> bool,
    ) -> Result<bool, Refusal> {
        let mut found = false;
        self.commit(|state| {
            let Some(size) = plan::mountable(state, digest, from, may_read) else { return Ok(Vec::new()) };
            found = true;
            plan::hold(state, rules, repository, (digest, size), now())
        })?;
        Ok(found)
    }

    /// Takes a manifest whose digest is that of `bytes`, as its caller has made sure.
    ///
    /// It is refused if it names what its repository does not hold, before anything is written.
    pub(crate) fn push(&self, bytes: &[u8], rules: &Rules, push: &Push<'_>) -> Result<(), Refusal> {
        // Once before anything is written, and once more when nobody else can change what it needs.
        plan::push(&self.state(), rules, push)?;
        let _kept = self.keep(push.digest);
        if !self.state().is_held(push.digest) {
            let made = self.disk.uploads().join(format!("{}.manifest", Uuid::new_v4().hyphenated()));
            self.disk.write(&made, bytes)?;
            self.disk.place(&made, push.digest)?;
        }
        self.commit(|state| plan::push(state, rules, push)).map(drop)
    }

    /// The bytes of a manifest, as they were pushed: their digest is what clients ask for.
    pub(crate) fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, StorageError> {
        let path = self.disk.blob(digest);
        std::fs::read(&path).on("read", &path)
    }

    /// A blob's file.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<File, StorageError> {
        let path = self.disk.blob(digest);
        File::open(&path).on("open", &path)
    }

    /// Says that content is being placed, until what it gives is dropped: [`Store::remove_unheld`] leaves it alone even while no
    /// repository holds it.
    fn keep(&self, digest: &Digest) -> Keep<'_> {
        *lock(&self.arriving).entry(digest.clone()).or_default() += 1;
        Keep { store: self, digest: digest.clone() }
    }

    /// Removes the content that nobody holds; how many pieces, and how many bytes.
    ///
    /// # Errors
    /// The folder cannot be read, or something cannot be removed.
    pub fn remove_unheld(&self) -> Result<(u64, u64), StorageError> {
        let mut removed = (0, 0);
        for (digest, size) in self.disk.blobs_there()? {
            // Nobody can begin to place it while this is locked, and whoever placed it has told the journal before.
            let arriving = lock(&self.arriving);
            if arriving.contains_key(&digest) || self.state().is_held(&digest) {
                continue;
            }
            self.disk.remove(&digest)?;
            removed = (removed.0 + 1, removed.1 + size);
        }
        self.sweep_manifests()?;
        Ok(removed)
    }

    /// Ends uploads that nobody has written to for so long; how many.
    ///
    /// # Errors
    /// The folder cannot be read, or one cannot be removed.
    pub fn end_uploads(&self, older: Duration) -> Result<u64, StorageError> {
        self.uploads.sweep(&self.disk, older, SystemTime::now())
    }

    /// Manifests that a crash left before they had their name.
    fn sweep_manifests(&self) -> Result<(), StorageError> {
        let folder = self.disk.uploads();
        for entry in std::fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
            // An hour is more than any write of four MiB takes.
            if is_file && age.is_some_and(|age| age.as_secs() > 3600) {
                match std::fs::remove_file(entry.path()) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    removed => removed.on("remove", entry.path())?,
                }
            }
        }
        Ok(())
    }
}

/// Keeps content from being taken for garbage while it has its file and nobody holds it yet.
struct Keep<'a> {
    store: &'a Store,
    digest: Digest,
}

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        let mut arriving = lock(&self.store.arriving);
        if let Some(count) = arriving.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                arriving.remove(&self.digest);
            }
        }
    }
}
