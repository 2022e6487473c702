//! etcd's Lock service: a name belongs to who waited longest (see [`super::line`]).

use super::line::{self, Waiting};
use super::who::Who;
use super::{Service, answer};
use crate::keys::KeyRange;
use crate::request::{Delete, Op, Txn};
use bytes::Bytes;
use skiff_proto::etcd::v3lockpb as pb;
use skiff_proto::etcd::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Lock for Service {
    async fn lock(&self, request: Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        let store = self.asked(&Who::of(&request))?;
        let pb::LockRequest { name, lease } = request.into_inner();
        let entered = line::enter(&store, &name, lease, Bytes::new()).await;
        let (place, _, _) = entered.map_err(answer::through_a_client)?;
        let waiting = Waiting::at(self, &place);
        line::wait(&store, &name, place.created).await.map_err(answer::through_a_client)?;
        let held = place.held_at(&store).await.map_err(answer::through_a_client)?;
        // Its lease may have ended while it waited.
        let revision = held.ok_or_else(|| Status::unknown("mutex: session is expired"))?;
        waiting.done();
        Ok(Response::new(pb::LockResponse { header: self.header()(revision), key: place.key.into() }))
    }

    async fn unlock(&self, request: Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        let store = self.asked(&Who::of(&request))?;
        let key: Bytes = request.into_inner().key.into();
        if key.is_empty() {
            return Err(Status::unknown("etcdserver: key is not provided"));
        }
        let delete = Delete { keys: KeyRange::single(key), want_previous: false };
        let done = store.txn(Txn::of(Op::Delete(delete))).await.map_err(answer::through_a_client)?;
        Ok(Response::new(pb::UnlockResponse { header: self.header()(done.revision) }))
    }
}
