//! etcd's Maintenance service.

use super::{SERVED_VERSION, Service, answer, check, hash};
use crate::request::{Alarm, Raiser, Refusal};
use crate::snapshot;
use crate::writer::Work;
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::maintenance_server::Maintenance;
use tonic::{Request, Response, Status};

/// The only release that etcd 3.5 may be downgraded to.
const DOWNGRADES_TO: (u64, u64) = (3, 4);
/// What etcd calls the version of a cluster: without the patch.
pub(crate) const CLUSTER_VERSION: &str = "3.5.0";

impl Service {
    /// The alarms raised, as etcd shows them.
    pub(super) fn alarms(&self) -> Vec<pb::AlarmMember> {
        let core = self.store.core();
        let all = Alarm::ALL.into_iter().flat_map(|alarm| Raiser::ALL.map(|raiser| (alarm, raiser)));
        let shown = |(alarm, raiser)| pb::AlarmMember { member_id: self.id(raiser), alarm: kind(alarm).into() };
        all.filter(|&(alarm, raiser)| core.is_alarmed(alarm, raiser)).map(shown).collect()
    }

    fn id(&self, raiser: Raiser) -> u64 {
        match raiser {
            Raiser::Us => self.store.core().member,
            Raiser::Nobody => 0,
        }
    }

    async fn set_alarm(
        &self,
        request: &pb::AlarmRequest,
        raiser: Raiser,
        raised: bool,
    ) -> Result<Vec<pb::AlarmMember>, Status> {
        let Some(alarm) = Alarm::ALL.into_iter().find(|&alarm| kind(alarm) == request.alarm()) else {
            return Ok(Vec::new());
        };
        if !raised && !self.store.core().view().alarms.has_for(alarm, raiser) {
            return Ok(Vec::new());
        }
        self.store.ask(|reply| Work::Alarm(alarm, raiser, raised, reply)).await?;
        Ok(vec![pb::AlarmMember { member_id: request.member_id, alarm: request.alarm }])
    }

    async fn hashed(&self, revision: i64) -> Result<hash::Hashed, Status> {
        let core = self.store.core().clone();
        let hashed = tokio::task::spawn_blocking(move || hash::history(&core, revision)).await;
        Ok(hashed.map_err(|error| Refusal::Failed(format!("hash the history: {error}")))??)
    }
}

fn kind(alarm: Alarm) -> pb::AlarmType {
    match alarm {
        Alarm::NoSpace => pb::AlarmType::Nospace,
        Alarm::Corrupt => pb::AlarmType::Corrupt,
    }
}

#[tonic::async_trait]
impl Maintenance for Service {
    async fn alarm(&self, request: Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        use pb::alarm_request::AlarmAction;
        match request.get_ref().action() {
            AlarmAction::Get => self.check_known(&request)?,
            _ => self.check_admin(&request)?,
        }
        let request = request.into_inner();
        check::known::<AlarmAction>("AlarmRequest.action", request.action)?;
        check::known::<pb::AlarmType>("AlarmRequest.alarm", request.alarm)?;
        let raiser = Raiser::ALL.into_iter().find(|&raiser| self.id(raiser) == request.member_id);
        let alarms = match (request.action(), raiser) {
            (AlarmAction::Get, _) => {
                let all = request.alarm() == pb::AlarmType::None;
                self.alarms().into_iter().filter(|raised| all || raised.alarm == request.alarm).collect()
            }
            // etcd keeps alarms of any other number too; nobody could have raised them here.
            (AlarmAction::Activate, None) => return Err(answer::member_not_found()),
            (AlarmAction::Activate, Some(raiser)) => self.set_alarm(&request, raiser, true).await?,
            (AlarmAction::Deactivate, None) => Vec::new(),
            (AlarmAction::Deactivate, Some(raiser)) => self.set_alarm(&request, raiser, false).await?,
        };
        Ok(Response::new(pb::AlarmResponse { header: self.header_now(), alarms }))
    }

    async fn status(&self, request: Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        self.check_known(&request)?;
        let core = self.store.core();
        core.check()?;
        core.count_removed();
        let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (revision, used) = {
            let view = core.view();
            (view.durable, view.history_bytes)
        };
        let index = revision.unsigned_abs();
        // Protobuf's own text leaves a zero out.
        let shown = |alarm: pb::AlarmMember| match alarm.member_id {
            0 => format!("alarm:{} ", alarm.alarm().as_str_name()),
            id => format!("memberID:{id} alarm:{} ", alarm.alarm().as_str_name()),
        };
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
            errors: self.alarms().into_iter().map(shown).collect(),
            ..Default::default()
        }))
    }

    async fn defragment(
        &self,
        request: Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        self.check_admin(&request)?;
        self.store.defragment().await?;
        Ok(Response::new(pb::DefragmentResponse { header: None }))
    }

    /// etcd hashes its database file here; ours is another file, so this is the hash of all history.
    async fn hash(&self, request: Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        self.check_admin(&request)?;
        let hashed = self.hashed(0).await?;
        Ok(Response::new(pb::HashResponse { header: self.header()(hashed.newest), hash: hashed.hash }))
    }

    async fn hash_kv(&self, request: Request<pb::HashKvRequest>) -> Result<Response<pb::HashKvResponse>, Status> {
        self.check_admin(&request)?;
        let hashed = self.hashed(request.into_inner().revision).await?;
        Ok(Response::new(pb::HashKvResponse {
            header: self.header()(hashed.newest),
            hash: hashed.hash,
            compact_revision: hashed.compacted,
            ..Default::default()
        }))
    }

    type SnapshotStream = BoxStream<'static, Result<pb::SnapshotResponse, Status>>;

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.check_admin(&request)?;
        let answers = snapshot::pieces(&self.store).map(|piece| {
            let snapshot::Piece { bytes, remaining } = piece?;
            Ok(pb::SnapshotResponse { remaining_bytes: remaining, blob: bytes, ..Default::default() })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn move_leader(
        &self,
        request: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderResponse>, Status> {
        self.check_admin(&request)?;
        match request.into_inner().target_id {
            // Nothing to do.
            id if id == self.store.core().member => Ok(Response::new(pb::MoveLeaderResponse { header: None })),
            _ => Err(Status::failed_precondition("etcdserver: bad leader transferee")),
        }
    }

    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        use pb::downgrade_request::DowngradeAction;
        self.check_admin(&request)?;
        let request = request.into_inner();
        let Ok(action) = DowngradeAction::try_from(request.action) else {
            return Err(Status::unknown("etcdserver: unknown method"));
        };
        match action {
            DowngradeAction::Cancel => Err(Status::failed_precondition("etcdserver: no inflight downgrade job")),
            _ if release(&request.version)? != DOWNGRADES_TO => {
                Err(Status::invalid_argument("etcdserver: invalid downgrade target version"))
            }
            DowngradeAction::Enable => Err(answer::left_out("Downgrade")),
            DowngradeAction::Validate => {
                let version = CLUSTER_VERSION.to_owned();
                Ok(Response::new(pb::DowngradeResponse { header: self.header_now(), version }))
            }
        }
    }
}

/// Major and minor of `3.4` or `3.4.0`.
fn release(version: &str) -> Result<(u64, u64), Status> {
    let numbers: Option<Vec<u64>> = version.split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some([major, minor] | [major, minor, _]) => Ok((*major, *minor)),
        _ => Err(Status::invalid_argument("etcdserver: wrong downgrade target version format")),
    }
}
