//! Sends one request and keeps of the answer what two servers can agree on.

use skiff_proto::etcd::etcdserverpb as pb;
use skiff_proto::etcd::mvccpb::KeyValue;
use tonic::transport::Channel;
use tonic::{Response, Status};

/// What can be asked.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    Grant(pb::LeaseGrantRequest),
    Revoke(pb::LeaseRevokeRequest),
    TimeToLive(pb::LeaseTimeToLiveRequest),
    Leases,
    KeepAlive(i64),
    Hash(i64),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    Delete(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    /// The revision of the answer to something else, and what is to be compared of it.
    Other(i64, String),
    Refused(tonic::Code, String),
}

impl Answer {
    /// The revision that it bears.
    pub(crate) fn revision(&self) -> Option<i64> {
        let header = match self {
            Answer::Range(answer) => &answer.header,
            Answer::Put(answer) => &answer.header,
            Answer::Delete(answer) => &answer.header,
            Answer::Txn(answer) => &answer.header,
            Answer::Other(revision, _) => return Some(*revision),
            Answer::Refused(..) => return None,
        };
        header.as_ref().map(|header| header.revision)
    }
}

pub(crate) struct Server {
    kv: pb::kv_client::KvClient<Channel>,
    lease: pb::lease_client::LeaseClient<Channel>,
    maintenance: pb::maintenance_client::MaintenanceClient<Channel>,
}

/// Ids and terms are each server's own.
fn bare(header: &mut Option<pb::ResponseHeader>) -> i64 {
    let revision = header.as_ref().map_or(-1, |header| header.revision);
    *header = Some(pb::ResponseHeader { revision, ..Default::default() });
    revision
}

fn bare_txn(answer: &mut pb::TxnResponse) {
    use pb::response_op::Response;
    bare(&mut answer.header);
    for response in &mut answer.responses {
        match response.response.as_mut() {
            Some(Response::ResponseRange(answer)) => drop(bare(&mut answer.header)),
            Some(Response::ResponsePut(answer)) => drop(bare(&mut answer.header)),
            Some(Response::ResponseDeleteRange(answer)) => drop(bare(&mut answer.header)),
            Some(Response::ResponseTxn(answer)) => bare_txn(answer),
            None => (),
        }
    }
}

impl Server {
    pub(crate) async fn connect(url: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Server {
            kv: pb::kv_client::KvClient::new(channel.clone()),
            lease: pb::lease_client::LeaseClient::new(channel.clone()),
            maintenance: pb::maintenance_client::MaintenanceClient::new(channel),
        }
    }

    /// Every key.
    pub(crate) async fn everything(&mut self) -> Vec<KeyValue> {
        let all: &'static [u8] = &[0];
        let request = pb::RangeRequest { key: all.into(), range_end: all.into(), ..Default::default() };
        self.kv.range(request).await.unwrap().into_inner().kvs
    }

    pub(crate) async fn send(&mut self, asked: &Asked) -> Answer {
        self.answer(asked.clone())
            .await
            .unwrap_or_else(|status| Answer::Refused(status.code(), status.message().into()))
    }

    async fn answer(&mut self, asked: Asked) -> Result<Answer, Status> {
        Ok(match asked {
            Asked::Range(request) => {
                let mut answer = self.kv.range(request).await?.into_inner();
                bare(&mut answer.header);
                Answer::Range(answer)
            }
            Asked::Put(request) => {
                let mut answer = self.kv.put(request).await?.into_inner();
                bare(&mut answer.header);
                Answer::Put(answer)
            }
            Asked::Delete(request) => {
                let mut answer = self.kv.delete_range(request).await?.into_inner();
                bare(&mut answer.header);
                Answer::Delete(answer)
            }
            Asked::Txn(request) => {
                let mut answer = self.kv.txn(request).await?.into_inner();
                bare_txn(&mut answer);
                Answer::Txn(answer)
            }
            other => self.other(other).await?,
        })
    }

    async fn other(&mut self, asked: Asked) -> Result<Answer, Status> {
        Ok(match asked {
            Asked::Compact(request) => {
                let answer = self.kv.compact(request).await?.into_inner();
                Answer::Other(bare(&mut answer.header.clone()), String::new())
            }
            Asked::Grant(request) => {
                let answer = self.lease.lease_grant(request).await?.into_inner();
                Answer::Other(bare(&mut answer.header.clone()), format!("{} {}", answer.id, answer.ttl))
            }
            Asked::Revoke(request) => {
                let answer = self.lease.lease_revoke(request).await?.into_inner();
                Answer::Other(bare(&mut answer.header.clone()), String::new())
            }
            Asked::TimeToLive(request) => {
                let mut answer = self.lease.lease_time_to_live(request).await?.into_inner();
                // etcd's order is by chance.
                answer.keys.sort();
                let what = format!("{} {} {:?}", answer.ttl > 0, answer.granted_ttl, answer.keys);
                Answer::Other(bare(&mut answer.header.clone()), what)
            }
            Asked::Leases => {
                let answer = self.lease.lease_leases(pb::LeaseLeasesRequest {}).await?.into_inner();
                let mut ids: Vec<_> = answer.leases.iter().map(|lease| lease.id).collect();
                // etcd's order is by what is left of their lives.
                ids.sort_unstable();
                Answer::Other(bare(&mut answer.header.clone()), format!("{ids:?}"))
            }
            Asked::KeepAlive(id) => {
                let requests = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
                let answer: Response<_> = self.lease.lease_keep_alive(requests).await?;
                let answer = answer.into_inner().message().await?.unwrap();
                Answer::Other(bare(&mut answer.header.clone()), format!("{} {}", answer.id, answer.ttl))
            }
            Asked::Hash(revision) => {
                let answer = self.maintenance.hash_kv(pb::HashKvRequest { revision }).await?.into_inner();
                let what = format!("{} {}", answer.hash, answer.compact_revision);
                Answer::Other(bare(&mut answer.header.clone()), what)
            }
            _ => unreachable!("answered before"),
        })
    }
}
