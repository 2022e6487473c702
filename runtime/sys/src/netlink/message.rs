//! One netlink message under construction: header, family header, attributes (netlink(7), `include/uapi/linux/netlink.h`).

/// Bytes of `struct nlmsghdr`.
pub(super) const HEADER_BYTES: usize = 16;
/// Messages and attributes start at multiples of this.
const ALIGNMENT: usize = 4;
/// Marks an attribute that holds attributes.
const NLA_F_NESTED: u16 = 1 << 15;

/// A request. Attributes are appended in the order of the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request of type `kind` with `flags` (`NLM_F_REQUEST` is added), starting with its family's own header.
    #[must_use]
    pub fn new(kind: u16, flags: u16, family_header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend([0; 4]);
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(family_header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// An attribute of raw bytes.
    ///
    /// # Panics
    /// The value does not fit into the 16 bits of an attribute's length.
    #[must_use]
    pub fn raw(mut self, attribute: u16, value: &[u8]) -> Self {
        let length = u16::try_from(value.len() + 4).expect("callers bound their values far below 64 KiB");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(attribute.to_ne_bytes());
        self.bytes.extend(value);
        self.pad();
        self
    }

    /// An attribute of one byte.
    #[must_use]
    pub fn u8(self, attribute: u16, value: u8) -> Self {
        self.raw(attribute, &[value])
    }

    /// An attribute of 32 bits in the machine's order, as rtnetlink has them.
    #[must_use]
    pub fn u32(self, attribute: u16, value: u32) -> Self {
        self.raw(attribute, &value.to_ne_bytes())
    }

    /// An attribute of 32 bits in network order, as netfilter has them.
    #[must_use]
    pub fn be32(self, attribute: u16, value: u32) -> Self {
        self.raw(attribute, &value.to_be_bytes())
    }

    /// An attribute of 64 bits in network order.
    #[must_use]
    pub fn be64(self, attribute: u16, value: u64) -> Self {
        self.raw(attribute, &value.to_be_bytes())
    }

    /// An attribute that is a string with its terminating zero.
    #[must_use]
    pub fn text(self, attribute: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(attribute, &bytes)
    }

    /// An attribute that holds what `fill` appends.
    ///
    /// # Panics
    /// The content does not fit into the 16 bits of an attribute's length.
    #[must_use]
    pub fn nest(mut self, attribute: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((attribute | NLA_F_NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - start).expect("callers bound their nests far below 64 KiB");
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// Appends bytes that are no attribute: some attributes hold a header before their attributes.
    #[must_use]
    pub fn header(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(length, 0);
    }

    /// Appends the finished message to `out`, with its length, additional flags and sequence number.
    pub(super) fn finish(&self, flags: u16, sequence: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(&self.bytes);
        let length = u32::try_from(self.bytes.len()).expect("a message is far below 4 GiB");
        let all = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags;
        out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        out[start + 6..start + 8].copy_from_slice(&all.to_ne_bytes());
        out[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Attributes;

    #[test]
    fn nested_attributes_are_read_back() {
        let message = Message::new(7, 0, &[2, 0, 0, 0]).u8(1, 9).nest(2, |inner| inner.text(3, "abc").be32(4, 5));
        let mut bytes = Vec::new();
        message.finish(0, 1, &mut bytes);
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let attributes = Attributes::of(&bytes[HEADER_BYTES + 4..]);
        assert_eq!(attributes.get(1), Some(&[9][..]));
        let inner = Attributes::of(attributes.get(2).expect("it was put there"));
        assert_eq!(inner.get(3), Some(&b"abc\0"[..]));
        assert_eq!(inner.get(4), Some(&[0, 0, 0, 5][..]));
    }
}
