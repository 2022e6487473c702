//! The keys of a range, some at a time, all as of one revision.

use super::which::Opened;
use anyhow::{Context, bail};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::mvccpb::KeyValue;
use skiff_store::keys::KeyRange;

/// Reads a range that a server does not answer at once: each page begins after the last key of the one before.
pub(super) struct Pages<'a> {
    opened: &'a Opened,
    /// What is asked for next.
    range: pb::RangeRequest,
    ended: bool,
}

/// Every key that begins so, at present.
pub(super) fn beginning(prefix: &str) -> pb::RangeRequest {
    let (key, range_end) = KeyRange::prefix(&prefix.to_owned().into(), None).into_etcd();
    pb::RangeRequest { key, range_end, ..Default::default() }
}

/// The key after `key`.
fn after(key: &Bytes) -> Bytes {
    [&key[..], &[0]].concat().into()
}

/// The revision of an answer.
pub(super) fn revision(header: Option<pb::ResponseHeader>) -> anyhow::Result<i64> {
    header.map(|header| header.revision).context("the answer lacks its header")
}

impl<'a> Pages<'a> {
    /// `range` in the order of its keys, at most its limit at a time, as of its revision; without one, as of the first page's.
    pub(super) fn new(opened: &'a Opened, range: pb::RangeRequest) -> Self {
        Self { opened, range, ended: false }
    }

    /// The next keys; `None`: there are no more.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<Vec<KeyValue>>> {
        if self.ended {
            return Ok(None);
        }
        let page = self.opened.ask("keys", self.opened.kv().range(self.range.clone())).await?;
        if self.range.revision == 0 {
            self.range.revision = revision(page.header)?;
        }
        match page.kvs.last() {
            Some(last) => self.range.key = after(&last.key),
            None if page.more => bail!("{} has more keys and shows none", self.opened.name),
            None => (),
        }
        self.ended = !page.more;
        Ok(Some(page.kvs))
    }

    /// The revision that all pages show; 0: none was read yet.
    pub(super) fn revision(&self) -> i64 {
        self.range.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next() {
        let bounds = |prefix| (beginning(prefix).key, beginning(prefix).range_end);
        assert_eq!(bounds("/registry/"), ("/registry/".into(), "/registry0".into()));
        assert_eq!(bounds(""), (Bytes::from_static(&[0]), Bytes::from_static(&[0])));
    }
}
