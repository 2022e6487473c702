//! A disk that fails at its n-th operation, for every n, and what such a disk holds afterwards.
//!
//! After a failed write or sync the store acknowledges nothing more. On the disk is everything it acknowledged.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use skiff_store::backend::Swapped;
use skiff_store::{BackendError, Options, Store};

#[derive(Debug, Default)]
struct Disk {
    /// What a program that reads now sees.
    written: Vec<u8>,
    /// What a power failure leaves.
    synced: Vec<u8>,
    /// Operations that change something, counted down; at 0 one fails, and so do all after it.
    left: Option<usize>,
    changes: usize,
}

impl Disk {
    fn change(&mut self) -> io::Result<()> {
        self.changes += 1;
        match &mut self.left {
            None => Ok(()),
            Some(0) => Err(io::Error::other("injected")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Shared(Arc<Mutex<Disk>>);

impl redb::StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().written.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (disk, from) = (self.0.lock().unwrap(), offset as usize);
        let there = disk.written.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        disk.written.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        disk.synced = disk.written.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut disk, from) = (self.0.lock().unwrap(), offset as usize);
        disk.change()?;
        disk.written[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl Shared {
    fn over(bytes: Vec<u8>) -> Self {
        Shared(Arc::new(Mutex::new(Disk { written: bytes.clone(), synced: bytes, ..Disk::default() })))
    }
}

/// Writes until something fails; the keys acknowledged. `None`: the store could not even be made.
async fn work(disk: &Shared) -> Option<Vec<(Bytes, i64)>> {
    let mut acknowledged = Vec::new();
    let store = Store::open_disk(disk.clone(), Options::default()).ok()?;
    let backend = store.backend();
    for count in 0..6 {
        let key = Bytes::from(format!("/{count}"));
        match backend.put(key.clone(), vec![b'x'; 3000].into(), 0, 0).await {
            Ok(Swapped::Done(revision)) => acknowledged.push((key, revision)),
            Ok(other) => panic!("{other:?}"),
            Err(_) => {
                // The disk works again, but nobody knows what is on it: only a new start may find out.
                disk.0.lock().unwrap().left = None;
                let again = backend.put("/again".into(), "x".into(), 0, 0).await;
                assert!(matches!(again, Err(BackendError::Unavailable(_))), "acknowledged after a failure: {again:?}");
                assert!(backend.get("/0".into()).await.is_err());
                disk.0.lock().unwrap().left = Some(0);
                break;
            }
        }
    }
    store.close().await;
    Some(acknowledged)
}

async fn holds(bytes: Vec<u8>, acknowledged: &[(Bytes, i64)], what: &str) {
    let disk = Shared::over(bytes);
    let store = Store::open_disk(disk, Options::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let backend = store.backend();
    for (key, revision) in acknowledged {
        let got = backend.get(key.clone()).await.unwrap();
        assert_eq!(got.entry.map(|entry| entry.mod_revision), Some(*revision), "{what}: {key:?}");
    }
    let more = backend.put("/more".into(), "x".into(), 0, 0).await.unwrap();
    assert!(matches!(more, Swapped::Done(revision) if acknowledged.iter().all(|(_, old)| revision > *old)), "{what}");
    store.close().await;
}

#[tokio::test]
async fn every_operation_may_fail() {
    let whole = Shared::default();
    assert_eq!(work(&whole).await.unwrap().len(), 6);
    let changes = whole.0.lock().unwrap().changes;
    assert!(changes > 30, "the disk is hardly used: {changes}");
    for fails_at in 0..changes {
        let disk = Shared::default();
        disk.0.lock().unwrap().left = Some(fails_at);
        // A folder gives a database its name only once it is made, so half of one is never opened (see `folder.rs`).
        let Some(acknowledged) = work(&disk).await else { continue };
        let (written, synced) = {
            let disk = disk.0.lock().unwrap();
            (disk.written.clone(), disk.synced.clone())
        };
        holds(written, &acknowledged, &format!("killed at operation {fails_at} of {changes}")).await;
        holds(synced, &acknowledged, &format!("power lost at operation {fails_at} of {changes}")).await;
    }
}
