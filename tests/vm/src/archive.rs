//! The archive that the kernel unpacks as its first filesystem: cpio in the format "newc"
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Not compressed: under emulation, unpacking costs more than reading.

use crate::error::{On, Result};
use crate::files::{Content, Node};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Names and contents start at multiples of this.
const ALIGNMENT: usize = 4;

/// Writes `nodes`, in their order, as one archive.
pub(crate) fn write(nodes: &BTreeMap<PathBuf, Node>, mut out: impl Write) -> Result<()> {
    for (number, (path, node)) in (1..).zip(nodes) {
        let bytes = record(number, path, node)?;
        out.write_all(&bytes).on("write", "the initramfs")?;
    }
    out.write_all(&header(TRAILER, &Fields::default())).on("write", "the initramfs")?;
    out.flush().on("write", "the initramfs")
}

/// What a header says, apart from the name.
#[derive(Default)]
struct Fields {
    number: u32,
    mode: u32,
    length: usize,
    device: (u32, u32),
}

fn record(number: u32, path: &Path, node: &Node) -> Result<Vec<u8>> {
    let (mode, content, device) = match node {
        Node::Folder { mode } => (FOLDER | mode, Vec::new(), (0, 0)),
        Node::File { content: Content::Bytes(bytes), mode } => (FILE | mode, bytes.clone(), (0, 0)),
        Node::File { content: Content::Host(file), mode } => {
            (FILE | mode, fs::read(file).on("read", file.display())?, (0, 0))
        }
        Node::Link { target } => (LINK | 0o777, target.as_os_str().as_bytes().to_vec(), (0, 0)),
        Node::Device { mode, major, minor } => (CHARACTER_DEVICE | mode, Vec::new(), (*major, *minor)),
    };
    // Names are relative to the root that the kernel unpacks into.
    let name = path.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default();
    let mut bytes = header(name, &Fields { number, mode, length: content.len(), device });
    bytes.extend(content);
    pad(&mut bytes);
    Ok(bytes)
}

fn header(name: &[u8], fields: &Fields) -> Vec<u8> {
    let Fields { number, mode, length, device: (major, minor) } = fields;
    let (owner, group, links, time, name_length) = (0, 0, 1, 0, name.len() + 1);
    // Number, mode, owner, group, links, time, length, device of the file, device that it is, length of the name, checksum.
    let mut bytes = format!(
        "070701{number:08x}{mode:08x}{owner:08x}{group:08x}{links:08x}{time:08x}{length:08x}{:08x}{:08x}{major:08x}{minor:08x}{name_length:08x}{:08x}",
        0, 0, 0
    )
    .into_bytes();
    bytes.extend(name);
    bytes.push(0);
    pad(&mut bytes);
    bytes
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let nodes = BTreeMap::from([
            (PathBuf::from("/d"), Node::Folder { mode: 0o755 }),
            (PathBuf::from("/d/f"), Node::File { content: Content::Bytes(b"hello".to_vec()), mode: 0o4755 }),
            (PathBuf::from("/l"), Node::Link { target: PathBuf::from("d/f") }),
            (PathBuf::from("/n"), Node::Device { mode: 0o600, major: 5, minor: 1 }),
        ]);
        let mut bytes = Vec::new();
        write(&nodes, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let head = |number: u32, mode: &str, length: u32, device: &str, name: u32| {
            let zeros = "00000000";
            format!(
                "070701{number:08x}{mode}{zeros}{zeros}00000001{zeros}{length:08x}{zeros}{zeros}{device}{name:08x}{zeros}"
            )
        };
        let none = "0".repeat(16);
        let expected = head(1, "000041ed", 0, &none, 2)
            + "d\0"
            + &head(2, "000089ed", 5, &none, 4)
            + "d/f\0\0\0hello\0\0\0"
            + &head(3, "0000a1ff", 3, &none, 2)
            + "l\0d/f\0"
            + &head(4, "00002180", 0, "0000000500000001", 2)
            + "n\0"
            + &head(0, "00000000", 0, &none, 11)
            + "TRAILER!!!\0\0\0\0";
        assert_eq!(text, expected);
    }
}
