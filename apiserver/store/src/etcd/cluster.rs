//! etcd's Cluster service: this cluster is one member and stays so. What is told of it can be changed: its peer URLs are kept, though nobody
//! listens on them.

use super::{Service, answer};
use crate::users::Change;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::cluster_server::Cluster;
use tonic::{Request, Response, Status};

impl Service {
    /// Refuses what names a member that does not exist.
    fn known(&self, id: u64) -> Result<(), Status> {
        if id == self.store.core().member { Ok(()) } else { Err(answer::member_not_found()) }
    }
}

/// A peer URL as etcd takes it: `http` or `https` with host and port and nothing behind, or a unix socket.
fn is_peer_url(url: &str) -> bool {
    let rest = match url.trim().split_once("://") {
        Some(("http" | "https", rest)) => rest,
        Some(("unix" | "unixs", rest)) => return !rest.is_empty(),
        _ => return false,
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    rest.rsplit_once(':').is_some_and(|(host, port)| !host.contains('/') && is_port(port))
}

fn check_peer_urls(urls: &[String]) -> Result<(), Status> {
    let are_urls = !urls.is_empty() && urls.iter().all(|url| is_peer_url(url));
    if are_urls { Ok(()) } else { Err(Status::invalid_argument("etcdserver: given member URLs are invalid")) }
}

impl Service {
    /// The one member, as it is now.
    fn us(&self) -> pb::Member {
        let core = self.store.core();
        pb::Member {
            id: core.member,
            name: self.shown.name.clone(),
            peer_ur_ls: core.users().peer_urls().to_vec(),
            client_ur_ls: self.shown.client_urls.clone(),
            ..Default::default()
        }
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        self.check_known(&request)?;
        Ok(Response::new(pb::MemberListResponse { header: self.header_of_no_revision(), members: vec![self.us()] }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        self.check_admin(&request)?;
        let urls = request.into_inner().peer_ur_ls;
        check_peer_urls(&urls)?;
        if self.us().peer_ur_ls.iter().any(|ours| urls.contains(ours)) {
            return Err(Status::failed_precondition("etcdserver: Peer URLs already exists"));
        }
        // Another member could never start: an etcd that waited for one would have no quorum from here on.
        Err(answer::left_out("MemberAdd"))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        self.check_admin(&request)?;
        self.known(request.into_inner().id)?;
        let few = "etcdserver: re-configuration failed due to not enough started members";
        // etcd has no code for it.
        Err(Status::unknown(few))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        self.check_admin(&request)?;
        self.known(request.get_ref().id)?;
        let urls = request.get_ref().peer_ur_ls.clone();
        check_peer_urls(&urls)?;
        self.change(&request, Change::PeerUrls(urls)).await?;
        Ok(Response::new(pb::MemberUpdateResponse { header: self.header_of_no_revision(), members: vec![self.us()] }))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_those_that_etcd_takes() {
        for good in ["http://a:1", "https://10.0.0.1:2380", "http://[::1]:2380", "unix://a.sock", " http://a:1 "] {
            assert!(is_peer_url(good), "{good}");
        }
        for bad in ["", "nonsense", "http://a", "http://a:1/path", "http://a:", "ftp://a:1", "unix://", "http://a:x"] {
            assert!(!is_peer_url(bad), "{bad}");
        }
        assert!(check_peer_urls(&[]).is_err(), "a member has one at least");
    }
}
