//! Resolvers that lead back to us: a host whose resolv.conf names a forwarder that asks the cluster's DNS would have each
//! foreign name asked in a circle.
//!
//! As CoreDNS does, each resolver is asked once for a name that nobody else knows. If the question comes back, that resolver is
//! left out until resolv.conf changes.

use super::cache::Key;
use super::{exchange, lock};
use hickory_proto::op::Query;
use hickory_proto::rr::{Name, RecordType};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

/// How long a question may take to come back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names that were sent, and whose came back.
#[derive(Debug, Default)]
pub(super) struct Probes {
    sent: Mutex<HashMap<Name, SocketAddr>>,
    looping: Mutex<HashSet<SocketAddr>>,
}

impl Probes {
    /// Asks each of these, which are all there are from now on.
    pub(super) async fn send(&self, servers: &[SocketAddr]) {
        lock(&self.looping).retain(|server| servers.contains(server));
        for server in servers {
            let text = format!("{:016x}.{:016x}.", rand::random::<u64>(), rand::random::<u64>());
            let Ok(name) = Name::from_ascii(text) else { continue };
            lock(&self.sent).insert(name.clone(), *server);
            let question = Query::query(name.clone(), RecordType::HINFO);
            let key = Key::new(&question, false, false);
            // What counts is whether we are asked meanwhile.
            let _what_it_answers = exchange::ask(*server, &question, &key, PATIENCE).await;
            lock(&self.sent).remove(&name);
        }
    }

    /// Whether this name is one that was sent; whoever it was sent to is left out from now on.
    pub(super) fn came_back(&self, name: &Name) -> bool {
        let Some(server) = lock(&self.sent).get(name).copied() else { return false };
        if lock(&self.looping).insert(server) {
            tracing::warn!(
                %server,
                "the resolver that /etc/resolv.conf names asks the cluster's DNS again; it is left out, and names outside of \
                 the cluster are not found unless another one is named"
            );
        }
        true
    }

    /// Whether a resolver leads back here.
    pub(super) fn is_looping(&self, server: SocketAddr) -> bool {
        lock(&self.looping).contains(&server)
    }
}
