//! What is asked over plain HTTP on the client port: probes, the version, figures.

use crate::server::Server;
use skiff_proto::etcd::etcdserverpb as pb;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What we tell of ourselves, under the names that etcd has for it.
const FIGURES: &[&str] = &[
    "etcd_server_has_leader",
    "etcd_server_is_leader",
    "etcd_server_quota_backend_bytes",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_mvcc_watch_stream_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "etcd_server_leader_changes_seen_total",
    "etcd_mvcc_put_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_server_id",
    "etcd_server_version",
    "grpc_server_started_total",
    "grpc_server_handled_total",
];

/// The code and the text of the answer to a GET.
async fn get(server: &Server, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), text.to_owned())
}

async fn set_alarm(server: &Server, alarm: pb::AlarmType, action: pb::alarm_request::AlarmAction) {
    let member_id = server.maintenance().status(pb::StatusRequest {}).await.unwrap().into_inner().leader;
    let request = pb::AlarmRequest { action: action.into(), member_id, alarm: alarm.into() };
    server.maintenance().alarm(request).await.unwrap();
}

/// etcd tells the checks in any order.
fn sorted_lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

pub(crate) async fn probes(server: &Server) {
    use pb::AlarmType::{Corrupt, Nospace};
    use pb::alarm_request::AlarmAction::{Activate, Deactivate};
    let well = (200, r#"{"health":"true","reason":""}"#.to_owned());
    let ok = (200, "ok\n".to_owned());
    assert_eq!(get(server, "/health").await, well);
    assert_eq!(get(server, "/health?serializable=true").await, well);
    for path in ["/livez", "/readyz", "/livez/serializable_read", "/readyz/linearizable_read"] {
        assert!(matches!(get(server, path).await, (200, text) if text.starts_with("ok")), "{path}");
    }
    let (code, verbose) = get(server, "/readyz?verbose").await;
    let told = ["[+]data_corruption ok", "[+]linearizable_read ok", "[+]serializable_read ok", "ok"];
    assert_eq!((code, sorted_lines(&verbose)), (200, told.to_vec()));
    assert_eq!(get(server, "/readyz/no-such-check").await.0, 404);
    assert_eq!(get(server, "/no-such-page").await.0, 404);

    set_alarm(server, Nospace, Activate).await;
    let (code, text) = get(server, "/health").await;
    assert_eq!((code, text.trim()), (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#));
    assert_eq!(get(server, "/health?exclude=NOSPACE").await, well);
    assert_eq!(get(server, "/readyz").await, ok, "it can still be read");
    set_alarm(server, Nospace, Deactivate).await;

    set_alarm(server, Corrupt, Activate).await;
    let (code, text) = get(server, "/readyz").await;
    let failed = "[-]data_corruption failed: alarm activated: CORRUPT";
    assert!(code == 503 && text.lines().any(|line| line == failed), "{code} {text}");
    assert_eq!(get(server, "/readyz?exclude=data_corruption").await, ok);
    assert_eq!(get(server, "/livez").await, ok, "starting it again would help nobody");
    set_alarm(server, Corrupt, Deactivate).await;
    assert_eq!(get(server, "/health").await, well);
}

/// The value of a figure without labels.
fn figure(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
}

pub(crate) async fn figures(server: &Server) {
    const SYNCS: &str = "etcd_disk_wal_fsync_duration_seconds_count";
    const COMMITS: &str = "etcd_disk_backend_commit_duration_seconds_count";
    let (code, before) = get(server, "/metrics").await;
    assert_eq!(code, 200);
    for index in 0..10 {
        server.put(&format!("f/{index}"), "value").await;
    }
    server.delete("f/0").await;
    server.keys("f/").await;
    let revision = server.put("f/1", "again").await;
    let (_, after) = get(server, "/metrics").await;
    let told: Vec<&str> = after.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for name in FIGURES {
        assert!(told.contains(name), "no {name}");
    }
    assert!(server.real || told.len() == FIGURES.len(), "each of {told:?} is to be in the list");
    let grown = |name: &str| figure(&after, name) - figure(&before, name);
    assert_eq!(grown("etcd_mvcc_put_total"), 11.0);
    assert_eq!(grown("etcd_mvcc_delete_total"), 1.0);
    assert!(server.real || grown("etcd_debugging_mvcc_keys_total") == 9.0, "nine of ten keys are left");
    assert_eq!(figure(&after, "etcd_debugging_mvcc_current_revision"), revision as f64);
    // One writer that waits for each write: each is a batch of its own. The etcd of this test is told not to sync.
    assert!(server.real || grown(SYNCS) == 12.0, "{} syncs", grown(SYNCS));
    assert!(server.real || grown(COMMITS) == 0.0, "so little stays in the log");
    // Afterwards the database has what it removed, so it has made a commit; etcd makes one every 100 ms.
    server.compact(revision).await;
    let mut commits = 0.0;
    for _ in 0..600 {
        commits = figure(&get(server, "/metrics").await.1, COMMITS) - figure(&before, COMMITS);
        if commits > 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(commits > 0.0, "no commit of the database was counted");
}
