//! Any etcd v3 endpoint as a [`Backend`], with the requests that kube-apiserver sends.
//!
//! Reads are tried again, on other members too. A write whose answer got lost is not: nobody knows whether it happened, so the
//! caller is told [`BackendError::Unavailable`] and has to look. Watches go on at another member where they were.

mod channel; // one connection
mod compact; // forgetting history, together with other API servers
mod link; // members, and which of them is asked
mod miss; // why one gave no answer
mod watch;

use self::link::Link;
use super::ClientTls;
use crate::StoreError;
use crate::backend::{self, Backend, BackendError, Entry, Got, ListRange, Listed, Revision, Swapped, WatchBatch};
use crate::keys::KeyRange;
use crate::ttl::{Buckets, SharesLeases};
use bytes::Bytes;
pub use channel::channel;
pub use compact::Compactor;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::{request_op, response_op};
use skiff_proto::etcd::mvccpb;
use std::sync::Arc;
use std::time::Duration;

/// How long a request may take unless told otherwise: etcd itself gives up on one after 7 s.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a member may take to prove that it is healthy: kube-apiserver's `--etcd-healthcheck-timeout`.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Which etcd, and how patient to be with it.
#[derive(Clone)]
pub struct RemoteOptions {
    /// Its members: `http(s)://host:port` or `unix://path`.
    pub endpoints: Vec<String>,
    /// For those with `https`.
    pub tls: Option<ClientTls>,
    /// How long a request may take, whatever happens to members meanwhile.
    pub request_timeout: Duration,
}

impl RemoteOptions {
    /// With [`REQUEST_TIMEOUT`].
    pub fn new(endpoints: &[String], tls: Option<ClientTls>) -> Self {
        RemoteOptions { endpoints: endpoints.to_vec(), tls, request_timeout: REQUEST_TIMEOUT }
    }
}

/// See the module.
pub struct Remote {
    link: Arc<Link>,
    buckets: Buckets,
}

impl Remote {
    /// As [`Remote::open`], for who needs only the backend.
    ///
    /// # Errors
    /// As there.
    pub async fn connect(endpoints: &[String], tls: Option<ClientTls>) -> Result<Arc<dyn Backend>, StoreError> {
        Ok(Arc::new(Self::open(&RemoteOptions::new(endpoints, tls)).await?))
    }

    /// Connects to the member that answers first, and to others whenever it is lost.
    ///
    /// # Errors
    /// When none has answered in time; the error names all of them.
    pub async fn open(options: &RemoteOptions) -> Result<Self, StoreError> {
        let link = Arc::new(Link::new(options)?);
        let endpoints = || options.endpoints.join(",");
        let refuse = |error: BackendError| StoreError::Connect { endpoints: endpoints(), what: error.to_string() };
        link.reach().await.map_err(refuse)?;
        Ok(Remote { link, buckets: Buckets::default() })
    }

    /// This API server's part in compacting it.
    pub fn compactor(&self) -> Compactor {
        Compactor::new(self.link.clone())
    }

    async fn swap(&self, key: Bytes, expected: Revision, then: request_op::Request) -> Result<Swapped, BackendError> {
        let op = |request| pb::RequestOp { request: Some(request) };
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(pb::compare::TargetUnion::ModRevision(expected)),
            ..Default::default()
        };
        let otherwise = request_op::Request::RequestRange(pb::RangeRequest { key, ..Default::default() });
        let txn = pb::TxnRequest { compare: vec![compare], success: vec![op(then)], failure: vec![op(otherwise)] };
        let done = self.link.txn(txn).await?;
        if done.succeeded {
            return Ok(Swapped::Done(revision(done.header.as_ref())?));
        }
        let there = done.responses.into_iter().next().and_then(|response| response.response);
        let Some(response_op::Response::ResponseRange(there)) = there else {
            return Err(BackendError::Internal("the answer to a transaction lacks its read".to_owned()));
        };
        Ok(Swapped::Conflict(there.kvs.into_iter().next().map(entry)))
    }
}

impl SharesLeases for Remote {
    type Error = BackendError;

    fn buckets(&self) -> &Buckets {
        &self.buckets
    }

    async fn grant(&self, ttl_seconds: i64) -> Result<i64, BackendError> {
        self.link.grant(ttl_seconds).await
    }

    async fn put_under(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        lease: i64,
    ) -> Result<Swapped, BackendError> {
        let put = pb::PutRequest { key: key.clone(), value, lease, ..Default::default() };
        self.swap(key, expected, request_op::Request::RequestPut(put)).await
    }

    fn lost_lease(error: &BackendError) -> bool {
        matches!(error, BackendError::Internal(why) if why.contains(miss::LEASE_NOT_FOUND))
    }
}

/// The revision of an answer, which no etcd leaves out.
fn revision(header: Option<&pb::ResponseHeader>) -> Result<Revision, BackendError> {
    match header {
        Some(header) if header.revision > 0 => Ok(header.revision),
        _ => Err(BackendError::Internal("an answer lacks its revision".to_owned())),
    }
}

fn entry(kv: mvccpb::KeyValue) -> Entry {
    Entry { key: kv.key, value: kv.value, create_revision: kv.create_revision, mod_revision: kv.mod_revision }
}

impl Backend for Remote {
    fn get(&self, key: Bytes) -> BoxFuture<'_, Result<Got, BackendError>> {
        async move {
            let found = self.link.range(pb::RangeRequest { key, limit: 1, ..Default::default() }).await?;
            let revision = revision(found.header.as_ref())?;
            Ok(Got { entry: found.kvs.into_iter().next().map(entry), revision })
        }
        .boxed()
    }

    fn list(&self, range: ListRange) -> BoxFuture<'_, Result<Listed, BackendError>> {
        async move {
            let (key, range_end) = KeyRange::prefix(&range.prefix, range.from).into_etcd();
            let limit = i64::try_from(range.limit).unwrap_or(0);
            let asked = pb::RangeRequest { key, range_end, limit, revision: range.revision, ..Default::default() };
            let found = self.link.range(asked).await?;
            let newest = revision(found.header.as_ref())?;
            Ok(Listed {
                entries: found.kvs.into_iter().map(entry).collect(),
                count: found.count,
                revision: if range.revision > 0 { range.revision } else { newest },
            })
        }
        .boxed()
    }

    fn put(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        self.put_for(key, value, expected, ttl_seconds).boxed()
    }

    fn delete(&self, key: Bytes, expected: Revision) -> BoxFuture<'_, Result<Swapped, BackendError>> {
        let delete = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
        self.swap(key, expected, request_op::Request::RequestDeleteRange(delete)).boxed()
    }

    fn watch(&self, prefix: Bytes, after: Revision) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
        watch::watch(self.link.clone(), prefix, after)
    }

    fn size_bytes(&self) -> BoxFuture<'_, Result<u64, BackendError>> {
        async move { Ok(u64::try_from(self.link.status().await?.db_size).unwrap_or(0)) }.boxed()
    }

    fn health(&self) -> BoxFuture<'_, Result<(), BackendError>> {
        async move {
            let asked = self.link.range(pb::RangeRequest { key: backend::HEALTH_KEY, ..Default::default() });
            match tokio::time::timeout(HEALTH_TIMEOUT, asked).await {
                Ok(answer) => answer.map(|_| ()),
                Err(_) => Err(BackendError::Unavailable(format!("no answer within {} ms", HEALTH_TIMEOUT.as_millis()))),
            }
        }
        .boxed()
    }
}
