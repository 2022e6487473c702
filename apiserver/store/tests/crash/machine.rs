//! A simulated computer: some files with one global order of operations, faults on request, and a log of what was done.
//!
//! A file is what the store takes as its disk (`redb::StorageBackend`). What a power failure would leave is worked out afterwards
//! from the log (see `power`); what a killed process leaves is the files as they are.

use crate::pages::Pages;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Files by name, in the order they were made.
pub(crate) type Image = Vec<(String, Pages)>;

/// Something that a power failure may undo, or that ends that.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write { at: usize, data: Arc<[u8]> },
    SetLen(usize),
    Sync,
}

/// An [`Op`] and the file it was done to.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub file: usize,
    pub op: Op,
}

/// What happens instead of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process ends before it, or after it: neither it nor anything later is answered.
    CrashBefore,
    CrashAfter,
    /// It fails; what a sync should have made durable never will be.
    Io,
    NoSpace,
    /// Half of it is done, and then it fails.
    Short,
}

#[derive(Debug, Default)]
struct State {
    names: Vec<String>,
    files: Vec<Pages>,
    log: Vec<Logged>,
    /// The files as they were when the log began.
    base: Image,
    /// The operation that goes wrong, and how.
    fault: Option<(usize, Fault)>,
    /// Whether it went wrong already.
    hit: bool,
    dead: bool,
    /// Pages that all files together may take; `None`: as many as they like.
    room: Option<usize>,
    /// Operations seen, those that failed included.
    seen: usize,
    /// Files that a store holds.
    open: usize,
    plug: Option<Plug>,
    stuck: bool,
}

/// Whose syncs wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plug {
    /// Those of every file.
    All,
    /// Those of one, by the order in which files were opened. Threads in the background may sync the others.
    Only(usize),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the module. Clones are the same computer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine(Arc<Shared>);

impl Machine {
    /// One that finds these files when it starts.
    pub(crate) fn started_with(image: Image) -> Self {
        let machine = Machine::default();
        {
            let mut state = machine.lock();
            state.base = image.clone();
            (state.names, state.files) = image.into_iter().unzip();
        }
        machine
    }

    /// One whose process was killed after `log`, and which lives: what was not synced still is not.
    pub(crate) fn goes_on(base: Image, log: &[Logged]) -> Self {
        let machine = Machine::started_with(base.clone());
        {
            let state = &mut *machine.lock();
            log.iter().for_each(|logged| state.apply(logged.file, logged.op.clone()));
        }
        machine
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Opens a file, made if it is missing.
    pub(crate) fn file(&self, name: &str) -> SimFile {
        let state = &mut *self.lock();
        state.open += 1;
        let index = state.names.iter().position(|there| there == name).unwrap_or_else(|| {
            state.names.push(name.to_owned());
            state.files.push(Pages::default());
            state.base.push((name.to_owned(), Pages::default()));
            state.files.len() - 1
        });
        SimFile { machine: self.clone(), index }
    }

    /// How much was done so far.
    pub(crate) fn position(&self) -> usize {
        self.lock().log.len()
    }

    /// Makes the `n`-th operation from the start go wrong.
    pub(crate) fn fail_at(&self, n: usize, fault: Fault) {
        self.lock().fault = Some((n, fault));
    }

    /// Lets the files take so many pages more than now; `None`: as many as they like.
    pub(crate) fn set_room(&self, more: Option<usize>) {
        let state = &mut *self.lock();
        state.room = more.map(|more| state.taken() + more);
    }

    /// Operations seen, and whether the one that was to go wrong did.
    pub(crate) fn seen(&self) -> (usize, bool) {
        let state = self.lock();
        (state.seen, state.hit)
    }

    /// What was done, and to what.
    pub(crate) fn log(&self) -> (Image, Vec<Logged>) {
        let state = self.lock();
        (state.base.clone(), state.log.clone())
    }

    /// The files as a process sees them.
    pub(crate) fn files(&self) -> Image {
        let state = self.lock();
        state.names.iter().cloned().zip(state.files.iter().cloned()).collect()
    }

    /// Waits until no store holds a file: one that was dropped ends by itself.
    pub(crate) fn wait_until_free(&self) {
        let state = self.lock();
        let waited = self.0.changed.wait_timeout_while(state, Duration::from_secs(60), |state| state.open > 0);
        assert!(!waited.unwrap().1.timed_out(), "a store that was dropped or closed keeps its files open");
    }

    /// Lets syncs wait until [`Machine::unplug`].
    pub(crate) fn plug(&self, plug: Plug) {
        let state = &mut *self.lock();
        (state.plug, state.stuck) = (Some(plug), false);
    }

    /// Whether a sync waits.
    pub(crate) fn is_stuck_within(&self, time: Duration) -> bool {
        let state = self.lock();
        self.0.changed.wait_timeout_while(state, time, |state| !state.stuck).unwrap().0.stuck
    }

    pub(crate) fn unplug(&self) {
        self.lock().plug = None;
        self.0.changed.notify_all();
    }

    fn change(&self, file: usize, op: Op) -> io::Result<()> {
        if matches!(op, Op::Sync) {
            self.wait_for_plug(file);
            // Whoever answers before this is over is given the time to do so.
            std::thread::sleep(Duration::from_micros(50));
        }
        let state = &mut *self.lock();
        let number = state.seen;
        state.seen += 1;
        let fault = state.fault.filter(|(n, _)| *n == number).map(|(_, fault)| fault);
        state.hit |= fault.is_some();
        if state.dead || fault == Some(Fault::CrashBefore) {
            state.dead = true;
            return Err(io::Error::other("the process is gone"));
        }
        if state.is_full(file, &op) {
            return Err(io::Error::from_raw_os_error(28));
        }
        match fault {
            Some(Fault::Io) => {
                state.lose_what_was_not_synced(file, &op);
                return Err(io::Error::from_raw_os_error(5));
            }
            Some(Fault::NoSpace) => return Err(io::Error::from_raw_os_error(28)),
            Some(Fault::Short) => {
                if let Op::Write { at, data } = op {
                    state.apply(file, Op::Write { at, data: data[..data.len() / 2].into() });
                }
                return Err(io::Error::from_raw_os_error(5));
            }
            _ => state.apply(file, op),
        }
        state.dead = fault == Some(Fault::CrashAfter);
        if state.dead { Err(io::Error::other("the process is gone")) } else { Ok(()) }
    }

    fn wait_for_plug(&self, file: usize) {
        let mut state = self.lock();
        while state.plug.is_some_and(|plug| plug == Plug::All || plug == Plug::Only(file)) {
            state.stuck = true;
            self.0.changed.notify_all();
            state = self.0.changed.wait(state).unwrap();
        }
    }
}

impl State {
    fn taken(&self) -> usize {
        self.files.iter().map(Pages::taken).sum()
    }

    fn is_full(&self, file: usize, op: &Op) -> bool {
        let Some(room) = self.room else { return false };
        let Op::Write { at, data } = op else { return false };
        self.taken() + self.files[file].would_take(*at, data.len()) > room
    }

    fn apply(&mut self, file: usize, op: Op) {
        match &op {
            Op::Write { at, data } => self.files[file].write(*at, data),
            Op::SetLen(len) => self.files[file].set_len(*len),
            Op::Sync => (),
        }
        self.log.push(Logged { file, op });
    }

    /// After a failed sync the kernel takes the pages for clean: no later sync writes them, and they are dropped when it likes.
    fn lose_what_was_not_synced(&mut self, file: usize, op: &Op) {
        if !matches!(op, Op::Sync) {
            return;
        }
        let mut kept = Vec::with_capacity(self.log.len());
        let mut synced = self.base[file].1.clone();
        let last_sync = self.log.iter().rposition(|logged| logged.file == file && matches!(logged.op, Op::Sync));
        for (index, logged) in std::mem::take(&mut self.log).into_iter().enumerate() {
            if logged.file == file && last_sync.is_none_or(|last| index > last) {
                // Nothing takes its place: positions in the log are only compared with those before.
                kept.push(Logged { file, op: Op::Sync });
                continue;
            }
            if logged.file == file {
                match &logged.op {
                    Op::Write { at, data } => synced.write(*at, data),
                    Op::SetLen(len) => synced.set_len(*len),
                    Op::Sync => (),
                }
            }
            kept.push(logged);
        }
        self.log = kept;
        self.files[file] = synced;
    }
}

/// A file of a [`Machine`].
#[derive(Debug)]
pub(crate) struct SimFile {
    machine: Machine,
    index: usize,
}

impl redb::StorageBackend for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.machine.lock().files[self.index].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.machine.lock().files[self.index].read(offset as usize, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.machine.change(self.index, Op::SetLen(len as usize))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.machine.change(self.index, Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.machine.change(self.index, Op::Write { at: offset as usize, data: data.into() })
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.machine.lock().open -= 1;
        self.machine.0.changed.notify_all();
    }
}
