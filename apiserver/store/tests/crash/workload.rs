//! What is done to a store before it crashes: commands drawn from a seed, one by one and many at once, and restarts.
//!
//! Each command is noted with the position in the machine's log before which it was not yet sent, and that after which it was
//! answered. Commands that are sent at once share a commit: the first of them is held in its sync until all are queued.

use crate::ask::{options, perform};
use crate::machine::{Image, Logged, Machine, Plug, SimFile};
use crate::model::{After, Command, Model};
use futures::FutureExt;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_store::keys::KeyRange;
use skiff_store::{Options, Store, StoreError};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// `store.log`, the second file that is opened.
pub(crate) const LOG: usize = 1;

/// Opens the store on a machine.
pub(crate) fn open(machine: &Machine, chance: &mut StdRng) -> Result<Store, StoreError> {
    open_with(machine, options(chance))
}

fn open_with(machine: &Machine, options: Options) -> Result<Store, StoreError> {
    let (database, log) = disks(machine);
    Store::open_disks(database, log, options)
}

/// The files of the store, the database first.
pub(crate) fn disks(machine: &Machine) -> (SimFile, SimFile) {
    (machine.file("store.redb"), machine.file("store.log"))
}

/// A command that was sent.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub command: Command,
    pub sent_at: usize,
    /// `None`: never answered, or refused.
    pub acked_at: Option<usize>,
    /// The state that it leads to.
    pub after: After,
}

/// A store's life, and what it should be.
#[derive(Debug)]
pub(crate) struct Life {
    pub machine: Machine,
    pub model: Model,
    /// The state before the first command.
    pub start: After,
    pub sent: Vec<Sent>,
    /// Where the store was open for the first time.
    pub opened_at: usize,
    /// Why a command was refused.
    pub refused: Option<String>,
    /// Why the removal of history was refused.
    beside: Option<String>,
    /// The files just before the store was closed.
    pub before_end: Image,
    /// How long the log may become; `None`: as long as chance will have it.
    pub log_bytes: Option<u64>,
}

impl Life {
    /// Begins on a machine where `model` is what a store that opens should find.
    pub(crate) fn begin(machine: Machine, model: Model) -> Self {
        let start = model.after.clone();
        Life {
            machine,
            model,
            start,
            sent: Vec::new(),
            opened_at: 0,
            refused: None,
            beside: None,
            before_end: Image::new(),
            log_bytes: None,
        }
    }

    /// The states that may be found after a crash at `position`: the last acknowledged, and those asked for since.
    pub(crate) fn possible(&self, position: usize) -> Vec<&After> {
        let acked = self.sent.iter().rposition(|sent| sent.acked_at.is_some_and(|acked| acked <= position));
        let first = acked.map_or(&self.start, |index| &self.sent[index].after);
        let later = self.sent[acked.map_or(0, |index| index + 1)..].iter();
        let possible = later.take_while(|sent| sent.sent_at <= position).map(|sent| &sent.after);
        std::iter::once(first).chain(possible).collect()
    }

    /// What was done, from which files on.
    pub(crate) fn log(&self) -> (Image, Vec<Logged>) {
        self.machine.log()
    }

    fn open(&self, chance: &mut StdRng) -> Result<Store, StoreError> {
        let drawn = options(chance);
        open_with(&self.machine, Options { log_bytes: self.log_bytes.unwrap_or(drawn.log_bytes), ..drawn })
    }

    /// Opens the store and does `commands` things to it, with restarts between them if asked for; ends when something is refused.
    pub(crate) async fn live(
        &mut self,
        chance: &mut StdRng,
        commands: usize,
        restarts: Restarts,
    ) -> Result<(), StoreError> {
        let mut store = self.open(chance)?;
        self.opened_at = self.machine.position();
        let all = self.sent.len() + commands;
        while self.sent.len() < all && self.refused.is_none() {
            if restarts == Restarts::Some && chance.random_range(0..20) == 0 {
                end(store, &self.machine, chance.random_bool(0.5)).await;
                store = self.open(chance)?;
            }
            match chance.random_range(0..3) {
                0 => self.many(&store, chance).await,
                _ => self.one(&store, chance).await,
            }
            self.refused = self.refused.take().or(self.beside.take());
        }
        if self.refused.is_some() {
            self.refuses_everything(&store, chance).await;
        }
        self.before_end = self.machine.files();
        end(store, &self.machine, chance.random_bool(0.5)).await;
        Ok(())
    }

    /// Opens the store, writes two things, one after the other, and closes it.
    pub(crate) async fn live_a_little(&mut self, chance: &mut StdRng) {
        let store = open(&self.machine, chance).unwrap();
        for _ in 0..2 {
            let command = self.model.draw_put(chance);
            let index = self.send(command);
            let done = perform(&store, &self.sent[index].command, self.sent[index].after.revision).await;
            self.answered(index, done, self.machine.position());
        }
        self.before_end = self.machine.files();
        end(store, &self.machine, true).await;
    }

    async fn one(&mut self, store: &Store, chance: &mut StdRng) {
        let command = self.model.draw(chance);
        let index = self.send(command);
        let done = perform(store, &self.sent[index].command, self.sent[index].after.revision).await;
        self.answered(index, done, self.machine.position());
    }

    /// Sends some commands at once, so that all but the first share a commit.
    async fn many(&mut self, store: &Store, chance: &mut StdRng) {
        let plug = self.model.draw_put(chance);
        let first = self.send(plug);
        for _ in 0..chance.random_range(1..12) {
            let command = self.model.draw(chance);
            self.send(command);
        }
        // History that is to be forgotten goes with the next commit, or by itself if there is none: let there be one.
        let last = self.model.draw_put(chance);
        self.send(last);
        let machine = self.machine.clone();
        // Where the log is long the first command is certainly synced there; the database may be synced by whoever removes history,
        // and that must not be taken for it.
        machine.plug(if self.log_bytes.is_some() { Plug::Only(LOG) } else { Plug::All });
        let mut waiting: Vec<Waiting<'_>> = Vec::new();
        for index in first..self.sent.len() {
            let sent = &self.sent[index];
            let mut waits: Waiting<'_> = perform(store, &sent.command, sent.after.revision)
                .map(|done| (done, self.machine.position()))
                .boxed_local();
            // The first poll queues it.
            let early = futures::poll!(&mut waits);
            match early {
                std::task::Poll::Ready(done) => waiting.push(futures::future::ready(done).boxed_local()),
                std::task::Poll::Pending => waiting.push(waits),
            }
            if index == first {
                held(&machine, &mut waiting).await;
            }
        }
        machine.unplug();
        let done = futures::future::join_all(waiting).await;
        for (index, (done, position)) in done.into_iter().enumerate() {
            self.answered(first + index, done, position);
        }
    }

    fn send(&mut self, command: Command) -> usize {
        self.model.apply(&command);
        let sent_at = self.machine.position();
        self.sent.push(Sent { command, sent_at, acked_at: None, after: self.model.after.clone() });
        self.sent.len() - 1
    }

    fn answered(&mut self, index: usize, done: Result<(), String>, position: usize) {
        match done {
            Ok(()) => {
                assert!(self.refused.is_none(), "acknowledged after a refusal: {:?}", self.sent[index].command);
                self.sent[index].acked_at = Some(position);
            }
            // Removing history fails beside the log: writes that were queued then may be in the log, whole, all the same.
            Err(why) if matches!(self.sent[index].command, Command::Compact(_, true)) => {
                self.beside = self.beside.take().or(Some(why));
            }
            Err(why) => self.refused = self.refused.take().or(Some(why)),
        }
    }

    /// Nobody knows what is on the disk: only a new start may find out.
    async fn refuses_everything(&self, store: &Store, chance: &mut StdRng) {
        let refused = self.refused.as_deref().unwrap_or_default();
        assert!(refused.len() > 10 && refused.contains(' '), "refused without a sentence: {refused:?}");
        for _ in 0..2 {
            let again = perform(store, &self.model.draw_put(chance), 0).await;
            assert!(again.is_err(), "acknowledged after a failed disk ({refused})");
        }
        let read = store.range(skiff_store::request::Range::of(KeyRange::single("/".into()))).await;
        assert!(read.is_err(), "served after a failed disk ({refused})");
    }
}

type Waiting<'a> = Pin<Box<dyn Future<Output = (Result<(), String>, usize)> + 'a>>;

/// Whether a life has restarts in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restarts {
    None,
    Some,
}

/// Waits until the writer is held in the sync of the first command, or that failed before.
async fn held(machine: &Machine, waiting: &mut [Waiting<'_>]) {
    for _ in 0..60_000 {
        let stuck = machine.is_stuck_within(Duration::from_millis(1));
        if let std::task::Poll::Ready(done) = futures::poll!(&mut waiting[0]) {
            assert!(done.0.is_err(), "a write was acknowledged before it was synced");
            waiting[0] = futures::future::ready(done).boxed_local();
            return;
        }
        if stuck {
            return;
        }
    }
    panic!("a put was neither synced nor answered within a minute");
}

/// Closes the store, or just drops it.
pub(crate) async fn end(store: Store, machine: &Machine, closed: bool) {
    if closed {
        store.close().await;
    } else {
        drop(store);
    }
    machine.wait_until_free();
}
