//! Any etcd v3 endpoint as a [`Backend`], with the requests that kube-apiserver sends.
//!
//! Reads are tried again, on the next endpoint too. A write whose answer got lost is not: nobody knows whether it happened, so the
//! caller is told [`BackendError::Unavailable`] and has to look.

mod link;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::{request_op, response_op};
use skiff_proto::etcd::mvccpb;

use self::link::Link;
use super::ClientTls;
use crate::StoreError;
use crate::backend::{Backend, BackendError, Entry, Got, ListRange, Listed, Revision, Swapped, WatchBatch};
use crate::keys::KeyRange;
use crate::ttl::{Buckets, SharesLeases};

/// See the module.
pub struct Remote {
    link: Arc<Link>,
    buckets: Buckets,
}

impl Remote {
    /// Connects to the first endpoint (`http(s)://host:port`, `unix://path`) that answers, and again whenever it is lost.
    ///
    /// # Errors
    /// When none has answered after ten seconds; the error names all of them.
    pub async fn connect(endpoints: &[String], tls: Option<ClientTls>) -> Result<Arc<dyn Backend>, StoreError> {
        let link = Arc::new(Link::new(endpoints, tls)?);
        let refuse =
            |error: BackendError| StoreError::Connect { endpoints: endpoints.join(","), what: error.to_string() };
        link.reach().await.map_err(refuse)?;
        Ok(Arc::new(Remote { link, buckets: Buckets::default() }))
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
        matches!(error, BackendError::Internal(why) if why.contains(link::LEASE_NOT_FOUND))
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
}
