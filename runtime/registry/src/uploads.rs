//! What is arriving: sessions that clients write to, leave and come back to, also after the registry was started again.
//!
//! A session is a folder with what is known of it (`about`) and what has arrived (`data`). The digest is made while bytes pass; after a
//! restart it is made of what lies there. One request at a time has a session.

use crate::digest::{Algorithm, Digest, Hasher};
use crate::disk::{Disk, UPLOAD_SYNC, UPLOAD_WRITE, private};
use crate::error::{On, StorageError};
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use uuid::Uuid;

/// Sessions at a time: each is two files and a folder.
const SESSIONS_MAX: usize = 10_000;

/// How long a request waits for an upload that another one has.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// All sessions.
#[derive(Default)]
pub(crate) struct Uploads {
    open: Mutex<HashMap<Uuid, Arc<AsyncMutex<Upload>>>>,
}

/// A session.
pub(crate) struct Upload {
    pub(crate) id: Uuid,
    pub(crate) repository: Name,
    folder: PathBuf,
    hasher: Hasher,
    /// Bytes that have arrived.
    pub(crate) bytes: u64,
    /// It ended, or its file could not be put right again.
    over: bool,
}

/// A session that requests may want.
pub(crate) type Session = Arc<AsyncMutex<Upload>>;

/// A session that one request has.
pub(crate) type Taken = OwnedMutexGuard<Upload>;

/// Takes a session for a request, which has it alone until it drops what it gets.
///
/// A client that lost its connection may be back before we have noticed that, so it waits a little.
pub(crate) async fn take(session: Session, repository: &Name) -> Result<Taken, Refusal> {
    let taken = tokio::time::timeout(BUSY_WAIT, session.lock_owned()).await.map_err(|_| busy())?;
    if taken.over || taken.repository != *repository {
        return Err(unknown());
    }
    Ok(taken)
}

fn unknown() -> Refusal {
    Refusal::new(404, Code::BlobUploadUnknown, "there is no such upload in this repository")
}

impl Uploads {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<AsyncMutex<Upload>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session.
    pub(crate) fn start(&self, disk: &Disk, repository: &Name, algorithm: Algorithm) -> Result<Taken, Refusal> {
        if self.lock().len() >= SESSIONS_MAX {
            let text = format!("{SESSIONS_MAX} uploads are under way");
            return Err(Refusal::new(429, Code::TooManyRequests, text).header("retry-after", "60"));
        }
        let id = Uuid::new_v4();
        let folder = disk.upload(id);
        DirBuilder::new().mode(0o700).create(&folder).on("make folder", &folder)?;
        let about = json!({"repository": repository.as_str(), "algorithm": algorithm.name()}).to_string();
        let path = folder.join("about");
        fs::write(&path, about).on("write", &path)?;
        let data = folder.join("data");
        private().create_new(true).open(&data).on("create", &data)?;
        let (repository, hasher) = (repository.clone(), Hasher::new(algorithm));
        let upload = Arc::new(AsyncMutex::new(Upload { id, repository, folder, hasher, bytes: 0, over: false }));
        self.lock().insert(id, upload.clone());
        upload.try_lock_owned().map_err(|_| busy())
    }

    /// Finds a session; blocks while what an earlier registry left is read.
    pub(crate) fn find(&self, disk: &Disk, id: Uuid) -> Result<Session, Refusal> {
        let known = self.lock().get(&id).cloned();
        match known {
            Some(upload) => Ok(upload),
            None => {
                let left = Arc::new(AsyncMutex::new(Upload::left_behind(disk, id)?.ok_or_else(unknown)?));
                Ok(self.lock().entry(id).or_insert(left).clone())
            }
        }
    }

    /// Ends a session; whoever waits for it learns that it is over.
    ///
    /// It removes what it has.
    pub(crate) fn end(&self, mut taken: Taken) -> Result<(), StorageError> {
        taken.over = true;
        self.lock().remove(&taken.id);
        remove(&taken.folder)
    }

    /// Removes sessions that nobody has written to for so long; how many.
    pub(crate) fn sweep(&self, disk: &Disk, older: Duration, now: SystemTime) -> Result<u64, StorageError> {
        let mut removed = 0;
        let folder = disk.uploads();
        for entry in fs::read_dir(&folder).on("list", &folder)? {
            let entry = entry.on("list", &folder)?;
            let Ok(id) = Uuid::parse_str(&entry.file_name().to_string_lossy()) else { continue };
            let touched = fs::metadata(entry.path().join("data"))
                .or_else(|_| entry.metadata())
                .and_then(|about| about.modified());
            let old = touched.is_ok_and(|touched| now.duration_since(touched).is_ok_and(|age| age > older));
            let known = self.lock().get(&id).cloned();
            match known.map(AsyncMutex::try_lock_owned) {
                Some(Ok(taken)) if old => self.end(taken)?,
                None if old => remove(&entry.path())?,
                _ => continue,
            }
            removed += 1;
        }
        Ok(removed)
    }
}

fn busy() -> Refusal {
    Refusal::new(409, Code::BlobUploadInvalid, "another request is writing to this upload").header("retry-after", "1")
}

fn remove(folder: &std::path::Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.on("remove", folder),
    }
}

impl Upload {
    /// What an earlier registry left of it.
    fn left_behind(disk: &Disk, id: Uuid) -> Result<Option<Self>, Refusal> {
        let folder = disk.upload(id);
        let Ok(about) = fs::read(folder.join("about")) else { return Ok(None) };
        let Ok(about) = serde_json::from_slice::<Value>(&about) else { return Ok(None) };
        let word = |name: &str| about[name].as_str().unwrap_or_default();
        let (Ok(repository), Ok(algorithm)) = (word("repository").parse(), Algorithm::named(word("algorithm"))) else {
            return Ok(None);
        };
        let (hasher, bytes) = digested(&folder.join("data"), algorithm)?;
        Ok(Some(Self { id, repository, folder, hasher, bytes, over: false }))
    }

    /// Where its bytes are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Opens its file for writing at the end.
    pub(crate) fn open(&self) -> Result<File, StorageError> {
        let path = self.data();
        let mut file = private().open(&path).on("open", &path)?;
        file.seek(SeekFrom::Start(self.bytes)).on("seek in", &path)?;
        Ok(file)
    }

    /// Writes what has come. When that fails, what was there before stays as it was, and the client may try again.
    pub(crate) fn write(&mut self, disk: &Disk, file: &mut File, pieces: &[Bytes]) -> Result<(), StorageError> {
        for piece in pieces {
            let written = disk.engine.run(&UPLOAD_WRITE, || self.id.to_string(), || file.write_all(piece));
            if let Err(error) = written {
                let cut = file.set_len(self.bytes).and_then(|()| file.seek(SeekFrom::Start(self.bytes)));
                self.over = cut.is_err();
                return Err(error).on("write", self.data());
            }
            self.hasher.update(piece);
            self.bytes += piece.len() as u64;
        }
        Ok(())
    }

    /// Makes what has come durable.
    pub(crate) fn sync(&self, disk: &Disk, file: &File) -> Result<(), StorageError> {
        disk.engine.run(&UPLOAD_SYNC, || self.id.to_string(), || file.sync_data()).on("sync", self.data())
    }

    /// The digest of what has come: at once by the algorithm that the upload began with, and else by reading all of it again,
    /// because a client may name another algorithm only at the end; it is made by `algorithm`.
    pub(crate) fn digest(&self, algorithm: Algorithm) -> Result<Digest, StorageError> {
        if self.hasher.algorithm() == algorithm {
            return Ok(self.hasher.clone().finish());
        }
        Ok(digested(&self.data(), algorithm)?.0.finish())
    }
}

fn digested(path: &std::path::Path, algorithm: Algorithm) -> Result<(Hasher, u64), StorageError> {
    let mut file = File::open(path).on("open", path)?;
    let (mut hasher, mut bytes) = (Hasher::new(algorithm), 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, bytes)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).on("read", path),
        }
    }
}
