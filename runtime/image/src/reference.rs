//! Image references, normalised as Docker and containerd do: `busybox` is `docker.io/library/busybox:latest`.
//!
//! The grammar is that of the distribution project's reference package: an optional host, path components, a tag and a
//! digest. Pure text; whether such an image exists is the store's business.

use crate::{Digest, ImageError};
use std::fmt;
use std::str::FromStr;

/// Bytes of host and path together; the registries' own limit.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of a tag, by the distribution specification.
const TAG_BYTES_MAX: usize = 128;
const DEFAULT_HOST: &str = "docker.io";

/// A normalised reference: it always has a host and a path, and a tag unless it has a digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and path, `docker.io/library/busybox`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The registry, `docker.io`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository in it, `library/busybox`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, unless the reference has a digest alone.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Host, path and tag, unless the reference has a digest alone.
    #[must_use]
    pub fn tagged(&self) -> Option<String> {
        self.tag.as_ref().map(|tag| format!("{}:{tag}", self.name()))
    }

    /// The digest, which decides where there is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|reason| ImageError::Reference { reference: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse::<Digest>().map_err(|_| "the digest is not a sha256 digest")?))
        }
        None => (text, None),
    };
    let (name, tag) = split_tag(rest);
    if Digest::from_hex(name).is_ok() {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    let (host, path) = split_host(name);
    check_host(&host)?;
    path.split('/').try_for_each(check_component)?;
    if host.len() + 1 + path.len() > NAME_BYTES_MAX {
        return Err("the name is longer than 255 bytes");
    }
    tag.map_or(Ok(()), check_tag)?;
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { host, path, tag, digest })
}

/// A colon after the last slash begins the tag; one before it belongs to the host's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The first component is a host if it looks like one, as Docker decides it.
fn split_host(name: &str) -> (String, String) {
    let is_host = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DEFAULT_HOST, name),
    };
    let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
    let official = host == DEFAULT_HOST && !path.contains('/');
    (host.to_owned(), if official { format!("library/{path}") } else { path.to_owned() })
}

fn check_host(host: &str) -> Result<(), &'static str> {
    const BAD: &str = "the host is neither a name nor an address with an optional port";
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']').ok_or(BAD)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
            return if port.is_empty() { Ok(()) } else { check_port(port.strip_prefix(':').ok_or(BAD)?) };
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let label_is_good = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !name.split('.').all(label_is_good) {
        return Err(BAD);
    }
    port.map_or(Ok(()), check_port)
}

fn check_port(port: &str) -> Result<(), &'static str> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    if digits && port.parse::<u16>().is_ok() { Ok(()) } else { Err("the port is not a number below 65536") }
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn check_component(component: &str) -> Result<(), &'static str> {
    const BAD: &str = "a path component is lower-case letters and digits, joined by one of . _ __ or dashes";
    let alphanumeric = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let good_joint = |joint: &[u8]| matches!(joint, b"." | b"_" | b"__") || joint.iter().all(|&byte| byte == b'-');
    let bytes = component.as_bytes();
    let outer_good =
        bytes.first().is_some_and(|&byte| alphanumeric(byte)) && bytes.last().is_some_and(|&b| alphanumeric(b));
    let joints_good = bytes.split(|&byte| alphanumeric(byte)).filter(|joint| !joint.is_empty()).all(good_joint);
    if outer_good && joints_good { Ok(()) } else { Err(BAD) }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let good = tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
    if good { Ok(()) } else { Err("a tag is at most 128 letters, digits, _ . and -, and starts with no . or -") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_normalised_as_docker_does() {
        for (given, normal) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1.36", "docker.io/library/busybox:1.36"),
            ("library/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:v1", "localhost:5000/a/b:v1"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("Host/app", "Host/app:latest"),
            ("skiff.local/demo", "skiff.local/demo:latest"),
            ("a--b/c__d.e_f", "docker.io/a--b/c__d.e_f:latest"),
            ("x:5000", "docker.io/library/x:5000"),
        ] {
            assert_eq!(given.parse::<Reference>().unwrap().to_string(), normal, "{given}");
        }
        let by_digest = format!("busybox@sha256:{HEX}").parse::<Reference>().unwrap();
        assert_eq!(by_digest.tagged(), None);
        let both = format!("busybox:1@sha256:{HEX}").parse::<Reference>().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/busybox:1@sha256:{HEX}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "b".repeat(129));
        let short_digest = format!("a@sha256:{}", &HEX[1..]);
        for bad in [
            "",
            ":",
            "@",
            "a:",
            "a@",
            "a@b",
            "A",
            "busyBox",
            "a//b",
            "/a",
            "a/",
            "a/../b",
            "a..b",
            "a___b",
            "a_-b",
            "-a",
            "a-",
            "a:-b",
            "a:.b",
            "a:b c",
            "a b",
            "host:99999/a",
            "host:x/a",
            "-host.x/a",
            "[::1/a",
            "[zz]/a",
            "localhost/",
            "a\n",
            "a\0",
            "é",
            HEX,
            &long,
            &long_tag,
            &short_digest,
            "..",
            "a/.",
            "sha256:../x",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn normal_forms_are_fixed_points(
            host in proptest::option::of("([a-z][a-z0-9]{0,5}\\.[a-z]{2,3}|localhost)(:[1-9][0-9]{0,3})?"),
            path in "[a-z0-9]{1,6}(/[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}){0,3}",
            tag in proptest::option::of("[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,12}"),
            digest in any::<bool>(),
        ) {
            let mut text = host.map_or(String::new(), |host| host + "/") + &path;
            if let Some(tag) = tag { text = format!("{text}:{tag}"); }
            if digest { text = format!("{text}@sha256:{HEX}"); }
            let once = text.parse::<Reference>().unwrap();
            let twice = once.to_string().parse::<Reference>().unwrap();
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn parsing_never_panics_and_accepts_nothing_that_escapes(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,40}|\\PC{0,30}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert!(!reference.name().split('/').any(|part| part.is_empty() || part == ".." || part == "."));
            }
        }
    }
}
