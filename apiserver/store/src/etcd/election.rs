//! etcd's Election service: the leader is who waited longest, and says something that others observe (see [`super::line`]).

use super::line::{self, Followed, Place, Waiting};
use super::who::Who;
use super::{Service, answer, words};
use crate::keys::KeyRange;
use crate::record::Record;
use crate::request::Refusal;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use skiff_proto::etcd::v3electionpb as pb;
use skiff_proto::etcd::v3electionpb::election_server::Election;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Answers that wait for an observer; it is told the newest, not all.
const UNREAD_MAX: usize = 1;

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn place(leader: Option<pb::LeaderKey>) -> Result<Place, Status> {
    let leader = leader.ok_or_else(|| Status::unknown("\"leader\" field must be provided"))?;
    Ok(Place { key: leader.key.into(), created: leader.rev, lease: leader.lease })
}

impl Service {
    /// The same, asked by who sent a request.
    fn for_who<T>(&self, request: &Request<T>) -> Result<Self, Status> {
        Ok(Service { store: self.asked(&Who::of(request))?, ..self.clone() })
    }

    /// Someone who has a place already may come back with another value.
    async fn stand(&self, place: &Place, there: Option<Record>, value: Bytes) -> Result<(), Status> {
        let changed = there.is_some_and(|there| there.value != value);
        if changed && place.say(&self.store, value).await.map_err(answer::through_a_client)?.is_none() {
            return Err(not_leader());
        }
        Ok(())
    }

    fn led(&self, record: Record, revision: i64) -> pb::LeaderResponse {
        pb::LeaderResponse { header: self.header()(revision), kv: Some(words::key_value(record)) }
    }
}

#[tonic::async_trait]
impl Election for Service {
    async fn campaign(&self, request: Request<pb::CampaignRequest>) -> Result<Response<pb::CampaignResponse>, Status> {
        let asked = self.for_who(&request)?;
        let pb::CampaignRequest { name, lease, value } = request.into_inner();
        let value: Bytes = value.into();
        let entered = line::enter(&asked.store, &name, lease, value.clone()).await;
        let (place, there, revision) = entered.map_err(answer::through_a_client)?;
        let waiting = Waiting::at(&asked, &place);
        asked.stand(&place, there, value).await?;
        line::wait(&asked.store, &name, place.created).await.map_err(answer::through_a_client)?;
        // etcd would call a leader whose lease has ended meanwhile a leader.
        place.held_at(&asked.store).await.map_err(answer::through_a_client)?.ok_or_else(not_leader)?;
        waiting.done();
        let leader = pb::LeaderKey { name, key: place.key.into(), rev: place.created, lease: place.lease };
        Ok(Response::new(pb::CampaignResponse { header: self.header()(revision), leader: Some(leader) }))
    }

    async fn proclaim(&self, request: Request<pb::ProclaimRequest>) -> Result<Response<pb::ProclaimResponse>, Status> {
        let store = self.asked(&Who::of(&request))?;
        let pb::ProclaimRequest { leader, value } = request.into_inner();
        let said = place(leader)?.say(&store, value.into()).await.map_err(answer::through_a_client)?;
        let revision = said.ok_or_else(not_leader)?.revision;
        Ok(Response::new(pb::ProclaimResponse { header: self.header()(revision) }))
    }

    async fn leader(&self, request: Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        let store = self.asked(&Who::of(&request))?;
        let found = line::first(&store, &request.into_inner().name).await.map_err(answer::through_a_client)?;
        let first = found.records.into_iter().next().ok_or_else(|| Status::unknown("election: no leader"))?;
        Ok(Response::new(self.led(first, found.revision)))
    }

    type ObserveStream = BoxStream<'static, Result<pb::LeaderResponse, Status>>;

    async fn observe(&self, request: Request<pb::LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        let (sender, receiver) = mpsc::channel(UNREAD_MAX);
        let (service, name) = (self.for_who(&request)?, request.into_inner().name);
        tokio::spawn(async move {
            let observed = Observed { service: &service, sender: &sender };
            tokio::select! {
                ended = observed.run(&name) => if let Err(Ended::Refused(refusal)) = ended {
                    // The observer may be gone as well.
                    let _observer_may_be_gone = sender.send(Err(answer::through_a_client(refusal))).await;
                },
                () = sender.closed() => (),
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver).boxed()))
    }

    async fn resign(&self, request: Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        let store = self.asked(&Who::of(&request))?;
        let left = place(request.into_inner().leader)?.leave(&store).await.map_err(answer::through_a_client)?;
        Ok(Response::new(pb::ResignResponse { header: self.header()(left.revision) }))
    }
}

enum Ended {
    Gone,
    Refused(Refusal),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Ended::Refused(refusal)
    }
}

struct Observed<'a> {
    service: &'a Service,
    sender: &'a mpsc::Sender<Result<pb::LeaderResponse, Status>>,
}

impl Observed<'_> {
    async fn run(&self, name: &[u8]) -> Result<(), Ended> {
        let store = &self.service.store;
        loop {
            let found = line::first(store, name).await?;
            let (leader, revision) = match found.records.into_iter().next() {
                Some(leader) => (leader, found.revision),
                None => self.first_to_come(name, found.revision).await?,
            };
            let key = leader.key.clone();
            self.tell(leader, revision).await?;
            let mut followed = Followed::from(store.core(), KeyRange::single(key), revision + 1);
            self.until_gone(&mut followed).await?;
        }
    }

    async fn first_to_come(&self, name: &[u8], revision: i64) -> Result<(Record, i64), Ended> {
        let keys = KeyRange::prefix(&line::prefix(name), None);
        let mut followed = Followed::from(self.service.store.core(), keys, revision + 1);
        loop {
            let moments = followed.next().await?;
            let mut changes = moments.iter().flat_map(|moment| &moment.changes);
            if let Some(change) = changes.find(|change| !change.record.is_tombstone()) {
                return Ok((change.record.clone(), change.record.at.revision));
            }
        }
    }

    async fn until_gone(&self, followed: &mut Followed) -> Result<(), Ended> {
        loop {
            for change in followed.next().await?.into_iter().flat_map(|moment| moment.changes) {
                if change.record.is_tombstone() {
                    return Ok(());
                }
                self.tell(change.record.clone(), change.record.at.revision).await?;
            }
        }
    }

    async fn tell(&self, leader: Record, revision: i64) -> Result<(), Ended> {
        self.sender.send(Ok(self.service.led(leader, revision))).await.map_err(|_| Ended::Gone)
    }
}
