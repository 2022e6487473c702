//! The 512 bytes before an entry: checksum, numbers, type.

use super::{BLOCK, Entry, Kind, bad};
use crate::ImageError;
use tar::Header;

/// Where the checksum itself stands in the block; it counts as spaces.
const CHECKSUM: std::ops::Range<usize> = 148..156;
/// Where the type flag stands.
const FLAG: usize = 156;
/// The type of a file with holes whose map is in the header.
pub(super) const SPARSE: u8 = b'S';

/// What a header block says.
pub(super) struct Fields {
    /// The type as written.
    pub(super) flag: u8,
    /// Bytes of data that follow.
    pub(super) size: u64,
    path: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    device: (u32, u32),
}

impl Fields {
    /// Checks and reads a header block.
    pub(super) fn of(block: &[u8; BLOCK]) -> Result<Self, ImageError> {
        let header = Header::from_byte_slice(block);
        let number = |field: std::io::Result<u64>, name: &str| field.map_err(|_| bad(&format!("{name} is no number")));
        let sum = number(header.cksum().map(u64::from), "a checksum")?;
        if sum != checksum(block) {
            return Err(bad("a header's checksum is wrong"));
        }
        let id = |field, name| {
            number(field, name)
                .and_then(|id| u32::try_from(id).map_err(|_| bad(&format!("{name} does not fit in 32 bits"))))
        };
        let flag = block[FLAG];
        Ok(Self {
            flag,
            size: number(header.entry_size(), "a size")?,
            path: header.path_bytes().into_owned(),
            link: header.link_name_bytes().unwrap_or_default().into_owned(),
            mode: header.mode().map_err(|_| bad("a mode is no number"))? & 0o7777,
            uid: id(header.uid(), "a user id")?,
            gid: id(header.gid(), "a group id")?,
            mtime: i64::try_from(number(header.mtime(), "a time")?).map_err(|_| bad("a time is out of range"))?,
            device: if matches!(flag, b'3' | b'4') { device(header)? } else { (0, 0) },
        })
    }

    /// The entry as the header alone describes it.
    pub(super) fn into_entry(self) -> Result<Entry, ImageError> {
        let kind = self.kind()?;
        let Self { size, path, link, mode, uid, gid, mtime, device, .. } = self;
        Ok(Entry {
            path,
            link,
            kind,
            mode,
            uid,
            gid,
            mtime,
            mtime_nanos: 0,
            size,
            device,
            xattrs: Vec::new(),
            sparse: None,
        })
    }

    fn kind(&self) -> Result<Kind, ImageError> {
        let slash = self.path.ends_with(b"/");
        Ok(match self.flag {
            // Version 7 had no flag for directories: a slash at the end made one.
            0 if slash => Kind::Directory,
            b'0' | b'7' if slash => return Err(bad("a file's name ends with a slash")),
            0 | b'0' | b'7' | SPARSE => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            other => return Err(bad(&format!("entries of type {:?} have no place in a layer", char::from(other)))),
        })
    }
}

fn device(header: &Header) -> Result<(u32, u32), ImageError> {
    let part = |field: std::io::Result<Option<u32>>| field.ok().flatten().ok_or_else(|| bad("a device has no number"));
    Ok((part(header.device_major())?, part(header.device_minor())?))
}

fn checksum(block: &[u8; BLOCK]) -> u64 {
    let spaces = CHECKSUM.len() as u64 * u64::from(b' ');
    let rest = block.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at));
    rest.map(|(_, &byte)| u64::from(byte)).sum::<u64>() + spaces
}
