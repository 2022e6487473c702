//! Sets of completion indexes, as a job's status writes them: `1,3-5,7`. No I/O.
//!
//! Kept as ranges: a job may have millions of completions, and most of its status is one long range.

use std::fmt;

/// Ranges of indexes, first and last of each: ascending, none touches another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads what a status or a success policy says; what is no range, or not below `completions`, is left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            (0 <= first && first <= last && first < completions).then(|| (first, last.min(completions - 1)))
        };
        Self::of(text.split(',').filter_map(range).collect())
    }

    fn of(mut ranges: Vec<(i32, i32)>) -> Self {
        ranges.sort_unstable();
        let mut whole: Vec<(i32, i32)> = Vec::new();
        for (first, last) in ranges {
            match whole.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => whole.push((first, last)),
            }
        }
        Self(whole)
    }

    /// These and those.
    pub(super) fn with(&self, more: impl IntoIterator<Item = i32>) -> Self {
        Self::of(self.0.iter().copied().chain(more.into_iter().map(|index| (index, index))).collect())
    }

    /// What is in one of both.
    pub(super) fn merged(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// How many there are.
    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in both.
    pub(super) fn shared(&self, other: &Self) -> i32 {
        let (mut mine, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut many = 0;
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            many += (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
            if a.1 < b.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        many
    }

    /// The first `many` below `completions` that are not here.
    pub(super) fn free(&self, many: usize, completions: i32) -> Vec<i32> {
        let mut next = 0;
        let mut found = Vec::new();
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            found.extend((next..first.min(completions)).take(many - found.len()));
            next = last.saturating_add(1);
            if found.len() == many {
                break;
            }
        }
        found
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            match last - first {
                0 => write!(to, "{comma}{first}")?,
                1 => write!(to, "{comma}{first},{last}")?,
                _ => write!(to, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(indexes: &Indexes) -> BTreeSet<i32> {
        (0..64).filter(|index| indexes.has(*index)).collect()
    }

    #[test]
    fn they_read_as_kubernetes_writes_them() {
        let indexes = Indexes::default().with([5, 1, 3, 4, 7, 8]);
        assert_eq!(indexes.to_string(), "1,3-5,7,8");
        assert_eq!(Indexes::parse("1,3-5,x,7-90", 9).to_string(), "1,3-5,7,8");
        assert_eq!(Indexes::default().free(2, 1), [0]);
    }

    proptest! {
        #[test]
        fn they_are_sets(a in proptest::collection::btree_set(0_i32..64, 0..40), b in proptest::collection::btree_set(0_i32..64, 0..40), many in 0_usize..70) {
            let (left, right) = (Indexes::default().with(a.clone()), Indexes::default().with(b.clone()));
            prop_assert_eq!(&Indexes::parse(&left.to_string(), 64), &left);
            prop_assert_eq!(set(&left), a.clone());
            prop_assert_eq!(set(&left.merged(&right)), a.union(&b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(left.shared(&right) as usize, a.intersection(&b).count());
            prop_assert_eq!(left.total() as usize, a.len());
            let free: Vec<i32> = (0..64).filter(|index| !a.contains(index)).take(many).collect();
            prop_assert_eq!(left.free(many, 64), free);
        }
    }
}
