//! A domain name as it is looked up: lower case, label by label from its right end, without an allocation.

use hickory_proto::rr::Name;

/// A name has at most 255 bytes on the wire (RFC 1035, 3.1), so at most 127 labels.
const BYTES_MAX: usize = 255;
const LABELS_MAX: usize = 127;

/// The labels of a name.
pub struct Labels {
    bytes: [u8; BYTES_MAX],
    /// Where each label ends, from the left.
    ends: [u8; LABELS_MAX],
    count: usize,
}

impl Labels {
    /// Of a name as it came.
    #[must_use]
    pub fn of(name: &Name) -> Self {
        Self::from_labels(name.iter())
    }

    /// Of a text with dots, with or without one at its end.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::from_labels(text.split('.').filter(|label| !label.is_empty()).map(str::as_bytes))
    }

    /// What is longer than a name can be is left out; no `Name` is.
    fn from_labels<'a>(labels: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut this = Self { bytes: [0; BYTES_MAX], ends: [0; LABELS_MAX], count: 0 };
        let mut start = 0;
        for label in labels.take(LABELS_MAX) {
            let end = start + label.len();
            let (Some(place), Ok(mark)) = (this.bytes.get_mut(start..end), u8::try_from(end)) else { break };
            place.copy_from_slice(label);
            place.make_ascii_lowercase();
            this.ends[this.count] = mark;
            this.count += 1;
            start = end;
        }
        this
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The label that has `right` others to its right.
    #[must_use]
    pub fn from_right(&self, right: usize) -> Option<&[u8]> {
        let index = self.count.checked_sub(right + 1)?;
        let start = if index == 0 { 0 } else { usize::from(self.ends[index - 1]) };
        self.bytes.get(start..usize::from(self.ends[index]))
    }

    /// Whether the name ends with these labels, given from the left.
    #[must_use]
    pub fn end_with(&self, tail: &[Box<[u8]>]) -> bool {
        tail.iter().rev().enumerate().all(|(right, label)| self.from_right(right) == Some(&**label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lower_case_and_counted_from_the_right() {
        let labels = Labels::of(&Name::from_ascii("Web.SHOP.svc.").unwrap());
        assert_eq!(labels.count(), 3);
        assert_eq!(labels.from_right(0), Some(&b"svc"[..]));
        assert_eq!(labels.from_right(2), Some(&b"web"[..]));
        assert_eq!(labels.from_right(3), None);
        assert!(labels.end_with(&[b"shop"[..].into(), b"svc"[..].into()]));
        assert!(!labels.end_with(&[b"web"[..].into(), b"svc"[..].into()]));
        assert_eq!(Labels::of(&Name::root()).count(), 0);
    }

    #[test]
    fn the_longest_names_fit() {
        let longest = vec![b'a'; 63];
        let name = Name::from_labels([&longest[..], &longest, &longest, &longest[..61]]).unwrap();
        assert_eq!(Labels::of(&name).count(), 4);
        let many = Name::from_labels(vec![&b"a"[..]; 127]).unwrap();
        assert_eq!(Labels::of(&many).from_right(126), Some(&b"a"[..]));
    }
}
