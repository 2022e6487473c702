//! Ranges of keys, in etcd's convention.

use bytes::Bytes;
use std::ops::Bound;

/// Where a [`KeyRange`] ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// After its first key: the range is one key.
    Single,
    /// Before this key.
    Before(Bytes),
    /// Never.
    Unbounded,
}

/// Some keys, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Bytes,
    /// Where it ends.
    pub end: End,
}

impl KeyRange {
    /// Every key.
    pub fn everything() -> Self {
        KeyRange { from: Bytes::new(), end: End::Unbounded }
    }

    /// One key.
    pub fn single(key: Bytes) -> Self {
        KeyRange { from: key, end: End::Single }
    }

    /// etcd's pair: an empty `range_end` means one key, `"\0"` every key from `key` on.
    pub fn from_etcd(key: Bytes, range_end: Bytes) -> Self {
        let end = match &range_end[..] {
            [] => End::Single,
            [0] => End::Unbounded,
            _ => End::Before(range_end),
        };
        KeyRange { from: key, end }
    }

    /// Every key that starts with `prefix`, from `from` on.
    pub fn prefix(prefix: &Bytes, from: Option<Bytes>) -> Self {
        KeyRange { from: from.unwrap_or_else(|| prefix.clone()), end: prefix_end(prefix) }
    }

    /// Whether `key` is one of these.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => self.from == key,
            End::Before(end) => &self.from[..] <= key && key < &end[..],
            End::Unbounded => &self.from[..] <= key,
        }
    }

    /// Whether no key can be one of these.
    pub fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.from)
    }

    /// As bounds of an ordered map.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let from = &self.from[..];
        match &self.end {
            // An ordered map panics on bounds that are the wrong way round.
            _ if self.is_empty() => (Bound::Included(from), Bound::Excluded(from)),
            End::Single => (Bound::Included(from), Bound::Included(from)),
            End::Before(end) => (Bound::Included(from), Bound::Excluded(&end[..])),
            End::Unbounded => (Bound::Included(from), Bound::Unbounded),
        }
    }

    /// As etcd's pair.
    pub fn into_etcd(self) -> (Bytes, Bytes) {
        let end = match self.end {
            End::Single => Bytes::new(),
            End::Before(end) => end,
            End::Unbounded => Bytes::from_static(&[0]),
        };
        // etcd takes no empty key; nothing but the empty key, which cannot be written, is before this one.
        let from = if self.from.is_empty() { Bytes::from_static(&[0]) } else { self.from };
        (from, end)
    }
}

/// The first key after all those that start with `prefix`.
fn prefix_end(prefix: &[u8]) -> End {
    let Some(last) = prefix.iter().rposition(|&byte| byte != 0xff) else { return End::Unbounded };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    End::Before(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_where_their_keys_end() {
        let end = |prefix: &'static [u8]| prefix_end(prefix);
        assert_eq!(end(b"a/"), End::Before("a0".into()));
        assert_eq!(end(b"a\xff"), End::Before("b".into()));
        assert_eq!(end(b"\xff\xff"), End::Unbounded);
        assert_eq!(end(b""), End::Unbounded);
    }

    #[test]
    fn a_range_the_wrong_way_round_holds_nothing() {
        let range = KeyRange::from_etcd("b".into(), "a".into());
        assert!(range.is_empty() && !range.contains(b"a") && !range.contains(b"b"));
    }
}
