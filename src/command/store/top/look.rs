//! One look at a store: its status, the latency of a read, who watches.

use super::super::print::natural;
use super::super::which::Opened;
use super::metrics;
use anyhow::Context;
use bytes::Bytes;
use serde_json::{Value, json};
use skiff_proto::etcd::etcdserverpb as pb;
use std::time::Duration;
use tokio::time::Instant;

/// What was seen.
pub(super) struct Look {
    at: Instant,
    pub(super) version: String,
    pub(super) revision: i64,
    /// Since the look before, if there was one.
    pub(super) writes_per_second: Option<f64>,
    pub(super) db_bytes: u64,
    pub(super) used_bytes: u64,
    /// Of one key, agreed on by the cluster.
    pub(super) probe: Duration,
    /// `None`: the server does not tell.
    pub(super) watchers: Option<u64>,
    pub(super) leases: usize,
    /// What the server complains about.
    pub(super) errors: Vec<String>,
}

impl Look {
    pub(super) async fn take(opened: &Opened, last: Option<&Look>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let probe = pb::RangeRequest { key: Bytes::from_static(b"health"), ..Default::default() };
        opened.ask("read", opened.kv().range(probe)).await?;
        let (probe, at) = (started.elapsed(), Instant::now());
        let status = opened.status().await?;
        let leases = opened.ask("list of leases", opened.lease().lease_leases(pb::LeaseLeasesRequest {})).await?;
        let revision = status.header.context("the status lacks its header")?.revision;
        Ok(Self {
            at,
            revision,
            writes_per_second: last.map(|last| rate(last, revision, at)),
            version: status.version,
            db_bytes: natural(status.db_size),
            used_bytes: natural(status.db_size_in_use),
            probe,
            watchers: metrics::gauge(opened, "etcd_debugging_mvcc_watcher_total").await,
            leases: leases.leases.len(),
            errors: status.errors,
        })
    }

    pub(super) fn value(&self) -> Value {
        json!({
            "version": self.version, "revision": self.revision, "writesPerSecond": self.writes_per_second,
            "watchers": self.watchers, "leases": self.leases, "dbSize": self.db_bytes,
            "dbSizeInUse": self.used_bytes, "probeMilliseconds": self.probe.as_secs_f64() * 1000.0,
            "errors": self.errors,
        })
    }
}

/// Every successful write is one revision.
fn rate(last: &Look, revision: i64, at: Instant) -> f64 {
    let seconds = at.duration_since(last.at).as_secs_f64().max(0.001);
    revision.saturating_sub(last.revision).max(0) as f64 / seconds
}
