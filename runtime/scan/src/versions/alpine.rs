//! Versions of Alpine's packages: `1.2.3a_rc1_p2-r4` (apk-package(5), and apk-tools' `version.c` for what that leaves open).

use super::{Number, digits};
use std::cmp::Ordering;

/// Words behind `_`: those before a release and those after it.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// A version, in the order in which its parts count.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    first: Number,
    // More numbers are a newer version than a letter is.
    more: Vec<Part>,
    letter: Option<char>,
    suffixes: Suffixes,
    revision: Option<Number>,
}

/// A number behind a dot. One with a zero before it is a fraction, and less than any without.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Fraction(String),
    Whole(Number),
}

#[derive(Debug, PartialEq, Eq)]
struct Suffixes(Vec<(i8, Number)>);

impl Ord for Suffixes {
    fn cmp(&self, other: &Self) -> Ordering {
        // Where one has no further word it is the release itself: rank 0, between those before it and those after it.
        let release = (0, Number::default());
        let length = self.0.len().max(other.0.len());
        let at = |all: &[(i8, Number)], index: usize| all.get(index).cloned().unwrap_or_else(|| release.clone());
        let mut all = (0..length).map(|index| at(&self.0, index).cmp(&at(&other.0, index)));
        all.find(|one| one.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Suffixes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn rank(word: &str) -> Option<i8> {
    let at = |words: &[&str]| words.iter().position(|one| *one == word).and_then(|index| i8::try_from(index).ok());
    at(&BEFORE).map(|index| index - 4).or_else(|| at(&AFTER).map(|index| index + 1))
}

/// Reads a version.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.trim();
    let (text, revision) = match text.rsplit_once("-r") {
        Some((before, revision)) => (before, Some(Number::read(revision)?)),
        None => (text, None),
    };
    // The commit behind `~` says where it comes from, and not what is newer.
    let text = text.split('~').next()?;
    let (first, mut rest) = digits(text);
    let first = Number::read(first)?;
    let mut more = Vec::new();
    while let Some(behind) = rest.strip_prefix('.') {
        let (number, behind) = digits(behind);
        let whole = Number::read(number)?;
        more.push(if number.starts_with('0') { Part::Fraction(number.to_owned()) } else { Part::Whole(whole) });
        rest = behind;
    }
    let letter = rest.chars().next().filter(char::is_ascii_lowercase);
    rest = &rest[letter.map_or(0, char::len_utf8)..];
    let mut suffixes = Vec::new();
    while let Some(behind) = rest.strip_prefix('_') {
        let length = behind.bytes().take_while(u8::is_ascii_lowercase).count();
        let (word, behind) = behind.split_at(length);
        let (number, behind) = digits(behind);
        suffixes.push((rank(word)?, Number::read(number).unwrap_or_default()));
        rest = behind;
    }
    rest.is_empty().then_some(Version { first, more, letter, suffixes: Suffixes(suffixes), revision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_ones_come_first() {
        let sorted = [
            "0.9.1-r3",
            "1.0_alpha",
            "1.0_alpha1",
            "1.0_beta",
            "1.0_rc1",
            "1.0_rc1_p1",
            "1.0",
            "1.0-r0",
            "1.0-r10",
            "1.0_git20240101",
            "1.0_p1-r0",
            "1.0_p10",
            "1.0a",
            "1.0b",
            "1.0.01",
            "1.0.1",
            "1.0.10",
            "1.2",
            "1.10",
            "3.1.4-r5",
            "20240226-r0",
        ];
        for (index, one) in sorted.iter().enumerate() {
            for other in &sorted[index + 1..] {
                assert!(read(one).unwrap() < read(other).unwrap(), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "a", "1.", "1_foo", "1-1", "1-r", "1.0ab", "1.0 1"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("1.2~abc-r1"), read("1.2-r1"));
    }
}
