//! Digests, parsed strictly because their text becomes file names (image-spec, descriptor.md, "Digests").

use crate::name::shown;
use crate::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How content is digested: the two algorithms that the image specification registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// SHA-256, which every registry has.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The one of that name.
    ///
    /// # Errors
    /// We don't have it.
    pub fn named(name: &str) -> Result<Self, Refusal> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| {
            let text = format!("digest algorithm \"{}\" is not supported, sha256 and sha512 are", shown(name));
            Refusal::new(400, Code::DigestInvalid, text)
        })
    }

    const fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A digest: `sha256:` and 64 lower-case hexadecimal digits, or `sha512:` and 128.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// How it was made.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512:") { Algorithm::Sha512 } else { Algorithm::Sha256 }
    }

    /// The digits.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bad = || Refusal::new(400, Code::DigestInvalid, format!("\"{}\" is no digest", shown(text)));
        let (algorithm, digits) = text.split_once(':').ok_or_else(bad)?;
        let algorithm = Algorithm::named(algorithm)?;
        let lower = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits.len() != algorithm.digits() || !lower {
            return Err(bad());
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Refusal;

    fn try_from(text: String) -> Result<Self, Refusal> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.as_ref().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A digest in the making.
#[derive(Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        let (name, digits) = match self {
            Self::Sha256(hasher) => ("sha256", hex::encode(hasher.finalize())),
            Self::Sha512(hasher) => ("sha512", hex::encode(hasher.finalize())),
        };
        Digest(format!("{name}:{digits}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn only_the_strict_form_parses() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(Algorithm::Sha256, b""));
        let long = Digest::of(Algorithm::Sha512, b"x");
        assert_eq!((long.as_str().parse::<Digest>().unwrap().algorithm(), long.hex().len()), (Algorithm::Sha512, 128));
        let upper = EMPTY.replace('e', "E");
        let longer = format!("{EMPTY}0");
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:00",
            "sha512:00",
            &upper,
            &longer,
            &EMPTY[..70],
            &EMPTY[7..],
        ] {
            let refusal = bad.parse::<Digest>().unwrap_err();
            assert_eq!((refusal.status, refusal.code), (400, Code::DigestInvalid), "{bad}");
        }
    }
}
