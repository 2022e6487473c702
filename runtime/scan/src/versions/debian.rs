//! Versions of Debian's packages: epoch, upstream version, revision (deb-version(7), "Sorting algorithm").

use std::cmp::Ordering;

/// Compares two versions; what is none is compared like one.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let ((epoch, upstream, revision), (epoch_, upstream_, revision_)) = (split(one), split(other));
    let parts = [(epoch, epoch_), (upstream, upstream_), (revision, revision_)];
    parts
        .into_iter()
        .map(|(one, other)| part(one.as_bytes(), other.as_bytes()))
        .find(|one| one.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// "It may be omitted, in which case zero is assumed": of epochs; a version without a revision is the same as one with the revision 0.
fn split(version: &str) -> (&str, &str, &str) {
    let version = version.trim();
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// How a character that is no digit sorts: `~` before the end, letters before the rest.
fn order(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(digit) if digit.is_ascii_digit() => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    }
}

fn part(one: &[u8], other: &[u8]) -> Ordering {
    let (mut i, mut j) = (0, 0);
    let is_text = |bytes: &[u8], at: usize| bytes.get(at).is_some_and(|byte| !byte.is_ascii_digit());
    while i < one.len() || j < other.len() {
        while is_text(one, i) || is_text(other, j) {
            match order(one.get(i)).cmp(&order(other.get(j))) {
                Ordering::Equal => (i, j) = (i + 1, j + 1),
                different => return different,
            }
        }
        let (digits, digits_) = (number(&one[i.min(one.len())..]), number(&other[j.min(other.len())..]));
        match (digits.1.len(), digits.1).cmp(&(digits_.1.len(), digits_.1)) {
            Ordering::Equal => (i, j) = (i + digits.0, j + digits_.0),
            different => return different,
        }
    }
    Ordering::Equal
}

/// How many digits there are, and those without zeros before them.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let zeros = bytes[..length].iter().take_while(|byte| **byte == b'0').count();
    (length, &bytes[zeros..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::process::Command;

    #[test]
    fn the_manual_says_so() {
        for (one, other) in [
            ("~~", "~~a"),
            ("~~a", "~"),
            ("~", ""),
            ("", "a"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("1.9", "1.10"),
            ("9", "1:1"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0-9", "1.0-10"),
            ("1-1-1", "1-2-1"),
            ("1.00000000000000000000000001", "1.00000000000000000000000010"),
        ] {
            assert_eq!(compare(one, other), Ordering::Less, "{one} {other}");
        }
        assert_eq!(compare("0:1.0-0", "1.0"), Ordering::Equal);
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }

    /// Whether `dpkg` is on this machine, whose answer counts.
    fn dpkg(one: &str, relation: &str, other: &str) -> Option<bool> {
        let status = Command::new("dpkg").args(["--compare-versions", one, relation, other]).status().ok()?;
        Some(status.success())
    }

    #[test]
    fn dpkg_says_the_same() {
        if dpkg("1", "lt", "2").is_none() {
            return; // Not a Debian machine.
        }
        let version = "([0-9]:)?[0-9][0-9a-c.+~]{0,5}(-[0-9a-c.+~]{1,3})?";
        let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 300, ..Config::default() });
        runner
            .run(&(version, version), |(one, other)| {
                let relation = match compare(&one, &other) {
                    Ordering::Less => "lt-nl",
                    Ordering::Equal => "eq",
                    Ordering::Greater => "gt-nl",
                };
                prop_assert_eq!(dpkg(&one, relation, &other), Some(true), "{} {} {}", one, relation, other);
                Ok(())
            })
            .unwrap();
    }
}
