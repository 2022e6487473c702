//! What a request asks for, as far as its path and query tell (Kubernetes' RequestInfo): nothing is looked up, and nothing copied.

/// What a request names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Named<'a> {
    /// Empty: the core group.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The plural.
    pub resource: &'a str,
    /// A part of the object; empty: the object itself.
    pub part: &'a str,
    /// Empty: all namespaces, or none.
    pub namespace: &'a str,
    /// Empty: the collection.
    pub name: &'a str,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Kubernetes' verb, or the method in small letters.
    pub verb: &'a str,
    /// The whole path.
    pub path: &'a str,
    /// The resource; `None`: the path is no resource's.
    pub named: Option<Named<'a>>,
}

/// Parts of objects whose requests take as long as a client wants.
const LONG_PARTS: [&str; 5] = ["attach", "exec", "proxy", "log", "portforward"];

impl<'a> Asked<'a> {
    /// By a method, in capitals, a decoded path and a query.
    #[must_use]
    pub fn of(method: &str, path: &'a str, query: &Query<'a>) -> Self {
        let mut named = named(path);
        let is_one = named.is_some_and(|named| !named.name.is_empty());
        let verb = match (method, named.is_some()) {
            ("GET" | "HEAD", true) if is_one => "get",
            ("GET" | "HEAD", true) if query.watch => "watch",
            ("GET" | "HEAD", true) => "list",
            ("POST", true) => "create",
            ("PUT", true) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) if !is_one => "deletecollection",
            ("DELETE", _) => "delete",
            ("GET", false) => "get",
            ("HEAD", false) => "head",
            ("POST", false) => "post",
            ("PUT", false) => "put",
            ("OPTIONS", false) => "options",
            _ => "",
        };
        if let Some(named) = named.as_mut().filter(|_| matches!(verb, "list" | "watch")) {
            named.name = query.single_name().unwrap_or_default();
        }
        Self { verb, path, named }
    }

    /// Whether it takes as long as its client wants, and is not counted; watches are, while they begin.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.named.is_some_and(|named| LONG_PARTS.contains(&named.part))
    }

    /// Whether it writes.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch")
    }
}

/// Takes a path apart as kube-apiserver does.
fn named(path: &str) -> Option<Named<'_>> {
    let mut segments = path.trim_matches('/').split('/');
    let group = match segments.next()? {
        "api" => "",
        "apis" => segments.next()?,
        _ => return None,
    };
    let (version, first) = (segments.next()?, segments.next()?);
    let rest = [segments.next(), segments.next(), segments.next(), segments.next()];
    let (namespace, [resource, name, part]) = match (first, rest) {
        // A namespace itself, and its parts, are in it too.
        ("namespaces", [Some(namespace), None | Some("status" | "finalize"), ..]) => {
            (namespace, [first, namespace, rest[1].unwrap_or_default()])
        }
        ("namespaces", [Some(namespace), Some(resource), name, part]) => {
            (namespace, [resource, name.unwrap_or_default(), part.unwrap_or_default()])
        }
        (resource, [name, part, ..]) => ("", [resource, name.unwrap_or_default(), part.unwrap_or_default()]),
    };
    Some(Named { group, version, resource, part, namespace, name })
}

/// What the query of a list or watch says about how much work it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// Whether it is a watch.
    pub watch: bool,
    /// The most objects; zero: no limit.
    pub limit: u64,
    /// `resourceVersion`.
    pub revision: &'a str,
    /// `resourceVersionMatch`.
    pub version_match: &'a str,
    /// Whether it goes on with a list.
    pub continues: bool,
    /// Whether labels select.
    pub labels: bool,
    /// What fields select, as it stands in the query.
    pub fields: &'a str,
    /// Whether a watch begins with all objects because its client said so.
    pub initial_events: bool,
    /// The client's own limit of time.
    pub timeout: &'a str,
}

impl<'a> Query<'a> {
    /// Reads what stands behind the question mark. The first of several values counts.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let mut query = Self::default();
        // From the last to the first, so that the first is what stays.
        for pair in text.rsplit('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let says_yes = value != "0" && !value.eq_ignore_ascii_case("false");
            match key {
                "watch" => query.watch = says_yes,
                "limit" => query.limit = value.parse().unwrap_or(0),
                "resourceVersion" => query.revision = value,
                "resourceVersionMatch" => query.version_match = value,
                "continue" => query.continues = !value.is_empty(),
                "labelSelector" => query.labels = !value.is_empty(),
                "fieldSelector" => query.fields = value,
                "sendInitialEvents" => query.initial_events = says_yes,
                "timeout" => query.timeout = value,
                _ => {}
            }
        }
        query
    }

    /// The name that a field selector leaves (`metadata.name=x`), if it has no characters that need encoding, as names have none.
    fn single_name(&self) -> Option<&'a str> {
        let terms = self.fields.split(',').flat_map(|term| term.split("%2C")).flat_map(|term| term.split("%2c"));
        let name = terms.filter_map(|term| term.strip_prefix("metadata.name")).find_map(|term| {
            let equals = |term: &'a str| ["=", "%3D", "%3d"].iter().find_map(|sign| term.strip_prefix(sign));
            let name = equals(term)?;
            Some(equals(name).unwrap_or(name))
        });
        name.filter(|name| !name.is_empty() && !name.contains(['%', '+']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: &str, path: &str, query: &str) -> String {
        let Asked { verb, named, .. } = Asked::of(method, path, &Query::of(query));
        let Some(Named { group, version, resource, part, namespace, name }) = named else { return verb.to_owned() };
        [verb, group, version, resource, part, namespace, name].join("|")
    }

    #[test]
    fn paths_say_what_is_asked() {
        for (method, path, query, expected) in [
            ("GET", "/api/v1/pods", "", "list||v1|pods|||"),
            ("GET", "/api/v1/namespaces/a/pods", "watch=1", "watch||v1|pods||a|"),
            ("GET", "/api/v1/namespaces/a/pods", "watch=false", "list||v1|pods||a|"),
            ("GET", "/api/v1/namespaces/a/pods/p", "watch=true", "get||v1|pods||a|p"),
            ("PUT", "/api/v1/namespaces/a/pods/p/status", "", "update||v1|pods|status|a|p"),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", "", "create||v1|pods|exec|a|p"),
            ("GET", "/api/v1/namespaces/a/pods/p/proxy/x/y", "", "get||v1|pods|proxy|a|p"),
            ("GET", "/api/v1/namespaces", "", "list||v1|namespaces|||"),
            ("GET", "/api/v1/namespaces/a", "", "get||v1|namespaces||a|a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "", "update||v1|namespaces|finalize|a|a"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "", "deletecollection|apps|v1|deployments||a|"),
            ("PATCH", "/apis/apps/v1/namespaces/a/deployments/d/scale", "", "patch|apps|v1|deployments|scale|a|d"),
            ("HEAD", "/api/v1/nodes/n", "", "get||v1|nodes|||n"),
            ("GET", "/api/v1", "", "get"),
            ("GET", "/apis/apps/v1", "", "get"),
            ("HEAD", "/healthz", "", "head"),
            ("GET", "/apis/apps/v1/deployments/", "", "list|apps|v1|deployments|||"),
            ("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dx", "list||v1|pods|||x"),
            ("GET", "/api/v1/pods", "watch=1&fieldSelector=spec.x%3Dy%2Cmetadata.name==x", "watch||v1|pods|||x"),
            ("GET", "/api/v1/pods", "fieldSelector=metadata.name!=x", "list||v1|pods|||"),
        ] {
            assert_eq!(shown(method, path, query), expected, "{method} {path}?{query}");
        }
    }

    #[test]
    fn some_requests_take_as_long_as_clients_want() {
        let is_long = |path| Asked::of("GET", path, &Query::default()).is_long();
        assert!(is_long("/api/v1/namespaces/a/pods/p/log") && is_long("/api/v1/nodes/n/proxy/metrics"));
        assert!(!is_long("/api/v1/namespaces/a/pods/log") && !is_long("/log"));
    }

    #[test]
    fn the_first_of_several_values_counts() {
        let query = Query::of("limit=5&limit=7&continue=&timeout=3s&resourceVersion=0&x&watch");
        let expected = Query { limit: 5, watch: true, timeout: "3s", revision: "0", ..Query::default() };
        assert_eq!(query, expected);
    }
}
