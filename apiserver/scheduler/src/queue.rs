//! Pods that wait: to be looked at, until they may be looked at again, or until something happens that could help them. No I/O
//! and no clock.
//!
//! A pod that found no node is *parked* until an event may help it; then it waits out its back-off. When nothing else is to be
//! done, a pod is not left waiting for that alone (KEP-5142).

use crate::plugin::Plugins;
use crate::pod::PodInfo;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Milliseconds since some moment.
pub(crate) type Millis = u64;

/// How long a parked pod waits for an event before it is looked at all the same.
const PARKED_MAX: Millis = 5 * 60 * 1000;

/// How long a pod waits after it was looked at: after the first time, and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackOff {
    pub(crate) first: Millis,
    pub(crate) most: Millis,
}

impl BackOff {
    fn after(self, attempts: u32) -> Millis {
        let doubled = 2_u64.saturating_pow(attempts.saturating_sub(1));
        self.first.saturating_mul(doubled).min(self.most)
    }
}

/// Which of two pods is looked at first: the higher priority, then the one that waits longer.
type Rank = (Reverse<i32>, Millis, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// To be looked at.
    Active,
    /// To be looked at then; `failed`: and no earlier, since something did not work.
    BackOff { due: Millis, failed: bool },
    /// No node was found.
    Parked { since: Millis },
    /// Held back by gates.
    Gated,
    /// Others are being removed for it; `helped`: something happened meanwhile.
    Preempting { helped: bool },
    /// Being looked at, or bound.
    Taken,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    stand: Stand,
    since: Millis,
    /// When it could first be looked at.
    came: Millis,
    attempts: u32,
    tried: Millis,
    rejectors: Plugins,
}

impl Entry {
    fn rank(&self) -> Rank {
        (Reverse(self.pod.priority), self.since, self.pod.uid.clone())
    }
}

/// All pods that wait.
#[derive(Debug)]
pub(crate) struct Queue {
    back_off: BackOff,
    pods: HashMap<String, Entry>,
    active: BTreeSet<Rank>,
    backing_off: BTreeSet<(Millis, String)>,
    /// How many are parked, or others are being removed for them.
    parked: usize,
    gated: usize,
}

impl Queue {
    pub(crate) fn new(back_off: BackOff) -> Self {
        Self {
            back_off,
            pods: HashMap::new(),
            active: BTreeSet::new(),
            backing_off: BTreeSet::new(),
            parked: 0,
            gated: 0,
        }
    }

    /// A pod waits, since `since`, or has changed while it waits. `held`: by gates.
    pub(crate) fn put(&mut self, pod: Arc<PodInfo>, held: bool, since: Millis, now: Millis) {
        let uid = pod.uid.clone();
        let Some(entry) = self.pods.get_mut(&uid) else {
            let stand = if held { Stand::Gated } else { Stand::Active };
            let (attempts, tried, rejectors) = (0, 0, Plugins::default());
            let entry = Entry { pod, stand: Stand::Taken, since, came: now, attempts, tried, rejectors };
            self.pods.insert(uid.clone(), entry);
            return self.stand(&uid, stand);
        };
        let helped = entry.pod.pod.spec != pod.pod.spec
            || entry.pod.labels() != pod.labels()
            || entry.pod.made_claims() != pod.made_claims();
        let was = entry.stand;
        // Its rank may change with it.
        self.leave(&uid);
        if let Some(entry) = self.pods.get_mut(&uid) {
            entry.pod = pod;
        }
        self.stand(&uid, was);
        match was {
            Stand::Gated if !held => {
                if let Some(entry) = self.pods.get_mut(&uid) {
                    entry.came = now;
                }
                self.stand(&uid, Stand::Active);
            }
            Stand::Parked { .. } if helped => self.wake_one(&uid, now),
            Stand::Preempting { .. } if helped => self.stand(&uid, Stand::Preempting { helped: true }),
            _ => {}
        }
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.pods.remove(uid);
    }

    /// The next pod to look at; it stays taken until it is parked, fails or is removed.
    pub(crate) fn take(&mut self, now: Millis) -> Option<Arc<PodInfo>> {
        self.settle(now);
        let uid = match self.active.first() {
            Some((_, _, uid)) => uid.clone(),
            None => {
                let idle = |(_, uid): &&(Millis, String)| {
                    let stand = self.pods.get(uid).map(|entry| entry.stand);
                    matches!(stand, Some(Stand::BackOff { failed: false, .. }))
                };
                self.backing_off.iter().find(idle)?.1.clone()
            }
        };
        self.stand(&uid, Stand::Taken);
        let entry = self.pods.get_mut(&uid)?;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.tried = now;
        Some(Arc::clone(&entry.pod))
    }

    /// Moves those whose time has come.
    fn settle(&mut self, now: Millis) {
        while let Some((due, uid)) = self.backing_off.first().cloned()
            && due <= now
        {
            self.stand(&uid, Stand::Active);
        }
        let forgotten = |entry: &&Entry| matches!(entry.stand, Stand::Parked { since } if since + PARKED_MAX <= now);
        let late: Vec<String> = self.pods.values().filter(forgotten).map(|entry| entry.pod.uid.clone()).collect();
        for uid in late {
            self.wake_one(&uid, now);
        }
    }

    /// No node was found, because of these plugins.
    pub(crate) fn park(&mut self, uid: &str, rejectors: Plugins, now: Millis) {
        if let Some(entry) = self.pods.get_mut(uid) {
            entry.rejectors = rejectors;
            entry.since = now;
        }
        self.stand(uid, Stand::Parked { since: now });
    }

    /// No node was found, and others are being removed for it.
    pub(crate) fn preempt(&mut self, uid: &str, rejectors: Plugins, now: Millis) {
        self.park(uid, rejectors, now);
        self.stand(uid, Stand::Preempting { helped: false });
    }

    /// The others are being deleted, or that did not work.
    pub(crate) fn preempted(&mut self, uid: &str, worked: bool, now: Millis) {
        let Some(Stand::Preempting { helped }) = self.pods.get(uid).map(|entry| entry.stand) else { return };
        self.stand(uid, Stand::Parked { since: now });
        if helped || !worked {
            self.wake_one(uid, now);
        }
    }

    /// Something did not work; the pod is looked at again after its back-off.
    pub(crate) fn fail(&mut self, uid: &str, now: Millis) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.since = now;
        let due = now + self.back_off.after(entry.attempts);
        self.stand(uid, Stand::BackOff { due, failed: true });
    }

    /// Something happened: those for whom `helps` says so are looked at again.
    pub(crate) fn wake(&mut self, now: Millis, helps: &dyn Fn(&PodInfo, Plugins) -> bool) {
        let waits = |entry: &&Entry| matches!(entry.stand, Stand::Parked { .. } | Stand::Preempting { helped: false });
        let helped = self.pods.values().filter(waits).filter(|entry| helps(&entry.pod, entry.rejectors));
        let helped: Vec<String> = helped.map(|entry| entry.pod.uid.clone()).collect();
        for uid in helped {
            match self.pods.get(&uid).map(|entry| entry.stand) {
                Some(Stand::Preempting { .. }) => self.stand(&uid, Stand::Preempting { helped: true }),
                _ => self.wake_one(&uid, now),
            }
        }
    }

    fn wake_one(&mut self, uid: &str, now: Millis) {
        let Some(entry) = self.pods.get(uid) else { return };
        let due = entry.tried + self.back_off.after(entry.attempts);
        let stand = if due <= now { Stand::Active } else { Stand::BackOff { due, failed: false } };
        self.stand(uid, stand);
    }

    /// When to look again though nothing happens.
    pub(crate) fn due(&self) -> Option<Millis> {
        let parked = self.pods.values().filter_map(|entry| match entry.stand {
            Stand::Parked { since } => Some(since + PARKED_MAX),
            _ => None,
        });
        self.backing_off.first().map(|(due, _)| *due).into_iter().chain(parked).min()
    }

    fn leave(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        match std::mem::replace(&mut entry.stand, Stand::Taken) {
            Stand::Active => drop(self.active.remove(&entry.rank())),
            Stand::BackOff { due, .. } => drop(self.backing_off.remove(&(due, uid.to_owned()))),
            Stand::Parked { .. } | Stand::Preempting { .. } => self.parked -= 1,
            Stand::Gated => self.gated -= 1,
            Stand::Taken => {}
        }
    }

    fn stand(&mut self, uid: &str, stand: Stand) {
        self.leave(uid);
        let Some(entry) = self.pods.get_mut(uid) else { return };
        entry.stand = stand;
        match stand {
            Stand::Active => drop(self.active.insert(entry.rank())),
            Stand::BackOff { due, .. } => drop(self.backing_off.insert((due, uid.to_owned()))),
            Stand::Parked { .. } | Stand::Preempting { .. } => self.parked += 1,
            Stand::Gated => self.gated += 1,
            Stand::Taken => {}
        }
    }

    /// How many are to be looked at, wait out their back-off, found no node, and are held back.
    pub(crate) fn pending(&self) -> [usize; 4] {
        [self.active.len(), self.backing_off.len(), self.parked, self.gated]
    }

    /// When a pod could first be looked at, and how often it was.
    pub(crate) fn history(&self, uid: &str) -> Option<(Millis, u32)> {
        self.pods.get(uid).map(|entry| (entry.came, entry.attempts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Plugin;
    use proptest::prelude::*;
    use serde_json::json;

    const BACK_OFF: BackOff = BackOff { first: 1000, most: 10_000 };

    fn pod(uid: &str, priority: i32) -> Arc<PodInfo> {
        let pod = json!({"metadata": {"name": uid, "uid": uid}, "spec": {"containers": [], "priority": priority}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn next(queue: &mut Queue, now: Millis) -> Option<String> {
        queue.take(now).map(|pod| pod.uid.clone())
    }

    fn rejected(by: Plugin) -> Plugins {
        let mut plugins = Plugins::default();
        plugins.add(by);
        plugins
    }

    #[test]
    fn the_most_important_comes_first_then_the_oldest() {
        let mut queue = Queue::new(BACK_OFF);
        for (uid, priority, since) in [("young", 0, 5), ("old", 0, 1), ("important", 9, 7)] {
            queue.put(pod(uid, priority), false, since, 10);
        }
        queue.put(pod("gated", 99), true, 0, 10);
        let order: Vec<String> = std::iter::from_fn(|| next(&mut queue, 10)).collect();
        assert_eq!(order, ["important", "old", "young"]);
        queue.put(pod("gated", 99), false, 0, 11);
        assert_eq!(next(&mut queue, 11).unwrap(), "gated");
    }

    #[test]
    fn a_parked_pod_is_woken_by_what_may_help_it() {
        let mut queue = Queue::new(BACK_OFF);
        queue.put(pod("a", 0), false, 0, 0);
        assert_eq!(next(&mut queue, 0).unwrap(), "a");
        queue.park("a", rejected(Plugin::NodePorts), 0);
        queue.wake(1, &|_, plugins| plugins.has(Plugin::NodeAffinity));
        assert_eq!(next(&mut queue, 1), None);
        queue.wake(1, &|_, plugins| plugins.has(Plugin::NodePorts));
        assert_eq!(queue.due(), Some(1000), "it waits out its back-off");
        assert_eq!(next(&mut queue, 1).unwrap(), "a", "unless there is nothing else to do");
        queue.park("a", rejected(Plugin::NodePorts), 1);
        assert_eq!(next(&mut queue, PARKED_MAX), None);
        assert_eq!(next(&mut queue, PARKED_MAX + 1).unwrap(), "a", "no event is waited for for ever");
    }

    #[test]
    fn what_failed_waits_longer_each_time() {
        let mut queue = Queue::new(BACK_OFF);
        queue.put(pod("a", 0), false, 0, 0);
        let mut now = 0;
        for wait in [1000, 2000, 4000, 8000, 10_000, 10_000] {
            assert!(queue.take(now).is_some());
            queue.fail("a", now);
            assert_eq!((queue.due(), next(&mut queue, now + wait - 1)), (Some(now + wait), None));
            now += wait;
        }
    }

    #[test]
    fn a_pod_is_not_looked_at_while_others_are_removed_for_it() {
        let mut queue = Queue::new(BACK_OFF);
        queue.put(pod("a", 0), false, 0, 0);
        queue.take(0);
        queue.preempt("a", rejected(Plugin::NodeResourcesFit), 0);
        queue.wake(1, &|_, _| true);
        assert_eq!(next(&mut queue, 5000), None);
        queue.preempted("a", true, 5000);
        assert_eq!(next(&mut queue, 5000).unwrap(), "a");
        queue.preempt("a", rejected(Plugin::NodeResourcesFit), 5000);
        queue.preempted("a", true, 5001);
        assert_eq!(next(&mut queue, 9000), None, "it waits for the others to be gone");
    }

    proptest! {
        /// No pod is lost, and none is looked at twice at the same time.
        #[test]
        fn every_pod_gets_its_look(acts in proptest::collection::vec((0..6_u8, 0..4_u8), 0..80)) {
            let mut queue = Queue::new(BACK_OFF);
            let (mut taken, mut known) = (BTreeSet::new(), BTreeSet::new());
            let mut now = 0;
            for (act, of) in acts {
                let uid = of.to_string();
                match act {
                    0 => { queue.put(pod(&uid, of.into()), false, now, now); known.insert(uid); }
                    1 => if let Some(uid) = next(&mut queue, now) { prop_assert!(taken.insert(uid)); },
                    2 if taken.remove(&uid) => queue.park(&uid, rejected(Plugin::NodePorts), now),
                    3 if taken.remove(&uid) => queue.fail(&uid, now),
                    4 => queue.wake(now, &|_, _| true),
                    _ => now += 700,
                }
            }
            for uid in taken {
                queue.park(&uid, Plugins::default(), now);
            }
            queue.wake(now, &|_, _| true);
            let mut seen = BTreeSet::new();
            while let Some(uid) = next(&mut queue, now + 60_000) {
                prop_assert!(seen.insert(uid));
            }
            prop_assert_eq!(seen, known);
        }
    }
}
