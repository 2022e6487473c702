//! Leases and keys into the target.

use super::super::pages::revision;
use super::super::print::size;
use super::super::progress::Progress;
use super::super::which::Opened;
use super::read::{Key, Source, values};
use anyhow::{Context, bail};
use bytes::Bytes;
use skiff_proto::etcd::etcdserverpb as pb;
use std::collections::BTreeMap;

/// Keys that are written at once and then share a revision, in which they keep their order: half of etcd's limit.
const KEYS_TXN: usize = 64;
/// Bytes that are written at once: two thirds of etcd's limit. A key whose value is larger goes alone.
const BYTES_TXN: usize = 1 << 20;

/// The leases of the source, by the ids they have in the target.
pub(super) type Leases = BTreeMap<i64, i64>;

/// Grants the source's leases, with their whole life before them, as after a restart; under the same ids if those are free.
pub(super) async fn grant(from: &Opened, to: &Opened, source: &Source) -> anyhow::Result<Leases> {
    let listed = from.ask("list of leases", from.lease().lease_leases(pb::LeaseLeasesRequest {})).await?;
    let mut leases = Leases::new();
    for pb::LeaseStatus { id } in listed.leases {
        let asked = pb::LeaseTimeToLiveRequest { id, keys: false };
        let life = from.ask("life of a lease", from.lease().lease_time_to_live(asked)).await?;
        if life.ttl < 0 {
            continue;
        }
        leases.insert(id, granted(to, id, life.granted_ttl).await?);
    }
    if let Some(key) = source.keys.iter().find(|key| key.lease != 0 && !leases.contains_key(&key.lease)) {
        bail!("lease {:x} of key {} ended meanwhile; copy again", key.lease, super::shown(&key.key));
    }
    Ok(leases)
}

async fn granted(to: &Opened, id: i64, ttl: i64) -> anyhow::Result<i64> {
    match grant_once(to, id, ttl).await? {
        Some(id) => Ok(id),
        // Somebody else has the id; the keys get another lease.
        None => grant_once(to, 0, ttl).await?.with_context(|| format!("{} grants no lease", to.name)),
    }
}

/// `None`: the id is taken.
async fn grant_once(to: &Opened, id: i64, ttl: i64) -> anyhow::Result<Option<i64>> {
    let taken = |status: &tonic::Status| status.message().contains("lease already exists");
    let mut client = to.lease();
    let call = async {
        match client.lease_grant(pb::LeaseGrantRequest { ttl, id }).await {
            Err(status) if taken(&status) => Ok(None),
            other => other.map(|granted| Some(granted.into_inner().id)),
        }
    };
    to.in_time("grant of a lease", call).await
}

/// Writes every key; bytes of keys and values, and the target's revision afterwards.
pub(super) async fn put(
    from: &Opened,
    to: &Opened,
    source: &Source,
    leases: &Leases,
    progress: &mut Progress,
) -> anyhow::Result<(u64, i64)> {
    let (mut done, mut bytes, mut newest) = (0, 0_u64, 0);
    for keys in source.keys.chunks(KEYS_TXN) {
        let values = values(from, keys, source.revision).await?;
        for part in parts(keys, values) {
            bytes += part.iter().map(|(key, value)| (key.key.len() + value.len()) as u64).sum::<u64>();
            newest = put_some(to, part, leases).await?;
        }
        done += keys.len();
        progress.show(|| format!("{done} of {} keys copied, {}", source.keys.len(), size(bytes)));
    }
    if newest == 0 {
        newest = revision(to.status().await?.header)?;
    }
    Ok((bytes, newest))
}

/// Keys with their values, cut so that a request holds them.
fn parts(keys: &[Key], values: Vec<Bytes>) -> Vec<Vec<(&Key, Bytes)>> {
    let (mut parts, mut room) = (vec![Vec::new()], BYTES_TXN);
    for (key, value) in keys.iter().zip(values) {
        let length = key.key.len() + value.len();
        if length > room && !parts[parts.len() - 1].is_empty() {
            parts.push(Vec::new());
            room = BYTES_TXN;
        }
        room = room.saturating_sub(length);
        let last = parts.len() - 1;
        parts[last].push((key, value));
    }
    parts
}

async fn put_some(to: &Opened, part: Vec<(&Key, Bytes)>, leases: &Leases) -> anyhow::Result<i64> {
    let put = |(key, value): (&Key, Bytes)| {
        let lease = leases.get(&key.lease).copied().unwrap_or(0);
        let put = pb::PutRequest { key: key.key.clone(), value, lease, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
    };
    let txn = pb::TxnRequest { success: part.into_iter().map(put).collect(), ..Default::default() };
    revision(to.ask("put", to.kv().txn(txn)).await?.header)
}
