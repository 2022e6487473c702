//! Header blocks: names and values, compressed against the dictionary and all blocks before.

use super::{ProtocolError, dictionary};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Bytes of a block, decompressed; a Kubernetes stream has four short headers.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// What compress and decompress work in.
const STEP_BYTES: usize = 4 << 10;

/// Names (lower case) and values of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Headers of these names and values.
    #[must_use]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_lowercase(), (*value).to_owned())).collect())
    }

    /// The first value of this name, which must be given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str())
    }
}

/// Compresses blocks; all of one connection, in the order in which they are sent.
pub(super) struct Compressor(Compress);

impl Compressor {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&dictionary::bytes()).expect("a fresh stream takes a dictionary");
        Self(compress)
    }

    pub(super) fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, ProtocolError> {
        let plain = plain(headers)?;
        let (mut packed, before) = (Vec::new(), self.0.total_in());
        loop {
            packed.reserve(STEP_BYTES);
            let done = usize::try_from(self.0.total_in() - before).map_err(|_| TOO_LARGE)?;
            let space = packed.capacity() - packed.len();
            let length = packed.len();
            let step = self.0.compress_vec(&plain[done..], &mut packed, FlushCompress::Sync);
            step.map_err(|_| ProtocolError("headers do not compress"))?;
            // A sync flush is over when it leaves room in the output.
            if packed.len() - length < space {
                return Ok(packed);
            }
        }
    }
}

const TOO_LARGE: ProtocolError = ProtocolError("a header block of more than 64 KiB");

fn plain(headers: &Headers) -> Result<Vec<u8>, ProtocolError> {
    let mut plain = length(headers.0.len())?.to_vec();
    for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
        plain.extend_from_slice(&length(text.len())?);
        plain.extend_from_slice(text.as_bytes());
    }
    if plain.len() > BLOCK_BYTES_MAX { Err(TOO_LARGE) } else { Ok(plain) }
}

fn length(length: usize) -> Result<[u8; 4], ProtocolError> {
    u32::try_from(length).map(u32::to_be_bytes).map_err(|_| TOO_LARGE)
}

/// Decompresses blocks; all of one connection, in the order in which they arrive.
pub(super) struct Decompressor(Decompress);

impl Decompressor {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn headers(&mut self, packed: &[u8]) -> Result<Headers, ProtocolError> {
        parse(&self.inflate(packed)?)
    }

    fn inflate(&mut self, packed: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let (mut plain, before) = (Vec::new(), self.0.total_in());
        loop {
            let done = usize::try_from(self.0.total_in() - before).map_err(|_| TOO_LARGE)?;
            plain.reserve(STEP_BYTES);
            let (space, length) = (plain.capacity() - plain.len(), plain.len());
            match self.0.decompress_vec(&packed[done..], &mut plain, FlushDecompress::Sync) {
                Ok(_) if plain.len() > BLOCK_BYTES_MAX => return Err(TOO_LARGE),
                Ok(_) if plain.len() - length < space => return Ok(plain),
                Ok(_) => {}
                // Only the first block of a connection asks.
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&dictionary::bytes());
                    set.map_err(|_| ProtocolError("headers compressed against another dictionary"))?;
                }
                Err(_) => return Err(ProtocolError("a header block that does not decompress")),
            }
        }
    }
}

fn parse(plain: &[u8]) -> Result<Headers, ProtocolError> {
    let mut rest = plain;
    let count = take_number(&mut rest)?;
    let mut headers = Headers::default();
    for _header in 0..count {
        let (name, value) = (take_text(&mut rest)?, take_text(&mut rest)?);
        headers.0.push((name, value));
    }
    if rest.is_empty() { Ok(headers) } else { Err(ProtocolError("bytes after a header block")) }
}

fn take_number(rest: &mut &[u8]) -> Result<u32, ProtocolError> {
    let (bytes, tail) = rest.split_first_chunk::<4>().ok_or(ProtocolError("a header block that ends early"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*bytes))
}

fn take_text(rest: &mut &[u8]) -> Result<String, ProtocolError> {
    let length = take_number(rest)? as usize;
    let (text, tail) = rest.split_at_checked(length).ok_or(ProtocolError("a header longer than its block"))?;
    *rest = tail;
    String::from_utf8(text.to_vec()).map_err(|_| ProtocolError("a header that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        // Each case sets up zlib, which is slow without optimisation.
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn blocks_round_trip_in_order(
            blocks in proptest::collection::vec(proptest::collection::vec(("[a-z-]{1,20}", "\\PC{0,3000}"), 0..5), 1..6)
        ) {
            let (mut compressor, mut decompressor) = (Compressor::new(), Decompressor::new());
            for headers in blocks.into_iter().map(Headers) {
                let packed = compressor.block(&headers).unwrap();
                prop_assert_eq!(decompressor.headers(&packed).unwrap(), headers);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(packed in proptest::collection::vec(any::<u8>(), 0..200), damage in 0usize..60) {
            let _either_way = Decompressor::new().headers(&packed);
            let mut good = Compressor::new().block(&Headers::of(&[("streamType", "stdin"), ("port", "80")])).unwrap();
            if let Some(byte) = good.get_mut(damage) { *byte ^= 0x55; }
            let _either_way = Decompressor::new().headers(&good);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&dictionary::bytes()).unwrap();
        let mut packed = Vec::with_capacity(1 << 20);
        compress.compress_vec(&vec![0; 100 << 20], &mut packed, FlushCompress::Sync).unwrap();
        assert_eq!(Decompressor::new().headers(&packed), Err(TOO_LARGE));
    }
}
