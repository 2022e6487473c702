//! Compacts an etcd that several API servers share, by the protocol that kube-apiserver has: ours and theirs may take turns.
//!
//! The key `compact_rev_key` is a clock. Whoever puts it while its version is the one that he saw last has made it tick; the
//! others see that it ticked and adopt the new version. The one that made it tick compacts to the revision that he saw at the
//! tick before, so that what is forgotten is at least one interval old.

use super::link::Link;
use super::revision;
use crate::backend::{BackendError, Revision};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::{request_op, response_op};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CLOCK: Bytes = Bytes::from_static(b"compact_rev_key");

/// One API server's part in it.
pub struct Compactor {
    link: Arc<Link>,
    /// How often the clock was seen to tick: the version of its key.
    ticks: i64,
    /// The store's revision when we looked last; 0: never yet.
    seen: Revision,
}

impl Compactor {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Compactor { link, ticks: 0, seen: 0 }
    }

    /// Takes part every `interval` until `shutdown` is cancelled. What fails is logged and tried again at the next one.
    pub async fn run(mut self, interval: Duration, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(interval) => (),
            }
            match self.tick().await {
                Ok(None) => (),
                Ok(Some(revision)) => tracing::info!(revision, "compacted the etcd"),
                Err(error) => tracing::warn!(%error, "cannot compact the etcd; trying again later"),
            }
        }
    }

    /// Looks at the clock once; returns what was compacted to, if it was on us.
    ///
    /// # Errors
    /// The etcd did not answer.
    pub async fn tick(&mut self) -> Result<Option<Revision>, BackendError> {
        let done = self.link.txn(self.request()).await?;
        let to = std::mem::replace(&mut self.seen, revision(done.header.as_ref())?);
        if !done.succeeded {
            self.ticks = seen_ticks(done)?;
            return Ok(None);
        }
        self.ticks += 1;
        if to == 0 {
            // Started just now: we do not know how old anything is.
            return Ok(None);
        }
        match self.link.compact(to).await {
            Ok(()) => Ok(Some(to)),
            // An operator was faster.
            Err(BackendError::Compacted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn request(&self) -> pb::TxnRequest {
        let op = |request| pb::RequestOp { request: Some(request) };
        let compare = pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Version.into(),
            key: CLOCK,
            target_union: Some(pb::compare::TargetUnion::Version(self.ticks)),
            ..Default::default()
        };
        let put = pb::PutRequest { key: CLOCK, value: self.seen.to_string().into(), ..Default::default() };
        let get = pb::RangeRequest { key: CLOCK, ..Default::default() };
        pb::TxnRequest {
            compare: vec![compare],
            success: vec![op(request_op::Request::RequestPut(put))],
            failure: vec![op(request_op::Request::RequestRange(get))],
        }
    }
}

/// The clock as a refused put shows it; 0: somebody deleted it, and the next put begins anew.
fn seen_ticks(done: pb::TxnResponse) -> Result<i64, BackendError> {
    match done.responses.into_iter().next().and_then(|response| response.response) {
        Some(response_op::Response::ResponseRange(found)) => Ok(found.kvs.first().map_or(0, |kv| kv.version)),
        _ => Err(BackendError::Internal("the answer to a transaction lacks its read".to_owned())),
    }
}
