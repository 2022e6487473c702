//! What holds for a repository: who may read it without a name, which tags stay, how much it may hold. Pure.

use crate::name::Tag;
use skiff_scan::Severity;

/// The rules of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether anybody may pull.
    pub public: bool,
    /// Tags that may not move, by pattern.
    pub immutable_tags: Vec<String>,
    /// How many bytes its blobs and manifests may have together.
    pub quota_bytes: Option<u64>,
    /// Whether an index may list manifests that are not here.
    pub sparse_indexes: bool,
    /// Whether it is a cache of another registry's, where content comes when somebody wants it.
    pub through: bool,
    /// From which severity of findings on images cannot be pulled.
    pub refuse_severity: Option<Severity>,
}

impl Rules {
    /// Whether a tag may not move.
    #[must_use]
    pub fn is_immutable(&self, tag: &Tag) -> bool {
        self.immutable_tags.iter().any(|pattern| matches(pattern, tag.as_str()))
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any characters, none among them.
///
/// Takes time in proportion to the product of both lengths at most.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut to) = (0, 0);
    // Where the last `*` stood, and up to where it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while to < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, to));
                at += 1;
            }
            Some(byte) if *byte == text[to] => {
                at += 1;
                to += 1;
            }
            _ => {
                let Some((was, eaten)) = star else { return false };
                star = Some((was, eaten + 1));
                at = was + 1;
                to = eaten + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("v*", "v1", true),
            ("v*", "w1", false),
            ("*-rc*", "1.0-rc1", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXcYb", false),
            ("team/*", "team/a/b", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_definition(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|eaten| plain(rest, &text[eaten..])),
                    Some((byte, rest)) => text.first() == Some(byte) && plain(rest, &text[1..]),
                }
            }
            prop_assert_eq!(matches(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
