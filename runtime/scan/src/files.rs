//! Which files tell of packages, and what they tell. Pure; files are hostile.

mod language; // lock files and installed packages of languages
mod system; // the package databases of distributions

use crate::inventory::Package;

/// What a file tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Which distribution this is: an ecosystem, or in words what it is.
    Distribution(Result<String, String>),
    /// Packages of the distribution, whose ecosystem is told elsewhere.
    System(Vec<(String, String)>),
    /// Packages of a language.
    Language(Vec<Package>),
    /// Packages that cannot be read, in words.
    Unread(String),
}

/// How a file is read.
pub(crate) type Reader = fn(path: &str, bytes: &[u8]) -> Told;

/// The reader of a file, by its path in the image; most have none.
pub(crate) fn reader(path: &str) -> Option<Reader> {
    system::reader(path).or_else(|| language::reader(path))
}

/// Text of a stranger's file.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim_end_matches('\r'))
}
