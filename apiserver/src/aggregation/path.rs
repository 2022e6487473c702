//! What a path of another server's asks for, as far as an authorizer must know (Kubernetes' RequestInfo): which resources there are only
//! that server knows.

use crate::auth::Act;
use http::Method;

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Empty: no verb of Kubernetes'.
    verb: &'static str,
    group: String,
    resource: String,
    part: String,
    namespace: String,
    name: String,
}

/// Takes `/apis/{group}/{version}/…` apart; nothing if it names no resource. The segments are decoded.
pub(super) fn asked(method: &Method, segments: &[&str], watch: bool) -> Option<Asked> {
    let ["apis", group, _, rest @ ..] = segments else { return None };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let [resource, rest @ ..] = rest else { return None };
    let name = rest.first().copied().unwrap_or_default();
    let part = rest.get(1).copied().unwrap_or_default();
    let verb = match *method {
        Method::GET | Method::HEAD if watch => "watch",
        Method::GET | Method::HEAD if name.is_empty() => "list",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if name.is_empty() => "deletecollection",
        Method::DELETE => "delete",
        _ => "",
    };
    let owned = |text: &str| text.to_owned();
    Some(Asked {
        verb,
        group: owned(group),
        resource: owned(resource),
        part: owned(part),
        namespace: owned(namespace),
        name: owned(name),
    })
}

impl Asked {
    pub(super) fn act(&self) -> Act<'_> {
        let Self { verb, group, resource, part, namespace, name } = self;
        Act::Resource { verb, group, resource, part, namespace, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_others_name_resources_too() {
        let of = |method: Method, path: &str, watch| {
            let segments: Vec<&str> = path.split('/').skip(1).filter(|segment| !segment.is_empty()).collect();
            asked(&method, &segments, watch)
                .map(|it| [it.verb.to_owned(), it.group, it.namespace, it.resource, it.name, it.part].join(" "))
        };
        for (method, path, expected) in [
            (Method::GET, "/apis/g/v1/namespaces/n/flunders", Some("list g n flunders  ")),
            (Method::GET, "/apis/g/v1/namespaces/n/flunders/f", Some("get g n flunders f ")),
            (Method::PUT, "/apis/g/v1/namespaces/n/flunders/f/status", Some("update g n flunders f status")),
            (Method::DELETE, "/apis/g/v1/flunders", Some("deletecollection g  flunders  ")),
            (Method::POST, "/apis/g/v1/namespaces", Some("create g  namespaces  ")),
            (Method::GET, "/apis/g/v1/namespaces/n", Some("get g  namespaces n ")),
            (Method::GET, "/apis/g/v1", None),
        ] {
            assert_eq!(of(method, path, false).as_deref(), expected, "{path}");
        }
        assert_eq!(of(Method::GET, "/apis/g/v1/flunders", true).as_deref(), Some("watch g  flunders  "));
    }
}
