//! A pod's names: its host name, its resolver configuration and its `/etc/hosts`.
//!
//! Pure but for [`HostResolver::read`], which reads the host's resolv.conf (resolv.conf(5)).

use k8s_openapi::api::core::v1::{HostAlias, Pod, PodSpec};
use skiff_proto::cri::v1 as cri;
use std::fmt::Write;
use std::net::IpAddr;

/// Linux takes host names of 64 bytes, of which the last is a NUL elsewhere: Kubernetes cuts at 63.
const HOSTNAME_BYTES_MAX: usize = 63;
/// The longest host name that the kernel takes (sethostname(2)).
const KERNEL_BYTES_MAX: usize = 64;

/// The cluster's naming.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterNames {
    /// Name servers; empty while there is no cluster DNS.
    pub(crate) servers: Vec<IpAddr>,
    /// `cluster.local`.
    pub(crate) domain: String,
}

/// What the host's resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostResolver {
    pub(crate) servers: Vec<String>,
    pub(crate) searches: Vec<String>,
    pub(crate) options: Vec<String>,
}

impl HostResolver {
    /// Reads `/etc/resolv.conf`; a host without one has no resolver.
    pub(crate) fn read() -> Self {
        Self::parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => found.servers.extend(words.next()),
                // The last search line counts (resolv.conf(5)).
                Some("search" | "domain") => found.searches = words.collect(),
                Some("options") => found.options.extend(words),
                _ => {}
            }
        }
        found
    }
}

/// The host name that the kernel is told: with its domain where the pod wants it so.
///
/// # Errors
/// It is longer than the kernel takes.
pub(crate) fn kernel_hostname(pod: &Pod, cluster: &ClusterNames) -> Result<String, String> {
    let name = hostname(pod);
    let whole = pod.spec.as_ref().is_some_and(|spec| spec.set_hostname_as_fqdn == Some(true));
    match full_name(pod, cluster).filter(|_| whole && !name.is_empty()) {
        Some(full) if full.len() > KERNEL_BYTES_MAX => Err(format!(
            "Failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({KERNEL_BYTES_MAX} \
             characters is the max, {} characters requested)",
            full.len()
        )),
        Some(full) => Ok(full),
        None => Ok(name),
    }
}

/// The pod's host name, without domain. With the host's network it is the host's own, which CRI says by an empty name.
pub(crate) fn hostname(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network).unwrap_or(false) {
        return String::new();
    }
    let named = overridden(pod).or_else(|| spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty()));
    let name = named.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let cut = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= HOSTNAME_BYTES_MAX).last();
    name[..cut.unwrap_or(0)].trim_end_matches(['-', '.']).to_owned()
}

/// The name that the pod has whatever else it says of names (KEP-4762).
fn overridden(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.hostname_override.clone().filter(|name| !name.is_empty())
}

/// `<hostname>.<subdomain>.<namespace>.svc.<domain>` of a pod with a subdomain.
fn full_name(pod: &Pod, cluster: &ClusterNames) -> Option<String> {
    let subdomain =
        pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty() && overridden(pod).is_none())?;
    let namespace = pod.metadata.namespace.as_deref()?;
    Some(format!("{}.{subdomain}.{namespace}.svc.{}", hostname(pod), cluster.domain))
}

/// The resolver configuration of a pod (Kubernetes, "DNS for Services and Pods").
pub(crate) fn dns_config(pod: &Pod, cluster: &ClusterNames, host: &HostResolver) -> cri::DnsConfig {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network.unwrap_or(false);
    let from_host = || cri::DnsConfig {
        servers: host.servers.clone(),
        searches: host.searches.clone(),
        options: host.options.clone(),
    };
    let mut config = match policy {
        "None" => cri::DnsConfig::default(),
        "Default" => from_host(),
        "ClusterFirst" if on_host => from_host(),
        _ if cluster.servers.is_empty() => from_host(),
        _ => in_cluster(pod, cluster, host),
    };
    if let Some(extra) = &spec.dns_config {
        config.servers.extend(extra.nameservers.clone().unwrap_or_default());
        config.searches.extend(extra.searches.clone().unwrap_or_default());
        for option in extra.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            config.options.retain(|known| known.split(':').next() != Some(name.as_str()));
            config.options.push(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    config.searches.retain(|search| seen.insert(search.clone()));
    config
}

fn in_cluster(pod: &Pod, cluster: &ClusterNames, host: &HostResolver) -> cri::DnsConfig {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let domain = &cluster.domain;
    let ours = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    cri::DnsConfig {
        servers: cluster.servers.iter().map(ToString::to_string).collect(),
        searches: ours.into_iter().chain(host.searches.clone()).collect(),
        // Service names have up to four dots: with ndots:5 they are tried with the search list first.
        options: vec!["ndots:5".to_owned()],
    }
}

/// First line of a pod's `/etc/hosts`; what reads such files looks for it.
const MANAGED: &str = "# Kubernetes-managed hosts file.\n";
/// The same, of a pod in the host's network.
const MANAGED_OF_HOST: &str = "# Kubernetes-managed hosts file (host network).\n";

/// The text of the pod's `/etc/hosts`, as Kubernetes writes it.
pub(crate) fn hosts_file(pod: &Pod, ips: &[String], cluster: &ClusterNames) -> String {
    let mut text = String::from(MANAGED);
    text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    let names = full_name(pod, cluster).into_iter().chain([hostname(pod)]).collect::<Vec<_>>().join("\t");
    for ip in ips {
        let _infallible = writeln!(text, "{ip}\t{names}");
    }
    text + &aliases(pod)
}

/// The text of the `/etc/hosts` of a pod that sees the host's names, whose own file says `host`.
pub(crate) fn hosts_file_of_host(pod: &Pod, host: &str) -> String {
    format!("{MANAGED_OF_HOST}{host}{}", aliases(pod))
}

/// The lines of `hostAliases`.
fn aliases(pod: &Pod) -> String {
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    let line = |alias: &HostAlias| {
        let names = alias.hostnames.clone().unwrap_or_default().join("\t");
        format!("{}\t{names}\n", alias.ip)
    };
    let lines: String = aliases.map(line).collect();
    if lines.is_empty() { lines } else { format!("\n# Entries added by HostAliases.\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn cluster() -> ClusterNames {
        ClusterNames { servers: vec!["10.96.0.10".parse().unwrap()], domain: "cluster.local".into() }
    }

    #[test]
    fn cluster_first_asks_the_cluster_and_searches_the_namespace() {
        let host = HostResolver::parse("nameserver 1.1.1.1\nsearch lan\n");
        let config = dns_config(&pod(json!({"containers": []})), &cluster(), &host);
        assert_eq!(config.servers, ["10.96.0.10"]);
        assert_eq!(config.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
        let default = dns_config(&pod(json!({"containers": [], "dnsPolicy": "Default"})), &cluster(), &host);
        assert_eq!((default.servers, default.searches), (vec!["1.1.1.1".to_owned()], vec!["lan".to_owned()]));
    }

    #[test]
    fn a_dns_config_option_replaces_the_policys() {
        let spec = json!({"containers": [], "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}});
        assert_eq!(dns_config(&pod(spec), &cluster(), &HostResolver::default()).options, ["ndots:1"]);
    }

    #[test]
    fn hosts_names_the_pod_with_its_domain_and_aliases() {
        let spec =
            json!({"containers": [], "subdomain": "db", "hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]});
        let pod = pod(spec);
        let text = hosts_file(&pod, &["10.244.0.5".to_owned()], &cluster());
        // Fault N29: the whole text, which conformance tests compare.
        let expected = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost \
            ip6-loopback\nfe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n\
            10.244.0.5\tweb.db.shop.svc.cluster.local\tweb\n\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n";
        assert_eq!(text, expected);
        let text = hosts_file_of_host(&pod, "127.0.0.1 localhost\n");
        let expected = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n\n# Entries added by \
            HostAliases.\n1.2.3.4\ta\tb\n";
        assert_eq!(text, expected);
    }

    /// Fault N29: pods of an Indexed Job have a host name of their own.
    #[test]
    fn a_host_name_that_is_given_counts() {
        let spec = json!({"containers": [], "hostname": "job-0", "subdomain": "workers"});
        let text = hosts_file(&pod(spec), &["10.244.0.5".to_owned()], &cluster());
        assert!(text.ends_with("10.244.0.5\tjob-0.workers.shop.svc.cluster.local\tjob-0\n"), "{text}");
    }

    #[test]
    fn the_kernel_is_told_the_domain_if_the_pod_wants_it() {
        let spec = json!({"containers": [], "subdomain": "db", "setHostnameAsFQDN": true});
        assert_eq!(kernel_hostname(&pod(spec.clone()), &cluster()).unwrap(), "web.db.shop.svc.cluster.local");
        let mut long = pod(spec);
        long.metadata.name = Some("a".repeat(50));
        assert!(kernel_hostname(&long, &cluster()).unwrap_err().contains("too long (64 characters is the max, 76"));
    }

    #[test]
    fn a_name_that_overrides_has_no_domain() {
        let spec = json!({"containers": [], "subdomain": "db", "hostname": "x", "hostnameOverride": "a.b",
            "setHostnameAsFQDN": true});
        let pod = pod(spec);
        assert_eq!(kernel_hostname(&pod, &cluster()).unwrap(), "a.b");
        assert!(hosts_file(&pod, &["10.0.0.1".to_owned()], &cluster()).ends_with("10.0.0.1\ta.b\n"));
    }

    #[test]
    fn a_long_name_is_cut() {
        let mut long = pod(json!({"containers": []}));
        long.metadata.name = Some(format!("{}-x", "a".repeat(62)));
        assert_eq!(hostname(&long), "a".repeat(62));
    }
}
