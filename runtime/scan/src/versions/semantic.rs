//! Semantic Versioning 2.0, clause 11. Crates, npm's packages and Go's modules have it; Go writes a `v` before it.

use super::Number;

/// A version without its build metadata, which "MUST be ignored when determining version precedence".
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    core: [Number; 3],
    release: Release,
}

/// "A pre-release version has lower precedence than the associated normal version": the order of the variants.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Release {
    Before(Vec<Word>),
    Normal,
}

/// "Numeric identifiers always have lower precedence than non-numeric identifiers": the order of the variants.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Number(Number),
    Text(String),
}

/// Reads a version. Numbers that are not said are 0, as in records that say `introduced: 1.2`.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.split('+').next()?;
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let mut numbers = <[Number; 3]>::default();
    for (index, number) in core.split('.').enumerate() {
        *numbers.get_mut(index)? = Number::read(number)?;
    }
    let word = |text: &str| match Number::read(text) {
        Some(number) => Some(Word::Number(number)),
        None => (!text.is_empty()).then(|| Word::Text(text.to_owned())),
    };
    let release = match before {
        None => Release::Normal,
        Some(before) => Release::Before(before.split('.').map(word).collect::<Option<_>>()?),
    };
    Some(Version { core: numbers, release })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    fn compare(one: &str, other: &str) -> Option<Ordering> {
        Some(read(one)?.cmp(&read(other)?))
    }

    #[test]
    fn the_specification_says_so() {
        let sorted = [
            "0",
            "1.0.0-0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.2",
            "v1.10.0",
            "2.0.0",
        ];
        for pair in sorted.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Some(Ordering::Less), "{pair:?}");
        }
        assert_eq!(compare("1.0.0+a", "v1.0.0+incompatible"), Some(Ordering::Equal));
        let pseudo = ("v0.0.0-20190101000000-abcdefabcdef", "v0.0.0-20200101000000-abcdefabcdef");
        assert_eq!(compare(pseudo.0, pseudo.1), Some(Ordering::Less));
        for none in ["", "1.2.3.4", "1.a", "1.0.0-", "latest"] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
