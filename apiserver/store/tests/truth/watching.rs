//! Watchers: streams of watches that are opened at all kinds of revisions, read quickly or slowly, and go on after a restart
//! where they were. Everything that they are sent is kept for the validators.

use crate::history::{Event, Keys, Revision, now};
use crate::run::Shared;
use crate::server::Doors;
use crate::traffic::Profile;
use crate::wire::revision_of;
use futures::StreamExt;
use rand::Rng;
use rand::rngs::StdRng;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_proto::etcd::mvccpb;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What a watch asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) keys: Keys,
    /// 0: from now on.
    pub(crate) start: Revision,
    pub(crate) previous: bool,
    pub(crate) no_puts: bool,
    pub(crate) no_deletions: bool,
    pub(crate) progress: bool,
}

/// What it is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum What {
    Created,
    Events(Vec<Event>),
    /// Nothing up to the reply's revision is missing.
    Progress,
    /// It is over: history begins at this revision only.
    Compacted(Revision),
    Canceled(String),
}

/// One message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) at: u64,
    /// In the message's header.
    pub(crate) revision: Revision,
    pub(crate) what: What,
}

/// One watch, from its request until it ended or its stream did.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) asked: Asked,
    /// The newest revision that anybody had been told of when it was asked for.
    pub(crate) floor: Revision,
    pub(crate) replies: Vec<Reply>,
    /// Whether it is the one whose sight completes the history.
    pub(crate) collects: bool,
    /// It waited for the last revision, and it did not come.
    pub(crate) stuck: Option<Revision>,
}

impl Watched {
    fn new(asked: Asked, floor: Revision, collects: bool) -> Self {
        Watched { asked, floor, replies: Vec::new(), collects, stuck: None }
    }

    /// It was sent everything up to here.
    pub(crate) fn upto(&self) -> Revision {
        let of = |reply: &Reply| match &reply.what {
            What::Events(events) => events.last().map_or(0, |event| event.kv.mod_revision),
            What::Progress => reply.revision,
            _ => 0,
        };
        self.replies.iter().map(of).max().unwrap_or(0).max(self.asked.start - 1)
    }

    fn is_over(&self) -> bool {
        self.replies.iter().any(|reply| matches!(reply.what, What::Compacted(_) | What::Canceled(_)))
    }

    /// The watch that goes on after this one.
    fn resumed(&self) -> Asked {
        let compacted = self.replies.iter().find_map(|reply| match reply.what {
            What::Compacted(revision) => Some(revision),
            _ => None,
        });
        let created = self.replies.iter().find(|reply| reply.what == What::Created);
        let start = match (compacted, self.upto()) {
            (Some(compacted), _) => compacted,
            // From now on, and then nothing came: what is "now" was in the first answer.
            (None, upto) if upto <= 0 => created.map_or(0, |reply| reply.revision + 1),
            (None, upto) => upto + 1,
        };
        Asked { start, ..self.asked.clone() }
    }
}

/// How one stream of watches behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    /// One watch on everything, that never rests: it knows what happened at revisions that no answer tells of.
    Collector,
    /// Changes its mind after some events.
    Restless,
    /// The same, and takes its time to read.
    Slow,
}

/// One stream after the other, until the run is over.
pub(crate) struct Watching {
    pub(crate) shared: Arc<Shared>,
    pub(crate) profile: Profile,
    pub(crate) habit: Habit,
    pub(crate) random: StdRng,
    pub(crate) done: Vec<Watched>,
}

/// A stream's two ends.
struct Open {
    requests: mpsc::Sender<pb::WatchRequest>,
    answers: tonic::Streaming<pb::WatchResponse>,
}

impl Watching {
    pub(crate) async fn run(mut self) -> Vec<Watched> {
        let mut asked = self.fresh();
        while let Some(doors) = self.shared.door().await {
            let floor = self.shared.newest.load(Ordering::SeqCst);
            let collects = self.habit == Habit::Collector;
            let new = |asked| Watched::new(asked, floor, collects);
            let mut watches: Vec<_> = asked.drain(..).map(new).collect();
            let finished = self.follow(&doors, &mut watches).await;
            asked = watches.iter().map(Watched::resumed).collect();
            let over = watches.iter().any(|watch| watch.stuck.is_some());
            self.done.extend(watches);
            match finished {
                Finished::Run => break,
                _ if over => break,
                Finished::Watches => asked = self.fresh(),
                Finished::Stream => (),
            }
        }
        self.done
    }

    /// New watches for one stream.
    fn fresh(&mut self) -> Vec<Asked> {
        let everything = Keys::below(self.profile.prefix());
        if self.habit == Habit::Collector {
            let (no_puts, no_deletions) = (false, false);
            return vec![Asked { keys: everything, start: 2, previous: true, no_puts, no_deletions, progress: true }];
        }
        let newest = self.shared.newest.load(Ordering::SeqCst);
        let count = if self.random.random_bool(0.5) { 1 } else { self.random.random_range(2..5) };
        (0..count).map(|_| self.ask(newest, count == 1)).collect()
    }

    /// The future is only for a watch alone: on its stream nobody is told of progress.
    fn ask(&mut self, newest: Revision, alone: bool) -> Asked {
        let random = &mut self.random;
        let keys = match random.random_range(0..4) {
            0 => Keys::one(self.profile.key(random)),
            1 => Keys { from: self.profile.key(random), end: Keys::below(self.profile.prefix()).end },
            _ => Keys::below(self.profile.prefix()),
        };
        let start = match random.random_range(0..8) {
            0 => 0,
            1 | 2 => self.shared.compacted.load(Ordering::SeqCst),
            3 if alone => newest + random.random_range(1..100),
            _ => newest - random.random_range(0..100),
        };
        let filtered = random.random_range(0..8);
        Asked {
            keys,
            start: start.max(0),
            previous: random.random_bool(0.8),
            no_puts: filtered == 0,
            no_deletions: filtered == 1,
            progress: random.random(),
        }
    }

    async fn follow(&mut self, doors: &Doors, watches: &mut [Watched]) -> Finished {
        let door = if self.habit == Habit::Slow { doors.narrow.clone() } else { doors.wide.clone() };
        let (requests, receiver) = mpsc::channel(16);
        for (index, watch) in watches.iter().enumerate() {
            let create = RequestUnion::CreateRequest(create(index, &watch.asked));
            let _ = requests.try_send(pb::WatchRequest { request_union: Some(create) });
        }
        let mut client = WatchClient::new(door).max_decoding_message_size(usize::MAX);
        let Ok(answers) = client.watch(ReceiverStream::new(receiver)).await else {
            return self.lost(doors).await;
        };
        let open = Open { requests, answers: answers.into_inner() };
        match self.read(open, watches).await {
            Finished::Stream => self.lost(doors).await,
            other => other,
        }
    }

    /// A stream ended: the store did too, or will at once.
    async fn lost(&self, doors: &Doors) -> Finished {
        self.shared.door_after(doors.opened).await;
        Finished::Stream
    }

    async fn read(&mut self, mut open: Open, watches: &mut [Watched]) -> Finished {
        let patience = self.random.random_range(50..600);
        let mut events = 0;
        let mut asking = tokio::time::interval(Duration::from_millis(self.random.random_range(5..40)));
        let mut target = self.shared.last.subscribe();
        let mut deadline = None;
        loop {
            tokio::select! {
                answer = open.answers.next() => {
                    let Some(Ok(answer)) = answer else { return Finished::Stream };
                    events += self.keep(watches, answer);
                }
                _ = asking.tick() => {
                    let progress = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
                    let _ = open.requests.try_send(pb::WatchRequest { request_union: Some(progress) });
                }
                _ = target.changed() => (),
            }
            let last = *target.borrow();
            if let Some(last) = last {
                let deadline = *deadline.get_or_insert(tokio::time::Instant::now() + self.shared.patience);
                if watches.iter().all(|watch| watch.is_over() || watch.upto() >= last) {
                    return Finished::Run;
                }
                if tokio::time::Instant::now() > deadline {
                    let late = watches.iter_mut().filter(|watch| !watch.is_over() && watch.upto() < last);
                    late.for_each(|watch| watch.stuck = Some(last));
                    return Finished::Run;
                }
            } else if watches.iter().all(Watched::is_over) {
                return if self.habit == Habit::Collector { Finished::Run } else { Finished::Watches };
            } else if events > patience && self.habit != Habit::Collector {
                return Finished::Watches;
            }
            if self.habit == Habit::Slow && last.is_none() {
                tokio::time::sleep(Duration::from_millis(self.random.random_range(0..15))).await;
            }
        }
    }

    /// Files a message with its watch; returns how many events it brought.
    fn keep(&self, watches: &mut [Watched], answer: pb::WatchResponse) -> usize {
        let (revision, id) = (revision_of(answer.header), answer.watch_id);
        let count = answer.events.len();
        let what = match answer {
            pb::WatchResponse { canceled: true, compact_revision, .. } if compact_revision > 0 => {
                What::Compacted(compact_revision)
            }
            pb::WatchResponse { canceled: true, cancel_reason, .. } => What::Canceled(cancel_reason),
            pb::WatchResponse { created: true, .. } => What::Created,
            pb::WatchResponse { events, .. } if !events.is_empty() => {
                What::Events(events.into_iter().map(event).collect())
            }
            _ => What::Progress,
        };
        let reply = Reply { at: now(), revision, what };
        match usize::try_from(id - 1).ok().and_then(|index| watches.get_mut(index)) {
            Some(watch) => watch.replies.push(reply),
            // Progress of the whole stream.
            None => {
                let live = watches.iter_mut().filter(|watch| !watch.is_over() && !watch.replies.is_empty());
                live.for_each(|watch| watch.replies.push(reply.clone()));
            }
        }
        self.shared.delivered.fetch_add(count, Ordering::SeqCst);
        if self.habit == Habit::Collector {
            self.shared.collected.fetch_max(watches[0].upto(), Ordering::SeqCst);
        }
        count
    }
}

enum Finished {
    /// The watches had enough.
    Watches,
    /// The stream broke.
    Stream,
    /// Everything was seen, or waited for too long.
    Run,
}

fn create(index: usize, asked: &Asked) -> pb::WatchCreateRequest {
    use pb::watch_create_request::FilterType;
    let filters = [(asked.no_puts, FilterType::Noput), (asked.no_deletions, FilterType::Nodelete)];
    let filters = filters.into_iter().filter_map(|(asked, filter)| asked.then_some(filter.into())).collect();
    pb::WatchCreateRequest {
        key: asked.keys.from.clone(),
        range_end: asked.keys.end.clone(),
        start_revision: asked.start,
        progress_notify: asked.progress,
        filters,
        prev_kv: asked.previous,
        watch_id: i64::try_from(index).unwrap() + 1,
        fragment: false,
    }
}

fn event(event: mvccpb::Event) -> Event {
    let deletion = event.r#type() == mvccpb::event::EventType::Delete;
    Event { kv: event.kv.unwrap_or_default(), deletion, previous: event.prev_kv }
}
