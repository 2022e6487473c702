//! The log in front of the database: what is read from it after a crash, and what is refused.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use redb::{Builder, StorageBackend, TableDefinition};
use skiff_store::backend::{ListRange, Swapped};
use skiff_store::{Options, Store};
use std::io;
use std::sync::{Arc, Mutex};

/// Memory that can be copied at any time. Two of them share one lock, so that a copy of both is of one moment.
#[derive(Debug, Clone)]
struct Memory {
    both: Arc<Mutex<[Vec<u8>; 2]>>,
    which: usize,
}

impl Memory {
    fn pair(contents: [Vec<u8>; 2]) -> (Memory, Memory) {
        let both = Arc::new(Mutex::new(contents));
        (Memory { both: both.clone(), which: 0 }, Memory { both, which: 1 })
    }

    fn copy(&self) -> [Vec<u8>; 2] {
        self.both.lock().unwrap().clone()
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.both.lock().unwrap()[self.which].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (both, from) = (self.both.lock().unwrap(), offset as usize);
        out.copy_from_slice(both[self.which].get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.both.lock().unwrap()[self.which].resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let from = offset as usize;
        self.both.lock().unwrap()[self.which][from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn small_log() -> Options {
    Options { log_bytes: 64 << 10, ..Options::default() }
}

fn open(contents: [Vec<u8>; 2]) -> Result<Store, String> {
    let (database, log) = Memory::pair(contents);
    Store::open_disks(database, log, small_log()).map_err(|error| error.to_string())
}

fn refusal(contents: [Vec<u8>; 2]) -> String {
    open(contents).err().expect("refused")
}

fn value(count: usize) -> Bytes {
    vec![(count % 251) as u8; count * 37 % 1500].into()
}

async fn put(store: &Store, count: usize) {
    let key = Bytes::from(format!("/{count:05}"));
    assert!(matches!(store.backend().put(key, value(count), 0, 0).await.unwrap(), Swapped::Done(_)));
}

/// How many of the writes 0, 1, ... are there; panics unless they are the first ones, whole.
async fn whole_prefix(store: &Store) -> usize {
    let all = ListRange { prefix: Bytes::new(), from: None, limit: 0, revision: 0 };
    let listed = store.backend().list(all).await.unwrap();
    for (count, entry) in listed.entries.iter().enumerate() {
        assert_eq!(entry.key, format!("/{count:05}"));
        assert_eq!(entry.value, value(count), "the value of {count}");
        assert_eq!(entry.mod_revision, count as i64 + 2);
    }
    assert_eq!(listed.revision, listed.entries.len() as i64 + 1);
    listed.entries.len()
}

#[tokio::test]
async fn at_every_moment_the_disks_hold_what_was_acknowledged() {
    let (database, log) = Memory::pair([Vec::new(), Vec::new()]);
    let store = Store::open_disks(database.clone(), log, small_log()).unwrap();
    let mut lengths = Vec::new();
    for count in 0..600 {
        put(&store, count).await;
        if count % 7 == 0 {
            let image = database.copy();
            lengths.push(image[1].len());
            let reopened = open(image).unwrap();
            assert_eq!(whole_prefix(&reopened).await, count + 1);
            // It goes on from there, and can be opened once more.
            put(&reopened, count + 1).await;
            assert_eq!(whole_prefix(&reopened).await, count + 2);
            reopened.close().await;
        }
    }
    assert!(
        lengths.iter().all(|&length| length <= 64 << 10),
        "600 writes of 700 bytes went round in 64 KiB: {lengths:?}"
    );
    store.close().await;
    let reopened = open(database.copy()).unwrap();
    assert_eq!(whole_prefix(&reopened).await, 600);
}

#[tokio::test]
async fn a_batch_larger_than_the_log_is_durable_too() {
    let (database, log) = Memory::pair([Vec::new(), Vec::new()]);
    let store = Store::open_disks(database.clone(), log, small_log()).unwrap();
    let large = Bytes::from(vec![b'x'; 200 << 10]);
    for count in 0..20 {
        let key = Bytes::from(format!("/{count}"));
        let value = if count % 3 == 1 { large.clone() } else { key.clone() };
        store.backend().put(key.clone(), value.clone(), 0, 0).await.unwrap();
        let reopened = open(database.copy()).unwrap();
        assert_eq!(reopened.backend().get(key).await.unwrap().entry.unwrap().value, value);
    }
}

/// A store that was not closed, all of whose 20 writes are in its log alone.
async fn in_the_log() -> [Vec<u8>; 2] {
    let (database, log) = Memory::pair([Vec::new(), Vec::new()]);
    let store = Store::open_disks(database.clone(), log, Options::default()).unwrap();
    for count in 0..20 {
        put(&store, count).await;
    }
    database.copy()
}

fn frames(log: &[u8]) -> Vec<usize> {
    (4096..log.len()).step_by(512).filter(|&at| log[at..].starts_with(b"SKFB")).collect()
}

#[tokio::test]
async fn a_log_that_ends_anywhere_holds_the_writes_before() {
    let [database, log] = in_the_log().await;
    let frames = frames(&log);
    assert!(frames.len() >= 20, "{frames:?}");
    let mut seen = 0;
    for cut in (4096..frames.last().unwrap() + 1024).step_by(61) {
        let mut torn = log.clone();
        torn[cut..].fill(0);
        let reopened = open([database.clone(), torn]).unwrap();
        let there = whole_prefix(&reopened).await;
        assert!(there >= seen, "cut at {cut}: {there} after {seen}");
        seen = there;
    }
    assert_eq!(seen, 20);
}

#[tokio::test]
async fn damage_before_the_last_batch_is_refused() {
    let [database, log] = in_the_log().await;
    let frames = frames(&log);
    for at in &frames[..frames.len() - 1] {
        let mut damaged = log.clone();
        damaged[at + 30] ^= 1;
        let why = refusal([database.clone(), damaged]);
        assert!(why.contains("the given disk of the log: the log is damaged: batch"), "{why}");
    }
}

#[tokio::test]
async fn a_log_that_is_not_the_databases_is_refused() {
    let [database, log] = in_the_log().await;
    let [_, other] = in_the_log().await;
    let mut text = log.clone();
    text[..8].copy_from_slice(b"TEXTTEXT");
    for (log, why) in [(other, "belongs to another store"), (Vec::new(), "is missing"), (text, "is no log of a store")]
    {
        let refused = refusal([database.clone(), log]);
        assert!(refused.contains(why), "{refused}");
    }
    let (alone, _) = Memory::pair([database, Vec::new()]);
    let refused = Store::open_disk(alone, Options::default()).err().unwrap().to_string();
    assert!(refused.contains("has writes in a log, which was not given"), "{refused}");
}

#[tokio::test]
async fn an_old_copy_of_the_database_is_refused() {
    let (database, log) = Memory::pair([Vec::new(), Vec::new()]);
    let store = Store::open_disks(database.clone(), log, small_log()).unwrap();
    put(&store, 0).await;
    let [old, _] = database.copy();
    for count in 1..300 {
        put(&store, count).await;
    }
    let [_, log] = database.copy();
    let refused = refusal([old, log]);
    assert!(refused.contains("is damaged: batch"), "{refused}");
}

/// As a store of format 1 was written.
fn format_1() -> Vec<u8> {
    let (database, _) = Memory::pair([Vec::new(), Vec::new()]);
    let made = Builder::new().create_with_backend(database.clone()).unwrap();
    let transaction = made.begin_write().unwrap();
    {
        const HISTORY: TableDefinition<(i64, u32), &[u8]> = TableDefinition::new("history");
        const LEASES: TableDefinition<i64, i64> = TableDefinition::new("leases");
        const MARKS: TableDefinition<&str, i64> = TableDefinition::new("marks");
        let mut history = transaction.open_table(HISTORY).unwrap();
        for count in 0..50 {
            let revision = count as i64 + 2;
            let at = skiff_store::record::Point { revision, sub: 0 };
            let key = Bytes::from(format!("/{count:05}"));
            let record =
                skiff_store::record::Record { at, key, value: value(count), created: revision, version: 1, lease: 0 };
            history.insert((revision, 0), &record.encode()[..]).unwrap();
        }
        transaction.open_table(LEASES).unwrap().insert(7, 3600).unwrap();
        let mut marks = transaction.open_table(MARKS).unwrap();
        for (name, value) in [("format", 1), ("cluster", 5), ("member", 6)] {
            marks.insert(name, value).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(made);
    database.copy()[0].clone()
}

#[tokio::test]
async fn a_store_of_format_1_is_brought_to_the_present() {
    let (database, log) = Memory::pair([format_1(), Vec::new()]);
    for round in 0..2 {
        let store = Store::open_disks(database.clone(), log.clone(), small_log()).unwrap();
        assert_eq!(whole_prefix(&store).await, 50 + round);
        assert_eq!(store.grant(7, 10).await.unwrap_err().to_string(), "lease already exists");
        put(&store, 50 + round).await;
        store.close().await;
    }
}

/// While writers go on, history is removed and the database is made anew; everything is there, also after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_and_defragmentation_lose_nothing() {
    use skiff_proto::etcd::etcdserverpb as pb;
    use skiff_store::etcd::routes;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), small_log()).unwrap();
    for count in 0..300 {
        put(&store, count).await;
    }
    let again = store.clone();
    let writing = tokio::spawn(async move {
        for count in 300..600 {
            put(&again, count).await;
        }
    });
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(routes(store.clone()));
    for revision in [100, 200, 300] {
        store.compact(revision, true).await.unwrap();
        maintenance.defragment(pb::DefragmentRequest {}).await.unwrap();
    }
    writing.await.unwrap();
    assert_eq!(whole_prefix(&store).await, 600);
    store.close().await;
    assert!(!folder.path().join("store.redb.new").exists());
    let store = Store::open(folder.path(), Options::default()).unwrap();
    assert_eq!(whole_prefix(&store).await, 600);
}
