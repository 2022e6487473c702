//! The house rules that a compiler does not check: who may use whom, how long a file may be, where `unsafe` may stand.

#![allow(clippy::unwrap_used, reason = "a tree that cannot be read fails the test")]

mod budget; // lengths, unsafe, unwrap, names of files
mod docs; // what the documents promise about the tree
mod documented; // how much is explained where it stands
mod graph; // the table of design section 4 against the real crate graph
mod imports; // one block of them
mod kinds; // no kind decided outside of its file
mod results; // failures that nobody looks at
mod words; // what users read

use std::path::{Path, PathBuf};

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file of ours.
fn sources() -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                below(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(root(), &mut found);
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
