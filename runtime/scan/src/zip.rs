//! Reads archives in ZIP's form (APPNOTE.TXT 6.3): the central directory, and entries that are stored or deflated. Archives are hostile.

use flate2::read::DeflateDecoder;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

/// Bytes of the central directory. OSV's largest archive has some 300,000 entries of about 80 bytes.
const DIRECTORY_BYTES_MAX: u64 = 512 << 20;
/// Bytes of the end record with the longest comment.
const END_BYTES_MAX: u64 = 22 + 65_535;

/// An archive, open.
pub(crate) struct Archive<R> {
    source: R,
    length: u64,
    entries: Vec<Entry>,
}

/// What the central directory says of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    method: u16,
    crc: u32,
    packed: u64,
    pub(crate) bytes: u64,
    at: u64,
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.into())
}

/// A little-endian number of a record that may be cut off.
fn number<const N: usize>(bytes: &[u8], at: usize) -> io::Result<u64> {
    let part = bytes.get(at..at + N).ok_or_else(|| invalid("a record is cut off"))?;
    let mut whole = [0; 8];
    whole[..N].copy_from_slice(part);
    Ok(u64::from_le_bytes(whole))
}

fn last(bytes: &[u8], signature: [u8; 4]) -> Option<usize> {
    bytes.windows(4).rposition(|window| window == signature)
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the central directory.
    pub(crate) fn open(mut source: R) -> io::Result<Self> {
        let length = source.seek(SeekFrom::End(0))?;
        let mut archive = Self { source, length, entries: Vec::new() };
        let tail_at = length.saturating_sub(END_BYTES_MAX);
        let tail = archive.piece(tail_at, length - tail_at)?;
        let end = last(&tail, *b"PK\x05\x06").ok_or_else(|| invalid("this is no ZIP archive: it has no end record"))?;
        let (mut count, mut bytes, mut at) =
            (number::<2>(&tail, end + 10)?, number::<4>(&tail, end + 12)?, number::<4>(&tail, end + 16)?);
        // More files or bytes than the old record can say: "ZIP64 end of central directory locator", 20 bytes before it.
        if let Some(locator) = end.checked_sub(20).filter(|at| tail[*at..].starts_with(b"PK\x06\x07")) {
            let record = archive.piece(number::<8>(&tail, locator + 8)?, 56)?;
            if !record.starts_with(b"PK\x06\x06") {
                return Err(invalid("the ZIP64 end record is not where its locator says"));
            }
            (count, bytes, at) = (number::<8>(&record, 32)?, number::<8>(&record, 40)?, number::<8>(&record, 48)?);
        }
        if bytes > DIRECTORY_BYTES_MAX {
            return Err(invalid(format!("the directory has {bytes} bytes; {DIRECTORY_BYTES_MAX} are read at most")));
        }
        let directory = archive.piece(at, bytes)?;
        archive.entries = entries(&directory, count)?;
        Ok(archive)
    }

    /// The files, in the directory's order.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn piece(&mut self, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
        if at.checked_add(bytes).is_none_or(|end| end > self.length) {
            return Err(invalid("a record is outside the file"));
        }
        let mut piece = vec![0; usize::try_from(bytes).map_err(|_| invalid("a record is too large"))?];
        self.source.seek(SeekFrom::Start(at))?;
        self.source.read_exact(&mut piece)?;
        Ok(piece)
    }

    /// A file's bytes, of which there may be `limit`.
    pub(crate) fn read(&mut self, entry: &Entry, limit: u64) -> io::Result<Vec<u8>> {
        let named = |text: &str| invalid(format!("{}: {text}", entry.name));
        if entry.bytes > limit || entry.packed > limit.saturating_mul(2) {
            return Err(named(&format!("{} bytes; {limit} are read at most", entry.bytes)));
        }
        let head = self.piece(entry.at, 30)?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err(named("it is not where the directory says"));
        }
        let data = entry.at + 30 + number::<2>(&head, 26)? + number::<2>(&head, 28)?;
        let packed = self.piece(data, entry.packed)?;
        let mut bytes = Vec::new();
        match entry.method {
            0 => bytes = packed,
            8 => {
                DeflateDecoder::new(packed.as_slice()).take(entry.bytes + 1).read_to_end(&mut bytes)?;
            }
            other => return Err(named(&format!("compression method {other} is not read"))),
        }
        if bytes.len() as u64 != entry.bytes || crc32fast::hash(&bytes) != entry.crc {
            return Err(named("its bytes are not those that the directory tells of"));
        }
        Ok(bytes)
    }
}

fn entries(directory: &[u8], count: u64) -> io::Result<Vec<Entry>> {
    let (mut all, mut at) = (Vec::new(), 0);
    while (all.len() as u64) < count {
        let record = directory.get(at..).unwrap_or_default();
        if !record.starts_with(b"PK\x01\x02") {
            return Err(invalid("the directory has fewer files than its end record says"));
        }
        let length = |at: usize| number::<2>(record, at).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let (name, extra, comment) = (length(28)?, length(30)?, length(32)?);
        let of =
            |from: usize, length: usize| record.get(from..from + length).ok_or_else(|| invalid("a record is cut off"));
        let mut entry = Entry {
            name: String::from_utf8_lossy(of(46, name)?).into_owned(),
            method: u16::try_from(number::<2>(record, 10)?).unwrap_or(u16::MAX),
            crc: u32::try_from(number::<4>(record, 16)?).unwrap_or_default(),
            packed: number::<4>(record, 20)?,
            bytes: number::<4>(record, 24)?,
            at: number::<4>(record, 42)?,
        };
        large(&mut entry, of(46 + name, extra)?)?;
        all.push(entry);
        at += 46 + name + extra + comment;
    }
    Ok(all)
}

/// "Zip64 Extended Information Extra Field": numbers that do not fit have all bits set, and stand there in this order.
fn large(entry: &mut Entry, mut extra: &[u8]) -> io::Result<()> {
    while extra.len() >= 4 {
        let (tag, length) = (number::<2>(extra, 0)?, usize::try_from(number::<2>(extra, 2)?).unwrap_or(usize::MAX));
        let field = extra.get(4..4 + length).ok_or_else(|| invalid("an extra field is cut off"))?;
        extra = &extra[4 + length..];
        if tag != 1 {
            continue;
        }
        let mut from = 0;
        for value in [&mut entry.bytes, &mut entry.packed, &mut entry.at] {
            if *value == u64::from(u32::MAX) {
                *value = number::<8>(field, from)?;
                from += 8;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;
    use std::io::{Cursor, Write};

    fn put(out: &mut Vec<u8>, numbers: &[(u64, usize)]) {
        numbers.iter().for_each(|(number, bytes)| out.extend(&number.to_le_bytes()[..*bytes]));
    }

    /// An archive of these files, deflated.
    pub(crate) fn archive(files: &[(&str, &str)]) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        for (name, text) in files {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            let packed = encoder.finish().unwrap();
            let at = out.len() as u64;
            let about = [
                (20, 2),
                (0, 2),
                (8, 2),
                (0, 4),
                (u64::from(crc32fast::hash(text.as_bytes())), 4),
                (packed.len() as u64, 4),
                (text.len() as u64, 4),
                (name.len() as u64, 2),
                (0, 2),
            ];
            out.extend(b"PK\x03\x04");
            put(&mut out, &about);
            out.extend(name.as_bytes());
            out.extend(packed);
            directory.extend(b"PK\x01\x02");
            put(&mut directory, &[(20, 2)]);
            put(&mut directory, &about);
            put(&mut directory, &[(0, 2), (0, 2), (0, 2), (0, 4), (at, 4)]);
            directory.extend(name.as_bytes());
        }
        let (at, count) = (out.len() as u64, files.len() as u64);
        out.extend(&directory);
        out.extend(b"PK\x05\x06");
        put(&mut out, &[(0, 4), (count, 2), (count, 2), (directory.len() as u64, 4), (at, 4), (0, 2)]);
        out
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let bytes = archive(&[("a.json", "{}"), ("b/c.json", &"long ".repeat(1000))]);
        let mut archive = Archive::open(Cursor::new(bytes)).unwrap();
        let entries = archive.entries().to_vec();
        assert_eq!(entries.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a.json", "b/c.json"]);
        assert_eq!(archive.read(&entries[0], 100).unwrap(), b"{}");
        assert_eq!(archive.read(&entries[1], 5000).unwrap().len(), 5000);
        assert!(archive.read(&entries[1], 4999).unwrap_err().to_string().contains("b/c.json: 5000 bytes; 4999"));
    }

    #[test]
    fn what_is_none_is_refused() {
        let refusal = |bytes: &[u8]| Archive::open(Cursor::new(bytes.to_vec())).err().map(|error| error.to_string());
        assert!(refusal(b"").unwrap().contains("no end record"));
        assert!(refusal(b"hello").unwrap().contains("no end record"));
        let mut more = archive(&[("a", "b")]);
        let count = more.len() - 12;
        more[count] = 200;
        assert!(refusal(&more).unwrap().contains("fewer files"));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..400, byte: u8) {
            let mut bytes = archive(&[("a.json", "{\"id\": 1}"), ("b.json", "{\"id\": 2}")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(mut archive) = Archive::open(Cursor::new(bytes)) {
                for entry in archive.entries().to_vec() {
                    let _either_way = archive.read(&entry, 1000);
                }
            }
        }
    }
}
