//! Which kernel parameters a pod may set: those that are the pod's own and cannot harm other pods ("safe" ones), and those
//! that the node's administrator allows besides (Kubernetes, "Using sysctls in a Kubernetes Cluster"). Pure.

use k8s_openapi::api::core::v1::PodSpec;
use skiff_proto::usual::SAFE_SYSCTLS;

/// The reason of a pod that is turned away.
pub(super) const REASON: &str = "SysctlForbidden";

/// Starts of the names that belong to a namespace, and which.
const NAMESPACED: [(&str, Namespace); 5] = [
    ("kernel.sem", Namespace::Ipc),
    ("kernel.shm", Namespace::Ipc),
    ("kernel.msg", Namespace::Ipc),
    ("fs.mqueue.", Namespace::Ipc),
    ("net.", Namespace::Net),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

impl Namespace {
    /// The namespace that a parameter, or all with this start of a name, is of.
    fn of(name: &str) -> Option<Self> {
        NAMESPACED.iter().find(|(start, _)| name.starts_with(start)).map(|(_, namespace)| *namespace)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ipc => "ipc",
            Self::Net => "net",
        }
    }
}

/// What the node's administrator allows besides the safe ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Allowed(Vec<String>);

impl Allowed {
    /// Reads names, or starts of names that end in `*`.
    ///
    /// # Errors
    /// One of them is not a pod's own, so that it cannot be allowed.
    pub(crate) fn parse(patterns: &[String]) -> Result<Self, String> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| with_dots(pattern)).collect();
        match patterns.iter().find(|pattern| Namespace::of(pattern.trim_end_matches('*')).is_none()) {
            Some(wrong) => Err(format!("the sysctl \"{wrong}\" is not known to be namespaced")),
            None => Ok(Self(patterns)),
        }
    }

    fn covers(&self, name: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        SAFE_SYSCTLS.contains(&name) || self.0.iter().any(matches)
    }

    /// Why a pod's parameters cannot be set; `None` if they can.
    pub(super) fn refusal(&self, spec: &PodSpec) -> Option<String> {
        let asked = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
        asked.into_iter().find_map(|sysctl| self.fault(&with_dots(&sysctl.name), spec))
    }

    fn fault(&self, name: &str, spec: &PodSpec) -> Option<String> {
        if !self.covers(name) {
            return Some(format!("forbidden sysctl: \"{name}\" not allowlisted"));
        }
        let namespace = Namespace::of(name)?;
        let of_host = match namespace {
            Namespace::Ipc => spec.host_ipc,
            Namespace::Net => spec.host_network,
        };
        let text = format!("forbidden sysctl: \"{name}\" not allowed with host {} enabled", namespace.name());
        (of_host == Some(true)).then_some(text)
    }
}

/// `net/ipv4/conf/eth0.100/forwarding` and `net.ipv4.conf.eth0/100.forwarding` are one name (sysctl(8)).
fn with_dots(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(allowed: &[&str], name: &str, more: serde_json::Value) -> Option<String> {
        let mut spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let allowed: Vec<_> = allowed.iter().map(|text| (*text).to_owned()).collect();
        Allowed::parse(&allowed).unwrap().refusal(&serde_json::from_value(spec).unwrap())
    }

    /// Fault N29.
    #[test]
    fn safe_ones_are_set_and_others_only_where_they_are_allowed() {
        assert_eq!(refusal(&[], "kernel.shm_rmid_forced", json!({})), None);
        assert_eq!(refusal(&[], "kernel/shm_rmid_forced", json!({})), None);
        let text = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
        assert_eq!(refusal(&[], "kernel.msgmax", json!({})).as_deref(), Some(text));
        assert_eq!(refusal(&["kernel.msg*"], "kernel.msgmax", json!({})), None);
        assert_eq!(refusal(&["net.core.somaxconn"], "net.core.somaxconn", json!({})), None);
        assert!(refusal(&["net.core.somaxconn"], "net.core.rmem_max", json!({})).is_some());
    }

    #[test]
    fn the_hosts_own_are_not_a_pods_to_set() {
        let text = "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled";
        let found = refusal(&[], "net.ipv4.tcp_syncookies", json!({"hostNetwork": true}));
        assert_eq!(found.as_deref(), Some(text));
        assert!(refusal(&[], "kernel.shm_rmid_forced", json!({"hostIPC": true})).is_some());
        let wrong = Allowed::parse(&["vm.swappiness".to_owned()]).unwrap_err();
        assert_eq!(wrong, "the sysctl \"vm.swappiness\" is not known to be namespaced");
    }
}
