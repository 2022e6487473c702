//! What a request to the kubelet's API is, as an authorizer asks about it. Pure.
//!
//! Everything is a part of the node (Kubernetes, "Kubelet authentication/authorization"): `nodes/metrics`, `nodes/stats` and so on,
//! and `nodes/proxy` for all that has no part of its own. What runs something in a container needs `create`, whatever its method is: a
//! WebSocket begins with GET, and who may look at a node must not come into its containers by that (KEP-2862).

use http::Method;

/// A verb, and the parts of the node of which one has to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) verb: &'static str,
    pub(super) parts: Vec<&'static str>,
}

/// Paths below which something is done to a container.
const ACTS: [&str; 4] = ["/exec", "/attach", "/portForward", "/run"];

/// Paths with a part of their own beside or instead of `proxy`.
const PARTS: [(&str, &[&str]); 8] = [
    ("/pods", &["pods", "proxy"]),
    ("/runningpods", &["pods", "proxy"]),
    ("/healthz", &["healthz", "proxy"]),
    ("/configz", &["configz", "proxy"]),
    ("/stats", &["stats"]),
    ("/metrics", &["metrics"]),
    ("/logs", &["log"]),
    ("/checkpoint", &["checkpoint"]),
];

/// Reads a request.
pub(super) fn of(method: &Method, path: &str) -> Attributes {
    let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let verb = match *method {
        _ if ACTS.into_iter().any(below) => "create",
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // No rule names it, so that only who may do everything may do this.
        _ => "*",
    };
    let own = PARTS.into_iter().find(|(folder, _)| below(folder));
    Attributes { verb, parts: own.map_or_else(|| vec!["proxy"], |(_, parts)| parts.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_its_part() {
        let cases = [
            ("GET", "/metrics/resource", "get metrics"),
            ("GET", "/stats/summary", "get stats"),
            ("GET", "/pods", "get pods proxy"),
            ("GET", "/podsx", "get proxy"),
            ("GET", "/configz", "get configz proxy"),
            ("GET", "/containerLogs/a/b/c", "get proxy"),
            ("POST", "/exec/a/b/c", "create proxy"),
            ("GET", "/exec/a/b/c", "create proxy"),
            ("GET", "/portForward/a/b", "create proxy"),
            ("POST", "/run/a/b/c", "create proxy"),
            ("OPTIONS", "/pods", "* pods proxy"),
        ];
        for (method, path, expected) in cases {
            let found = of(&method.parse().unwrap(), path);
            assert_eq!(format!("{} {}", found.verb, found.parts.join(" ")), expected, "{method} {path}");
        }
    }
}
