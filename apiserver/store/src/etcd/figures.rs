//! `/metrics`: what dashboards made for etcd look at, under etcd's names, where we have the same thing to say.
//!
//! As in etcd a writer waits for a sync of the log, and the database behind it takes many writes in a commit that nobody waits for.
//! There is no consensus, so nothing is proposed to anyone.

use super::SERVED_VERSION;
use crate::Store;
use crate::core::Core;
use crate::metrics::Durations;
use axum::extract::State;
use std::fmt::Write;

/// Prometheus' text format.
pub(super) async fn metrics(State(store): State<Store>) -> String {
    let core = store.core();
    let mut text = String::new();
    for (name, help, value) in gauges(core) {
        one(&mut text, name, "gauge", help, &value);
    }
    for (name, help, value) in counters(core) {
        one(&mut text, name, "counter", help, &value.to_string());
    }
    let (syncs, commits) = (core.engine.syncs(), core.engine.commits());
    histogram(&mut text, "etcd_disk_wal_fsync_duration_seconds", "Seconds a sync of the log takes.", syncs);
    histogram(
        &mut text,
        "etcd_disk_backend_commit_duration_seconds",
        "Seconds a commit of the database takes.",
        commits,
    );
    let labelled = [
        ("etcd_server_id", "Which member this is.", format!("server_id=\"{:x}\"", core.member)),
        ("etcd_server_version", "Which etcd it stands in for.", format!("server_version=\"{SERVED_VERSION}\"")),
    ];
    for (name, help, label) in labelled {
        let _strings_take_all = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{{{label}}} 1\n");
    }
    let (started, handled) = core.metrics.calls.lines();
    text += "# HELP grpc_server_started_total Calls begun.\n# TYPE grpc_server_started_total counter\n";
    text += &started;
    text += "# HELP grpc_server_handled_total Calls ended, by code.\n# TYPE grpc_server_handled_total counter\n";
    text += &handled;
    text
}

fn one(text: &mut String, name: &str, kind: &str, help: &str, value: &str) {
    // Writing to a string cannot fail.
    let _strings_take_all = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
}

type Figure<T> = (&'static str, &'static str, T);

fn gauges(core: &Core) -> Vec<Figure<String>> {
    core.count_removed();
    let (revision, compacted, used) = {
        let view = core.view();
        (view.durable, view.compacted, view.history_bytes)
    };
    let streams = core.metrics.streams.value() - core.metrics.streams_closed.value();
    let mut gauges = vec![
        ("etcd_server_has_leader", "Whether somebody decides; one node does.", "1".to_owned()),
        ("etcd_server_is_leader", "Whether it is this node.", "1".to_owned()),
        (
            "etcd_server_quota_backend_bytes",
            "Bytes of history before writes are refused.",
            core.options.quota_bytes.to_string(),
        ),
        ("etcd_mvcc_db_total_size_in_bytes", "Bytes of the database file.", core.engine.disk_bytes().to_string()),
        ("etcd_mvcc_db_total_size_in_use_in_bytes", "Bytes of the history in it.", used.to_string()),
        ("etcd_debugging_mvcc_current_revision", "The newest revision.", revision.to_string()),
        ("etcd_debugging_mvcc_compact_revision", "What history was compacted to.", compacted.to_string()),
        ("etcd_debugging_mvcc_keys_total", "Keys that exist.", core.metrics.keys().to_string()),
        ("etcd_debugging_mvcc_watcher_total", "Watches.", core.hub.watchers().to_string()),
        ("etcd_debugging_mvcc_watch_stream_total", "Streams of watches.", streams.to_string()),
    ];
    gauges.extend(resident_bytes().map(|bytes| ("process_resident_memory_bytes", "Memory.", bytes.to_string())));
    gauges.extend(open_files().map(|files| ("process_open_fds", "Open file descriptors.", files.to_string())));
    gauges
}

fn counters(core: &Core) -> [Figure<u64>; 9] {
    let metrics = &core.metrics;
    [
        ("etcd_server_leader_changes_seen_total", "Nobody else ever leads.", 0),
        ("etcd_mvcc_put_total", "Keys written.", metrics.puts.value()),
        ("etcd_mvcc_delete_total", "Keys deleted.", metrics.deletes.value()),
        ("etcd_mvcc_range_total", "Ranges read.", metrics.ranges.value()),
        ("etcd_mvcc_txn_total", "Transactions, plain writes included.", metrics.txns.value()),
        ("etcd_debugging_lease_granted_total", "Leases granted.", metrics.granted.value()),
        ("etcd_debugging_lease_revoked_total", "Leases revoked.", metrics.revoked.value()),
        ("etcd_debugging_lease_renewed_total", "Leases kept alive.", metrics.renewed.value()),
        ("etcd_debugging_server_lease_expired_total", "Leases whose time was over.", metrics.expired.value()),
    ]
}

fn histogram(text: &mut String, name: &str, help: &str, durations: &Durations) {
    let _strings_take_all = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    for (bound, count) in durations.classes() {
        let _strings_take_all = writeln!(text, "{name}_bucket{{le=\"{}\"}} {count}", bound.as_secs_f64());
    }
    let (count, sum) = durations.total();
    let _ =
        write!(text, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {}\n{name}_count {count}\n", sum.as_secs_f64());
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

fn open_files() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count())
}
