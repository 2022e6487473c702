//! Which watchers wait for a key, found without looking at those that wait for others.
//!
//! Watchers of the same keys share a spot. Spots of one key are in a table; those of ranges are in a tree in the order of where they
//! begin, and each node knows how far the ranges below it reach. So a key meets the ranges that hold it, and passes over subtrees that begin
//! after it or end before it. Priorities are drawn, which keeps the tree about as deep as the logarithm of its size (a treap).
//!
//! What waits is a list of ids: a watcher that was woken is taken off it, and comes back when it has seen everything. Ids of watchers that are
//! gone stay until there are too many of them; whoever takes the list knows who is there.

use super::WatcherId;
use crate::keys::{End, KeyRange};
use crate::seeded;
use bytes::Bytes;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Ids of watchers that are gone, in one list, that are not worth looking for.
const STALE_MIN: usize = 16;

/// Names a spot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Spot(usize);

type Link = Option<usize>;

#[derive(Debug)]
struct Node {
    keys: KeyRange,
    /// Watchers of these keys, waiting or not.
    watchers: usize,
    waiting: Vec<WatcherId>,
    // Of the tree; a single key is not in it.
    left: Link,
    right: Link,
    priority: u64,
    /// The largest end of the ranges from here on down.
    reach: End,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    single: HashMap<Bytes, usize>,
    root: Link,
}

impl Ranges {
    /// One more watcher of `keys`; it does not wait yet.
    pub(super) fn enter(&mut self, keys: &KeyRange) -> Spot {
        let found = match &keys.end {
            End::Single => self.single.get(&keys.from).copied(),
            _ => self.find(keys),
        };
        let at = found.unwrap_or_else(|| self.make(keys));
        self.node_mut(at).watchers += 1;
        Spot(at)
    }

    /// One less; `is_there` tells which watchers of the spot are left.
    pub(super) fn leave(&mut self, spot: Spot, is_there: impl Fn(WatcherId) -> bool) {
        let node = self.node_mut(spot.0);
        node.watchers -= 1;
        if node.watchers > 0 {
            if node.waiting.len() > 2 * node.watchers + STALE_MIN {
                node.waiting.retain(|&id| is_there(id));
                node.waiting.shrink_to(2 * node.watchers);
            }
            return;
        }
        let keys = node.keys.clone();
        match keys.end {
            End::Single => drop(self.single.remove(&keys.from)),
            _ => self.root = self.without(self.root, &keys),
        }
        self.nodes[spot.0] = None;
        self.free.push(spot.0);
        if self.free.len() == self.nodes.len() {
            // What many watchers took is given back when the last of them is gone.
            *self = Ranges::default();
        }
    }

    /// A watcher of the spot waits.
    pub(super) fn wait(&mut self, spot: Spot, id: WatcherId) {
        self.node_mut(spot.0).waiting.push(id);
    }

    /// Takes everybody who waits there.
    pub(super) fn take_waiting(&mut self, spot: Spot) -> Vec<WatcherId> {
        std::mem::take(&mut self.node_mut(spot.0).waiting)
    }

    /// Gives a list of a spot back, for its room, with those of it who still wait.
    pub(super) fn put_back(&mut self, spot: Spot, waiting: Vec<WatcherId>) {
        self.node_mut(spot.0).waiting = waiting;
    }

    /// The spots where somebody waits for one of `keys`, which are in order.
    pub(super) fn concerned(&self, keys: &[&[u8]]) -> Vec<Spot> {
        let mut found = Vec::new();
        let spots = self.nodes.len() - self.free.len();
        if keys.len() > spots {
            // More keys than spots: each spot looks for its first key.
            let concerns = |node: &Node| {
                let first = keys.partition_point(|key| *key < &node.keys.from[..]);
                !node.waiting.is_empty() && keys.get(first).is_some_and(|key| node.keys.contains(key))
            };
            found.extend(self.spots().filter(|(_, node)| concerns(node)).map(|(at, _)| at));
        } else {
            for key in keys {
                self.single.get(*key).into_iter().for_each(|&at| self.add(at, &mut found));
                self.stab(self.root, key, &mut found);
            }
        }
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(Spot).collect()
    }

    fn spots(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.as_ref()?)))
    }

    fn add(&self, at: usize, found: &mut Vec<usize>) {
        if !self.node(at).waiting.is_empty() {
            found.push(at);
        }
    }

    fn stab(&self, link: Link, key: &[u8], found: &mut Vec<usize>) {
        let Some(at) = link else { return };
        let node = self.node(at);
        if ends_by(&node.reach, key) {
            return;
        }
        self.stab(node.left, key, found);
        if &node.keys.from[..] <= key {
            if !ends_by(&node.keys.end, key) {
                self.add(at, found);
            }
            if !seeded::is("watcher-skipped") {
                self.stab(node.right, key, found);
            }
        }
    }

    fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("links lead to nodes")
    }

    fn node_mut(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().expect("links lead to nodes")
    }

    fn find(&self, keys: &KeyRange) -> Link {
        let mut link = self.root;
        while let Some(at) = link {
            let node = self.node(at);
            link = match order(keys, &node.keys) {
                Ordering::Equal => return Some(at),
                Ordering::Less => node.left,
                Ordering::Greater => node.right,
            };
        }
        None
    }

    fn make(&mut self, keys: &KeyRange) -> usize {
        let node = Node {
            keys: keys.clone(),
            watchers: 0,
            waiting: Vec::new(),
            left: None,
            right: None,
            priority: rand::random(),
            reach: keys.end.clone(),
        };
        let at = self.free.pop().unwrap_or(self.nodes.len());
        match self.nodes.get_mut(at) {
            Some(place) => *place = Some(node),
            None => self.nodes.push(Some(node)),
        }
        match keys.end {
            End::Single => drop(self.single.insert(keys.from.clone(), at)),
            _ => {
                let (before, after) = self.split(self.root, keys);
                let before = self.merge(before, Some(at));
                self.root = self.merge(before, after);
            }
        }
        at
    }

    /// The subtree of what comes before `keys`, and that of the rest.
    fn split(&mut self, link: Link, keys: &KeyRange) -> (Link, Link) {
        let Some(at) = link else { return (None, None) };
        if order(&self.node(at).keys, keys).is_lt() {
            let (before, after) = self.split(self.node(at).right, keys);
            self.node_mut(at).right = before;
            self.measure(at);
            (Some(at), after)
        } else {
            let (before, after) = self.split(self.node(at).left, keys);
            self.node_mut(at).left = after;
            self.measure(at);
            (before, Some(at))
        }
    }

    /// One tree of two, the first of which comes before the second.
    fn merge(&mut self, before: Link, after: Link) -> Link {
        let (Some(first), Some(second)) = (before, after) else { return before.or(after) };
        if self.node(first).priority > self.node(second).priority {
            let right = self.merge(self.node(first).right, after);
            self.node_mut(first).right = right;
            self.measure(first);
            before
        } else {
            let left = self.merge(before, self.node(second).left);
            self.node_mut(second).left = left;
            self.measure(second);
            after
        }
    }

    fn without(&mut self, link: Link, keys: &KeyRange) -> Link {
        let at = link?;
        let (left, right) = (self.node(at).left, self.node(at).right);
        match order(keys, &self.node(at).keys) {
            Ordering::Equal => return self.merge(left, right),
            Ordering::Less => self.node_mut(at).left = self.without(left, keys),
            Ordering::Greater => self.node_mut(at).right = self.without(right, keys),
        }
        self.measure(at);
        link
    }

    fn measure(&mut self, at: usize) {
        let node = self.node(at);
        let below = [node.left, node.right].into_iter().flatten().map(|at| &self.node(at).reach);
        let reach = below.chain([&node.keys.end]).max_by(|a, b| later(a, b)).cloned();
        let node = self.node_mut(at);
        node.reach = reach.unwrap_or(End::Unbounded);
    }
}

/// By where they begin, then by where they end.
fn order(one: &KeyRange, other: &KeyRange) -> Ordering {
    one.from.cmp(&other.from).then_with(|| later(&one.end, &other.end))
}

/// Which ends later. A single key is in no tree.
fn later(one: &End, other: &End) -> Ordering {
    let end = |end: &End| match end {
        End::Before(end) => (false, end.clone()),
        End::Single | End::Unbounded => (true, Bytes::new()),
    };
    end(one).cmp(&end(other))
}

/// Whether what ends there has ended when `key` comes.
fn ends_by(end: &End, key: &[u8]) -> bool {
    matches!(end, End::Before(end) if &end[..] <= key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is done to both; watchers are numbered.
    #[derive(Debug, Clone)]
    enum Step {
        Enter(KeyRange),
        /// One of those that are there.
        Leave(usize),
        Look(Vec<Bytes>),
    }

    fn key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(97), Just(255)], 0..4).prop_map(Bytes::from)
    }

    fn keys() -> impl Strategy<Value = KeyRange> {
        prop_oneof![
            key().prop_map(KeyRange::single),
            key().prop_map(|from| KeyRange::prefix(&from, None)),
            (key(), key()).prop_map(|(from, end)| KeyRange::from_etcd(from, end)),
            Just(KeyRange::everything()),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => keys().prop_map(Step::Enter),
            1 => any::<prop::sample::Index>().prop_map(|which| Step::Leave(which.index(1000))),
            3 => proptest::collection::vec(key(), 1..40).prop_map(Step::Look),
        ]
    }

    /// Everybody waits all the time.
    fn check(steps: Vec<Step>) {
        let (mut ranges, mut plain): (Ranges, Vec<(WatcherId, KeyRange, Spot)>) = (Ranges::default(), Vec::new());
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Enter(keys) => {
                    let (spot, id) = (ranges.enter(&keys), WatcherId(number as u64));
                    ranges.wait(spot, id);
                    plain.push((id, keys, spot));
                }
                Step::Leave(which) if !plain.is_empty() => {
                    let (_, _, spot) = plain.swap_remove(which % plain.len());
                    ranges.leave(spot, |id| plain.iter().any(|(other, ..)| *other == id));
                }
                Step::Leave(_) => (),
                Step::Look(mut keys) => {
                    keys.sort();
                    let refs: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
                    let mut found = Vec::new();
                    for spot in ranges.concerned(&refs) {
                        let waiting = ranges.take_waiting(spot);
                        found.extend(waiting.iter().copied().filter(|id| plain.iter().any(|(other, ..)| other == id)));
                        ranges.put_back(spot, waiting);
                    }
                    found.sort();
                    let concerns = |range: &KeyRange| keys.iter().any(|key| range.contains(key));
                    let mut wanted: Vec<_> =
                        plain.iter().filter(|(_, range, _)| concerns(range)).map(|(id, ..)| *id).collect();
                    wanted.sort();
                    assert_eq!(found, wanted);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn it_finds_what_a_look_at_every_watcher_finds(steps in proptest::collection::vec(step(), 1..120)) {
            check(steps);
        }
    }
}
