//! What the API server relies on, whatever [`Backend`] it was given: one suite for all of them.

// Each test program uses a part of this; and helpers of tests may unwrap as tests do.
#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use futures::StreamExt;
use skiff_store::backend::{Change, Entry, ListRange, Swapped, WatchBatch};
use skiff_store::{Backend, BackendError, Revision};
use std::sync::Arc;
use std::time::Duration;

type Store = Arc<dyn Backend>;

/// Runs every promise on `store`; each keeps to keys of its own.
pub(crate) async fn keeps_backend_promises(store: Store) {
    creates_once(&store).await;
    swaps_only_what_was_expected(&store).await;
    deletes_only_what_was_expected(&store).await;
    lists_in_pages_of_one_revision(&store).await;
    refuses_the_future(&store).await;
    refuses_large_values(&store).await;
    watches_history_then_the_present(&store).await;
    watches_only_its_prefix(&store).await;
    lets_one_of_many_win(&store).await;
    reports_its_size(&store).await;
    forgets_keys_with_a_ttl(&store).await;
}

pub(crate) fn bytes(text: impl Into<String>) -> Bytes {
    Bytes::from(text.into())
}

pub(crate) async fn create(store: &Store, key: &str, value: &str) -> Revision {
    done(store.put(bytes(key), bytes(value), 0, 0).await.unwrap())
}

pub(crate) fn done(swapped: Swapped) -> Revision {
    match swapped {
        Swapped::Done(revision) => revision,
        other => panic!("not written: {other:?}"),
    }
}

fn conflict(swapped: Swapped) -> Option<Entry> {
    match swapped {
        Swapped::Conflict(entry) => entry,
        other => panic!("written: {other:?}"),
    }
}

async fn creates_once(store: &Store) {
    assert_eq!(store.get(bytes("/once/a")).await.unwrap().entry, None);
    assert!(store.get(bytes("/once/a")).await.unwrap().revision > 0, "0 would mean: unknown");
    let first = create(store, "/once/a", "1").await;
    let there = conflict(store.put(bytes("/once/a"), bytes("2"), 0, 0).await.unwrap()).unwrap();
    let wanted = Entry { key: bytes("/once/a"), value: bytes("1"), create_revision: first, mod_revision: first };
    assert_eq!(there, wanted);
    let got = store.get(bytes("/once/a")).await.unwrap();
    assert_eq!((got.entry, got.revision), (Some(wanted), first), "a refused write is no revision");
}

async fn swaps_only_what_was_expected(store: &Store) {
    let first = create(store, "/swap/a", "1").await;
    let second = done(store.put(bytes("/swap/a"), bytes("2"), first, 0).await.unwrap());
    assert_eq!(second, first + 1);
    let there = conflict(store.put(bytes("/swap/a"), bytes("3"), first, 0).await.unwrap()).unwrap();
    assert_eq!((there.value, there.create_revision, there.mod_revision), (bytes("2"), first, second));
    assert_eq!(conflict(store.put(bytes("/swap/none"), bytes("3"), first, 0).await.unwrap()), None);
}

async fn deletes_only_what_was_expected(store: &Store) {
    let first = create(store, "/delete/a", "1").await;
    let there = conflict(store.delete(bytes("/delete/a"), first - 1).await.unwrap()).unwrap();
    assert_eq!(there.mod_revision, first);
    let gone = done(store.delete(bytes("/delete/a"), first).await.unwrap());
    assert_eq!(gone, first + 1);
    assert_eq!(conflict(store.delete(bytes("/delete/a"), first).await.unwrap()), None);
    let again = create(store, "/delete/a", "2").await;
    assert_eq!(store.get(bytes("/delete/a")).await.unwrap().entry.unwrap().create_revision, again);
}

fn everything(prefix: &str) -> ListRange {
    ListRange { prefix: bytes(prefix), from: None, limit: 0, revision: 0 }
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8(entry.key.to_vec()).unwrap()).collect()
}

async fn lists_in_pages_of_one_revision(store: &Store) {
    for name in ["d", "b", "a", "c", "e"] {
        create(store, &format!("/list/{name}"), name).await;
    }
    create(store, "/list0", "after the prefix").await;
    let first = store.list(ListRange { limit: 2, ..everything("/list/") }).await.unwrap();
    assert_eq!((names(&first.entries), first.count), (vec!["/list/a".into(), "/list/b".into()], 5));
    let before = store.get(bytes("/list/c")).await.unwrap().entry.unwrap();
    done(store.delete(bytes("/list/c"), before.mod_revision).await.unwrap());
    let rest = ListRange { from: Some(bytes("/list/b\0")), revision: first.revision, ..everything("/list/") };
    let rest = store.list(rest).await.unwrap();
    assert_eq!(names(&rest.entries), ["/list/c", "/list/d", "/list/e"], "as of the first page");
    assert_eq!((rest.count, rest.revision), (3, first.revision));
    let now = store.list(everything("/list/")).await.unwrap();
    assert_eq!((now.count, now.revision), (4, first.revision + 1));
    assert_eq!(store.list(everything("/nothing/")).await.unwrap().entries, []);
}

async fn refuses_the_future(store: &Store) {
    let newest = store.get(bytes("/future")).await.unwrap().revision;
    let error = store.list(ListRange { revision: newest + 100, ..everything("/list/") }).await.unwrap_err();
    assert!(matches!(error, BackendError::Future { .. }), "{error}");
}

async fn refuses_large_values(store: &Store) {
    let value = Bytes::from(vec![b'x'; 2 << 20]);
    let error = store.put(bytes("/large"), value, 0, 0).await.unwrap_err();
    assert!(matches!(error, BackendError::TooLarge), "{error}");
    assert_eq!(store.get(bytes("/large")).await.unwrap().entry, None);
}

/// The next changes of a watch, progress left out.
pub(crate) async fn next_changes(
    watch: &mut (impl futures::Stream<Item = Result<WatchBatch, BackendError>> + Unpin),
    count: usize,
) -> Vec<Change> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        match batch.expect("a change within a minute").expect("the watch goes on").unwrap() {
            WatchBatch::Changes(more) => changes.extend(more),
            WatchBatch::Progress(_) => (),
        }
    }
    assert_eq!(changes.len(), count, "no more than was written: {changes:?}");
    changes
}

async fn watches_history_then_the_present(store: &Store) {
    let first = create(store, "/watch/a", "1").await;
    let second = done(store.put(bytes("/watch/a"), bytes("2"), first, 0).await.unwrap());
    let mut watch = store.watch(bytes("/watch/"), first - 1);
    let changes = next_changes(&mut watch, 2).await;
    let one = Entry { key: bytes("/watch/a"), value: bytes("1"), create_revision: first, mod_revision: first };
    let two = Entry { value: bytes("2"), mod_revision: second, ..one.clone() };
    assert_eq!(changes[0], Change::Put { entry: one.clone(), previous: None });
    assert_eq!(changes[1], Change::Put { entry: two.clone(), previous: Some(one) });
    let gone = done(store.delete(bytes("/watch/a"), second).await.unwrap());
    assert_eq!(next_changes(&mut watch, 1).await, [Change::Delete { previous: two, revision: gone }]);
    let mut late = store.watch(bytes("/watch/"), second);
    assert_eq!(next_changes(&mut late, 1).await.len(), 1, "only what came after");
}

async fn watches_only_its_prefix(store: &Store) {
    let after = store.get(bytes("/prefix/")).await.unwrap().revision;
    let mut watch = store.watch(bytes("/prefix/"), after);
    create(store, "/prefix", "before").await;
    create(store, "/prefix/a", "inside").await;
    create(store, "/prefix0", "after").await;
    create(store, "/prefix/b", "inside").await;
    let changes = next_changes(&mut watch, 2).await;
    let key = |change: &Change| match change {
        Change::Put { entry, .. } => entry.clone(),
        Change::Delete { previous, .. } => previous.clone(),
    };
    assert_eq!(names(&changes.iter().map(key).collect::<Vec<_>>()), ["/prefix/a", "/prefix/b"]);
}

async fn lets_one_of_many_win(store: &Store) {
    let first = create(store, "/race/a", "0").await;
    let tries = (0..16).map(|who| store.put(bytes("/race/a"), bytes(who.to_string()), first, 0));
    let results = futures::future::join_all(tries).await;
    let winners: Vec<_> = results.into_iter().filter(|result| matches!(result, Ok(Swapped::Done(_)))).collect();
    assert_eq!(winners.len(), 1);
}

async fn reports_its_size(store: &Store) {
    assert!(store.size_bytes().await.unwrap() > 0);
}

async fn forgets_keys_with_a_ttl(store: &Store) {
    let first = done(store.put(bytes("/ttl/a"), bytes("1"), 0, 2).await.unwrap());
    let mut watch = store.watch(bytes("/ttl/"), first);
    let changes = next_changes(&mut watch, 1).await;
    assert!(matches!(&changes[0], Change::Delete { previous, .. } if previous.mod_revision == first), "{changes:?}");
    assert_eq!(store.get(bytes("/ttl/a")).await.unwrap().entry, None);
}
