//! What users read: one writer for standard output, and sentences instead of Rust's debug forms.

use crate::{root, shown, sources};
use std::path::Path;

/// The files that may write to standard output and standard error; all others go through them.
const WRITERS: &[&str] = &["src/out.rs", "runtime/src/report.rs"];

/// Folders whose programs have no users: tests, examples of a crate, and what runs inside cargo.
const WITHOUT_USERS: &[&str] =
    &["tests/", "apiserver/store/examples/", "runtime/cri/examples/", "runtime/sys/examples/", "build/", "build.rs"];

/// The product's code of each file: without tests, and without comments.
fn product() -> impl Iterator<Item = (String, Vec<(usize, String)>)> {
    let is_test = |name: &str| {
        WITHOUT_USERS.iter().any(|folder| name.starts_with(folder))
            || ["/tests/", "/fuzz/"].iter().any(|folder| name.contains(folder))
            || ["/tests.rs", "/build.rs"].iter().any(|file| name.ends_with(file))
    };
    sources().into_iter().map(|path| (shown(&path), path)).filter(move |(name, _)| !is_test(name)).map(
        |(name, path)| {
            let lines = code(&path);
            (name, lines)
        },
    )
}

/// Lines and their numbers, up to the tests of the file.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.to_owned()));
    let lines = lines.take_while(|(_, line)| line.trim() != "#[cfg(test)]" || !text.contains("\nmod tests {"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).collect()
}

/// Fault N11: `println!` panics when nobody reads any more, as in `skiff get events | true`.
#[test]
fn one_file_of_a_program_writes_to_standard_output() {
    for (name, lines) in product().filter(|(name, _)| !WRITERS.contains(&name.as_str())) {
        for (number, line) in lines {
            let found =
                ["println!(", "print!(", "eprintln!(", "eprint!(", "dbg!("].iter().find(|word| line.contains(**word));
            assert!(found.is_none(), "{name}:{number}: use show!, tell! or complain!: {}", line.trim());
        }
    }
    assert!(WRITERS.iter().all(|name| root().join(name).exists()), "a writer has moved");
}
