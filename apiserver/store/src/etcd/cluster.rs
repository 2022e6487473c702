//! etcd's Cluster service: this cluster is one member and stays so.

use super::{Service, answer};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

impl Service {
    /// Refuses what names a member that does not exist.
    fn known(&self, id: u64) -> Result<(), Status> {
        if id == self.store.core().member { Ok(()) } else { Err(answer::member_not_found()) }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.check_known(&request)?;
        let us = pb::Member {
            id: self.store.core().member,
            name: self.shown.name.clone(),
            client_ur_ls: self.shown.client_urls.clone(),
            ..Default::default()
        };
        Ok(Response::new(pb::MemberListResponse { header: self.header_of_no_revision(), members: vec![us] }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.check_admin(&request)?;
        let urls = request.into_inner().peer_ur_ls;
        let is_url = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if urls.is_empty() || !urls.iter().all(is_url) {
            return Err(Status::invalid_argument("etcdserver: given member URLs are invalid"));
        }
        Err(answer::left_out("MemberAdd"))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.check_admin(&request)?;
        self.known(request.into_inner().id)?;
        let few = "etcdserver: re-configuration failed due to not enough started members";
        Err(Status::failed_precondition(few))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.check_admin(&request)?;
        self.known(request.into_inner().id)?;
        Err(answer::left_out("MemberUpdate"))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        self.check_admin(&request)?;
        self.known(request.into_inner().id)?;
        Err(Status::failed_precondition("etcdserver: can only promote a learner member"))
    }
}
