//! etcd's KV service. Most of its calls come through [`super::direct`].

use super::who::{self, Who};
use super::{Service, check, pieces, words};
use crate::request::{Done, Op, Refusal, Txn};
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_server::Kv;
use tonic::{Request, Response, Status};

impl Service {
    pub(super) async fn done_put(&self, who: &Who, request: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        check::put(&request)?;
        let store = self.asked(who)?;
        check::size(&request, self.limits().request_bytes)?;
        let put = words::put(request);
        let lease = put.lease.unwrap_or(0);
        let done = store.txn(Txn::of(Op::Put(put))).await.map_err(|refusal| match refusal {
            // Of two reasons etcd names the lease for a plain put, and the key for one inside a transaction.
            Refusal::KeyNotFound if lease != 0 && !self.store.core().leases().contains(lease) => Refusal::LeaseNotFound,
            other => other,
        })?;
        let prev_kv = match done.done.into_iter().next() {
            Some(Done::Put { previous, .. }) => previous.map(words::key_value),
            _ => None,
        };
        Ok(pb::PutResponse { header: self.header()(done.revision), prev_kv })
    }

    pub(super) async fn done_txn(&self, who: &Who, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        check::txn(&request, self.limits().txn_ops)?;
        let store = self.asked(who)?;
        check::size(&request, self.limits().request_bytes)?;
        let done = store.txn(words::txn(request)).await?;
        Ok(words::txn_done(done, &self.header()))
    }
}

#[tonic::async_trait]
impl Kv for Service {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        check::range(&request)?;
        let found = self.asked(&who)?.range(words::range(request)).await?;
        Ok(Response::new(words::ranged(found, &self.header())))
    }

    type RangeStreamStream = BoxStream<'static, Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        check::range(&request)?;
        let range = words::range(request);
        check::streamed(&range)?;
        let caller = self.caller(&who).map_err(who::denied)?;
        self.store.core().users().check_read(&caller, &range.keys).map_err(who::denied)?;
        Ok(Response::new(pieces::stream(self.clone(), range)))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        self.done_put(&Who::of(&request), request.into_inner()).await.map(Response::new)
    }

    async fn delete_range(
        &self,
        request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        let (who, request) = (Who::of(&request), request.into_inner());
        check::delete(&request)?;
        let done = self.asked(&who)?.txn(Txn::of(Op::Delete(words::delete(request)))).await?;
        let (deleted, previous) = match done.done.into_iter().next() {
            Some(Done::Delete { deleted, previous, .. }) => (deleted, previous),
            _ => (0, Vec::new()),
        };
        Ok(Response::new(pb::DeleteRangeResponse {
            header: self.header()(done.revision),
            deleted: i64::try_from(deleted).unwrap_or(i64::MAX),
            prev_kvs: previous.into_iter().map(words::key_value).collect(),
        }))
    }

    async fn txn(&self, request: Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        self.done_txn(&Who::of(&request), request.into_inner()).await.map(Response::new)
    }

    async fn compact(
        &self,
        request: Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        self.check_admin(&request)?;
        let request = request.into_inner();
        self.store.compact(request.revision, request.physical).await?;
        Ok(Response::new(pb::CompactionResponse { header: self.header_now() }))
    }
}
