//! Reads tar entries, and refuses what two readers could understand differently.
//!
//! Header fields come from the `tar` crate; which header belongs to which data is decided here, because that is where
//! archives smuggle: a PAX size against a header size, a long name twice, data behind an entry that has none. GNU tar,
//! libarchive and Go's archive/tar must agree with us on the list of entries, so every known disagreement is an error.
//! Sources: POSIX pax (IEEE 1003.1, "pax Interchange Format"), GNU tar manual, "Basic Tar Format".
//!
//! What it leaves to others: names and links are bytes here; [`crate::unpack`] decides where they may lead.

mod header;
mod pax;
mod sparse;

use crate::ImageError;
use header::Fields;
use pax::Pax;
pub(crate) use sparse::Stretch;
use std::io::{self, Read};

pub(crate) const BLOCK: usize = 512;
/// Bytes of a name or a link target: PATH_MAX, beyond which the kernel takes none.
const NAME_BYTES_MAX: u64 = 4096;
/// Bytes of a PAX header: room for every extended attribute (64 KiB each) of a sane file; Go's reader has the same limit.
const PAX_BYTES_MAX: u64 = 1 << 20;
/// What GNU tar's `--label` writes first: a name for the tape, and of nothing on it.
const VOLUME_LABEL: u8 = b'V';

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Hardlink,
    Fifo,
    CharDevice,
    BlockDevice,
}

/// One entry; its data, if any, is read from the [`Tape`] before the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: Vec<u8>,
    /// Target of a symbolic or hard link.
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since the epoch.
    pub(crate) mtime: i64,
    /// Nanoseconds within that second.
    pub(crate) mtime_nanos: u32,
    /// Bytes of the file, holes included; zero for all but files.
    pub(crate) size: u64,
    /// Of a file with holes, which stretches the data are.
    pub(crate) sparse: Option<Vec<Stretch>>,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

/// A tar archive being read. Reading it gives the current entry's data.
pub(crate) struct Tape<R> {
    reader: R,
    /// Data bytes of the current entry not yet read.
    remaining: u64,
    /// Bytes between the end of that data and the next header.
    padding: u64,
    /// Bytes read so far, for those who index an archive.
    position: u64,
}

/// Extension headers seen before the entry they describe.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Tape<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, remaining: 0, padding: 0, position: 0 }
    }

    /// Where in the archive the current entry's unread data begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry, or none at the end mark or the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, ImageError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_rest().map_err(broken)?;
            let Some(header) = self.next_header()? else {
                return if extensions.is_empty() { Ok(None) } else { Err(bad("extension headers without an entry")) };
            };
            let fields = Fields::of(&header).map_err(|error| self.no_tape(error))?;
            let holes = (fields.flag == header::SPARSE).then(|| sparse::of_header(&header, self)).transpose()?;
            self.expect_data(fields.size);
            if fields.flag == VOLUME_LABEL || self.take_extension(&fields, &mut extensions)? {
                continue;
            }
            let (mut entry, announced) = extensions.describe(fields)?;
            self.expect_data(entry.size);
            if let Some(holes) = announced.or(holes) {
                let (size, stretches) = holes.read(self)?;
                (entry.size, entry.sparse) = (size, Some(stretches));
            }
            return Ok(Some(entry.check()?));
        }
    }

    /// What does not even begin as an archive is better called that than by the field that shows it.
    fn no_tape(&self, error: ImageError) -> ImageError {
        if self.position > BLOCK as u64 {
            error
        } else {
            bad(&format!("its beginning is not that of a tar archive ({error})"))
        }
    }

    fn expect_data(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// Whether this header describes the next one; it is kept then.
    fn take_extension(&mut self, fields: &Fields, kept: &mut Extensions) -> Result<bool, ImageError> {
        match fields.flag {
            b'x' => {
                let pax = Pax::parse(&self.read_small(PAX_BYTES_MAX, "PAX header")?)?;
                put(&mut kept.pax, pax, "two PAX headers for one entry")?;
            }
            // Readers disagree on whether global headers describe later entries, so they may carry comments only.
            b'g' => Pax::parse(&self.read_small(PAX_BYTES_MAX, "global PAX header")?)?.must_not_describe()?,
            b'L' => {
                let name = until_nul(self.read_small(NAME_BYTES_MAX, "long name")?);
                put(&mut kept.long_name, name, "two long names for one entry")?;
            }
            b'K' => {
                let link = until_nul(self.read_small(NAME_BYTES_MAX, "long link")?);
                put(&mut kept.long_link, link, "two long links for one entry")?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The whole data of the current entry, which must be small.
    fn read_small(&mut self, bytes_max: u64, what: &'static str) -> Result<Vec<u8>, ImageError> {
        if self.remaining > bytes_max {
            return Err(ImageError::TooLarge {
                what: format!("tar archive: {what}"),
                limit: format!("{bytes_max} bytes"),
            });
        }
        let expected = self.remaining;
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(broken)?;
        if data.len() as u64 == expected { Ok(data) } else { Err(bad("it ends within a header")) }
    }

    fn skip_rest(&mut self) -> io::Result<()> {
        let left = self.remaining + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(left), &mut io::sink())?;
        self.position += skipped;
        (self.remaining, self.padding) = (0, 0);
        if skipped == left { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next non-zero block. One block of zeros must be followed by another: that is the end mark.
    fn next_header(&mut self) -> Result<Option<[u8; BLOCK]>, ImageError> {
        let Some(block) = self.next_block()? else { return Ok(None) };
        if block.iter().any(|&byte| byte != 0) {
            return Ok(Some(block));
        }
        match self.next_block()? {
            Some(second) if second.iter().any(|&byte| byte != 0) => Err(bad("entries after a block of zeros")),
            _ => Ok(None),
        }
    }

    fn next_block(&mut self) -> Result<Option<[u8; BLOCK]>, ImageError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.reader.read(&mut block[filled..]).map_err(broken)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(bad("it ends within a block")),
                count => filled += count,
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }
}

impl<R: Read> Read for Tape<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= count as u64;
        self.position += count as u64;
        Ok(count)
    }
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }

    fn describe(self, fields: Fields) -> Result<(Entry, Option<sparse::Announced>), ImageError> {
        let mut entry = fields.into_entry()?;
        let pax = self.pax.unwrap_or_default();
        if (self.long_name.is_some() && pax.path.is_some()) || (self.long_link.is_some() && pax.link.is_some()) {
            return Err(bad("an entry has both a GNU and a PAX name"));
        }
        if let Some(path) = self.long_name {
            entry.path = path;
        }
        if let Some(link) = self.long_link {
            entry.link = link;
        }
        let holes = pax.override_fields(&mut entry)?;
        Ok((entry, holes))
    }
}

impl Entry {
    fn check(self) -> Result<Self, ImageError> {
        if self.path.len() as u64 > NAME_BYTES_MAX || self.link.len() as u64 > NAME_BYTES_MAX {
            return Err(ImageError::TooLarge {
                what: "tar archive: a name".into(),
                limit: format!("{NAME_BYTES_MAX} bytes"),
            });
        }
        if self.path.contains(&0) || self.link.contains(&0) {
            return Err(bad("a name contains a NUL"));
        }
        if self.kind != Kind::File && (self.size != 0 || self.sparse.is_some()) {
            return Err(bad("an entry that has no data announces some"));
        }
        // 2^32-1 means "leave as it is" to chown(2), so it is nobody's id.
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(bad("4294967295 is no user or group id"));
        }
        Ok(self)
    }
}

fn put<T>(place: &mut Option<T>, value: T, twice: &'static str) -> Result<(), ImageError> {
    match place.replace(value) {
        Some(_) => Err(bad(twice)),
        None => Ok(()),
    }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
    bytes
}

fn bad(reason: &str) -> ImageError {
    ImageError::malformed("tar archive", reason)
}

fn broken(source: io::Error) -> ImageError {
    ImageError::Io { operation: "read", path: "tar archive".into(), source }
}
