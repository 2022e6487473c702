//! What a path names.

use crate::status::Status;
use skiff_schema::{Catalog, Resource};
use std::sync::Arc;

/// A resource, a namespace of it, an object, a part of an object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ResourcePath {
    pub(super) resource: Arc<Resource>,
    /// Empty: all namespaces, or a resource without namespaces.
    pub(super) namespace: String,
    /// Empty: the collection.
    pub(super) name: String,
    /// Empty: the object itself.
    pub(super) subresource: String,
    /// What stands behind `/proxy`, as it was sent; empty for everything else.
    pub(super) beyond: String,
}

/// Reads `/api/v1/…` and `/apis/{group}/{version}/…`; `None`: no path of a resource, a discovery document perhaps.
pub(super) fn parse(catalog: &Catalog, path: &str) -> Result<Option<ResourcePath>, Status> {
    let (path, beyond) = split_proxied(path);
    let segments = path.split('/').skip(1).map(segment).collect::<Option<Vec<String>>>();
    let segments = segments.ok_or_else(Status::no_such_path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (group, version, rest) = match &segments[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Ok(None),
    };
    if rest.is_empty() || rest == [""] {
        return Ok(None);
    }
    let (namespace, rest) = match rest {
        // `namespaces/x` and `namespaces/x/status` are about the namespace itself.
        ["namespaces", namespace, plural, rest @ ..] if !is_namespace_part(plural) => {
            (*namespace, [&[*plural], rest].concat())
        }
        rest => ("", rest.to_vec()),
    };
    let [plural, rest @ ..] = &rest[..] else { return Err(Status::no_such_path()) };
    let (name, subresource) = match rest {
        [] => ("", ""),
        [name] => (*name, ""),
        [name, subresource] => (*name, *subresource),
        // Deeper paths belong to proxy subresources.
        _ => return Err(Status::no_such_path()),
    };
    let resource = catalog.find(group, version, plural).cloned().ok_or_else(Status::no_such_path)?;
    let misplaced = if resource.namespaced { namespace.is_empty() && !name.is_empty() } else { !namespace.is_empty() };
    let unknown_part = !subresource.is_empty() && resource.subresource(subresource).is_none();
    if misplaced || unknown_part || (name.is_empty() && !rest.is_empty()) {
        return Err(Status::no_such_path());
    }
    let (namespace, name, subresource) = (namespace.to_owned(), name.to_owned(), subresource.to_owned());
    Ok(Some(ResourcePath { resource, namespace, name, subresource, beyond: beyond.to_owned() }))
}

/// Parts `…/proxy` from what stands behind it, which is a path of another server's.
fn split_proxied(path: &str) -> (&str, &str) {
    let segments: Vec<&str> = path.split('/').take(9).collect();
    let taken = match segments[..] {
        ["", "api", _, "namespaces", _, _, _, "proxy", ..] => 8,
        ["", "api", _, _, _, "proxy", ..] => 6,
        _ => return (path, ""),
    };
    let slash = path.match_indices('/').nth(taken - 1).map_or(path.len(), |(at, _)| at);
    path.split_at(slash)
}

fn is_namespace_part(segment: &str) -> bool {
    matches!(segment, "status" | "finalize")
}

/// A segment, which may not hide a slash or a zero byte.
fn segment(encoded: &str) -> Option<String> {
    percent_decode(encoded).filter(|text| !text.contains(['/', '\0']))
}

/// Undoes percent encoding; `None` if it is broken, or what comes out is no text.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    String::from_utf8(percent_bytes(text)?).ok()
}

/// The same, whatever comes out.
pub(crate) fn percent_bytes(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(*byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(path: &str) -> String {
        match parse(Catalog::builtin(), path) {
            Err(status) => format!("{}", status.code.as_u16()),
            Ok(None) => "-".to_owned(),
            Ok(Some(found)) => {
                let ResourcePath { resource, namespace, name, subresource, beyond } = found;
                format!("{} {namespace:?} {name:?} {subresource:?}{beyond}", resource.plural)
            }
        }
    }

    #[test]
    fn paths_name_resources() {
        for (path, expected) in [
            ("/api/v1/pods", r#"pods "" "" """#),
            ("/api/v1/namespaces/a/pods", r#"pods "a" "" """#),
            ("/api/v1/namespaces/a/pods/p", r#"pods "a" "p" """#),
            ("/api/v1/namespaces/a/pods/p/log", r#"pods "a" "p" "log""#),
            ("/api/v1/namespaces/a", r#"namespaces "" "a" """#),
            ("/api/v1/namespaces/a/status", r#"namespaces "" "a" "status""#),
            ("/api/v1/namespaces/a/finalize", r#"namespaces "" "a" "finalize""#),
            ("/apis/apps/v1/namespaces/a/deployments/d/scale", r#"deployments "a" "d" "scale""#),
            ("/api/v1/nodes/n%31", r#"nodes "" "n1" """#),
            ("/api/v1", "-"),
            ("/api/v1/", "-"),
            ("/apis/apps/v1", "-"),
            ("/apis", "-"),
            ("/version", "-"),
            ("/api/v1/pods/p", "404"),
            ("/api/v1/namespaces/a/nodes", "404"),
            ("/api/v1/widgets", "404"),
            ("/api/v1/namespaces/a/pods/p/color", "404"),
            ("/api/v1/nodes/%2e%2e%2f", "404"),
            ("/api/v1/nodes/%zz", "404"),
            ("/api/v1/namespaces/a/pods/p/proxy", r#"pods "a" "p" "proxy""#),
            ("/api/v1/namespaces/a/pods/p/proxy/", r#"pods "a" "p" "proxy"/"#),
            ("/api/v1/namespaces/a/services/https:s:1/proxy/x%2fy//z", r#"services "a" "https:s:1" "proxy"/x%2fy//z"#),
            ("/api/v1/nodes/n/proxy/%zz/", r#"nodes "" "n" "proxy"/%zz/"#),
            ("/api/v1/namespaces/a/pods/p/proxied", "404"),
            ("/api/v1/namespaces/a/configmaps/c/proxy/x", "404"),
            ("/api/v1/namespaces/a/pods/p/log/x", "404"),
            ("/api/v2/pods", "404"),
        ] {
            assert_eq!(check(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(path in "/(api|apis)/[a-z0-9%/.]{0,40}") {
            let _ = parse(Catalog::builtin(), &path);
        }
    }
}
