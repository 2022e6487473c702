//! Names of repositories and tags, as the distribution specification writes them ("Pulling manifests").

use crate::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Bytes of a repository's name: clients refuse more, with their host in front of it.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a tag, by the specification.
const TAG_BYTES_MAX: usize = 128;

/// A repository's name: `team/app`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// A tag: `1.36`, `latest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `a`, `a-b`, `a__b`: runs of small letters and digits, with one dot, one or two underscores or any number of dashes between them.
fn is_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).filter(|part| !part.is_empty());
    separators.into_iter().all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_BYTES_MAX
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.len() > NAME_BYTES_MAX {
            return Err(Refusal::new(
                400,
                Code::NameInvalid,
                format!("a repository's name has {NAME_BYTES_MAX} bytes at most"),
            ));
        }
        if !text.split('/').all(is_component) {
            return Err(Refusal::new(
                400,
                Code::NameInvalid,
                format!("repository name \"{}\" is not valid", shown(text)),
            ));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Tag {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if is_tag(text) {
            return Ok(Self(text.into()));
        }
        Err(Refusal::new(400, Code::TagInvalid, format!("tag \"{}\" is not valid", shown(text))))
    }
}

/// What a stranger sent, short and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() || c == '"' { '?' } else { c }).collect()
}

macro_rules! as_text {
    ($kind:ident) => {
        impl TryFrom<String> for $kind {
            type Error = Refusal;

            fn try_from(text: String) -> Result<Self, Refusal> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(it: $kind) -> Self {
                it.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $kind {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

as_text!(Name);
as_text!(Tag);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_specification() {
        for good in ["a", "library/busybox", "a.b/c_d/e__f/g---h", "0", "a/b/c/d/e", "x/manifests/y"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a_", "-a", ".", "..", "a/../b", "a b", "a%2fb", "é",
            "a\0", &long,
        ] {
            let refusal = bad.parse::<Name>().unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, Code::NameInvalid), "{bad}");
        }
    }

    #[test]
    fn tags_are_those_of_the_specification() {
        let long = "a".repeat(128);
        for good in ["latest", "_x", "1.36", "A-b.c_d", "sha256-aa", &long] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        let longer = "a".repeat(129);
        for bad in ["", ".a", "-a", "a/b", "a:b", "..", "a b", "é", "a\n", &longer] {
            assert!(bad.parse::<Tag>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_parses_is_no_path_out_of_a_folder(text in "[a-z0-9._/%\\\\-]{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
