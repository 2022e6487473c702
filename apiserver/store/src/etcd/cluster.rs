//! etcd's Cluster service: this cluster is one member and stays so.

use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

use super::{Service, answer};

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_list(&self, _: Request<pb::MemberListRequest>) -> Result<Response<pb::MemberListResponse>, Status> {
        let us = pb::Member {
            id: self.store.core().member,
            name: "default".to_owned(),
            client_ur_ls: self.urls.to_vec(),
            ..Default::default()
        };
        Ok(Response::new(pb::MemberListResponse { header: self.header_of_no_revision(), members: vec![us] }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        Err(answer::left_out("MemberAdd"))
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        Err(answer::left_out("MemberRemove"))
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        Err(answer::left_out("MemberUpdate"))
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        Err(answer::left_out("MemberPromote"))
    }
}
