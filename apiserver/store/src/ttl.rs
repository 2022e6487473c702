//! Leases shared by keys of about the same life, as kube-apiserver does: a lease per key would cost a write per key.

use crate::backend::{Revision, Swapped};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys that share a lease, at most: they all die in one transaction.
const KEYS_MAX: usize = 1000;
/// How long a lease takes new keys, at most; its keys may live longer by that.
const OPEN_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    lease: i64,
    until: Instant,
    keys: usize,
}

/// The leases that still take keys, by TTL.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    open: Mutex<HashMap<i64, Bucket>>,
}

impl Buckets {
    /// A lease that fits, if there is one.
    pub(crate) fn find(&self, ttl_seconds: i64, now: Instant) -> Option<i64> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = open.get_mut(&ttl_seconds).filter(|bucket| bucket.until > now && bucket.keys < KEYS_MAX)?;
        bucket.keys += 1;
        Some(bucket.lease)
    }

    /// The TTL to grant, so that the last key put into the lease lives long enough.
    pub(crate) fn ttl_to_grant(ttl_seconds: i64) -> i64 {
        ttl_seconds.saturating_add(i64::try_from(open_for(ttl_seconds).as_secs()).unwrap_or(0))
    }

    /// Remembers a lease granted for `ttl_seconds` and its first key.
    pub(crate) fn add(&self, ttl_seconds: i64, lease: i64, now: Instant) {
        let bucket = Bucket { lease, until: now + open_for(ttl_seconds), keys: 1 };
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(ttl_seconds, bucket);
    }

    /// Forgets a lease that turned out to be gone.
    pub(crate) fn forget(&self, ttl_seconds: i64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&ttl_seconds);
    }
}

/// A store whose keys share leases.
pub(crate) trait SharesLeases: Sync {
    /// Why it refuses.
    type Error: Send;

    /// The leases in use.
    fn buckets(&self) -> &Buckets;

    /// Grants a lease.
    fn grant(&self, ttl_seconds: i64) -> impl Future<Output = Result<i64, Self::Error>> + Send;

    /// Writes `value` under `lease` (0: none) if the key's revision is `expected`.
    fn put_under(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        lease: i64,
    ) -> impl Future<Output = Result<Swapped, Self::Error>> + Send;

    /// Whether a put was refused, whole, because its lease is gone.
    fn lost_lease(error: &Self::Error) -> bool;

    /// A lease for one more key with this TTL.
    fn lease(&self, ttl_seconds: i64) -> impl Future<Output = Result<i64, Self::Error>> + Send {
        async move {
            if let Some(lease) = self.buckets().find(ttl_seconds, Instant::now()) {
                return Ok(lease);
            }
            let lease = self.grant(Buckets::ttl_to_grant(ttl_seconds)).await?;
            self.buckets().add(ttl_seconds, lease, Instant::now());
            Ok(lease)
        }
    }

    /// Writes a key that lives for `ttl_seconds` at least (0: for ever).
    fn put_for(
        &self,
        key: Bytes,
        value: Bytes,
        expected: Revision,
        ttl_seconds: i64,
    ) -> impl Future<Output = Result<Swapped, Self::Error>> + Send {
        async move {
            if ttl_seconds <= 0 {
                return self.put_under(key, value, expected, 0).await;
            }
            let lease = self.lease(ttl_seconds).await?;
            match self.put_under(key.clone(), value.clone(), expected, lease).await {
                // The shared lease was revoked behind our back; nothing was written, so it may be sent again.
                Err(error) if Self::lost_lease(&error) => {
                    self.buckets().forget(ttl_seconds);
                    let lease = self.lease(ttl_seconds).await?;
                    self.put_under(key, value, expected, lease).await
                }
                other => other,
            }
        }
    }
}

/// 60 s or 5 % of the TTL, whichever is less, in whole seconds.
fn open_for(ttl_seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_seconds / 20).unwrap_or(0)).min(OPEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_share_a_lease_for_a_twentieth_of_its_life() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        assert_eq!(buckets.find(100, now), None);
        buckets.add(100, 7, now);
        assert_eq!(buckets.find(100, now + Duration::from_secs(4)), Some(7));
        assert_eq!(buckets.find(100, now + Duration::from_secs(5)), None);
        assert_eq!(Buckets::ttl_to_grant(100), 105);
        assert_eq!(Buckets::ttl_to_grant(3600), 3660);
    }
}
