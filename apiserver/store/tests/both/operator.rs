//! What operators' tools ask for.

use crate::server::{Server, said};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::health::v1::HealthCheckRequest;
use skiff_store::etcd::{Member, ServeOptions, serve};
use skiff_store::{Options, Store};
use tokio_util::sync::CancellationToken;
use tonic::Code;

async fn member(server: &Server) -> u64 {
    server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner().leader
}

fn refused(code: Code, text: &str) -> (Code, String) {
    (code, format!("etcdserver: {text}"))
}

pub(crate) async fn answers(server: &Server) {
    let status = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.leader, status.header.unwrap().member_id);
    assert!(status.version.starts_with("3.5.") && status.db_size > 0 && status.errors.is_empty());
    let members = server.cluster().member_list(pb::MemberListRequest::default()).await.unwrap().into_inner().members;
    assert_eq!((members.len(), members[0].id, members[0].name.as_str()), (1, status.leader, "default"));
    assert_eq!(members[0].client_ur_ls, std::slice::from_ref(&server.url));
    let precondition = |text: &str| refused(Code::FailedPrecondition, text);
    let mut cluster = server.cluster();
    let unknown = refused(Code::NotFound, "member not found");
    assert_eq!(said(cluster.member_remove(pb::MemberRemoveRequest { id: 1 }).await), unknown);
    assert_eq!(said(cluster.member_promote(pb::MemberPromoteRequest { id: 1 }).await), unknown);
    let urls = vec!["nonsense".to_owned()];
    let bad = cluster.member_add(pb::MemberAddRequest { peer_ur_ls: urls, ..Default::default() }).await;
    assert_eq!(said(bad), refused(Code::InvalidArgument, "given member URLs are invalid"));
    let mut maintenance = server.maintenance();
    let moved = maintenance.move_leader(pb::MoveLeaderRequest { target_id: 1 }).await;
    assert_eq!(said(moved), precondition("bad leader transferee"));
    let downgrade = |action, version: &str| pb::DowngradeRequest { action, version: version.to_owned() };
    let invalid = |text: &str| refused(Code::InvalidArgument, text);
    let answer = maintenance.downgrade(downgrade(0, "3.2.0")).await;
    assert_eq!(said(answer), invalid("invalid downgrade target version"));
    assert_eq!(said(maintenance.downgrade(downgrade(0, "x")).await), invalid("wrong downgrade target version format"));
    assert_eq!(maintenance.downgrade(downgrade(0, "3.4.0")).await.unwrap().into_inner().version, "3.5.0");
    assert_eq!(said(maintenance.downgrade(downgrade(2, "")).await), precondition("no inflight downgrade job"));
    auth(server).await;
    let health = |service: &str| HealthCheckRequest { service: service.to_owned() };
    assert_eq!(server.health().check(health("")).await.unwrap().into_inner().status, 1);
    assert_eq!(said(server.health().check(health("x")).await).0, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_listed_as_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), Options::default()).unwrap();
    let url = format!("http://127.0.0.1:{}", skiff_harness::free_port());
    let client_urls = ["http://store.example:2379", "https://10.0.0.1:2379"].map(str::to_owned).to_vec();
    let member = Member { name: "m1".to_owned(), client_urls: client_urls.clone() };
    let options = ServeOptions { member, ..ServeOptions::at([url.parse().unwrap()]) };
    let serving = tokio::spawn(serve(store, options, CancellationToken::new()));
    crate::peers::wait_for(&url).await;
    let mut cluster = Server::connect(&url, false).await.cluster();
    let members = cluster.member_list(pb::MemberListRequest::default()).await.unwrap().into_inner().members;
    assert_eq!((members[0].name.as_str(), &members[0].client_ur_ls), ("m1", &client_urls));
    serving.abort();
}

/// Fault S9: a compaction that waits for the removal leaves nothing to be counted later.
#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_shows_in_the_size_in_use_at_once() {
    let ours = crate::peers::ours(Options::default()).await;
    let server = Server::connect(&ours.url, false).await;
    let in_use = async || server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner().db_size_in_use;
    let mut last = 0;
    for _ in 0..10 {
        last = server.try_put("u/a", vec![0; 10_000], 0).await.unwrap();
    }
    assert!(in_use().await > 100_000);
    server.compact(last).await;
    assert!(in_use().await < 20_000, "one of ten is left");
}

async fn auth(server: &Server) {
    let precondition = |text: &str| refused(Code::FailedPrecondition, text);
    let mut auth = server.auth();
    assert!(!auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner().enabled);
    assert_eq!(said(auth.auth_enable(pb::AuthEnableRequest {}).await), precondition("root user does not exist"));
    auth.auth_disable(pb::AuthDisableRequest {}).await.unwrap();
    let who = pb::AuthenticateRequest { name: "a".to_owned(), password: "b".to_owned() };
    assert_eq!(said(auth.authenticate(who).await), precondition("authentication is not enabled"));
    let user = pb::AuthUserGetRequest { name: "a".to_owned() };
    assert_eq!(said(auth.user_get(user).await), precondition("user name not found"));
    let role = pb::AuthRoleGetRequest { role: "a".to_owned() };
    assert_eq!(said(auth.role_get(role).await), precondition("role name not found"));
    assert!(auth.user_list(pb::AuthUserListRequest {}).await.unwrap().into_inner().users.is_empty());
}

/// With NOSPACE nothing that takes space is done, with CORRUPT nothing is written at all; reading goes on.
pub(crate) async fn alarms(server: &Server) {
    let member_id = member(server).await;
    let alarm = |action, alarm| pb::AlarmRequest { action, member_id, alarm };
    let raised = |answer: pb::AlarmResponse| answer.alarms.iter().map(|alarm| alarm.alarm).collect::<Vec<_>>();
    let mut maintenance = server.maintenance();
    server.put("a/a", "1").await;
    for (kind, name, refusal) in [
        (1, "NOSPACE", refused(Code::ResourceExhausted, "mvcc: database space exceeded")),
        (2, "CORRUPT", refused(Code::DataLoss, "corrupt cluster")),
    ] {
        assert_eq!(raised(maintenance.alarm(alarm(1, kind)).await.unwrap().into_inner()), [kind]);
        assert_eq!(raised(maintenance.alarm(alarm(0, 0)).await.unwrap().into_inner()), [kind]);
        let errors = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner().errors;
        assert_eq!(errors, [format!("memberID:{member_id} alarm:{name} ")]);
        assert_eq!(said(server.try_put("a/a", "2", 0).await), refusal);
        assert_eq!(said(server.grant(0, 100).await), refusal);
        assert_eq!(server.keys("a/").await, ["a/a"]);
        let delete = pb::DeleteRangeRequest { key: "a/b".into(), ..Default::default() };
        let deleted = server.kv().delete_range(delete).await;
        assert_eq!(deleted.is_ok(), kind == 1, "{deleted:?}");
        assert_eq!(raised(maintenance.alarm(alarm(2, kind)).await.unwrap().into_inner()), [kind]);
        assert!(raised(maintenance.alarm(alarm(2, kind)).await.unwrap().into_inner()).is_empty());
        server.put("a/a", "3").await;
    }
}

/// etcd lets an alarm be raised for member 0, beside that of a member; clients do so that mean the whole cluster.
pub(crate) async fn alarms_of_nobody(server: &Server) {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    let us = member(server).await;
    let alarm = async |action: pb::alarm_request::AlarmAction, member_id| {
        let request = pb::AlarmRequest { action: action.into(), member_id, alarm: pb::AlarmType::Nospace.into() };
        let alarms = server.maintenance().alarm(request).await.unwrap().into_inner().alarms;
        let mut members: Vec<u64> = alarms.iter().map(|alarm| alarm.member_id).collect();
        members.sort_unstable();
        members
    };
    assert!(alarm(Deactivate, 0).await.is_empty());
    assert_eq!(alarm(Activate, 0).await, [0]);
    assert_eq!(alarm(Activate, 0).await, [0], "once more");
    assert_eq!(said(server.try_put("n", "1", 0).await).0, Code::ResourceExhausted);
    assert!(alarm(Deactivate, us).await.is_empty(), "ours is another one");
    assert_eq!(alarm(Activate, us).await, [us]);
    assert_eq!(alarm(Get, 0).await, [0, us]);
    let mut errors = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner().errors;
    errors.sort_unstable();
    assert_eq!(errors, ["alarm:NOSPACE ".to_owned(), format!("memberID:{us} alarm:NOSPACE ")]);
    assert_eq!(alarm(Deactivate, 0).await, [0]);
    assert_eq!(alarm(Get, 0).await, [us]);
    assert_eq!(alarm(Deactivate, us).await, [us]);
    server.put("n", "1").await;
}
