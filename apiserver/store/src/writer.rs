//! The one thread that writes. It takes everything queued, applies it, commits it as one, and only then tells anyone.
//!
//! ```text
//!  queue ──► apply each ──► one durable commit ──► announce to watchers ──► answer each
//!                               └── failed: refuse these and everything after (nobody knows what is on the disk)
//! ```
//!
//! It sleeps until work comes, a lease ends, or something it owes is due; an idle store never wakes.

use crate::core::Core;
use crate::engine::{Batch, Mark, Snapshot, Then, Unwritten};
use crate::folder::Folder;
use crate::gather::Gatherer;
use crate::index::Place;
use crate::record::Point;
use crate::request::{Alarm, Alarms, Raiser, Refusal, Txn, TxnDone};
use crate::session::Session;
use crate::users::{Caller, Change};
use crate::{History, Revision, seeded};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Requests that share a commit, at most: bounds how long the first of them waits.
const BATCH_MAX: usize = 1024;
/// Bytes that share a commit, about: bounds it for large values.
const BATCH_BYTES: usize = 4 << 20;
/// Leases that end in one commit, at most: when ten thousands end at once, others have their turn in between.
const EXPIRED_MAX: usize = 256;
/// Writes of one commit from which on no further lease ends in it.
const EXPIRED_WRITES: usize = 2048;
/// How often a full disk is looked at.
const FULL_LOOK: Duration = Duration::from_millis(250);

/// The store between two commits. The engine's snapshot may show later writes as well.
pub(crate) struct Still {
    /// The history.
    pub snapshot: Box<dyn Snapshot>,
    /// Every lease and its TTL in seconds.
    pub leases: Vec<(i64, i64)>,
    /// Users and roles by the names they are kept under.
    pub users: Vec<(Bytes, Bytes)>,
    /// The newest revision.
    pub revision: Revision,
    /// What history was compacted to.
    pub compacted: Revision,
    /// The alarms raised.
    pub alarms: Alarms,
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Something for the writer to do.
pub(crate) enum Work {
    /// Apply a transaction.
    Txn(Txn, Caller, Reply<TxnDone>),
    /// Grant a lease (id or 0, TTL).
    Grant(i64, i64, Reply<(i64, i64)>),
    /// Revoke a lease.
    Revoke(i64, Caller, Reply<()>),
    /// Change users and roles.
    Users(Change, Caller, Reply<()>),
    /// Raise or lower an alarm.
    Alarm(Alarm, Raiser, bool, Reply<()>),
    /// Forget history before a revision; `true`: answer when it is gone from the disk.
    Compact(Revision, bool, Reply<()>),
    /// Give free space back.
    Defragment(Reply<()>),
    /// Show everything as it stands between two commits.
    Still(Reply<Still>),
    /// Stop.
    Close(Reply<()>),
}

impl Work {
    /// Whether it must not share a commit with others.
    fn is_alone(&self) -> bool {
        matches!(self, Work::Compact(..) | Work::Defragment(_) | Work::Still(_) | Work::Close(_))
    }
}

/// Answers when the commit's outcome is known.
type Answer = Box<dyn FnOnce(&Result<(), Refusal>) + Send>;

fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, Refusal>) -> Answer {
    Box::new(move |outcome| {
        // The asker may have gone away; the write stands all the same.
        let _asker_may_be_gone = reply.send(outcome.clone().and(result));
    })
}

/// Answers when the engine says that something is done.
fn later(reply: Reply<()>) -> Then {
    Box::new(move |done| drop(reply.send(done.map_err(Refusal::from))))
}

/// A compaction under way. From its first moment nobody reads what it takes; the index is gone through in pieces, so that who writes and
/// reads meanwhile waits for one of them at most.
struct Compacting {
    revision: Revision,
    next: Place,
    forgotten: Vec<Point>,
    /// Who wants to know when all of it is gone from the disk.
    waiting: Vec<Reply<()>>,
}

/// See the module.
pub(crate) struct Writer {
    core: Arc<Core>,
    queue: Gatherer,
    /// Held as long as we write.
    folder: Option<Folder>,
    /// History that nobody can read any more; the engine is to remove it.
    forgotten: Vec<Point>,
    compacting: Option<Compacting>,
    /// When history is to be compacted, and to which revision.
    compaction: Option<(Instant, Revision)>,
    /// When watchers are to be offered progress.
    progress: Option<Instant>,
    /// The disk was full for a batch of so many bytes; when it is looked at again.
    full: Option<(usize, Instant)>,
}

impl Writer {
    /// A writer that is yet to [`Writer::run`].
    pub(crate) fn new(core: Arc<Core>, queue: Receiver<Work>, folder: Option<Folder>, forgotten: Vec<Point>) -> Self {
        let queue = Gatherer::new(queue);
        Writer { core, queue, folder, forgotten, compacting: None, compaction: None, progress: None, full: None }
    }

    /// Works until the store is closed or nobody can send work any more.
    pub(crate) fn run(mut self) {
        let mut next: Option<Work> = None;
        loop {
            let first = match next.take() {
                Some(work) => Some(work),
                None => match self.wait() {
                    Ok(work) => work,
                    Err(RecvTimeoutError::Disconnected) => return self.close(),
                    Err(RecvTimeoutError::Timeout) => None,
                },
            };
            match first {
                Some(Work::Close(reply)) => {
                    self.close();
                    let _asker_may_be_gone = reply.send(Ok(()));
                    return;
                }
                Some(work) if work.is_alone() => self.alone(work),
                first => next = self.together(first),
            }
            self.keep_promises();
        }
    }

    /// The next piece of work; `None`: something else is due.
    fn wait(&mut self) -> Result<Option<Work>, RecvTimeoutError> {
        // While nothing may be written, no lease ends.
        let writable = self.core.check_writable().is_ok();
        let lease = self.core.leases().next_deadline().filter(|_| writable);
        let due = [lease, self.compaction.map(|(when, _)| when), self.progress];
        let healthy = self.core.check().is_ok();
        let is_busy = !self.forgotten.is_empty() || self.compacting.is_some();
        let due = if is_busy { Some(Instant::now()) } else { due.into_iter().flatten().min() };
        // Of what waits for space nothing is tried before the disk was looked at again.
        let due = self.full.map_or(due, |(_, when)| Some(when));
        self.queue.first(due.filter(|_| healthy))
    }

    /// Applies `first` and what else is queued, in one commit; returns a piece of work that must be alone.
    fn together(&mut self, first: Option<Work>) -> Option<Work> {
        let core = self.core.clone();
        self.core.count_removed();
        let mut session = match Session::begin(&core) {
            Ok(session) => session,
            Err(refusal) => {
                self.core.fail(&refusal.to_string());
                first.into_iter().for_each(|work| refuse(work, &refusal));
                return None;
            }
        };
        let mut answers: Vec<Answer> = Vec::new();
        let (mut next, mut failed) = (None, None);
        let mut work = first;
        while let Some(one) = work.take() {
            answers.push(apply(&mut session, one, &mut failed));
            if answers.len() == BATCH_MAX || session.bytes >= BATCH_BYTES || failed.is_some() {
                break;
            }
            match self.queue.more(answers.len()) {
                Some(one) if one.is_alone() => next = Some(one),
                other => work = other,
            }
        }
        if self.full.is_none() {
            expire(&mut session, &mut failed);
        }
        if seeded::is("acknowledged-before-durable") && failed.is_none() {
            answers.drain(..).for_each(|answer| answer(&Ok(())));
        }
        let begun = Instant::now();
        let outcome = match failed {
            None => self.commit(session),
            Some(why) => Err(self.fail(why)),
        };
        self.queue.committed(answers.len(), begun.elapsed());
        answers.into_iter().for_each(|answer| answer(&outcome));
        next
    }

    fn commit(&mut self, mut session: Session<'_>) -> Result<(), Refusal> {
        let batch = std::mem::take(&mut session.batch);
        let bytes = session.bytes;
        if let Err(refusal) = self.write(batch) {
            if let Refusal::DiskFull(why) = &refusal {
                session.undo();
                self.is_full(why, bytes);
            }
            return Err(refusal);
        }
        let Session { moments, revision, .. } = session;
        self.forget();
        if !moments.is_empty() {
            self.core.hub.publish(moments, || self.core.view_mut().durable = revision);
            self.owe(revision);
        }
        Ok(())
    }

    fn write(&mut self, mut batch: Batch) -> Result<(), Refusal> {
        if batch.is_empty() {
            return Ok(());
        }
        if seeded::is("partial-transaction") && batch.records.len() > 1 {
            let rest = batch.records.split_off(batch.records.len() / 2);
            let records = std::mem::replace(&mut batch.records, rest);
            self.core.engine.commit(Batch { records, ..Batch::default() })?;
        }
        let committed = self.core.engine.commit(batch);
        committed.map_err(|error| match error {
            Unwritten::NoSpace(why) => Refusal::DiskFull(why),
            Unwritten::Failed(error) => self.fail(error.0),
        })
    }

    /// Has the engine remove what is to be forgotten, now or later.
    fn forget(&mut self) {
        let forgotten = std::mem::take(&mut self.forgotten);
        if let Err(Refusal::DiskFull(why)) = self.write(Batch { forgotten: forgotten.clone(), ..Batch::default() }) {
            self.forgotten = forgotten;
            self.is_full(&why, 0);
        }
    }

    /// Until there is room for so many bytes, nothing that takes space is done.
    fn is_full(&mut self, why: &str, bytes: usize) {
        self.core.set_full(Some(why.to_owned()));
        self.full = Some((bytes, Instant::now() + FULL_LOOK));
    }

    fn look_at_full_disk(&mut self) {
        let Some((bytes, _)) = self.full.filter(|(_, when)| *when <= Instant::now()) else { return };
        match self.core.engine.has_room(bytes) {
            Err(Unwritten::NoSpace(why)) => self.is_full(&why, bytes),
            Err(Unwritten::Failed(error)) => drop(self.fail(error.0)),
            Ok(()) => {
                self.full = None;
                self.core.set_full(None);
            }
        }
    }

    fn fail(&mut self, why: String) -> Refusal {
        tracing::error!(why, "the store failed; it refuses everything until it is opened anew");
        self.core.fail(&why);
        Refusal::Failed(why)
    }

    /// A write makes history to compact, and watchers that want to hear of it, later.
    fn owe(&mut self, revision: Revision) {
        let now = Instant::now();
        let due = match self.core.options.history {
            History::All => None,
            History::Within(kept) => Some((now + kept, revision)),
            // Which revision that is will be known only then.
            History::Newest { counted_every, .. } => Some((now + counted_every, revision)),
        };
        self.compaction = self.compaction.or(due);
        if self.progress.is_none() && self.core.hub.wants_progress() {
            self.progress = Some(now + self.core.options.progress_interval);
        }
    }

    fn keep_promises(&mut self) {
        self.look_at_full_disk();
        self.compact_piece();
        let now = Instant::now();
        if self.progress.is_some_and(|when| when <= now) {
            self.progress = None;
            self.core.hub.offer_progress();
        }
        if let Some((_, revision)) = self.compaction.filter(|(when, _)| *when <= now) {
            self.compaction = None;
            let newest = self.core.revision();
            let counted = match self.core.options.history {
                History::Newest { revisions, .. } => Some(newest.saturating_sub(revisions)),
                History::All | History::Within(_) => None,
            };
            // Somebody may have compacted further meanwhile; then there is nothing to do.
            if let Err(Refusal::DiskFull(why)) = self.compact(counted.unwrap_or(revision)) {
                self.is_full(&why, 0);
                self.compaction = Some((now + FULL_LOOK, revision));
            }
            if self.compaction.is_none() && counted.is_none() && newest > revision {
                self.owe(newest);
            }
        }
    }

    fn alone(&mut self, work: Work) {
        match work {
            Work::Compact(revision, until_removed, reply) => match (self.compact(revision), &mut self.compacting) {
                (Ok(()), Some(compacting)) if until_removed => compacting.waiting.push(reply),
                (done, _) => answer(reply, Ok(()))(&done),
            },
            Work::Defragment(reply) => match self.core.check_owned() {
                Ok(()) => self.core.engine.defragment(later(reply)),
                refused => answer(reply, Ok(()))(&refused),
            },
            Work::Still(reply) => {
                // The asker may have gone away.
                let _asker_may_be_gone = reply.send(self.still());
            }
            other => drop(self.together(Some(other))),
        }
    }

    fn still(&self) -> Result<Still, Refusal> {
        self.core.check()?;
        let snapshot = self.core.engine.snapshot()?;
        let (leases, users) = (snapshot.leases()?, snapshot.users()?);
        let view = self.core.view();
        Ok(Still { snapshot, leases, users, revision: view.durable, compacted: view.compacted, alarms: view.alarms })
    }

    fn compact(&mut self, revision: Revision) -> Result<(), Refusal> {
        self.core.check_writable()?;
        let (newest, compacted) = {
            let view = self.core.view();
            (view.durable, view.compacted)
        };
        if revision <= compacted {
            return Err(Refusal::Compacted { oldest: compacted });
        }
        if revision > newest {
            return Err(Refusal::Future { newest });
        }
        self.write(Batch { marks: [(Mark::Compacted, revision)].into(), ..Batch::default() })?;
        self.core.view_mut().compacted = revision;
        let (forgotten, waiting) = match self.compacting.take() {
            // It is overtaken, and begins anew with what it has found.
            Some(before) => (before.forgotten, before.waiting),
            None => (Vec::new(), Vec::new()),
        };
        self.compacting = Some(Compacting { revision, next: Place::default(), forgotten, waiting });
        self.core.check()
    }

    /// Goes on with a compaction.
    fn compact_piece(&mut self) {
        let Some(mut compacting) = self.compacting.take() else { return };
        let Compacting { revision, next, forgotten, .. } = &mut compacting;
        let rest = self.core.view_mut().index.compact_piece(*revision, next, forgotten);
        match rest {
            Some(place) => {
                compacting.next = place;
                self.compacting = Some(compacting);
            }
            None => {
                self.forgotten.append(&mut compacting.forgotten);
                self.forget();
                compacting.waiting.into_iter().for_each(|reply| self.core.engine.settle(later(reply)));
            }
        }
    }

    fn close(&mut self) {
        self.core.fail("the store is closed");
        self.core.engine.close();
        self.folder = None;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.core.fail("the store's writer ended");
        while let Some(work) = self.queue.now() {
            refuse(work, &Refusal::Failed("the store is closed".to_owned()));
        }
    }
}

fn apply(session: &mut Session<'_>, work: Work, failed: &mut Option<String>) -> Answer {
    fn note<T>(result: Result<T, Refusal>, failed: &mut Option<String>) -> Result<T, Refusal> {
        if let Err(Refusal::Failed(why)) = &result {
            *failed = Some(why.clone());
        }
        result
    }
    match work {
        Work::Txn(txn, caller, reply) => answer(reply, note(session.apply(&txn, &caller), failed)),
        Work::Grant(id, ttl_seconds, reply) => answer(reply, note(session.grant(id, ttl_seconds), failed)),
        Work::Revoke(id, caller, reply) => answer(reply, note(session.revoke(id, &caller), failed)),
        Work::Users(change, caller, reply) => answer(reply, session.change_users(&change, &caller)),
        Work::Alarm(alarm, raiser, raised, reply) => answer(reply, session.set_alarm(alarm, raiser, raised)),
        Work::Compact(_, _, reply) | Work::Defragment(reply) | Work::Close(reply) => answer(reply, Err(done_alone())),
        Work::Still(reply) => answer(reply, Err(done_alone())),
    }
}

fn done_alone() -> Refusal {
    Refusal::Failed("this work is done alone".to_owned())
}

/// Revokes leases whose time is over; what is left of them is due at once, behind what others have asked for meanwhile.
fn expire(session: &mut Session<'_>, failed: &mut Option<String>) {
    let told = session.moments.len();
    for id in session.expired(EXPIRED_MAX) {
        if session.batch.records.len() >= EXPIRED_WRITES {
            break;
        }
        match session.revoke(id, &Caller::Us) {
            Err(Refusal::Failed(why)) => *failed = Some(why),
            _ => session.count_expired(),
        }
    }
    if seeded::is("silent-expiry") {
        session.moments[told..].iter_mut().for_each(|moment| moment.changes.clear());
    }
}

fn refuse(work: Work, why: &Refusal) {
    let why = why.clone();
    match work {
        Work::Txn(_, _, reply) => drop(reply.send(Err(why))),
        Work::Grant(_, _, reply) => drop(reply.send(Err(why))),
        Work::Still(reply) => drop(reply.send(Err(why))),
        Work::Revoke(_, _, reply)
        | Work::Users(_, _, reply)
        | Work::Alarm(_, _, _, reply)
        | Work::Compact(_, _, reply)
        | Work::Defragment(reply)
        | Work::Close(reply) => drop(reply.send(Err(why))),
    }
}
