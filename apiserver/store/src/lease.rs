//! Leases in memory: how long each lives, and which keys die with it.
//!
//! The engine keeps ids and TTLs; after a restart every lease begins anew, because nobody could keep it alive meanwhile.
//!
//! They stand in the order of their ends, so that a commit looks at those that are due and not at the ten thousands that are not.

use crate::seeded;
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// No lease is shorter: etcd's bound, derived from its election timeout, that clients have come to rely on.
pub(crate) const TTL_SECONDS_MIN: i64 = 2;
/// No lease is longer: etcd's bound.
pub(crate) const TTL_SECONDS_MAX: i64 = 9_000_000_000;

/// A lease, and what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    ttl_seconds: i64,
    deadline: Instant,
    keys: BTreeSet<Bytes>,
}

impl Lease {
    /// The keys that die with it, in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }
}

/// What a lease looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseView {
    /// As granted.
    pub ttl_seconds: i64,
    /// What is left, in whole seconds.
    pub remaining_seconds: i64,
    /// The keys that die with it, in order.
    pub keys: Vec<Bytes>,
}

/// Every lease.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: HashMap<i64, Lease>,
    by_key: HashMap<Bytes, i64>,
    /// When each ends: who ends first comes first.
    ends: BTreeSet<(Instant, i64)>,
}

impl Leases {
    /// Adds a lease.
    pub(crate) fn grant(&mut self, id: i64, ttl_seconds: i64, now: Instant) {
        let deadline = now + lifetime(ttl_seconds);
        self.ends.insert((deadline, id));
        let before = self.leases.insert(id, Lease { ttl_seconds, deadline, keys: BTreeSet::new() });
        debug_assert!(before.is_none(), "ids are granted once");
    }

    /// Whether there is such a lease.
    pub(crate) fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// Begins the lease's life anew; its TTL, or `None` if it is gone or its time is over.
    pub(crate) fn keep_alive(&mut self, id: i64, now: Instant) -> Option<i64> {
        let lease = self.leases.get_mut(&id).filter(|lease| lease.deadline > now)?;
        let deadline = now + lifetime(lease.ttl_seconds);
        if !seeded::is("renewal-forgotten") {
            self.ends.remove(&(std::mem::replace(&mut lease.deadline, deadline), id));
            self.ends.insert((deadline, id));
        }
        Some(lease.ttl_seconds)
    }

    /// Removes a lease; [`Leases::put_back`] undoes it.
    pub(crate) fn take(&mut self, id: i64) -> Option<Lease> {
        let lease = self.leases.remove(&id)?;
        self.ends.remove(&(lease.deadline, id));
        for key in &lease.keys {
            self.by_key.remove(key);
        }
        Some(lease)
    }

    /// Undoes [`Leases::take`].
    pub(crate) fn put_back(&mut self, id: i64, lease: Lease) {
        self.by_key.extend(lease.keys.iter().map(|key| (key.clone(), id)));
        self.ends.insert((lease.deadline, id));
        self.leases.insert(id, lease);
    }

    /// Makes `key` live by `lease` (0: by none), and no longer by another.
    pub(crate) fn attach(&mut self, key: &Bytes, lease: i64) {
        let before = match lease {
            0 => self.by_key.remove(key),
            _ => self.by_key.insert(key.clone(), lease),
        };
        if let Some(before) = before.filter(|&before| before != lease && !seeded::is("lease-keeps-key"))
            && let Some(lease) = self.leases.get_mut(&before)
        {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.keys.insert(key.clone());
        }
    }

    /// A lease from outside; `None`: gone.
    pub(crate) fn view(&self, id: i64, now: Instant) -> Option<LeaseView> {
        let lease = self.leases.get(&id)?;
        let remaining = lease.deadline.saturating_duration_since(now).as_secs();
        Some(LeaseView {
            ttl_seconds: lease.ttl_seconds,
            remaining_seconds: i64::try_from(remaining).unwrap_or(i64::MAX),
            keys: lease.keys.iter().cloned().collect(),
        })
    }

    /// Every lease's id: who ends first comes first.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.ends.iter().map(|&(_, id)| id).collect()
    }

    /// When the next lease is over.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.ends.first().map(|&(deadline, _)| deadline)
    }

    /// The leases whose time is over, at most so many: who ended first comes first.
    pub(crate) fn expired(&self, now: Instant, count_max: usize) -> Vec<i64> {
        let now = if seeded::is("lease-late") { now.checked_sub(Duration::from_secs(3)).unwrap_or(now) } else { now };
        self.ends.iter().take_while(|(deadline, _)| *deadline <= now).take(count_max).map(|&(_, id)| id).collect()
    }
}

fn lifetime(ttl_seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_lives_by_one_lease() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        leases.grant(1, 10, now);
        leases.grant(2, 10, now);
        let key = Bytes::from("k");
        leases.attach(&key, 1);
        leases.attach(&key, 2);
        assert_eq!(leases.take(1).unwrap().keys().count(), 0);
        let second = leases.take(2).unwrap();
        assert_eq!(second.keys().collect::<Vec<_>>(), [&key]);
        leases.put_back(2, second);
        leases.attach(&key, 0);
        assert_eq!(leases.take(2).unwrap().keys().count(), 0, "put back, it is as before");
    }

    #[test]
    fn time_decides() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        leases.grant(1, 5, now);
        let later = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(leases.keep_alive(1, later(3)), Some(5));
        assert!(leases.expired(later(7), 9).is_empty());
        assert_eq!(leases.next_deadline(), Some(later(8)));
        assert_eq!(leases.keep_alive(1, later(8)), None, "too late");
        assert_eq!(leases.expired(later(8), 9), [1]);
    }

    #[test]
    fn who_ends_first_comes_first() {
        let (mut leases, now) = (Leases::default(), Instant::now());
        for id in 1..=100 {
            leases.grant(id, 1000 - id, now);
        }
        let kept = leases.take(100).unwrap();
        assert_eq!(leases.ids()[..3], [99, 98, 97]);
        leases.put_back(100, kept);
        assert_eq!(leases.keep_alive(99, now + Duration::from_secs(500)), Some(901));
        let due = leases.expired(now + Duration::from_secs(950), 3);
        assert_eq!(due, [100, 98, 97], "99 was kept alive, and the rest is for another time");
        assert_eq!(leases.ids().last(), Some(&99));
    }
}
