//! A tag and fields, out of and into bytes: `tag u8, length u32, (length u32, bytes)…`, little-endian.
//!
//! The other end may be cut off at any byte (the machine dies), so a reader gets what is complete and no more.

use std::collections::VecDeque;

/// Bytes before the fields.
const HEADER_BYTES: usize = 5;
/// A longer frame means that the stream is not ours any more; writers cut what they send far below it.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub tag: u8,
    /// Its parts, in the order that the tag prescribes.
    pub fields: Vec<Vec<u8>>,
}

impl Frame {
    /// A frame of these fields.
    #[must_use]
    pub fn new<F: AsRef<[u8]>>(tag: u8, fields: impl IntoIterator<Item = F>) -> Self {
        Self { tag, fields: fields.into_iter().map(|field| field.as_ref().to_vec()).collect() }
    }

    /// Its bytes.
    ///
    /// # Panics
    /// A field is 4 GiB or longer.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let length_of = |bytes: usize| u32::try_from(bytes).expect("a field is far below 4 GiB").to_le_bytes();
        let body: usize = self.fields.iter().map(|field| field.len() + 4).sum();
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body);
        bytes.push(self.tag);
        bytes.extend(length_of(body));
        for field in &self.fields {
            bytes.extend(length_of(field.len()));
            bytes.extend(field);
        }
        bytes
    }
}

/// Puts arriving bytes together.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: VecDeque<u8>,
}

/// The stream is not one of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

impl Decoder {
    /// Takes bytes as they come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.pending.extend(bytes);
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// The lengths contradict each other.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, Garbled> {
        if self.pending.len() < HEADER_BYTES {
            return Ok(None);
        }
        let header: Vec<u8> = self.pending.range(..HEADER_BYTES).copied().collect();
        let length = length_at(&header, 1).ok_or(Garbled)?;
        if length > FRAME_BYTES_MAX {
            return Err(Garbled);
        }
        if self.pending.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        self.pending.drain(..HEADER_BYTES);
        let body: Vec<u8> = self.pending.drain(..length).collect();
        fields(&body).map(|fields| Some(Frame { tag: header[0], fields }))
    }
}

fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(bytes)).ok()
}

fn fields(body: &[u8]) -> Result<Vec<Vec<u8>>, Garbled> {
    let mut found = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let length = length_at(rest, 0).ok_or(Garbled)?;
        found.push(rest.get(4..4 + length).ok_or(Garbled)?.to_vec());
        rest = &rest[4 + length..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            frames in prop::collection::vec((any::<u8>(), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..4)), 0..6),
            piece in 1_usize..40,
        ) {
            let frames: Vec<_> = frames.into_iter().map(|(tag, fields)| Frame { tag, fields }).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
            let (mut decoder, mut read) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(piece) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    read.push(frame);
                }
            }
            prop_assert_eq!(read, frames);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_noticed() {
        let mut decoder = Decoder::default();
        decoder.feed(&[1, 255, 255, 255, 255]);
        assert_eq!(decoder.next_frame(), Err(Garbled));
    }
}
