//! The two things we read from ELF files (elf(5)): which loader a program wants, and the sections of a kernel module.
//!
//! 64 bits and little-endian only, as the guests are.

const HEADER_BYTES: usize = 64;
const PT_INTERP: u64 = 3;

/// The path of the dynamic loader that the program `file` names; `None` for a static program or no ELF file at all.
pub(crate) fn interpreter(file: &[u8]) -> Option<String> {
    let header = header(file)?;
    let table = entries(file, number(header, 32, 8)?, number(header, 54, 2)?, number(header, 56, 2)?);
    let entry = table.into_iter().find(|entry| number(entry, 0, 4) == Some(PT_INTERP))?;
    let path = part(file, number(entry, 8, 8)?, number(entry, 32, 8)?)?;
    String::from_utf8(path.split(|byte| *byte == 0).next()?.to_vec()).ok()
}

/// The content of the section `name`.
pub(crate) fn section<'a>(file: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let header = header(file)?;
    let table = entries(file, number(header, 40, 8)?, number(header, 58, 2)?, number(header, 60, 2)?);
    let content = |entry: &[u8]| part(file, number(entry, 24, 8)?, number(entry, 32, 8)?);
    let names = content(table.get(usize::try_from(number(header, 62, 2)?).ok()?)?)?;
    let is_named = |entry: &&&[u8]| {
        let at = number(entry, 0, 4).and_then(|at| usize::try_from(at).ok());
        let text = at.and_then(|at| names.get(at..)).and_then(|rest| rest.split(|byte| *byte == 0).next());
        text == Some(name.as_bytes())
    };
    content(table.iter().find(is_named)?)
}

fn header(file: &[u8]) -> Option<&[u8]> {
    // Magic, ELFCLASS64, ELFDATA2LSB.
    file.starts_with(b"\x7fELF\x02\x01").then(|| file.get(..HEADER_BYTES)).flatten()
}

fn entries(file: &[u8], at: u64, size: u64, count: u64) -> Vec<&[u8]> {
    (0..count).filter_map(|index| part(file, at.checked_add(index * size)?, size)).collect()
}

fn part(file: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let (at, length) = (usize::try_from(at).ok()?, usize::try_from(length).ok()?);
    file.get(at..at.checked_add(length)?)
}

/// The little-endian number of `bytes` bytes at `at`.
fn number(entry: &[u8], at: usize, bytes: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..bytes].copy_from_slice(entry.get(at..at + bytes)?);
    Some(u64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_test_names_its_loader_and_has_code() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(interpreter(&own).is_some_and(|path| path.contains("ld-")));
        assert!(section(&own, ".text").is_some_and(|code| code.len() > 1000));
        assert_eq!(section(&own, ".nothing"), None);
        assert_eq!(interpreter(b"#!/bin/sh\n"), None);
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(rest in prop::collection::vec(any::<u8>(), 58..300)) {
            let file = [b"\x7fELF\x02\x01".as_slice(), &rest].concat();
            interpreter(&file);
            section(&file, ".modinfo");
        }
    }
}
