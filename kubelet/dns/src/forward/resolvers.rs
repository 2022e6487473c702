//! Who is asked for names outside of the cluster: the resolvers of resolv.conf(5), read again when the file changes.

use super::lock;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The port of DNS.
const PORT: u16 = 53;
/// As many as the C library takes (resolv.conf(5), MAXNS).
const SERVERS_MAX: usize = 3;

/// Where the resolvers stand.
#[derive(Debug, Clone)]
pub struct Upstreams {
    /// A file such as /etc/resolv.conf.
    pub file: PathBuf,
    /// Addresses at which we answer ourselves: a line that names one of them is passed over.
    pub ourselves: Vec<IpAddr>,
    /// Their port: 53, except in tests.
    pub port: u16,
}

impl Upstreams {
    /// Those of this host.
    #[must_use]
    pub fn of_host(ourselves: Vec<IpAddr>) -> Self {
        Self { file: "/etc/resolv.conf".into(), ourselves, port: PORT }
    }
}

/// What the file last said.
#[derive(Debug)]
pub(super) struct Resolvers {
    upstreams: Upstreams,
    known: Mutex<Option<Arc<[SocketAddr]>>>,
}

impl Resolvers {
    pub(super) fn new(upstreams: Upstreams) -> Self {
        Self { upstreams, known: Mutex::new(None) }
    }

    /// Those of the last look.
    pub(super) fn known(&self) -> Arc<[SocketAddr]> {
        lock(&self.known).clone().unwrap_or_default()
    }

    /// Reads the file; the servers, if they are others than before.
    pub(super) fn refresh(&self) -> Option<Arc<[SocketAddr]>> {
        // A host without the file has no resolver.
        let text = std::fs::read_to_string(&self.upstreams.file).unwrap_or_default();
        let found: Arc<[SocketAddr]> = parse(&text, &self.upstreams).into();
        let mut known = lock(&self.known);
        if known.as_ref() == Some(&found) {
            return None;
        }
        if found.is_empty() {
            let file = self.upstreams.file.display();
            tracing::warn!("{file} names no resolver: names outside of the cluster are not found");
        }
        *known = Some(Arc::clone(&found));
        Some(found)
    }
}

fn parse(text: &str, upstreams: &Upstreams) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(("nameserver", word)) = words.next().zip(words.next()) else { continue };
        // An address with a zone (`fe80::1%eth0`) means an interface that may not be there any more.
        let Ok(address) = word.parse::<IpAddr>() else { continue };
        let server = SocketAddr::new(address, upstreams.port);
        if upstreams.ourselves.contains(&address) {
            tracing::warn!(%address, "resolv.conf names the cluster's own DNS as a resolver; it is passed over");
        } else if !servers.contains(&server) && servers.len() < SERVERS_MAX {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let upstreams = Upstreams::of_host(vec!["10.96.0.10".parse().unwrap()]);
        let text = "# nameserver 9.9.9.9\nnameserver 127.0.0.53\n; comment\nsearch lan\nnameserver 10.96.0.10\nnameserver \
                    fe80::1%eth0\n  nameserver 2001:db8::1 # second\nnameserver 127.0.0.53\nnameserver 1.1.1.1\nnameserver 8.8.8.8\n";
        let found: Vec<String> = parse(text, &upstreams).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[2001:db8::1]:53", "1.1.1.1:53"]);
    }
}
