//! etcd's Lease service.

use super::Service;
use super::who::{self, Who};
use crate::users::Right;
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::lease_server::Lease;
use std::time::Instant;
use tonic::{Request, Response, Status, Streaming};

impl Service {
    /// Whether somebody has a right to every key of a lease.
    fn check_lease(&self, who: &Who, id: i64, right: Right) -> Result<(), Status> {
        let caller = self.caller(who).map_err(who::denied)?;
        let core = self.store.core();
        core.users().check_known(&caller).map_err(who::denied)?;
        core.check_lease(&caller, id, right).map_err(who::denied)
    }
}

#[tonic::async_trait]
impl Lease for Service {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        let store = self.asked_by_somebody(&Who::of(&request))?;
        let request = request.into_inner();
        let (id, ttl) = store.grant(request.id, request.ttl).await?;
        Ok(Response::new(pb::LeaseGrantResponse { header: self.header_now(), id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        self.asked_by_somebody(&Who::of(&request))?.revoke(request.into_inner().id).await?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: self.header_now() }))
    }

    type LeaseKeepAliveStream = BoxStream<'static, Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (service, who) = (self.clone(), Who::of(&request));
        let answers = request.into_inner().map(move |request| {
            let id = request?.id;
            service.store.core().check()?;
            service.check_lease(&who, id, Right::Write)?;
            // TTL 0 tells the client that the lease is gone.
            service.store.core().metrics.renewed.add(1);
            let ttl = service.store.core().leases().keep_alive(id, Instant::now()).unwrap_or(0);
            Ok(pb::LeaseKeepAliveResponse { header: service.header_now(), id, ttl })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        let who = Who::of(&request);
        self.check_known(&request)?;
        let pb::LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        if keys {
            self.check_lease(&who, id, Right::Read)?;
        }
        let view = self.store.core().leases().view(id, Instant::now());
        let header = self.header_now();
        Ok(Response::new(match view {
            None => pb::LeaseTimeToLiveResponse { header, id, ttl: -1, granted_ttl: 0, keys: Vec::new() },
            Some(view) => pb::LeaseTimeToLiveResponse {
                header,
                id,
                ttl: view.remaining_seconds,
                granted_ttl: view.ttl_seconds,
                keys: if keys { view.keys } else { Vec::new() },
            },
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        self.check_known(&request)?;
        let (who, ids) = (Who::of(&request), self.store.core().leases().ids());
        if self.check_admin(&request).is_err() {
            ids.iter().try_for_each(|&id| self.check_lease(&who, id, Right::Read))?;
        }
        let leases = ids.into_iter().map(|id| pb::LeaseStatus { id }).collect();
        Ok(Response::new(pb::LeaseLeasesResponse { header: self.header_now(), leases }))
    }
}
