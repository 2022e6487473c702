//! What a request asks for, by its method, path and query alone (Kubernetes' RequestInfo): a policy is asked before it is known which
//! resources there are.

/// The resource that a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Object {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// The plural name.
    pub resource: String,
    /// The subresource; empty for the object itself.
    pub part: String,
    /// Empty: of no namespace, or of all.
    pub namespace: String,
    /// Empty: all of them, or not known yet.
    pub name: String,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Kubernetes' verb, or the method in lower case where no resource is asked for.
    pub verb: String,
    /// The path, decoded.
    pub path: String,
    /// `None`: no resource.
    pub object: Option<Object>,
}

/// Parts of a namespace itself, which look like resources in it.
const OF_NAMESPACES: [&str; 2] = ["status", "finalize"];
/// Parts that last as long as somebody listens.
const LASTING: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];

impl Attributes {
    /// Reads a request line; `path` is decoded already, `query` not yet.
    #[must_use]
    pub fn of(method: &str, path: &str, query: &str) -> Self {
        let object = object(path);
        let Some((mut object, special)) = object else {
            return Self { verb: method.to_ascii_lowercase(), path: path.to_owned(), object: None };
        };
        let mut verb = special.unwrap_or(match method {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        });
        if object.name.is_empty() && verb == "get" {
            verb = if watches(query) { "watch" } else { "list" };
            object.name = single_name(query).unwrap_or_default();
        }
        if object.name.is_empty() && verb == "delete" {
            verb = "deletecollection";
        }
        Self { verb: verb.to_owned(), path: path.to_owned(), object: Some(object) }
    }

    /// Whether the answer lasts as long as somebody listens: its beginning is recorded too.
    #[must_use]
    pub fn is_long_running(&self) -> bool {
        let part = self.object.as_ref().map(|object| object.part.as_str()).unwrap_or_default();
        matches!(self.verb.as_str(), "watch" | "proxy") || LASTING.contains(&part)
    }
}

/// The resource that a path names, and the verb if the path says it (`/api/v1/watch/…`, long deprecated).
fn object(path: &str) -> Option<(Object, Option<&'static str>)> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match &segments[..] {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (special, rest) = match rest {
        [] => return None,
        ["watch", rest @ ..] if !rest.is_empty() => (Some("watch"), rest),
        ["proxy", rest @ ..] if !rest.is_empty() => (Some("proxy"), rest),
        rest => (None, rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, part, ..] if !OF_NAMESPACES.contains(part) => (*namespace, &rest[2..]),
        ["namespaces", namespace, ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let word = |at: usize| rest.get(at).copied().unwrap_or_default().to_owned();
    let part = if special == Some("proxy") { String::new() } else { word(2) };
    let (group, version, namespace) = (group.to_owned(), version.to_owned(), namespace.to_owned());
    Some((Object { group, version, resource: word(0), part, namespace, name: word(1) }, special))
}

/// The values that a query has under `name`.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

fn watches(query: &str) -> bool {
    values(query, "watch").next().is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
}

/// The one name that a field selector leaves.
fn single_name(query: &str) -> Option<String> {
    let selector = decoded(values(query, "fieldSelector").next()?)?;
    let names = selector.split(',').filter_map(|term| {
        let (field, name) = term.split_once('=')?;
        (field == "metadata.name").then(|| name.strip_prefix('=').unwrap_or(name).to_owned())
    });
    let mut names = names;
    let is_name = |name: &String| !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%']);
    names.next().filter(is_name)
}

/// Undoes the encoding of a query; `None` if it is broken.
fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
                rest = tail;
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(method: &str, uri: &str) -> String {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let Attributes { verb, object, .. } = Attributes::of(method, path, query);
        match object {
            None => verb,
            Some(it) => [verb, it.group, it.version, it.namespace, it.resource, it.name, it.part].join("|"),
        }
    }

    #[test]
    fn requests_are_known_by_their_paths() {
        for (method, uri, expected) in [
            ("GET", "/api/v1/pods", "list||v1||pods||"),
            ("GET", "/api/v1/pods?watch=1", "watch||v1||pods||"),
            ("GET", "/api/v1/pods?watch=false", "list||v1||pods||"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dp&watch", "watch||v1||pods|p|"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3D..", "list||v1||pods||"),
            ("GET", "/api/v1/namespaces/a", "get||v1|a|namespaces|a|"),
            ("PUT", "/api/v1/namespaces/a/status", "update||v1|a|namespaces|a|status"),
            ("POST", "/api/v1/namespaces/a/pods", "create||v1|a|pods||"),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", "create||v1|a|pods|p|exec"),
            ("DELETE", "/api/v1/namespaces/a/pods", "deletecollection||v1|a|pods||"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d", "patch|apps|v1|a|deployments|d|"),
            ("GET", "/api/v1/watch/pods", "watch||v1||pods||"),
            ("GET", "/api/v1", "get"),
            ("GET", "/apis/apps/v1", "get"),
            ("POST", "/healthz", "post"),
            ("GET", "/", "get"),
            ("OPTIONS", "/api/v1/namespaces/a/pods/p/proxy/x/y", "||v1|a|pods|p|proxy"),
        ] {
            assert_eq!(check(method, uri), expected, "{method} {uri}");
        }
    }

    #[test]
    fn what_lasts_is_known() {
        for (uri, expected) in
            [("/api/v1/pods?watch=true", true), ("/api/v1/namespaces/a/pods/p/log", true), ("/api/v1/pods", false)]
        {
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            assert_eq!(Attributes::of("GET", path, query).is_long_running(), expected, "{uri}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(path in "/?(api|apis)?[a-z/%]{0,30}", query in "[a-zA-Z=&%.]{0,40}") {
            let _attributes = Attributes::of("GET", &path, &query);
        }
    }
}
