//! Reads the attributes of what the kernel sent.

/// Takes the flags (nested, network order) away from an attribute's type.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// The attributes in a run of bytes; a truncated one ends the run.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads `bytes` as attributes.
    #[must_use]
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The value of the first attribute of this type.
    #[must_use]
    pub fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|(found, _)| *found == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of this type; none if it is absent.
    #[must_use]
    pub fn nest(self, kind: u16) -> Self {
        Self { bytes: self.get(kind).unwrap_or_default() }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.bytes.get(2..4)?.try_into().ok()?) & NLA_TYPE_MASK;
        let value = self.bytes.get(4..length)?;
        self.bytes = self.bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// The text of an attribute that ends with a zero.
#[must_use]
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_ends_the_run() {
        for bytes in [&[][..], &[1], &[3, 0, 1, 0], &[0, 0, 0, 0], &[200, 0, 1, 0, 5]] {
            assert_eq!(Attributes::of(bytes).count(), 0, "{bytes:?}");
        }
    }
}
