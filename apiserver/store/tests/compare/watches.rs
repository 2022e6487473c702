//! Watches on both servers: what each delivers must be what the history of the same round says, and equal.

use crate::random::Random;
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_proto::etcd::mvccpb::event::EventType;
use skiff_proto::etcd::mvccpb::{Event, KeyValue};
use skiff_store::keys::KeyRange;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// A watch stream; answers to one watch at a time are taken from it.
struct Line {
    requests: mpsc::UnboundedSender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Line {
    /// Opens it with its one watch; etcd's stream does not begin before something is asked.
    async fn open(url: &str, create: pb::WatchCreateRequest) -> (Self, pb::WatchResponse) {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        let (requests, receiver) = mpsc::unbounded_channel();
        requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).unwrap();
        let mut client = pb::watch_client::WatchClient::new(channel);
        let answers = client.watch(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut line = Line { requests, answers };
        let created = line.next().await;
        assert!(created.created, "{created:?}");
        (line, created)
    }

    async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(Duration::from_secs(60), self.answers.message()).await;
        next.expect("an answer within a minute").unwrap().expect("the stream goes on")
    }

    /// Everything until the watch is cancelled: events, and whether it was for a compaction.
    async fn events(&mut self, count: usize) -> (Vec<Event>, Option<i64>) {
        let mut events = Vec::new();
        while events.len() < count {
            let answer = self.next().await;
            if answer.canceled {
                return (events, Some(answer.compact_revision));
            }
            events.extend(answer.events);
        }
        let cancel = pb::WatchCancelRequest { watch_id: 0 };
        self.requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) }).unwrap();
        loop {
            let answer = self.next().await;
            events.extend(answer.events);
            if answer.canceled {
                return (events, (answer.compact_revision > 0).then_some(answer.compact_revision));
            }
        }
    }
}

/// One watch on both.
struct Pair {
    create: pb::WatchCreateRequest,
    /// The first revision that it is to see.
    start: i64,
    theirs: Line,
    ours: Line,
}

impl Pair {
    async fn open(urls: &(String, String), create: pb::WatchCreateRequest, random: &Random) -> Self {
        let open = |url| Line::open(url, create.clone());
        let ((theirs, wanted), (ours, got)) = tokio::join!(open(&urls.0), open(&urls.1));
        let seen = |answer: &pb::WatchResponse| {
            let revision = answer.header.as_ref().map(|header| header.revision);
            (revision, answer.watch_id, answer.canceled, answer.cancel_reason.clone(), answer.compact_revision)
        };
        assert_eq!(seen(&got), seen(&wanted), "{create:?}");
        let start = if create.start_revision > 0 { create.start_revision } else { random.revision + 1 };
        Pair { create, start, theirs, ours }
    }

    /// What it is to see of `history`.
    fn wants(&self, event: &Event) -> bool {
        let kv = event.kv.as_ref().unwrap();
        let keys = KeyRange::from_etcd(self.create.key.clone(), self.create.range_end.clone());
        let filtered = match event.r#type() {
            EventType::Put => self.create.filters.contains(&0),
            EventType::Delete => self.create.filters.contains(&1),
        };
        kv.mod_revision >= self.start && keys.contains(&kv.key) && !filtered
    }

    /// What an event replaced may have been compacted before it was sent.
    fn agree(&self, event: &Event, wanted: &Event, compacted: i64) {
        let bare = |event: &Event| Event { prev_kv: None, ..event.clone() };
        assert_eq!(bare(event), bare(wanted), "of {:?}", self.create);
        let gone = wanted.kv.as_ref().unwrap().mod_revision <= compacted;
        match &event.prev_kv {
            None if gone || !self.create.prev_kv => (),
            previous => {
                assert!(self.create.prev_kv, "nobody asked for {previous:?}");
                assert_eq!(previous, &wanted.prev_kv, "replaced by {event:?}");
            }
        }
    }
}

/// The watches of one round.
pub(crate) struct Watched {
    urls: (String, String),
    everything: Pair,
    pairs: Vec<Pair>,
    /// The state when the round began.
    state: BTreeMap<Bytes, KeyValue>,
    /// Events of the rounds before are not remembered; watches begin after.
    first: i64,
}

impl Watched {
    /// Begins a round in which `state` stands in both.
    pub(crate) async fn begin(theirs: &str, ours: &str, state: Vec<KeyValue>, random: &mut Random) -> Self {
        let state = state.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        let urls = (theirs.to_owned(), ours.to_owned());
        let all = pb::WatchCreateRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            ..Default::default()
        };
        let first = random.revision + 1;
        let everything = Pair::open(&urls, all, random).await;
        Watched { urls, everything, pairs: Vec::new(), state, first }
    }

    /// Some more, from anywhere in this round on.
    pub(crate) async fn add(&mut self, random: &mut Random) {
        for _ in 0..2 {
            let (key, range_end) = random.keys();
            if KeyRange::from_etcd(key.clone(), range_end.clone()).is_empty() {
                continue;
            }
            let ago = random.below((random.revision + 3 - self.first).max(1) as u64) as i64;
            let create = pb::WatchCreateRequest {
                key,
                range_end,
                start_revision: if random.one_in(4) { 0 } else { random.revision + 2 - ago },
                prev_kv: random.coin(),
                filters: [vec![], vec![], vec![0], vec![1]][random.below(4) as usize].clone(),
                fragment: random.coin(),
                ..Default::default()
            };
            self.pairs.push(Pair::open(&self.urls, create, random).await);
        }
    }

    /// Compares everything seen up to `revision`; returns how many events that were.
    pub(crate) async fn compare(mut self, revision: i64, compacted: i64) -> usize {
        let history = self.history(revision).await;
        let mut compared = history.len();
        for mut pair in self.pairs {
            let wanted: Vec<Event> = history.iter().filter(|event| pair.wants(event)).cloned().collect();
            let (theirs, ours) = tokio::join!(pair.theirs.events(wanted.len()), pair.ours.events(wanted.len()));
            for (events, cancelled) in [theirs, ours] {
                if cancelled.is_some() {
                    // A compaction overtook it.
                    assert!(pair.start < compacted, "{:?} was cancelled at {cancelled:?}", pair.create);
                    continue;
                }
                assert_eq!(events.len(), wanted.len(), "of {:?}", pair.create);
                compared += events.len();
                let both = events.iter().zip(&wanted);
                both.for_each(|(event, wanted)| pair.agree(event, wanted, compacted));
            }
        }
        compared
    }

    /// What the watch of everything saw, which must be the same on both; with what each event replaced.
    async fn history(&mut self, revision: i64) -> Vec<Event> {
        let mut both = Vec::new();
        for line in [&mut self.everything.theirs, &mut self.everything.ours] {
            let mut events: Vec<Event> = Vec::new();
            let last = |events: &[Event]| events.last().map_or(0, |event| event.kv.as_ref().unwrap().mod_revision);
            while self.first <= revision && last(&events) < revision {
                events.extend(line.next().await.events);
            }
            both.push(events);
        }
        let (mut ours, theirs) = (both.pop().unwrap(), both.pop().unwrap());
        assert_eq!(ours, theirs, "of everything");
        for event in &mut ours {
            let kv = event.kv.clone().unwrap();
            event.prev_kv = match event.r#type() {
                EventType::Put => self.state.insert(kv.key.clone(), kv),
                EventType::Delete => self.state.remove(&kv.key),
            };
        }
        ours
    }
}
