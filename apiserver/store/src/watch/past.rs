//! History for those who are behind: read once for all of them, a window at a time.
//!
//! ```text
//!  watchers that are behind ──ask for a revision──► windows in memory ──not there──► one of them reads the next one from the disk
//!        ▲                                               │
//!        └────── what concerns it, found by key ─────────┘
//! ```
//!
//! Whoever is behind asks for the window that holds the first revision it has not seen, and takes of it what its keys have. A thousand
//! watchers that resume from the same place so read history once, together; each goes over to the next window on its turn. One window is read
//! at a time, on one thread, so that those who read and write the present are not kept waiting; a few stay in memory, until nobody is
//! behind any more. What was replaced is read only for watchers that want to know, and once for all of them too.

use crate::core::{Core, read};
use crate::engine::{EngineError, decode};
use crate::hub::{Change, Moment};
use crate::keys::{End, KeyRange};
use crate::record::{Point, Record};
use crate::request::Refusal;
use crate::{Revision, seeded};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Records of one window, at most, but for a revision that has more: bounds how long it holds a snapshot.
const WINDOW_RECORDS: usize = 10_000;
/// Bytes of a window, about. What one watcher takes at once is that much too: with what waits for a client that reads slowly, 4 MiB a
/// stream.
const WINDOW_BYTES: usize = 256 << 10;
/// Windows that stay in memory, for watchers that are not at the same place.
const WINDOWS_MAX: usize = 16;
/// What was replaced is looked for so many records at a time, because the index is locked meanwhile.
const LOOKED_UP_AT_ONCE: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Past {
    kept: Mutex<Kept>,
    /// Held by who reads the disk.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Who was asked for last comes last.
    windows: Vec<Arc<Window>>,
    /// Watchers that are behind.
    behind: usize,
}

/// One stretch of history.
#[derive(Debug)]
pub(super) struct Window {
    from: Revision,
    /// The first revision after it.
    pub(super) next: Revision,
    /// In order.
    rows: Vec<Row>,
    /// The same in the order of their keys, as places in `rows`.
    by_key: Vec<u32>,
}

#[derive(Debug)]
struct Row {
    record: Record,
    /// What it replaced, once that is known.
    previous: OnceLock<Option<Record>>,
}

impl Past {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A watcher is behind.
    pub(super) fn enter(&self) {
        self.kept().behind += 1;
    }

    /// It is not any more.
    pub(super) fn leave(&self) {
        let forgotten = {
            let kept = &mut *self.kept();
            kept.behind -= 1;
            if kept.behind == 0 { std::mem::take(&mut kept.windows) } else { Vec::new() }
        };
        drop(forgotten);
    }

    /// The window that holds `from`; history goes up to `to`.
    pub(super) async fn window(&self, core: &Arc<Core>, from: Revision, to: Revision) -> Result<Arc<Window>, Refusal> {
        if let Some(window) = self.kept().find(from) {
            return Ok(window);
        }
        let _turn = self.reading.lock().await;
        if let Some(window) = self.kept().find(from) {
            return Ok(window);
        }
        let core = core.clone();
        let window = Arc::new(on_a_thread(move || Window::read(&core, from, to)).await?);
        let forgotten = self.kept().keep(window.clone());
        drop(forgotten);
        Ok(window)
    }

    /// Sees to it that it is known what these rows of a window replaced.
    pub(super) async fn fill(&self, core: &Arc<Core>, window: &Arc<Window>, places: &[usize]) -> Result<(), Refusal> {
        if window.lacks(places).next().is_none() {
            return Ok(());
        }
        let _turn = self.reading.lock().await;
        let lacking: Vec<usize> = window.lacks(places).collect();
        let (core, window) = (core.clone(), window.clone());
        on_a_thread(move || lacking.chunks(LOOKED_UP_AT_ONCE).try_for_each(|places| window.look_up(&core, places)))
            .await
    }
}

async fn on_a_thread<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(read).await.map_err(|error| Refusal::Failed(format!("read history: {error}")))?
}

impl Kept {
    fn find(&mut self, revision: Revision) -> Option<Arc<Window>> {
        let place = self.windows.iter().rposition(|window| (window.from..window.next).contains(&revision))?;
        let window = self.windows.remove(place);
        self.windows.push(window.clone());
        Some(window)
    }

    /// Keeps one more, and lets go of the one that was not asked for the longest.
    fn keep(&mut self, window: Arc<Window>) -> Option<Arc<Window>> {
        self.windows.push(window);
        (self.windows.len() > WINDOWS_MAX).then(|| self.windows.remove(0))
    }
}

impl Window {
    fn read(core: &Core, from: Revision, to: Revision) -> Result<Self, Refusal> {
        let snapshot = {
            let view = core.view();
            super::still_kept(from, view.compacted)?;
            core.engine.snapshot()?
        };
        let mut reading = Reading { to, records: Vec::new(), bytes: 0, next: to + 1, last: 0, damage: None };
        snapshot.scan(Point::start_of(from), &mut |point, bytes| reading.visit(point, bytes))?;
        if let Some(damage) = reading.damage {
            return Err(damage.into());
        }
        // A compaction meanwhile may have had some of it removed.
        super::still_kept(from, core.view().compacted)?;
        Ok(Window::of(from, reading.next, reading.records))
    }

    fn of(from: Revision, next: Revision, records: Vec<Record>) -> Self {
        // A key that was just made has replaced nothing.
        let known = |record: &Record| match record.version {
            1 => OnceLock::from(None),
            _ => OnceLock::new(),
        };
        let rows: Vec<Row> = records.into_iter().map(|record| Row { previous: known(&record), record }).collect();
        let mut by_key: Vec<u32> = (0..rows.len()).filter_map(|place| u32::try_from(place).ok()).collect();
        by_key.sort_by(|&one, &other| rows[one as usize].record.key.cmp(&rows[other as usize].record.key));
        Window { from, next, rows, by_key }
    }

    /// Where the rows of `keys` are, from a revision on.
    pub(super) fn places(&self, keys: &KeyRange, from: Revision) -> Vec<usize> {
        let key = |place: &u32| &self.rows[*place as usize].record.key[..];
        let first = self.by_key.partition_point(|place| key(place) < &keys.from[..]);
        let end = match &keys.end {
            End::Single => self.by_key.partition_point(|place| key(place) <= &keys.from[..]),
            End::Before(end) => self.by_key.partition_point(|place| key(place) < &end[..]),
            End::Unbounded => self.by_key.len(),
        };
        let concerned = self.by_key.get(first..end).unwrap_or_default().iter().map(|&place| place as usize);
        let mut places: Vec<usize> = concerned.filter(|&place| self.rows[place].record.at.revision >= from).collect();
        places.sort_unstable();
        places
    }

    /// These rows as they are told.
    pub(super) fn moments(&self, places: &[usize]) -> Vec<Moment> {
        let mut moments: Vec<Moment> = Vec::new();
        for &place in places {
            let Row { record, previous } = &self.rows[place];
            let change = Change { record: record.clone(), previous: previous.get().cloned().flatten() };
            let revision = record.at.revision;
            match moments.last_mut().filter(|moment| moment.revision == revision) {
                Some(moment) => moment.changes.push(Arc::new(change)),
                None => moments.push(Moment { revision, changes: vec![Arc::new(change)] }),
            }
        }
        moments
    }

    fn lacks(&self, places: &[usize]) -> impl Iterator<Item = usize> {
        places.iter().copied().filter(|&place| self.rows[place].previous.get().is_none())
    }

    fn look_up(&self, core: &Core, places: &[usize]) -> Result<(), Refusal> {
        let (points, snapshot) = {
            let view = core.view();
            let before = |at: Point, key: &[u8]| {
                let before = view.index.before(key, at)?;
                let older = seeded::is("older-previous-value").then(|| view.index.before(key, before)).flatten();
                Some(older.unwrap_or(before))
            };
            let rows = places.iter().map(|&place| &self.rows[place].record);
            let points: Vec<_> = rows.map(|record| before(record.at, &record.key)).collect();
            // Opened under the lock: a compaction that is about to remove these records waits for it.
            (points, core.engine.snapshot()?)
        };
        for (&place, point) in places.iter().zip(points) {
            let previous = point.map(|point| read(&*snapshot, point)).transpose()?;
            // Somebody else may have been faster, with the same.
            let _the_same = self.rows[place].previous.set(previous);
        }
        Ok(())
    }
}

struct Reading {
    to: Revision,
    records: Vec<Record>,
    bytes: usize,
    next: Revision,
    last: Revision,
    damage: Option<EngineError>,
}

impl Reading {
    fn visit(&mut self, point: Point, bytes: &[u8]) -> ControlFlow<()> {
        let full = self.records.len() >= WINDOW_RECORDS || self.bytes >= WINDOW_BYTES;
        if point.revision > self.to || (full && point.revision != self.last) {
            let missed = if seeded::is("seam-missed") && full { 1 } else { 0 };
            self.next = self.next.min(point.revision + missed);
            return ControlFlow::Break(());
        }
        self.last = point.revision;
        self.bytes += bytes.len();
        match decode(point, bytes) {
            Ok(record) => {
                self.records.push(record);
                ControlFlow::Continue(())
            }
            Err(damage) => {
                self.damage = Some(damage);
                ControlFlow::Break(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn window(keys: &[u8]) -> Window {
        let record = |(number, &key): (usize, &u8)| Record {
            at: Point { revision: 10 + number as Revision / 2, sub: number as u32 % 2 },
            key: Bytes::copy_from_slice(&[key]),
            value: Bytes::new(),
            created: 1,
            version: 2,
            lease: 0,
        };
        Window::of(10, 1000, keys.iter().enumerate().map(record).collect())
    }

    proptest! {
        #[test]
        fn by_key_is_found_what_a_look_at_every_row_finds(
            keys in proptest::collection::vec(0_u8..6, 0..60),
            (from, end, revision) in (0_u8..7, 0_u8..7, 5_i64..50),
        ) {
            let window = window(&keys);
            let from = Bytes::copy_from_slice(&[from]);
            let before = End::Before(Bytes::copy_from_slice(&[end]));
            for end in [End::Single, before, End::Unbounded] {
                let keys = KeyRange { from: from.clone(), end };
                let concerns = |row: &Row| row.record.at.revision >= revision && keys.contains(&row.record.key);
                let plain: Vec<usize> =
                    (0..window.rows.len()).filter(|&place| concerns(&window.rows[place])).collect();
                prop_assert_eq!(window.places(&keys, revision), plain);
            }
        }
    }

    #[test]
    fn windows_are_kept_as_long_as_somebody_is_behind() {
        let past = Past::default();
        past.enter();
        past.enter();
        for number in 0..40 {
            let mut window = window(&[1]);
            (window.from, window.next) = (number * 10, number * 10 + 10);
            past.kept().keep(Arc::new(window));
        }
        assert_eq!(past.kept().windows.len(), WINDOWS_MAX);
        assert!(past.kept().find(399).is_some() && past.kept().find(400).is_none() && past.kept().find(0).is_none());
        past.leave();
        assert!(past.kept().find(399).is_some());
        past.leave();
        assert!(past.kept().find(399).is_none());
    }
}
