//! Decompresses by what the bytes say, within a limit; formats that we do not read are named.

use crate::ImageError;
use crate::error::On;
use std::io::{self, BufRead, Read};

/// 128 MiB, what `zstd --long` uses; a frame may ask for 2 TiB otherwise.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes that tell the format.
pub(crate) const MAGIC_BYTES: usize = 6;
/// Formats that people pack images in and image-spec does not have: first bytes, name, the program that undoes it.
const FOREIGN: [(&[u8], &str, &str); 8] = [
    (b"\xfd7zXZ\0", "xz", "xz -d"),
    (b"BZh", "bzip2", "bzip2 -d"),
    (b"\x5d\0\0", "lzma", "xz -d --format=lzma"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"LZIP", "lzip", "lzip -d"),
    (b"\x1f\x9d", "compress", "uncompress"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip", "7z x"),
];

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Plain,
    Gzip,
    Zstd,
}

impl Codec {
    /// By the first bytes; `what` they are the beginning of is for the refusal.
    pub(crate) fn of(start: &[u8], what: impl FnOnce() -> String) -> Result<Self, ImageError> {
        if let Some((_, name, undo)) = FOREIGN.iter().find(|(magic, ..)| start.starts_with(magic)) {
            let reason = format!("it is packed with {name}; of these only gzip and zstd are implemented");
            return Err(ImageError::Unimplemented(format!("{}: {reason}: unpack it first (`{undo}`)", what())));
        }
        Ok(match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::Plain,
        })
    }
}

impl Codec {
    /// What a layer so packed is called in a manifest (image-spec, layer.md).
    pub(crate) fn layer_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// Bytes that may be plain, gzip or zstd, as plain bytes.
pub(crate) fn decompress<'a>(
    mut reader: impl BufRead + 'a,
    what: impl Fn() -> String,
) -> Result<Box<dyn Read + 'a>, ImageError> {
    let start = reader.fill_buf().on("read", what())?;
    Ok(match Codec::of(start, &what)? {
        Codec::Plain => Box::new(reader),
        Codec::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader).on("decompress", what())?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).on("decompress", what())?;
            Box::new(decoder)
        }
    })
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
