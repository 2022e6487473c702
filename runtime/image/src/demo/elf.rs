//! What a program needs to run, read from its ELF headers: the loader, the libraries, where it looks for them.
//!
//! 64-bit little-endian files only (System V ABI, gABI chapters 4 and 5). Pure: bytes in, names out, no panic on any bytes.

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// The dynamic part of a program or library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Elf {
    /// The loader's path; none for static programs and libraries.
    pub(super) interpreter: Option<String>,
    /// Library names, in the loader's order.
    pub(super) needed: Vec<String>,
    /// Folders to look in first; `$ORIGIN` stands for the file's own.
    pub(super) search: Vec<String>,
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

impl Elf {
    /// Reads the headers; none if this is no ELF file that we understand.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let class_and_order = bytes.get(..6)?;
        if class_and_order != b"\x7fELF\x02\x01" {
            return None;
        }
        let segments = segments(bytes)?;
        let mut elf = Self::default();
        if let Some(segment) = segments.iter().find(|segment| segment.kind == PT_INTERP) {
            elf.interpreter = Some(text(bytes, segment.offset)?);
        }
        if let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) {
            elf.read_dynamic(bytes, &segments, dynamic)?;
        }
        Some(elf)
    }

    fn read_dynamic(&mut self, bytes: &[u8], segments: &[Segment], dynamic: &Segment) -> Option<()> {
        let entries = entries(bytes, dynamic);
        let table = entries.iter().find(|(tag, _)| *tag == DT_STRTAB).map(|(_, address)| *address);
        let Some(table) = table.and_then(|address| file_offset(segments, address)) else {
            // A static program that relocates itself has a dynamic section without names.
            return Some(());
        };
        for (tag, value) in entries {
            match tag {
                DT_NEEDED => self.needed.push(text(bytes, table.checked_add(value)?)?),
                DT_RPATH | DT_RUNPATH => {
                    let folders = text(bytes, table.checked_add(value)?)?;
                    self.search.extend(folders.split(':').filter(|folder| !folder.is_empty()).map(str::to_owned));
                }
                _ => {}
            }
        }
        Some(())
    }
}

fn segments(bytes: &[u8]) -> Option<Vec<Segment>> {
    let (table, size, count) = (u64_at(bytes, 32)?, u64::from(u16_at(bytes, 54)?), u64::from(u16_at(bytes, 56)?));
    let segment = |index: u64| {
        let at = table.checked_add(index.checked_mul(size)?)?;
        Some(Segment {
            kind: u32_at(bytes, at)?,
            offset: u64_at(bytes, at.checked_add(8)?)?,
            address: u64_at(bytes, at.checked_add(16)?)?,
            size: u64_at(bytes, at.checked_add(32)?)?,
        })
    };
    (0..count).map(segment).collect()
}

/// Tags and values up to the null entry.
fn entries(bytes: &[u8], dynamic: &Segment) -> Vec<(u64, u64)> {
    let at = |index: u64| dynamic.offset.checked_add(index * 16);
    let entry = |index| Some((u64_at(bytes, at(index)?)?, u64_at(bytes, at(index)?.checked_add(8)?)?));
    (0..dynamic.size / 16).map_while(entry).take_while(|(tag, _)| *tag != 0).collect()
}

fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    let holds = |segment: &&Segment| {
        segment.kind == PT_LOAD && address >= segment.address && address - segment.address < segment.size
    };
    let segment = segments.iter().find(holds)?;
    segment.offset.checked_add(address - segment.address)
}

fn text(bytes: &[u8], at: u64) -> Option<String> {
    let rest = bytes.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

fn array_at<const N: usize>(bytes: &[u8], at: u64) -> Option<[u8; N]> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: u64) -> Option<u16> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: u64) -> Option<u32> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: u64) -> Option<u64> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_test_needs_a_libc() {
        let me = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&me).unwrap();
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.")), "{elf:?}");
        assert!(elf.interpreter.is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let bytes = [b"\x7fELF\x02\x01", tail.as_slice()].concat();
            let _either_way = Elf::parse(&bytes);
            let _either_way = Elf::parse(&bytes[..cut.min(bytes.len())]);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..4096, byte in any::<u8>()) {
            static ME: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let me = ME.get_or_init(|| std::fs::read("/proc/self/exe").unwrap()[..8192].to_vec());
            let mut damaged = me.clone();
            damaged[at] = byte;
            let _either_way = Elf::parse(&damaged);
        }
    }
}
