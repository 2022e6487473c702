//! The path at the other end, made as kube-apiserver makes it: decoded, without `.` and `..`, encoded anew.

use super::Asked;
use crate::rest::percent_bytes;
use std::fmt::Write;

/// The path for what stands behind `/proxy`; empty, if nothing does. `None`: its encoding is broken.
pub(super) fn onward(rest: &str) -> Option<String> {
    if rest.is_empty() {
        return Some(String::new());
    }
    let decoded = percent_bytes(rest)?;
    let mut path = String::new();
    for segment in clean(decoded.split(|byte| *byte == b'/'), b".", b"..") {
        path.push('/');
        encode(segment, &mut path);
    }
    if path.is_empty() || decoded.ends_with(b"/") {
        path.push('/');
    }
    Some(path)
}

/// The path by which a client reaches the root of what it asks for.
pub(super) fn prefix(asked: Asked<'_>) -> String {
    let mut prefix = "/api/v1".to_owned();
    let namespace = (!asked.namespace.is_empty()).then_some(["namespaces", asked.namespace]);
    for segment in namespace.into_iter().flatten().chain([asked.plural, asked.id, "proxy"]) {
        prefix.push('/');
        encode(segment.as_bytes(), &mut prefix);
    }
    prefix
}

/// `path` below `prefix`.
pub(super) fn below(prefix: &str, path: &str) -> String {
    let mut whole = prefix.to_owned();
    for segment in clean(path.split('/'), ".", "..") {
        whole.push('/');
        whole.push_str(segment);
    }
    if path.ends_with('/') {
        whole.push('/');
    }
    whole
}

/// Segments without empty ones and `here`; `up` takes the one before it away.
fn clean<'a, T: PartialEq + ?Sized + IsEmpty>(segments: impl Iterator<Item = &'a T>, here: &T, up: &T) -> Vec<&'a T> {
    let mut kept = Vec::new();
    for segment in segments {
        if segment == up {
            kept.pop();
        } else if !segment.is_empty() && segment != here {
            kept.push(segment);
        }
    }
    kept
}

/// Text and bytes alike.
trait IsEmpty {
    fn is_empty(&self) -> bool;
}

impl IsEmpty for str {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl IsEmpty for [u8] {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

/// Encodes what Go's URLs encode in a path.
fn encode(segment: &[u8], out: &mut String) {
    for byte in segment {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,:;=@".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_go_on_as_upstream_has_them() {
        for (rest, expected) in [
            ("", ""),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a//b", "/a/b"),
            ("/a/../../b/.", "/b"),
            ("/%2e%2e/b", "/b"),
            ("/a%2Fb%20c%3Fd", "/a/b%20c%3Fd"),
            ("/%FF", "/%FF"),
            ("/a:b@c;d=e", "/a:b@c;d=e"),
            ("/.", "/"),
        ] {
            assert_eq!(onward(rest).as_deref(), Some(expected), "{rest}");
        }
        assert_eq!(onward("/%zz"), None);
    }

    #[test]
    fn a_prefix_names_what_was_asked_for() {
        let asked = Asked { plural: "pods", namespace: "a", id: "https:p:443", rest: "/x" };
        assert_eq!(prefix(asked), "/api/v1/namespaces/a/pods/https:p:443/proxy");
        assert_eq!(prefix(Asked { plural: "nodes", namespace: "", id: "n", rest: "" }), "/api/v1/nodes/n/proxy");
        assert_eq!(below("/p", "/a/../b/"), "/p/b/");
    }

    proptest! {
        #[test]
        fn a_path_stays_below_the_root_and_is_a_path(rest in "(/[a-z.%0-9A-F]{0,4}){1,5}/?") {
            if let Some(path) = onward(&rest) {
                prop_assert!(path.starts_with('/') && !format!("{path}/").contains("/../"), "{path}");
                prop_assert!(path.parse::<http::uri::PathAndQuery>().is_ok(), "{path}");
                prop_assert_eq!(onward(&path), Some(path));
            }
        }
    }
}
