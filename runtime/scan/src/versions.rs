//! Which of two versions is older, by the rules of whoever gives them. Pure.

mod alpine;
mod debian;
mod python;
mod semantic;

use std::cmp::Ordering;

/// Whose rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// deb-version(7)
    Debian,
    /// apk-tools' `version.c`
    Alpine,
    /// Semantic Versioning 2.0, with fewer than three numbers too
    Semantic,
    /// PEP 440
    Python,
}

impl Scheme {
    /// The one of an ecosystem, as OSV names them: `Debian:12`, `Alpine:v3.20`, `crates.io`, `npm`, `PyPI`, `Go`.
    #[must_use]
    pub fn of(ecosystem: &str) -> Option<Self> {
        match ecosystem.split(':').next()? {
            "Debian" => Some(Self::Debian),
            "Alpine" => Some(Self::Alpine),
            "crates.io" | "npm" | "Go" => Some(Self::Semantic),
            "PyPI" => Some(Self::Python),
            _ => None,
        }
    }

    /// Compares two versions; `None`: one of them is none.
    #[must_use]
    pub fn compare(self, one: &str, other: &str) -> Option<Ordering> {
        match self {
            Self::Debian => Some(debian::compare(one, other)),
            Self::Alpine => Some(alpine::read(one)?.cmp(&alpine::read(other)?)),
            Self::Semantic => Some(semantic::read(one)?.cmp(&semantic::read(other)?)),
            Self::Python => Some(python::read(one)?.cmp(&python::read(other)?)),
        }
    }
}

/// A number of any length: versions are given by strangers, and some are dates with times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Number {
    // In this order: of two numbers without zeros before them the longer one is greater.
    length: usize,
    digits: String,
}

impl Number {
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = text.trim_start_matches('0').to_owned();
        Some(Self { length: digits.len(), digits })
    }

    fn is_zero(&self) -> bool {
        self.length == 0
    }
}

/// The digits that `text` begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ecosystem_has_its_rules() {
        assert_eq!(Scheme::of("Debian:12"), Some(Scheme::Debian));
        assert_eq!(Scheme::of("Alpine:v3.20"), Some(Scheme::Alpine));
        assert_eq!((Scheme::of("Go"), Scheme::of("Maven")), (Some(Scheme::Semantic), None));
    }

    fn any_version() -> impl Strategy<Value = String> {
        prop_oneof![
            "[0-9]{1,2}(\\.[0-9]{1,3}){0,3}",
            "[0-9]\\.[0-9](a|b|rc)[0-9]?(\\.post[0-9])?(\\.dev[0-9])?",
            "[0-9]\\.[0-9]{1,2}[a-c]?(_alpha|_rc|_p)[0-9]?-r[0-9]",
            "v?[0-9]\\.[0-9]\\.[0-9](-[a-z0-9]{1,3}(\\.[0-9]{1,2})?)?(\\+[a-z]{1,3})?",
            "([0-9]:)?[0-9][0-9a-z.+~]{0,6}(-[0-9a-z+.~]{1,4})?",
            "\\PC{0,12}",
        ]
    }

    proptest! {
        #[test]
        fn each_is_an_order(a in any_version(), b in any_version(), c in any_version()) {
            for scheme in [Scheme::Debian, Scheme::Alpine, Scheme::Semantic, Scheme::Python] {
                let compare = |one: &str, other: &str| scheme.compare(one, other);
                prop_assert!(compare(&a, &a).is_none_or(Ordering::is_eq));
                prop_assert_eq!(compare(&a, &b), compare(&b, &a).map(Ordering::reverse), "{:?}", scheme);
                if let (Some(first), Some(second)) = (compare(&a, &b), compare(&b, &c))
                    && first != Ordering::Greater && second != Ordering::Greater
                {
                    prop_assert_ne!(compare(&a, &c), Some(Ordering::Greater), "{:?}: {} {} {}", scheme, a, b, c);
                }
            }
        }
    }
}
