//! The members of an etcd: which of them is asked, how long, and what happens when it does not answer.
//!
//! ```text
//!  read:  ask the member in use ──failed──► the next at once
//!                               ──slow────► the next beside it; the first answer counts
//!  write: ask the member in use ──surely not done──► the next
//!                               ──anything else────► the caller must look
//! ```
//!
//! What surely did nothing is repeated for as long as an election takes. No request takes longer than
//! [`RemoteOptions::request_timeout`].

use super::channel::channel;
use super::miss::Miss;
use super::{RemoteOptions, watch};
use crate::StoreError;
use crate::backend::BackendError;
use futures::future::select_ok;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::etcdserverpb::kv_client::KvClient;
use skiff_proto::etcd::etcdserverpb::lease_client::LeaseClient;
use skiff_proto::etcd::etcdserverpb::maintenance_client::MaintenanceClient;
use skiff_proto::etcd::etcdserverpb::watch_client::WatchClient;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How long a member may take before another is asked beside it: far more than a healthy one needs for a page, and little
/// for a person who waits.
const BESIDE_AFTER: Duration = Duration::from_secs(1);
/// How long what did nothing is repeated: etcd elects a leader 1 to 2 s after it lost one (`--election-timeout` 1 s).
const ELECTION_MAX: Duration = Duration::from_secs(3);
/// Pause after a round in which no member would do it.
const PAUSE: Duration = Duration::from_millis(100);

/// Members, one of them in use.
pub(crate) struct Link {
    members: Vec<Channel>,
    current: AtomicUsize,
    /// How long a request may take, all members and repetitions together.
    patience: Duration,
}

/// Which member.
pub(crate) type Member = usize;

impl Link {
    /// Connects when first used, and again when the connection is lost.
    pub(crate) fn new(options: &RemoteOptions) -> Result<Self, StoreError> {
        let tls = options.tls.as_ref();
        let members: Vec<_> = options.endpoints.iter().map(|url| channel(url, tls)).collect::<Result<_, _>>()?;
        if members.is_empty() {
            let what = "no endpoint was given".to_owned();
            return Err(StoreError::Connect { endpoints: String::new(), what });
        }
        Ok(Link { members, current: AtomicUsize::new(0), patience: options.request_timeout })
    }

    fn current(&self) -> Member {
        self.current.load(Ordering::Relaxed)
    }

    /// Uses the next member from now on, unless somebody has already left this one.
    pub(crate) fn leave(&self, member: Member) {
        let next = (member + 1) % self.members.len();
        // Lost the race: somebody else left it, for one that may well work.
        let _others_may_have_left_it =
            self.current.compare_exchange(member, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks all members at once for their status and uses the first that answers from now on.
    pub(crate) async fn reach(&self) -> Result<(), BackendError> {
        let deadline = self.deadline();
        let ask = |(member, channel): (Member, &Channel)| {
            let mut client = MaintenanceClient::new(channel.clone());
            async move { self.answered(deadline, client.status(pb::StatusRequest {})).await.map(|_| member) }.boxed()
        };
        let (first, _) = select_ok(self.members.iter().enumerate().map(ask)).await.map_err(Miss::told)?;
        self.current.store(first, Ordering::Relaxed);
        Ok(())
    }

    /// Asks for something that changes nothing; see the module.
    async fn read<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (started, count) = (Instant::now(), self.members.len());
        let mut turn = Turn { next: self.current(), busy: vec![false; count], misses: 0, due: started };
        let mut asked = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some((member, answer)) = asked.next() => match Result::map_err(answer, Miss::from) {
                    Ok(response) => {
                        self.current.store(member, Ordering::Relaxed);
                        return Ok(Response::into_inner(response));
                    }
                    Err(Miss::Refused(error)) => return Err(error),
                    // As long as somebody has not said no, others may yet elect a leader.
                    Err(miss) if asked.is_empty() && started.elapsed() > ELECTION_MAX => return Err(miss.told()),
                    Err(_) => turn.missed(member),
                },
                () = sleep_until(turn.due), if turn.has_free() => {
                    let member = turn.take();
                    asked.push(ask(self.members[member].clone()).map(move |answer| (member, answer)));
                }
                () = sleep_until(started + self.patience) => return Err(BackendError::Unavailable(self.no_answer())),
            }
        }
    }

    /// Asks for something that must not happen twice.
    async fn write<T, F>(&self, ask: impl Fn(Channel) -> F) -> Result<T, BackendError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (started, deadline) = (Instant::now(), self.deadline());
        let mut refusals = 0;
        loop {
            let member = self.current();
            let miss = match self.answered(deadline, ask(self.members[member].clone())).await {
                Ok(value) => return Ok(value),
                Err(Miss::Refused(error)) => return Err(error),
                Err(miss) => miss,
            };
            self.leave(member);
            let Miss::Untouched(why) = miss else { return Err(miss.told()) };
            if started.elapsed() > ELECTION_MAX.min(self.patience) {
                return Err(BackendError::Unavailable(why));
            }
            refusals += 1;
            if refusals % self.members.len() == 0 {
                sleep(PAUSE).await;
            }
        }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    fn no_answer(&self) -> String {
        format!("no answer within {} ms", self.patience.as_millis())
    }

    async fn answered<T>(
        &self,
        deadline: Instant,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Miss> {
        match timeout_at(deadline, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => Err(Miss::Unknown(self.no_answer())),
        }
    }

    pub(crate) async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, BackendError> {
        self.read(|channel| {
            let request = led(request.clone());
            async move { kv(channel).range(request).await }
        })
        .await
    }

    pub(crate) async fn status(&self) -> Result<pb::StatusResponse, BackendError> {
        self.read(|channel| async move { MaintenanceClient::new(channel).status(pb::StatusRequest {}).await }).await
    }

    pub(crate) async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, BackendError> {
        self.write(|channel| {
            let request = led(request.clone());
            async move { kv(channel).txn(request).await }
        })
        .await
    }

    /// A lease whose id got lost expires by itself.
    pub(crate) async fn grant(&self, ttl: i64) -> Result<i64, BackendError> {
        let request = pb::LeaseGrantRequest { ttl, id: 0 };
        let granted = self.write(|channel| async move { LeaseClient::new(channel).lease_grant(led(request)).await });
        Ok(granted.await?.id)
    }

    /// Forgets history.
    pub(crate) async fn compact(&self, revision: i64) -> Result<(), BackendError> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.write(|channel| async move { kv(channel).compact(led(request)).await }).await.map(|_| ())
    }

    /// A watch stream that sends `requests`, and the member that serves it.
    pub(crate) async fn watch(
        &self,
        requests: impl futures::Stream<Item = pb::WatchRequest> + Send + 'static,
    ) -> (Member, Result<watch::Answers, BackendError>) {
        let member = self.current();
        let mut client = WatchClient::new(self.members[member].clone()).max_decoding_message_size(usize::MAX);
        (member, self.answered(self.deadline(), client.watch(led(requests))).await.map_err(Miss::told))
    }
}

/// Whose turn it is in a read.
struct Turn {
    next: Member,
    /// Who was asked and has not answered yet.
    busy: Vec<bool>,
    misses: usize,
    /// When to ask the next.
    due: Instant,
}

impl Turn {
    fn has_free(&self) -> bool {
        self.busy.contains(&false)
    }

    /// The next that is free; there must be one.
    fn take(&mut self) -> Member {
        let count = self.busy.len();
        let free = (0..count).map(|step| (self.next + step) % count).find(|member| !self.busy[*member]);
        let member = free.unwrap_or(self.next);
        self.busy[member] = true;
        self.next = (member + 1) % count;
        self.due = Instant::now() + BESIDE_AFTER;
        member
    }

    /// Somebody else at once; after everybody, with a pause.
    fn missed(&mut self, member: Member) {
        self.busy[member] = false;
        self.misses += 1;
        let pause = if self.misses.is_multiple_of(self.busy.len()) { PAUSE } else { Duration::ZERO };
        self.due = Instant::now() + pause;
    }
}

fn kv(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// A member that is cut off from its leader then refuses at once, instead of waiting for one, or of saying nothing for ever.
fn led<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(urls: &[String], patience: Duration) -> Link {
        Link::new(&RemoteOptions { request_timeout: patience, ..RemoteOptions::new(urls, None) }).expect("a link")
    }

    #[tokio::test]
    async fn a_silent_endpoint_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", silent.local_addr().expect("its address"));
        let link = link(&[url], Duration::from_millis(50));
        for error in [link.reach().await.err(), link.status().await.err(), link.grant(1).await.err()] {
            let text = error.expect("nobody answers").to_string();
            assert_eq!(text, "store unavailable: no answer within 50 ms");
        }
    }

    #[tokio::test]
    async fn many_that_lose_one_member_move_on_by_one() {
        let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"].map(str::to_owned);
        let link = link(&urls, Duration::from_millis(50));
        (0..60).for_each(|_| link.leave(0));
        assert_eq!(link.current(), 1);
        link.leave(1);
        link.leave(2);
        assert_eq!(link.current(), 0);
    }

    #[tokio::test]
    async fn a_read_asks_every_member_until_one_answers() {
        let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"].map(str::to_owned);
        let link = link(&urls, Duration::from_secs(60));
        let asked = AtomicUsize::new(0);
        let answer = link.read(|_| {
            let nth = asked.fetch_add(1, Ordering::Relaxed);
            async move {
                if nth < 5 { Err(Status::unavailable("etcdserver: leader changed")) } else { Ok(Response::new(nth)) }
            }
        });
        assert_eq!(answer.await.expect("the sixth answers"), 5);
        assert_eq!(link.current(), 2);
    }

    #[tokio::test]
    async fn a_write_is_repeated_only_when_nothing_was_done() {
        let urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"].map(str::to_owned);
        let link = link(&urls, Duration::from_secs(60));
        let asked = AtomicUsize::new(0);
        let answer = link.write::<(), _>(|_| {
            let text = ["etcdserver: no leader", "etcdserver: request timed out"];
            let text = text[asked.fetch_add(1, Ordering::Relaxed).min(1)];
            async move { Err(Status::unavailable(text)) }
        });
        assert!(answer.await.expect_err("nobody knows").to_string().contains("request timed out"));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }
}
