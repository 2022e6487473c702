//! One server, and shorthands for what is asked of it.

use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::request_op::Request;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_proto::etcd::mvccpb::Event;
use skiff_proto::etcd::{v3electionpb, v3lockpb};
use skiff_proto::health::v1::health_client::HealthClient;
use skiff_store::keys::KeyRange;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(crate) struct Server {
    channel: Channel,
    pub(crate) url: String,
    /// Whether it is an etcd.
    pub(crate) real: bool,
}

/// What a refusal says.
pub(crate) fn said<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}

pub(crate) fn put_op(key: &str, value: impl Into<Vec<u8>>) -> pb::RequestOp {
    let put = pb::PutRequest { key: key.to_owned().into(), value: value.into().into(), ..Default::default() };
    pb::RequestOp { request: Some(Request::RequestPut(put)) }
}

impl Server {
    pub(crate) async fn connect(url: &str, real: bool) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Server { channel, url: url.to_owned(), real }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn kv(&self) -> pb::kv_client::KvClient<Channel> {
        pb::kv_client::KvClient::new(self.channel.clone())
    }

    pub(crate) fn lease(&self) -> pb::lease_client::LeaseClient<Channel> {
        pb::lease_client::LeaseClient::new(self.channel.clone())
    }

    pub(crate) fn maintenance(&self) -> pb::maintenance_client::MaintenanceClient<Channel> {
        pb::maintenance_client::MaintenanceClient::new(self.channel.clone())
    }

    pub(crate) fn cluster(&self) -> pb::cluster_client::ClusterClient<Channel> {
        pb::cluster_client::ClusterClient::new(self.channel.clone())
    }

    pub(crate) fn auth(&self) -> pb::auth_client::AuthClient<Channel> {
        pb::auth_client::AuthClient::new(self.channel.clone())
    }

    pub(crate) fn locks(&self) -> v3lockpb::lock_client::LockClient<Channel> {
        v3lockpb::lock_client::LockClient::new(self.channel.clone())
    }

    pub(crate) fn elections(&self) -> v3electionpb::election_client::ElectionClient<Channel> {
        v3electionpb::election_client::ElectionClient::new(self.channel.clone())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    pub(crate) async fn try_put(&self, key: &str, value: impl Into<Vec<u8>>, lease: i64) -> Result<i64, Status> {
        let (key, value) = (key.to_owned().into(), value.into().into());
        let answer = self.kv().put(pb::PutRequest { key, value, lease, ..Default::default() }).await?;
        Ok(answer.into_inner().header.unwrap().revision)
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        self.try_put(key, value, 0).await.unwrap()
    }

    pub(crate) async fn delete(&self, key: &str) -> i64 {
        let key = key.to_owned().into();
        let answer = self.kv().delete_range(pb::DeleteRangeRequest { key, ..Default::default() }).await.unwrap();
        answer.into_inner().header.unwrap().revision
    }

    pub(crate) async fn compact(&self, revision: i64) {
        self.kv().compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    }

    /// The keys below a prefix.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let (key, range_end) = beginning(prefix);
        let request = pb::RangeRequest { key, range_end, ..Default::default() };
        let found = self.kv().range(request).await.unwrap().into_inner().kvs;
        found.into_iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
    }

    pub(crate) async fn grant(&self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        Ok(self.lease().lease_grant(pb::LeaseGrantRequest { id, ttl }).await?.into_inner())
    }

    /// A stream that begins with one watch.
    pub(crate) async fn watch(&self, create: pb::WatchCreateRequest) -> Watching {
        let (requests, receiver) = mpsc::unbounded_channel();
        requests.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).unwrap();
        // etcd sends a client that reads slowly all it has in one answer.
        let mut client = pb::watch_client::WatchClient::new(self.channel.clone()).max_decoding_message_size(64 << 20);
        let answers = client.watch(UnboundedReceiverStream::new(receiver)).await.unwrap().into_inner();
        Watching { requests, answers }
    }
}

/// The keys that begin so, as etcd's pair.
pub(crate) fn beginning(prefix: &str) -> (Bytes, Bytes) {
    KeyRange::prefix(&prefix.to_owned().into(), None).into_etcd()
}

/// A watch of a prefix from a revision on.
pub(crate) fn below(prefix: &str, start_revision: i64) -> pb::WatchCreateRequest {
    let (key, range_end) = beginning(prefix);
    pb::WatchCreateRequest { key, range_end, start_revision, ..Default::default() }
}

/// An open watch stream.
pub(crate) struct Watching {
    requests: mpsc::UnboundedSender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watching {
    pub(crate) fn ask(&self, request: RequestUnion) {
        self.requests.send(pb::WatchRequest { request_union: Some(request) }).unwrap();
    }

    pub(crate) fn create(&self, create: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(create));
    }

    pub(crate) fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }

    pub(crate) fn ask_progress(&self) {
        self.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    }

    pub(crate) async fn next(&mut self) -> pb::WatchResponse {
        let next = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        next.expect("an answer within a minute").unwrap().expect("the stream goes on")
    }

    pub(crate) async fn created(&mut self) -> pb::WatchResponse {
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        answer
    }

    /// So many events.
    pub(crate) async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let answer = self.next().await;
            assert!(!answer.canceled, "{answer:?}");
            events.extend(answer.events);
        }
        assert_eq!(events.len(), count, "no more than was written");
        events
    }
}

/// `KEY=VALUE@REVISION`, a deletion `KEY@REVISION`, and what it replaced.
pub(crate) fn shown(event: &Event) -> String {
    let kv = event.kv.as_ref().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = if event.r#type == 0 { format!("={}", text(&kv.value)) } else { String::new() };
    let previous = event.prev_kv.as_ref().map_or(String::new(), |kv| format!(" was {}", text(&kv.value)));
    format!("{}{value}@{}{previous}", text(&kv.key), kv.mod_revision)
}
