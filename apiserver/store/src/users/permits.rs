//! Which keys a role may read and write.

use crate::keys::{End, KeyRange};
use bytes::Bytes;

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Read,
    Write,
    Both,
}

impl Right {
    fn includes(self, other: Right) -> bool {
        self == Right::Both || self == other
    }
}

/// A right to some keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub keys: KeyRange,
    pub right: Right,
}

/// Where a range ends, as the first key after it; `None`: nowhere.
fn end(keys: &KeyRange) -> Option<Bytes> {
    match &keys.end {
        End::Single => Some([&keys.from[..], &[0]].concat().into()),
        End::Before(end) => Some(end.clone()),
        End::Unbounded => None,
    }
}

/// Whether some grants together give a right to all of these keys: ranges that touch each other are one.
pub(super) fn cover<'a>(grants: impl Iterator<Item = &'a Grant>, keys: &KeyRange, right: Right) -> bool {
    if keys.is_empty() {
        return false;
    }
    let mut ranges: Vec<(&[u8], Option<Bytes>)> = grants
        .filter(|grant| grant.right.includes(right))
        .map(|grant| (&grant.keys.from[..], end(&grant.keys)))
        .collect();
    ranges.sort_by(|one, other| one.0.cmp(other.0));
    let (mut reached, wanted) = (keys.from.clone(), end(keys));
    for (from, end) in ranges {
        if *from > reached[..] {
            return false;
        }
        match end {
            None => return true,
            Some(end) if end > reached => reached = end,
            Some(_) => (),
        }
        if wanted.as_ref().is_some_and(|wanted| reached >= *wanted) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> impl Strategy<Value = KeyRange> {
        (0_u8..12, prop_oneof![Just(None), (0_u8..13).prop_map(Some)]).prop_map(|(from, end)| {
            let key = |at: u8| Bytes::copy_from_slice(&[at / 3, at % 3][..1 + usize::from(!at.is_multiple_of(3))]);
            match end {
                None => KeyRange::single(key(from)),
                Some(12) => KeyRange { from: key(from), end: End::Unbounded },
                Some(end) => KeyRange { from: key(from), end: End::Before(key(end)) },
            }
        })
    }

    fn right() -> impl Strategy<Value = Right> {
        prop_oneof![Just(Right::Read), Just(Right::Write), Just(Right::Both)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Every key of a small world: what is covered has no key that is in no grant.
        #[test]
        fn what_is_covered_is_granted_key_by_key(
            grants in proptest::collection::vec((keys(), right()), 0..8),
            keys in keys(),
        ) {
            let grants: Vec<Grant> = grants.into_iter().map(|(keys, right)| Grant { keys, right }).collect();
            for right in [Right::Read, Right::Write] {
                let world = (0_u8..6).flat_map(|a| (0_u8..4).map(move |b| [a, b])).flat_map(|[a, b]| {
                    [vec![a], vec![a, b], vec![a, 0], vec![a, b, 0], vec![a, b, 9], vec![a, 9]]
                });
                let mut all = true;
                for key in world.filter(|key| keys.contains(key)) {
                    all &= grants.iter().any(|grant| grant.right.includes(right) && grant.keys.contains(&key));
                }
                let covered = cover(grants.iter(), &keys, right);
                prop_assert!(!covered || all, "{keys:?} of {grants:?}");
                if !keys.is_empty() && keys.end == End::Single {
                    prop_assert_eq!(covered, all, "{:?} of {:?}", keys, grants);
                }
            }
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let grant = |from: &'static str, end: &'static str| Grant {
            keys: KeyRange::from_etcd(from.into(), end.into()),
            right: Right::Both,
        };
        let covers = |grants: &[Grant], from: &'static str, end: &'static str| {
            cover(grants.iter(), &KeyRange::from_etcd(from.into(), end.into()), Right::Read)
        };
        let both = [grant("c", "e"), grant("a", "c")];
        assert!(covers(&both, "a", "e") && covers(&both, "b", "d") && covers(&both, "d", ""));
        assert!(!covers(&both, "a", "f") && !covers(&both, "e", "") && !covers(&both, "a", "\0"));
        assert!(!covers(&[grant("a", "c"), grant("d", "e")], "a", "e"), "c is nobody's");
        assert!(covers(&[grant("b", "\0")], "c", "\0") && !covers(&[grant("b", "\0")], "a", "\0"));
    }
}
