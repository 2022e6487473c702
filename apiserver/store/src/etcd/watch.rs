//! etcd's Watch service: many watches on one stream.
//!
//! ```text
//!  requests ──► Stream ──► responses
//!                  ▲ woken by its Group when the hub has something for one of its watches
//! ```
//!
//! The stream has no task of its own: it moves when the connection wants more to send. So a client that does not read stops it, and its
//! watches fall back to history (see [`crate::hub`]). A watch gives one batch at a time and then waits for its turn, so a busy watch
//! does not starve the others.

use super::who::Who;
use super::{Service, check, words};
use crate::hub::{Change, Group, Moment, Ready, WatcherId};
use crate::keys::KeyRange;
use crate::request::Refusal;
use crate::seeded;
use crate::users::Denied;
use crate::watch::{Wants, Watcher};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_create_request::FilterType;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_proto::etcd::etcdserverpb::watch_server::Watch;
use skiff_proto::etcd::mvccpb;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::{Request, Response, Status, Streaming};

/// Bytes of events after which a watch that asked for fragments gets another one: etcd's request limit.
const FRAGMENT_BYTES: usize = 3 << 19;
/// The clock does not tick faster: etcd's bound is a hundred times this, which is too slow for tests.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(1);

#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = BoxStream<'static, Result<pb::WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        // It is handed on from answer to answer: in a box that costs nothing.
        let who = Who::of(&request);
        let served = Box::new(Stream::new(self.clone(), who, request.into_inner()));
        Ok(Response::new(stream::unfold(served, Stream::next).boxed()))
    }
}

/// One watch of a stream.
struct Served {
    watcher: Watcher,
    wants_previous: bool,
    wants_progress: bool,
    /// Nothing was told of it since the last tick of the stream's clock.
    idle: bool,
    /// It is among those whose turn comes.
    queued: bool,
    fragment: bool,
    no_puts: bool,
    no_deletes: bool,
    /// What history was compacted to when it began: what was replaced up to there is not told, even if we still know it.
    compacted: i64,
}

type Answer = Result<pb::WatchResponse, Status>;

struct Stream {
    service: Service,
    who: Who,
    requests: Streaming<pb::WatchRequest>,
    group: Arc<Group>,
    watches: BTreeMap<i64, Served>,
    ids: HashMap<WatcherId, i64>,
    next_id: i64,
    ready: VecDeque<i64>,
    /// Ticks when idle watches that asked for it are told the revision, whether anything is written or not.
    clock: Interval,
    /// Watches that asked for it.
    wanting_progress: usize,
    /// To be sent next.
    answers: VecDeque<Answer>,
    /// There will be no more.
    ended: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.service.store.core().metrics.streams_closed.add(1);
    }
}

impl Stream {
    fn new(service: Service, who: Who, requests: Streaming<pb::WatchRequest>) -> Self {
        let core = service.store.core();
        core.metrics.streams.add(1);
        let mut clock = tokio::time::interval(core.options.progress_interval.max(PROGRESS_INTERVAL_MIN));
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Stream {
            service,
            who,
            requests,
            group: Arc::new(Group::default()),
            watches: BTreeMap::new(),
            ids: HashMap::new(),
            next_id: 0,
            ready: VecDeque::new(),
            clock,
            wanting_progress: 0,
            answers: VecDeque::new(),
            ended: false,
        }
    }

    async fn next(mut self: Box<Self>) -> Option<(Answer, Box<Self>)> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Some((answer, self));
            }
            if self.ended {
                return None;
            }
            self.step().await;
        }
    }

    async fn step(&mut self) {
        // Requests first: a client that cancels a busy watch means it.
        tokio::select! {
            biased;
            request = self.requests.next() => match request {
                Some(Ok(request)) => self.request(request),
                // A client may close its side and keep listening; etcd ends the stream then, and so do we.
                Some(Err(_)) | None => self.ended = true,
            },
            _ = self.clock.tick(), if self.wanting_progress > 0 => self.tell_idle(),
            woken = self.group.ready(), if self.ready.is_empty() => {
                self.woken(woken);
                if !self.ended {
                    self.deliver_next().await;
                }
            }
            () = std::future::ready(()), if !self.ready.is_empty() => self.deliver_next().await,
        }
    }

    fn send(&mut self, answer: pb::WatchResponse) {
        self.answers.push_back(Ok(answer));
    }

    /// Says why, and no more.
    fn fail(&mut self, why: Status) {
        self.answers.push_back(Err(why));
        self.ended = true;
    }

    fn request(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.report_progress(),
            None => (),
        }
    }

    fn create(&mut self, create: pb::WatchCreateRequest) {
        // An empty key with an end is a range from the first key on; alone it is the smallest key.
        let key = if create.key.is_empty() { vec![0].into() } else { create.key.clone() };
        let keys = KeyRange::from_etcd(key, create.range_end.clone());
        if keys.is_empty() {
            return self.refuse("etcdserver: mvcc: watcher range is empty");
        }
        if let Err(denied) = self.check_read(&keys) {
            return self.refuse(Status::from(Refusal::Denied(denied)).message());
        }
        let filters = create.filters.iter().map(|&filter| check::known("WatchCreateRequest.filters", filter));
        let filters: Vec<FilterType> = match filters.collect() {
            Ok(filters) => filters,
            Err(unknown) => return self.refuse(unknown.message()),
        };
        let id = match create.watch_id {
            0 => self.draw_id(),
            id if self.watches.contains_key(&id) => {
                return self.refuse("etcdserver: mvcc: watcher ID already exists");
            }
            id => id,
        };
        let (newest, compacted) = {
            let view = self.service.store.core().view();
            (view.durable, view.compacted)
        };
        let header = self.service.header_now();
        self.send(pb::WatchResponse { header, watch_id: id, created: true, ..Default::default() });
        let start = if create.start_revision > 0 { create.start_revision } else { newest + 1 };
        if start < compacted {
            return self.compacted(id, compacted);
        }
        self.add(id, keys, (start, compacted), &create, &filters);
    }

    fn check_read(&self, keys: &KeyRange) -> Result<(), Denied> {
        let caller = self.service.caller(&self.who)?;
        self.service.store.core().users().check_read(&caller, keys)
    }

    fn add(
        &mut self,
        id: i64,
        keys: KeyRange,
        (start, compacted): (i64, i64),
        create: &pb::WatchCreateRequest,
        filters: &[FilterType],
    ) {
        let core = self.service.store.core();
        let watcher = Watcher::add(core, keys, start, Wants { previous: create.prev_kv, progress: false }, &self.group);
        if create.progress_notify {
            if self.wanting_progress == 0 {
                self.clock.reset();
            }
            self.wanting_progress += 1;
        }
        self.ids.insert(watcher.id(), id);
        let served = Served {
            watcher,
            wants_previous: create.prev_kv,
            wants_progress: create.progress_notify,
            idle: true,
            queued: false,
            fragment: create.fragment,
            no_puts: filters.contains(&FilterType::Noput),
            no_deletes: filters.contains(&FilterType::Nodelete),
            compacted,
        };
        self.watches.insert(id, served);
    }

    fn draw_id(&mut self) -> i64 {
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn refuse(&mut self, reason: &str) {
        self.send(pb::WatchResponse {
            header: self.service.header_now(),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        });
    }

    /// etcd gives this answer no revision and no reason; clients look at `compact_revision`.
    fn compacted(&mut self, watch_id: i64, compact_revision: i64) {
        let header = self.service.header_of_no_revision();
        self.send(pb::WatchResponse { header, watch_id, canceled: true, compact_revision, ..Default::default() });
    }

    fn cancel(&mut self, watch_id: i64) {
        if self.forget(watch_id) {
            let header = self.service.header_now();
            self.send(pb::WatchResponse { header, watch_id, canceled: true, ..Default::default() });
        }
    }

    fn forget(&mut self, watch_id: i64) -> bool {
        let Some(served) = self.watches.remove(&watch_id) else { return false };
        self.ids.remove(&served.watcher.id());
        self.wanting_progress -= usize::from(served.wants_progress);
        true
    }

    fn woken(&mut self, woken: Vec<Ready>) {
        for ready in woken {
            match ready {
                Ready::Changes(watcher) => self.queue(watcher),
                // For watchers without a clock of their own.
                Ready::Progress => (),
                Ready::Ended => {
                    let why = self.service.store.core().check().err();
                    return self.fail(why.map_or(Status::unavailable("closed"), Status::from));
                }
            }
        }
    }

    fn queue(&mut self, watcher: WatcherId) {
        let Some(&id) = self.ids.get(&watcher) else { return };
        if let Some(served) = self.watches.get_mut(&id)
            && !std::mem::replace(&mut served.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    async fn deliver_next(&mut self) {
        let Some(id) = self.ready.pop_front() else { return };
        // One that is gone may have left its turn to another one of the same number: then there is nothing to take.
        let Some(served) = self.watches.get_mut(&id) else { return };
        served.queued = false;
        match served.watcher.take().await {
            // A client that does not read is to be waited for.
            Ok(moments) if seeded::is("slow-watcher-loses") && moments.len() > 16 => (),
            Ok(moments) => {
                let answers = served.answers(id, moments);
                served.idle &= answers.is_empty();
                for answer in answers {
                    let header = self.service.header()(last_revision(&answer));
                    self.answers.push_back(Ok(pb::WatchResponse { header, ..answer }));
                }
            }
            Err(Refusal::Compacted { oldest }) => {
                self.forget(id);
                self.compacted(id, oldest);
            }
            Err(refusal) => self.fail(refusal.into()),
        }
    }

    /// The revision up to which every watch of this stream was sent everything.
    fn all_sent(&self) -> Option<i64> {
        let ids: Vec<_> = self.watches.values().map(|served| served.watcher.id()).collect();
        self.service.store.core().hub.all_seen(&ids)
    }

    /// Silence means: not yet, ask again.
    fn report_progress(&mut self) {
        if let Some(revision) = self.all_sent() {
            let header = self.service.header()(revision);
            self.send(pb::WatchResponse { header, watch_id: -1, ..Default::default() });
        }
    }

    /// Tells watches that were told nothing since the last time up to which revision that is all.
    fn tell_idle(&mut self) {
        let wanting = self.watches.iter().filter(|(_, served)| served.wants_progress && served.idle);
        let seen = |served: &Served| self.service.store.core().hub.all_seen(&[served.watcher.id()]);
        let seen: Vec<_> = wanting.filter_map(|(&id, served)| Some((id, seen(served)?))).collect();
        self.watches.values_mut().for_each(|served| served.idle = true);
        for (watch_id, revision) in seen {
            let header = self.service.header()(revision);
            self.send(pb::WatchResponse { header, watch_id, ..Default::default() });
        }
    }
}

fn last_revision(answer: &pb::WatchResponse) -> i64 {
    answer.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision)
}

impl Served {
    /// One answer, or several if the watch takes fragments. Without a header.
    fn answers(&self, watch_id: i64, moments: Vec<Moment>) -> Vec<pb::WatchResponse> {
        let changes = moments.into_iter().flat_map(|moment| moment.changes).filter(|change| self.wants(change));
        let mut answers: Vec<pb::WatchResponse> = Vec::new();
        let mut bytes = 0;
        for change in changes {
            let size = change.size_bytes();
            bytes += size;
            let event = self.event(Arc::unwrap_or_clone(change));
            match answers.last_mut() {
                Some(last) if (!self.fragment || bytes <= FRAGMENT_BYTES) && !seeded::is("revision-in-pieces") => {
                    last.events.push(event)
                }
                last => {
                    last.into_iter().for_each(|last| last.fragment = true);
                    bytes = size;
                    answers.push(pb::WatchResponse { watch_id, events: vec![event], ..Default::default() });
                }
            }
        }
        answers
    }

    fn wants(&self, change: &Change) -> bool {
        let unwanted = if change.record.is_tombstone() { self.no_deletes } else { self.no_puts };
        !unwanted || seeded::is("filter-forgotten")
    }

    fn event(&self, change: Change) -> mvccpb::Event {
        use mvccpb::event::EventType;
        let event = if change.record.is_tombstone() { EventType::Delete } else { EventType::Put };
        let told = self.wants_previous && change.record.at.revision > self.compacted;
        let prev_kv = change.previous.filter(|_| told).map(words::key_value);
        mvccpb::Event { r#type: event.into(), kv: Some(words::key_value(change.record)), prev_kv }
    }
}
