//! Why cluster DNS cannot be served.

use std::net::IpAddr;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The cluster's domain is no domain name.
    #[error("cluster domain {domain:?}: want a domain name such as cluster.local")]
    Domain {
        /// What was given.
        domain: String,
    },
    /// An address range does not parse.
    #[error("address range {text}: want one such as 10.96.0.0/16")]
    Range {
        /// What was given.
        text: String,
    },
    /// No port of the address is free for both protocols.
    #[error("listen for DNS at {address}")]
    Listen {
        /// Where.
        address: IpAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// A socket broke.
    #[error("serve DNS at {address}")]
    Serve {
        /// Where.
        address: IpAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The API server refused the service or the slice that lead here.
    #[error("{verb} {what}")]
    Publish {
        /// What was done.
        verb: &'static str,
        /// To what: kind, namespace and name.
        what: String,
        /// Why not.
        source: Box<kube::Error>,
    },
    /// The service has another address than the one that pods are told.
    #[error(
        "service kube-system/kube-dns has the address {found}, and pods would be told {wanted}: name it with --cluster-dns"
    )]
    OtherAddress {
        /// The service's.
        found: String,
        /// The one that was asked for.
        wanted: IpAddr,
    },
}
