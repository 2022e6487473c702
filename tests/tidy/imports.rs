//! Imports: one block, which rustfmt sorts: ours first, then the packages' by name, with the standard library among them.

use crate::{shown, sources};

/// The first line of a second block that only an empty line parts from the first.
fn second_block(text: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let is_use = |line: &str| line.trim_start().starts_with("use ");
    let ends = |line: &str| is_use(line) && line.ends_with(';') || line.trim() == "};";
    lines.windows(3).position(|three| ends(three[0]) && three[1].is_empty() && is_use(three[2])).map(|at| at + 3)
}

#[test]
fn imports_stand_in_one_block() {
    let files = sources().into_iter().map(|path| (shown(&path), path));
    let found: Vec<String> = files
        .filter_map(|(name, path)| Some(format!("{name}:{}", second_block(&std::fs::read_to_string(path).unwrap())?)))
        .collect();
    assert!(found.is_empty(), "take the empty line out, and rustfmt sorts them:\n{}", found.join("\n"));
}
