//! The endpoints of a backend, and whose turn it is. A pool outlives changes of routes and of endpoints; connections to endpoints that stay are kept.

use crate::endpoints::Found;
use crate::upstream::Endpoint;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// One backend's endpoints.
#[derive(Default)]
pub(crate) struct Pool {
    endpoints: RwLock<Arc<Vec<Arc<Endpoint>>>>,
    next: AtomicUsize,
}

impl Pool {
    /// These are its endpoints from now on. Requests that are under way end where they are.
    pub(crate) fn set(&self, found: &Found) {
        let before = self.all();
        let known = |address: &SocketAddr| {
            let same = |one: &&Arc<Endpoint>| one.address == *address && one.protocol == found.protocol;
            before.iter().find(same).cloned()
        };
        let make =
            |address: &SocketAddr| known(address).unwrap_or_else(|| Arc::new(Endpoint::new(*address, found.protocol)));
        let next = Arc::new(found.addresses.iter().map(make).collect());
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn all(&self) -> Arc<Vec<Arc<Endpoint>>> {
        Arc::clone(&self.endpoints.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one that a cookie names if it is there, else the next that was not tried; those that could not be reached a moment ago come last.
    pub(crate) fn choose(&self, cookie: Option<&str>, tried: &[SocketAddr]) -> Option<Arc<Endpoint>> {
        let all = self.all();
        let is_new = |one: &&Arc<Endpoint>| !tried.contains(&one.address);
        let named = cookie.and_then(|cookie| all.iter().filter(is_new).find(|one| one.cookie == cookie));
        if let Some(named) = named.filter(|one| !one.is_avoided()) {
            return Some(Arc::clone(named));
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        let in_turn = || all[start..].iter().chain(&all[..start]).filter(is_new);
        in_turn().find(|one| !one.is_avoided()).or_else(|| in_turn().next()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::Protocol;
    use std::collections::BTreeMap;

    fn found(last: &[u8]) -> Found {
        let addresses = last.iter().map(|last| SocketAddr::from(([10, 0, 0, *last], 80))).collect();
        Found { protocol: Protocol::Http, addresses }
    }

    #[test]
    fn turns_are_even_and_what_was_tried_is_left_out() {
        let pool = Pool::default();
        assert!(pool.choose(None, &[]).is_none());
        pool.set(&found(&[1, 2, 3]));
        let mut counts: BTreeMap<SocketAddr, u32> = BTreeMap::new();
        for _ in 0..30 {
            *counts.entry(pool.choose(None, &[]).unwrap().address).or_default() += 1;
        }
        assert!(counts.len() == 3 && counts.values().all(|count| *count == 10), "{counts:?}");
        let tried: Vec<SocketAddr> = counts.keys().copied().take(2).collect();
        assert_eq!(pool.choose(None, &tried).unwrap().address, "10.0.0.3:80".parse().unwrap());
    }

    #[test]
    fn a_cookie_leads_to_the_same_endpoint_while_it_is_there() {
        let pool = Pool::default();
        pool.set(&found(&[1, 2, 3]));
        let second = pool.choose(None, &[]).unwrap();
        for _ in 0..5 {
            assert_eq!(pool.choose(Some(&second.cookie), &[]).unwrap().address, second.address);
        }
        let kept = Arc::clone(&second);
        pool.set(&found(&[1, 2, 3, 4]));
        assert!(Arc::ptr_eq(&pool.choose(Some(&second.cookie), &[]).unwrap(), &kept), "its connections stay");
        let rest: Vec<u8> =
            [1, 2, 3].into_iter().filter(|last| SocketAddr::from(([10, 0, 0, *last], 80)) != second.address).collect();
        pool.set(&found(&rest));
        assert_ne!(pool.choose(Some(&second.cookie), &[]).unwrap().address, second.address);
    }
}
