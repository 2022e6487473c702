//! What the source has, at one revision.

use super::super::pages::{Pages, beginning};
use super::super::progress::Progress;
use super::super::which::Opened;
use super::{LEFT_OUT, ranged};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;

/// Keys asked for at a time: of Kubernetes' they are 100 bytes each, with their numbers.
const KEYS_PAGE: i64 = 10_000;

/// A key without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) key: Bytes,
    pub(super) lease: i64,
    /// Revision of its last write.
    written: i64,
}

/// See the module.
pub(super) struct Source {
    pub(super) revision: i64,
    /// In order of their last write; those of one transaction in order of key.
    pub(super) keys: Vec<Key>,
    /// The range they are in.
    range: pb::RangeRequest,
}

impl Source {
    /// Lists the keys that begin with `prefix`, as of now.
    pub(super) async fn list(from: &Opened, prefix: &str, progress: &mut Progress) -> anyhow::Result<Self> {
        let whole = beginning(prefix);
        let mut pages = Pages::new(from, pb::RangeRequest { keys_only: true, limit: KEYS_PAGE, ..whole.clone() });
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await? {
            let found = page.into_iter().filter(|kv| kv.key != LEFT_OUT);
            keys.extend(found.map(|kv| Key { key: kv.key, lease: kv.lease, written: kv.mod_revision }));
            progress.show(|| format!("{} keys found", keys.len()));
        }
        // Stable: keys of one transaction stay in order of key.
        keys.sort_by_key(|key| key.written);
        let revision = pages.revision();
        Ok(Self { revision, keys, range: pb::RangeRequest { revision, ..whole } })
    }

    /// The range that was listed.
    pub(super) fn range(&self) -> pb::RangeRequest {
        self.range.clone()
    }
}

/// The values of `keys` at `revision`.
pub(super) async fn values(from: &Opened, keys: &[Key], revision: i64) -> anyhow::Result<Vec<Bytes>> {
    let get = |key: &Key| {
        let range = pb::RangeRequest { key: key.key.clone(), revision, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
    };
    let txn = pb::TxnRequest { success: keys.iter().map(get).collect(), ..Default::default() };
    let done = from.ask("values", from.kv().txn(txn)).await?;
    let found = done.responses.into_iter().map(|response| {
        let found = ranged(response)?;
        let kv = found.kvs.into_iter().next();
        // Nobody changes what a revision shows.
        Ok(kv.ok_or_else(|| anyhow::anyhow!("{} does not show a key that it listed", from.name))?.value)
    });
    found.collect()
}
