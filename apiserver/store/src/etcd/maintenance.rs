//! etcd's Maintenance service.

use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

use super::{SERVED_VERSION, Service, answer};
use crate::writer::Work;

#[tonic::async_trait]
impl Maintenance for Service {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        let request = request.into_inner();
        let member_id = self.store.core().member;
        let raised = self.store.core().view().no_space;
        let alarm = pb::AlarmMember { member_id, alarm: pb::AlarmType::Nospace.into() };
        let concerns_space = matches!(request.alarm(), pb::AlarmType::Nospace | pb::AlarmType::None);
        let changed = match request.action() {
            AlarmAction::Get => raised && concerns_space,
            AlarmAction::Activate => {
                if request.alarm() != pb::AlarmType::Nospace {
                    return Err(answer::left_out("raising an alarm other than NOSPACE"));
                }
                self.store.ask(|reply| Work::NoSpace(true, reply)).await?;
                true
            }
            AlarmAction::Deactivate => {
                if raised && concerns_space {
                    self.store.ask(|reply| Work::NoSpace(false, reply)).await?;
                }
                raised && concerns_space
            }
        };
        let alarms = if changed { vec![alarm] } else { Vec::new() };
        Ok(Response::new(pb::AlarmResponse { header: self.header_now(), alarms }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        let core = self.store.core();
        core.check()?;
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (revision, used, no_space) = {
            let view = core.view();
            (view.durable, view.history_bytes, view.no_space)
        };
        let index = revision.unsigned_abs();
        Ok(Response::new(pb::StatusResponse {
            header: self.header_now(),
            version: SERVED_VERSION.to_owned(),
            db_size: size(core.engine.disk_bytes()),
            db_size_in_use: size(used),
            db_size_quota: size(core.options.quota_bytes),
            leader: core.member,
            raft_index: index,
            raft_applied_index: index,
            raft_term: 1,
            errors: no_space.then(|| format!("memberID:{} alarm:NOSPACE ", core.member)).into_iter().collect(),
            ..Default::default()
        }))
    }

    async fn defragment(&self, _: Request<pb::DefragmentRequest>) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.store.ask(Work::Defragment).await?;
        Ok(Response::new(pb::DefragmentResponse { header: self.header_now() }))
    }

    async fn hash(&self, _: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        Err(answer::left_out("Hash"))
    }

    async fn hash_kv(&self, _: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        Err(answer::left_out("HashKV"))
    }

    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Err(answer::left_out("Snapshot"))
    }

    async fn move_leader(&self, _: Request<pb::MoveLeaderRequest>) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        Err(answer::left_out("MoveLeader"))
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        Err(answer::left_out("Downgrade"))
    }
}
