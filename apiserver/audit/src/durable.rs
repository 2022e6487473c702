//! Which requests must be on disk in the audit log before they are answered: those that show or make credentials, and those that run
//! something. Kubernetes has no such rule; a power failure right after one of these would leave no trace of it.

use crate::{Attributes, Object};

/// Group, resource and part; an empty part stands for all of the object.
const DURABLE: [(&str, &str, &str); 9] = [
    ("", "secrets", ""),
    ("", "serviceaccounts", "token"),
    ("", "pods", "exec"),
    ("", "pods", "attach"),
    ("", "pods", "portforward"),
    ("", "pods", "ephemeralcontainers"),
    ("", "nodes", "proxy"),
    ("authentication.k8s.io", "tokenreviews", ""),
    ("certificates.k8s.io", "certificatesigningrequests", "approval"),
];

/// Whether what is recorded of this request must be on disk before the answer.
#[must_use]
pub fn is_durable(attributes: &Attributes) -> bool {
    let Some(Object { group, resource, part, .. }) = &attributes.object else { return false };
    DURABLE.iter().any(|row| row.0 == group && row.1 == resource && (row.2.is_empty() || row.2 == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_commands_are_durable() {
        for (method, path, expected) in [
            ("GET", "/api/v1/secrets", true),
            ("POST", "/api/v1/namespaces/a/serviceaccounts/x/token", true),
            ("GET", "/api/v1/namespaces/a/serviceaccounts/x", false),
            ("POST", "/api/v1/namespaces/a/pods/p/exec", true),
            ("GET", "/apis/other.example/v1/secrets", false),
            ("GET", "/healthz", false),
        ] {
            assert_eq!(is_durable(&Attributes::of(method, path, "")), expected, "{path}");
        }
    }
}
