//! What the process after a kill must have.

use super::clients::{Asked, LeaseState, Sent, TOGETHER};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use tonic::transport::Channel;

/// Everything that is known from outside.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The newest revision that anybody was told.
    revision: i64,
    /// The keys as the last verified process had them: the number that each was written with.
    keys: BTreeMap<String, i64>,
    /// What the process killed last was asked.
    asked: Vec<Asked>,
    leases: BTreeMap<i64, LeaseState>,
    pub last_number: i64,
    acknowledged: u64,
    /// Sent, not answered, and done all the same; and not done.
    done: u64,
    undone: u64,
    watched: u64,
}

impl std::fmt::Display for Known {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Known { acknowledged, done, undone, watched, .. } = self;
        write!(
            out,
            ": {acknowledged} writes acknowledged, 0 lost; of the unanswered {done} done, {undone} not; {watched} revisions watched"
        )
    }
}

/// The writes of one revision: key and number.
type Told = BTreeMap<i64, Vec<(String, i64)>>;

impl Known {
    /// Takes over what a client asked and was answered.
    pub(super) fn add(&mut self, asked: Asked) {
        self.leases.extend(&asked.leases);
        let numbers = asked.writes.iter().map(|sent| sent.number).chain(asked.leases.keys().copied());
        self.last_number = numbers.max().unwrap_or(0).max(self.last_number);
        self.acknowledged += asked.writes.iter().filter(|sent| sent.revision.is_some()).count() as u64;
        self.asked.push(asked);
    }

    /// Looks at a new process, before anybody writes to it; its revision.
    pub(super) async fn verify(&mut self, channel: &Channel, kill: u64) -> i64 {
        let (revision, keys) = keys(channel).await;
        assert!(revision >= self.revision, "kill {kill}: the revision went back from {} to {revision}", self.revision);
        let told = self.told(channel, revision, kill).await;
        let writes: Vec<Sent> = self.asked.drain(..).flat_map(|asked| asked.writes).collect();
        self.check_writes(&writes, &told, kill);
        self.check_keys(&told, keys, kill);
        self.check_leases(channel, kill).await;
        self.revision = revision;
        revision
    }

    /// Watches on from the last process; every revision is told, once and in order.
    async fn told(&mut self, channel: &Channel, revision: i64, kill: u64) -> Told {
        let (mut told, mut next) = (Told::new(), self.revision.max(1) + 1);
        if next > revision {
            return told;
        }
        let create = pb::WatchCreateRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            start_revision: next,
            ..Default::default()
        };
        let request = pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
        let (send, requests) = tokio::sync::mpsc::channel(1);
        send.send(request).await.unwrap();
        let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
        let mut watch = WatchClient::new(channel.clone()).watch(requests).await.unwrap().into_inner();
        while next <= revision {
            let answer = tokio::time::timeout(Duration::from_secs(60), watch.message()).await;
            let answer = answer.unwrap_or_else(|_| panic!("kill {kill}: a watch from {next} tells nothing")).unwrap();
            let answer = answer.unwrap_or_else(|| panic!("kill {kill}: a watch from {next} ends"));
            assert!(!answer.canceled, "kill {kill}: a watch from {next} is refused: {answer:?}");
            for event in answer.events {
                let kv = event.kv.unwrap();
                assert!(
                    kv.mod_revision == next || (kv.mod_revision == next - 1 && told.contains_key(&(next - 1))),
                    "kill {kill}: a watch tells {} where {next} should be",
                    kv.mod_revision
                );
                let key = String::from_utf8(kv.key.to_vec()).unwrap();
                told.entry(kv.mod_revision).or_default().push((key, number(&kv.value)));
                next = kv.mod_revision + 1;
            }
        }
        self.watched += told.len() as u64;
        told
    }

    fn check_writes(&mut self, writes: &[Sent], told: &Told, kill: u64) {
        let by_number: HashMap<i64, i64> =
            told.iter().flat_map(|(revision, all)| all.iter().map(|(_, number)| (*number, *revision))).collect();
        for sent in writes {
            let found = by_number.get(&sent.number);
            match (sent.revision, found) {
                (Some(acknowledged), _) => {
                    assert_eq!(found, Some(&acknowledged), "kill {kill}: acknowledged and lost or moved: {sent:?}");
                }
                (None, Some(_)) => self.done += 1,
                (None, None) => self.undone += 1,
            }
            if let Some(revision) = found {
                let mut keys: Vec<_> = told[revision].iter().map(|(key, _)| key.clone()).collect();
                keys.sort();
                assert_eq!(keys, sent.keys, "kill {kill}: in part, or with something else: {sent:?}");
            }
        }
        let sent: BTreeSet<i64> = writes.iter().map(|sent| sent.number).collect();
        let strange = by_number.keys().find(|number| !sent.contains(number));
        assert_eq!(strange, None, "kill {kill}: nobody wrote that after the last kill");
    }

    /// The keys are those of before and what was told since.
    fn check_keys(&mut self, told: &Told, keys: BTreeMap<String, i64>, kill: u64) {
        for (key, number) in told.values().flatten() {
            self.keys.insert(key.clone(), *number);
        }
        assert_eq!(self.keys, keys, "kill {kill}: the keys are not what a watch tells");
        for (key, number) in keys.iter().filter(|(key, _)| key.contains("/together/0")) {
            for other in 0..TOGETHER {
                let other = key.replace("/together/0", &format!("/together/{other}"));
                assert_eq!(keys.get(&other), Some(number), "kill {kill}: half a transaction at {other}");
            }
        }
    }

    async fn check_leases(&mut self, channel: &Channel, kill: u64) {
        let leases = LeaseClient::new(channel.clone()).lease_leases(pb::LeaseLeasesRequest {}).await;
        let there: BTreeSet<i64> = leases.unwrap().into_inner().leases.iter().map(|lease| lease.id).collect();
        for (id, state) in &mut self.leases {
            match (*state, there.contains(id)) {
                (LeaseState::Granted, false) => panic!("kill {kill}: lease {id} was granted, and is gone"),
                (LeaseState::Revoked, true) => panic!("kill {kill}: lease {id} was revoked, and is back"),
                // What is there now must stay, and what is gone must stay away.
                (_, true) => *state = LeaseState::Granted,
                (_, false) => *state = LeaseState::Revoked,
            }
        }
    }
}

async fn keys(channel: &Channel) -> (i64, BTreeMap<String, i64>) {
    let everything = pb::RangeRequest { key: vec![0].into(), range_end: vec![0].into(), ..Default::default() };
    let answer = KvClient::new(channel.clone()).range(everything).await.unwrap().into_inner();
    let key =
        |kv: skiff_proto::etcd::mvccpb::KeyValue| (String::from_utf8(kv.key.to_vec()).unwrap(), number(&kv.value));
    (answer.header.unwrap().revision, answer.kvs.into_iter().map(key).collect())
}

/// A value is the number of its write, and then anything.
fn number(value: &[u8]) -> i64 {
    let text = std::str::from_utf8(value).unwrap();
    text.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no value of ours: {text:.40}"))
}
