//! Versions of Python's packages (PEP 440): `1!2.0rc1.post2.dev3+local`, in all the spellings that it takes.

use super::{Number, digits};

/// A version, in the order in which its parts count.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    epoch: Number,
    release: Vec<Number>,
    before: Before,
    /// None is less than any.
    after: Option<Number>,
    dev: Dev,
    local: Vec<Local>,
}

/// "dev releases of a final release, alpha, beta, rc, final": the order of the variants.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Before {
    OnlyDev,
    Alpha(Number),
    Beta(Number),
    Candidate(Number),
    Not,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dev {
    Of(Number),
    Not,
}

/// "comparing as strings … numeric sections always compare as greater": the order of the variants.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Local {
    Text(String),
    Number(Number),
}

/// A spelling of what comes before a release, and what it stands for with its number.
type Spelling = (&'static str, fn(Number) -> Before);

const BEFORE: [Spelling; 8] = [
    ("alpha", Before::Alpha),
    ("beta", Before::Beta),
    ("preview", Before::Candidate),
    ("pre", Before::Candidate),
    ("rc", Before::Candidate),
    ("a", Before::Alpha),
    ("b", Before::Beta),
    ("c", Before::Candidate),
];

/// Takes a word with the separator before it and the number behind it; what is left, and the number (0, if none is said).
fn word<'a>(text: &'a str, words: &[&str]) -> Option<(&'a str, Number)> {
    let bare = text.strip_prefix(['.', '-', '_']).unwrap_or(text);
    let behind = words.iter().find_map(|one| bare.strip_prefix(one))?;
    let number = behind.strip_prefix(['.', '-', '_']).filter(|rest| !digits(rest).0.is_empty()).unwrap_or(behind);
    let (number, rest) = digits(number);
    Some((rest, Number::read(number).unwrap_or_default()))
}

/// Reads a version.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix('v').unwrap_or(&text);
    let (text, local) = text.split_once('+').map_or((text, None), |(text, local)| (text, Some(local)));
    let (epoch, mut rest) = match text.split_once('!') {
        Some((epoch, rest)) => (Number::read(epoch)?, rest),
        None => (Number::default(), text),
    };
    let mut release = Vec::new();
    loop {
        let (number, behind) = digits(rest);
        release.push(Number::read(number)?);
        match behind.strip_prefix('.').filter(|more| !digits(more).0.is_empty()) {
            Some(more) => rest = more,
            None => {
                rest = behind;
                break;
            }
        }
    }
    while release.len() > 1 && release.last().is_some_and(Number::is_zero) {
        release.pop();
    }
    let mut before = Before::Not;
    if let Some(((left, number), make)) = BEFORE.iter().find_map(|(one, make)| Some((word(rest, &[*one])?, make))) {
        (rest, before) = (left, make(number));
    }
    let (rest, after) = after(rest);
    let (rest, dev) = match word(rest, &["dev"]) {
        Some((rest, number)) => (rest, Dev::Of(number)),
        None => (rest, Dev::Not),
    };
    if before == Before::Not && after.is_none() && dev != Dev::Not {
        before = Before::OnlyDev;
    }
    rest.is_empty().then_some(Version { epoch, release, before, after, dev, local: locals(local)? })
}

/// What comes after a release: `.post1`, or `-1`.
fn after(text: &str) -> (&str, Option<Number>) {
    if let Some((rest, number)) = word(text, &["post", "rev", "r"]) {
        return (rest, Some(number));
    }
    if let Some(behind) = text.strip_prefix('-') {
        let (number, rest) = digits(behind);
        if let Some(number) = Number::read(number) {
            return (rest, Some(number));
        }
    }
    (text, None)
}

fn locals(text: Option<&str>) -> Option<Vec<Local>> {
    let Some(text) = text else { return Some(Vec::new()) };
    let one = |part: &str| match Number::read(part) {
        Some(number) => Some(Local::Number(number)),
        None => (!part.is_empty()).then(|| Local::Text(part.to_owned())),
    };
    text.split(['.', '-', '_']).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proposal_says_so() {
        let sorted = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.1",
        ];
        for (index, one) in sorted.iter().enumerate() {
            for other in &sorted[index + 1..] {
                assert!(read(one).unwrap() < read(other).unwrap(), "{one} {other}");
            }
        }
    }

    #[test]
    fn spellings_mean_the_same() {
        for (one, other) in [
            ("1.0", "1.0.0"),
            ("1.1-rc1", "1.1RC1"),
            ("1.0alpha", "1.0a0"),
            ("v1.0-1", "1.0.post1"),
            ("1.0_c.2", "1.0rc2"),
            ("1.0+A-b", "1.0+a.b"),
        ] {
            assert_eq!(read(one).unwrap(), read(other).unwrap(), "{one} {other}");
        }
        for none in ["", "1.0x", "french toast", "1..0", "1.0+", "2004d"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
