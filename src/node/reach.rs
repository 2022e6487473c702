//! Where pods reach the API server: the address that the service `kubernetes` leads to.
//!
//! Pods cannot reach the host's loopback, where the API listens by default. So it listens a second time, at the node's side of
//! the pod network, which there is on every host, with a default route or without. That is no way around the checks: who
//! comes there needs a certificate or a token, as everywhere.

use anyhow::{Context, bail};
use std::net::{IpAddr, SocketAddr, TcpListener};

/// What is told to pods, and the socket that this takes, if it takes one of its own.
pub(crate) struct Reach {
    pub(crate) advertise: SocketAddr,
    pub(crate) listener: Option<TcpListener>,
}

impl Reach {
    /// For an API that listens at `public`; `asked` is `--advertise-address`, `pod_side` the node's address towards its pods.
    ///
    /// # Errors
    /// Pods cannot reach what was asked for, or somebody else listens there.
    pub(crate) fn open(public: SocketAddr, asked: Option<IpAddr>, pod_side: Option<IpAddr>) -> anyhow::Result<Self> {
        if let Some(asked) = asked.filter(|ip| ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()) {
            bail!("--advertise-address {asked}: pods cannot reach this address; name one of the node's interfaces");
        }
        let Some(ip) = choose(public.ip(), asked, pod_side) else {
            tracing::warn!(
                "pods cannot reach the API at {public}; name an address of the node with --advertise-address"
            );
            return Ok(Self { advertise: public, listener: None });
        };
        let advertise = SocketAddr::new(ip, public.port());
        let covered = public.ip() == ip || public.ip().is_unspecified();
        let listener = if covered { None } else { Some(TcpListener::bind(advertise)) };
        let listener =
            listener.transpose().with_context(|| format!("listen on {advertise} for pods that use the API"))?;
        Ok(Self { advertise, listener })
    }
}

fn choose(public: IpAddr, asked: Option<IpAddr>, pod_side: Option<IpAddr>) -> Option<IpAddr> {
    let public = Some(public).filter(|ip| !ip.is_loopback() && !ip.is_unspecified());
    asked.or(public).or(pod_side.filter(|ip| !ip.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault N6.
    #[test]
    fn pods_are_told_an_address_that_they_reach() {
        let ip = |text: &str| -> Option<IpAddr> { text.parse().ok() };
        let chosen = |public: &str, asked, pod_side| choose(ip(public).unwrap(), asked, pod_side);
        assert_eq!(chosen("127.0.0.1", None, ip("10.244.0.1")), ip("10.244.0.1"));
        assert_eq!(chosen("0.0.0.0", None, ip("10.244.0.1")), ip("10.244.0.1"));
        assert_eq!(chosen("192.0.2.1", None, ip("10.244.0.1")), ip("192.0.2.1"));
        assert_eq!(chosen("127.0.0.1", ip("192.0.2.7"), ip("10.244.0.1")), ip("192.0.2.7"));
        assert_eq!(chosen("127.0.0.1", None, ip("127.0.0.1")), None);
    }

    #[test]
    fn an_address_that_leads_nowhere_is_refused() {
        let refused = Reach::open("127.0.0.1:6443".parse().unwrap(), "127.0.0.1".parse().ok(), None).err().unwrap();
        assert!(refused.to_string().starts_with("--advertise-address 127.0.0.1: pods cannot reach"), "{refused}");
    }

    #[test]
    fn one_socket_is_enough_where_it_listens_at_all_addresses() {
        let reach = Reach::open("0.0.0.0:6443".parse().unwrap(), None, "10.244.0.1".parse().ok()).unwrap();
        assert!(reach.listener.is_none());
        assert_eq!(reach.advertise.to_string(), "10.244.0.1:6443");
    }
}
