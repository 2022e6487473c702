//! etcd's Lock and Election services. `etcdctl lock` and `elect` do not use them: they build both from KV, Lease and Watch, which
//! work here. So the services say that they are not there.

use futures::stream::BoxStream;
use skiff_proto::etcd::v3electionpb as election;
use skiff_proto::etcd::v3electionpb::election_server::Election;
use skiff_proto::etcd::v3lockpb as lock;
use skiff_proto::etcd::v3lockpb::lock_server::Lock;
use tonic::{Request, Response, Status};

use super::Service;

fn elsewhere(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not implemented by this store; build it from Txn, Lease and Watch"))
}

#[tonic::async_trait]
impl Lock for Service {
    async fn lock(&self, _: Request<lock::LockRequest>) -> Result<Response<lock::LockResponse>, Status> {
        Err(elsewhere("Lock"))
    }

    async fn unlock(&self, _: Request<lock::UnlockRequest>) -> Result<Response<lock::UnlockResponse>, Status> {
        Err(elsewhere("Unlock"))
    }
}

#[tonic::async_trait]
impl Election for Service {
    async fn campaign(
        &self,
        _: Request<election::CampaignRequest>,
    ) -> Result<Response<election::CampaignResponse>, Status> {
        Err(elsewhere("Campaign"))
    }

    async fn proclaim(
        &self,
        _: Request<election::ProclaimRequest>,
    ) -> Result<Response<election::ProclaimResponse>, Status> {
        Err(elsewhere("Proclaim"))
    }

    async fn leader(&self, _: Request<election::LeaderRequest>) -> Result<Response<election::LeaderResponse>, Status> {
        Err(elsewhere("Leader"))
    }

    type ObserveStream = BoxStream<'static, Result<election::LeaderResponse, Status>>;

    async fn observe(&self, _: Request<election::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        Err(elsewhere("Observe"))
    }

    async fn resign(&self, _: Request<election::ResignRequest>) -> Result<Response<election::ResignResponse>, Status> {
        Err(elsewhere("Resign"))
    }
}
