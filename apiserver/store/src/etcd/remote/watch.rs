//! A watch on an etcd that outlives its connection: it goes on after the last revision it delivered.

use super::link::{Link, Member};
use super::miss::Miss;
use super::{entry, revision};
use crate::backend::{BackendError, Change, Revision, WatchBatch};
use crate::keys::KeyRange;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use skiff_proto::etcd::mvccpb;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// First pause before connecting again; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Attempts in a row before the watcher is told, about half a minute: long enough for an etcd to restart.
const ATTEMPTS_MAX: u32 = 10;
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a member sends.
pub(crate) type Answers = Streaming<pb::WatchResponse>;

struct Open {
    answers: Answers,
    /// etcd ends the stream when we close our side of it.
    _requests: mpsc::Sender<pb::WatchRequest>,
}

struct Following {
    link: Arc<Link>,
    keys: KeyRange,
    /// The receiver has everything up to here.
    after: Revision,
    open: Option<Open>,
    /// Who serves it, or was asked last.
    member: Member,
    failed: u32,
}

/// Every change below `prefix` after `after`.
pub(super) fn watch(
    link: Arc<Link>,
    prefix: Bytes,
    after: Revision,
) -> BoxStream<'static, Result<WatchBatch, BackendError>> {
    let following = Following { link, keys: KeyRange::prefix(&prefix, None), after, open: None, member: 0, failed: 0 };
    stream::unfold(Some(following), |following| async {
        let mut following = following?;
        match following.next().await {
            Ok(batch) => Some((Ok(batch), Some(following))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

impl Following {
    async fn next(&mut self) -> Result<WatchBatch, BackendError> {
        loop {
            let lost = match &mut self.open {
                None => match self.connect().await {
                    Ok(open) => {
                        self.open = Some(open);
                        continue;
                    }
                    Err(error) => error,
                },
                Some(open) => match open.answers.message().await {
                    Ok(Some(answer)) => match self.read(answer)? {
                        Some(batch) => return Ok(batch),
                        None => continue,
                    },
                    Ok(None) => BackendError::Unavailable("the watch ended".to_owned()),
                    Err(status) => Miss::from(status).told(),
                },
            };
            self.lost(lost).await?;
        }
    }

    async fn connect(&mut self) -> Result<Open, BackendError> {
        let (key, range_end) = self.keys.clone().into_etcd();
        let create = pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.after + 1,
            progress_notify: true,
            prev_kv: true,
            ..Default::default()
        };
        let (requests, receiver) = mpsc::channel(1);
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        // There is room for one, and the receiver is right here.
        let _has_room = requests.try_send(create);
        let (member, answers) = self.link.watch(ReceiverStream::new(receiver)).await;
        self.member = member;
        Ok(Open { answers: answers?, _requests: requests })
    }

    async fn lost(&mut self, why: BackendError) -> Result<(), BackendError> {
        self.open = None;
        self.failed += 1;
        match why {
            BackendError::Unavailable(_) if self.failed < ATTEMPTS_MAX => {
                self.link.leave(self.member);
                tokio::time::sleep((PAUSE_MIN * 2_u32.pow(self.failed)).min(PAUSE_MAX)).await;
                Ok(())
            }
            other => Err(other),
        }
    }

    fn read(&mut self, answer: pb::WatchResponse) -> Result<Option<WatchBatch>, BackendError> {
        if answer.compact_revision > 0 {
            return Err(BackendError::Compacted { oldest: answer.compact_revision });
        }
        if answer.canceled {
            return Err(BackendError::Unavailable(format!("the watch was cancelled: {}", answer.cancel_reason)));
        }
        self.failed = 0;
        if answer.created {
            return Ok(None);
        }
        if answer.events.is_empty() {
            self.after = self.after.max(revision(answer.header.as_ref())?);
            return Ok(Some(WatchBatch::Progress(self.after)));
        }
        // A member that lags behind may deliver older events to a watch that starts in its future (etcd issue 20221).
        let after = self.after;
        let is_new = |event: &mvccpb::Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision > after);
        let events: Vec<_> = answer.events.into_iter().filter(is_new).collect();
        let last = events.last().and_then(|event| event.kv.as_ref());
        self.after = last.map_or(after, |kv| kv.mod_revision);
        let changes: Vec<_> = events.into_iter().filter_map(change).collect();
        Ok((!changes.is_empty()).then_some(WatchBatch::Changes(changes)))
    }
}

fn change(event: mvccpb::Event) -> Option<Change> {
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    let (kv, previous) = (event.kv?, event.prev_kv.map(entry));
    if deleted {
        // Without what was deleted there is nothing to say; only a watch from a compacted deletion on gets here.
        Some(Change::Delete { previous: previous?, revision: kv.mod_revision })
    } else {
        Some(Change::Put { entry: entry(kv), previous })
    }
}
