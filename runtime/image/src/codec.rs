//! Decompresses by what the bytes say, within a limit.

use std::io::{self, BufRead, Read};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// 128 MiB, what `zstd --long` uses; a frame may ask for 2 TiB otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Bytes that may be plain, gzip or zstd, as plain bytes.
pub(crate) fn decompress<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = reader.fill_buf()?;
    if start.starts_with(GZIP) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(reader)));
    }
    if start.starts_with(ZSTD) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(reader))
}

/// A reader that fails, rather than ends, after so many bytes.
pub(crate) struct AtMost<R> {
    inner: R,
    left: u64,
}

impl<R> AtMost<R> {
    pub(crate) fn new(inner: R, bytes_max: u64) -> Self {
        Self { inner, left: bytes_max }
    }
}

impl<R: Read> Read for AtMost<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(count)
    }
}
