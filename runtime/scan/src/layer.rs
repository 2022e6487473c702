//! A layer: the files of it that tell of packages, and what it hides of those below (image-spec, layer.md, "Whiteouts").
//!
//! Layers are hostile: nothing is written anywhere, and bytes, entries and names have bounds.

use crate::files::{Told, reader};
use flate2::read::MultiGzDecoder;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path};

/// Bytes that a layer may have unpacked: as many as the largest images that are in use, a few times.
const LAYER_BYTES_MAX: u64 = 64 << 30;
/// Entries of a layer.
const ENTRIES_MAX: usize = 10_000_000;
/// Bytes of a file that tells of packages; `dpkg`'s has about 1 KiB for each package.
const FILE_BYTES_MAX: u64 = 32 << 20;
/// Files that tell of packages, in one layer.
const FILES_MAX: usize = 100_000;

/// Entries that may hide something of the layers below.
const HIDDEN_MAX: usize = 500_000;
/// Bytes of a path, which is as long as the kernel's at most (PATH_MAX).
const PATH_BYTES_MAX: usize = 4096;
/// Bytes of the records before an entry: a long name, extended attributes.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// What one layer tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layer {
    pub(crate) files: BTreeMap<String, Told>,
    /// Paths that are hidden, with all that is below them.
    hidden: BTreeSet<String>,
    /// Folders of which nothing from below is seen.
    opaque: BTreeSet<String>,
    pub(crate) unscanned: Vec<String>,
}

impl Layer {
    /// Reads a layer: a tar archive, plain or compressed with gzip or zstd, whatever its media type says.
    ///
    /// # Errors
    /// It cannot be read, or has more than a layer may have.
    pub fn read(from: impl Read) -> io::Result<Self> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let plain: Box<dyn Read> = match from.fill_buf()? {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(from)),
            // A frame, or one of those "skippable" that zstd:chunked begins with (RFC 8878, 3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Box::new(zstd::Decoder::with_buffer(from)?)
            }
            _ => Box::new(from),
        };
        let mut layer = Self::default();
        let mut archive = tar::Archive::new(plain.take(LAYER_BYTES_MAX));
        let mut long_name = None;
        // Raw: what follows a long name's header is as long as a stranger says, and the package would take it into memory whole.
        for (count, entry) in archive.entries()?.raw(true).enumerate() {
            if count >= ENTRIES_MAX || layer.files.len() >= FILES_MAX || layer.hidden.len() >= HIDDEN_MAX {
                let text = format!(
                    "more than {ENTRIES_MAX} entries, {FILES_MAX} that tell of packages or {HIDDEN_MAX} that hide others"
                );
                return Err(io::Error::other(text));
            }
            let mut entry = entry?;
            let kind = entry.header().entry_type();
            if kind.is_gnu_longname() {
                let name = extension(&mut entry)?;
                long_name = Some(name.split(|byte| *byte == 0).next().unwrap_or_default().to_vec());
            } else if kind.is_pax_local_extensions() {
                long_name = pax_path(&extension(&mut entry)?).or(long_name);
            } else if !kind.is_pax_global_extensions() && !kind.is_gnu_longlink() {
                let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                layer.add(&name, &mut entry)?;
            }
        }
        Ok(layer)
    }

    fn add(&mut self, name: &[u8], entry: &mut tar::Entry<'_, impl Read>) -> io::Result<()> {
        let Some(path) = std::str::from_utf8(name).ok().and_then(|name| normal(Path::new(name))) else { return Ok(()) };
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            self.opaque.insert(folder.to_owned());
            return Ok(());
        }
        if let Some(hidden) = name.strip_prefix(".wh.") {
            self.hidden.insert(if folder.is_empty() { hidden.to_owned() } else { format!("{folder}/{hidden}") });
            return Ok(());
        }
        let kind = entry.header().entry_type();
        if !kind.is_dir() && (reader(&path).is_some() || !kind.is_file()) {
            // Whatever was there before is replaced, also by what is no file and tells nothing.
            self.hidden.insert(path.clone());
            self.files.remove(&path);
        }
        let Some(read) = reader(&path).filter(|_| kind.is_file()) else { return Ok(()) };
        if entry.size() > FILE_BYTES_MAX && !matches!(read(&path, &[]), Told::Unread(_)) {
            self.unscanned.push(format!("{path}: {} bytes; {FILE_BYTES_MAX} are read at most", entry.size()));
            return Ok(());
        }
        let mut bytes = Vec::new();
        entry.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        self.files.insert(path.clone(), read(&path, &bytes));
        Ok(())
    }

    /// Whether a path of the layers below is seen no more.
    pub(crate) fn hides(&self, path: &str) -> bool {
        if self.hidden.contains(path) || self.opaque.contains("") {
            return true;
        }
        let mut folders = path.match_indices('/').map(|(at, _)| &path[..at]);
        folders.any(|folder| self.hidden.contains(folder) || self.opaque.contains(folder))
    }
}

/// The records before an entry.
fn extension(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(EXTENSION_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > EXTENSION_BYTES_MAX {
        return Err(io::Error::other(format!("more than {EXTENSION_BYTES_MAX} bytes are said of one entry")));
    }
    Ok(bytes)
}

/// The path that pax(1) records tell of.
fn pax_path(records: &[u8]) -> Option<Vec<u8>> {
    let mut all = tar::PaxExtensions::new(records).flatten();
    all.find(|record| record.key_bytes() == b"path").map(|record| record.value_bytes().to_vec())
}

/// A path below the root, without dots; `None`: it is none, or no text.
fn normal(path: &Path) -> Option<String> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    /// An archive of these files.
    pub(crate) fn tar(files: &[(&str, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    pub(crate) fn layer(bytes: &[u8]) -> Layer {
        Layer::read(bytes).unwrap()
    }

    #[test]
    fn compressed_ones_are_the_same() {
        let plain = tar(&[("./app/go.sum", "m v1.0.0 h1:\n"), ("other", "x")]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        let one = layer(&plain);
        assert!(one.files.contains_key("app/go.sum") && one.files.len() == 1);
        assert_eq!(one, layer(&gzip.finish().unwrap()));
        assert_eq!(one, layer(&zstd));
    }

    #[test]
    fn a_link_in_the_place_of_a_file_hides_it() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "app/go.sum", "/etc/passwd").unwrap();
        let one = layer(&builder.into_inner().unwrap());
        assert!(one.files.is_empty() && one.hides("app/go.sum") && !one.hides("app/go.sum2"));
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        let bytes = zstd::encode_all(tar(&[("go.sum", "m v1.0.0 h1:\n")]).as_slice(), 1).unwrap();
        assert!(Layer::read(&bytes[..bytes.len() - 4]).is_err());
        assert!(Layer::read(&b"no archive, but some text that is long enough"[..]).is_err());
        assert_eq!(layer(b""), Layer::default());
    }

    #[test]
    fn long_names_are_read_and_endless_ones_refused() {
        let deep = format!("{}go.sum", "folder/".repeat(40));
        assert!(layer(&tar(&[(&deep, "m v1.0.0 h1:\n")])).files.contains_key(&deep));
        let mut bytes = tar(&[("a", "")]);
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(2 << 20);
        header.set_cksum();
        bytes.splice(0..0, header.as_bytes().iter().copied().chain(std::iter::repeat_n(b'a', 2 << 20)));
        assert!(Layer::read(bytes.as_slice()).unwrap_err().to_string().contains("of one entry"));
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_pax_extensions([("path", b"app/go.sum".as_slice())]).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(0);
        builder.append_data(&mut header, "short", &b""[..]).unwrap();
        assert!(layer(&builder.into_inner().unwrap()).files.contains_key("app/go.sum"));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..3000, byte: u8) {
            let mut bytes = tar(&[("app/go.sum", "m v1.0.0 h1:\n"), (".wh.b", "")]);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _either_way = Layer::read(bytes.as_slice());
        }
    }
}
