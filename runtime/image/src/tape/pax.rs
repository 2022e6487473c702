//! PAX records: `LENGTH KEY=VALUE\n`, each overriding a field of the next header.

use super::sparse::{Announced, Records};
use super::{Entry, bad};
use crate::ImageError;

/// Extended attributes travel under this prefix (star, GNU tar, Go).
const XATTR_PREFIX: &str = "SCHILY.xattr.";
/// How GNU tar announces a file with holes.
const SPARSE_PREFIX: &str = "GNU.sparse.";

/// The records that matter to us.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(String, Vec<u8>)>,
    pub(super) sparse: Records,
}

impl Pax {
    /// Reads all records; keys that describe nothing we keep are skipped, as POSIX asks.
    pub(super) fn parse(mut data: &[u8]) -> Result<Self, ImageError> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let (key, value, rest) = split_record(data)?;
            pax.keep(key, value)?;
            data = rest;
        }
        Ok(pax)
    }

    fn keep(&mut self, key: &str, value: &[u8]) -> Result<(), ImageError> {
        match key {
            "path" => once(&mut self.path, value.to_vec()),
            "linkpath" => once(&mut self.link, value.to_vec()),
            "size" => once(&mut self.size, number(value)?),
            "uid" => once(&mut self.uid, number(value)?),
            "gid" => once(&mut self.gid, number(value)?),
            "mtime" => once(&mut self.mtime, time(value)?),
            _ => match (key.strip_prefix(XATTR_PREFIX), key.strip_prefix(SPARSE_PREFIX)) {
                (Some(name), _) => self.keep_xattr(name, value),
                (_, Some(key)) => self.sparse.keep(key, value),
                (None, None) => Ok(()),
            },
        }
    }

    fn keep_xattr(&mut self, name: &str, value: &[u8]) -> Result<(), ImageError> {
        if name.is_empty() || name.contains('\0') || self.xattrs.iter().any(|(present, _)| present == name) {
            return Err(bad("an extended attribute is named twice or badly"));
        }
        self.xattrs.push((name.to_owned(), value.to_vec()));
        Ok(())
    }

    /// Refuses records that would describe an entry.
    pub(super) fn must_not_describe(self) -> Result<(), ImageError> {
        if self == Self::default() { Ok(()) } else { Err(bad("a global PAX header describes entries")) }
    }

    /// Applies the records to what the header said; what is left is about holes.
    pub(super) fn override_fields(mut self, entry: &mut Entry) -> Result<Option<Announced>, ImageError> {
        if let Some(size) = self.size {
            // A header too small for the size says 0. Any other difference is one reader's data and another's header.
            if entry.size != 0 && entry.size != size {
                return Err(bad("the PAX size differs from the header's"));
            }
            entry.size = size;
        }
        // A sparse file's `path` names a folder of scratch files, for readers that know no holes.
        entry.path = self.sparse.name.take().or(self.path).unwrap_or(std::mem::take(&mut entry.path));
        entry.link = self.link.unwrap_or(std::mem::take(&mut entry.link));
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
        (entry.mtime, entry.mtime_nanos) = self.mtime.unwrap_or((entry.mtime, 0));
        entry.xattrs = self.xattrs;
        self.sparse.announced()
    }
}

fn split_record(data: &[u8]) -> Result<(&str, &[u8], &[u8]), ImageError> {
    let wrong = || bad("a PAX record is malformed");
    let space = data.iter().take(20).position(|&byte| byte == b' ').ok_or_else(wrong)?;
    let length = number::<usize>(&data[..space])?;
    let record = data.get(space + 1..length).ok_or_else(wrong)?;
    let record = record.strip_suffix(b"\n").ok_or_else(wrong)?;
    let equals = record.iter().position(|&byte| byte == b'=').filter(|&at| at > 0).ok_or_else(wrong)?;
    let key = std::str::from_utf8(&record[..equals]).map_err(|_| wrong())?;
    Ok((key, &record[equals + 1..], &data[length..]))
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), ImageError> {
    super::put(place, value, "a PAX header says one thing twice")
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Result<T, ImageError> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| bad("a PAX number is malformed or out of range"))
}

/// `SECONDS[.FRACTION]`, perhaps negative.
fn time(value: &[u8]) -> Result<(i64, u32), ImageError> {
    let wrong = || bad("a PAX time is malformed");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.starts_with('+') || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds: i64 = whole.parse().map_err(|_| wrong())?;
    let nanos = format!("{fraction:0<9.9}").parse::<u32>().map_err(|_| wrong())?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Ok((seconds.checked_sub(1).ok_or_else(wrong)?, 1_000_000_000 - nanos)),
        _ => Ok((seconds, nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_to_their_length() {
        let pax = Pax::parse(b"14 path=a\nb=c\n21 mtime=-1.25000000\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"a\nb=c"[..]));
        let pax = Pax::parse(b"14 mtime=-1.25\n");
        assert_eq!(pax.unwrap_err().to_string(), "tar archive: a PAX record is malformed");
        assert_eq!(time(b"-1.25").unwrap(), (-2, 750_000_000));
        assert_eq!(time(b"7").unwrap(), (7, 0));
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"0 a=b\n"[..],
            b"6 a=b\n6",
            b"99 a=b\n",
            b"5 a=b\n",
            b"6 =bc\n",
            b"7 a=b\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"18446744073709551615 a=b\n",
            b"10 size=-1\n",
            b"10 path=a\n10 path=b\n",
            b" a=b\n",
            b"x a=b\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _either_way = Pax::parse(&data);
        }

        #[test]
        fn near_records_never_panic(data in "([0-9]{1,3} (path|size|mtime|SCHILY.xattr.user.a)=[0-9.a-]{0,8}\n){0,4}") {
            let _either_way = Pax::parse(data.as_bytes());
        }
    }
}
