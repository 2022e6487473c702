//! Sockets: what comes is answered in place if the zone knows it, and in a task of its own if the host's resolvers must be asked.

mod ask; // bytes to bytes
mod tcp; // streams
mod udp; // datagrams

use crate::error::DnsError;
use crate::follow::follow;
use crate::forward::{Forward, Upstreams};
use crate::zone::{Range, Zone};
use ask::Core;
use skiff_client::Caches;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

/// How often we try to find one port that is free for UDP and TCP.
const TRIES: usize = 16;
/// How often resolv.conf is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// What the server needs to know.
pub struct DnsConfig {
    /// The cluster's domain, such as `cluster.local`.
    pub domain: String,
    /// Where to listen. Port 53 is taken if it is free, else another one.
    pub listen: SocketAddr,
    /// Addresses at which pods ask: the service's.
    pub addresses: Vec<IpAddr>,
    /// The ranges of services and pods, such as `10.96.0.0/16`.
    pub ranges: Vec<String>,
    /// Where services and endpoint slices are followed.
    pub caches: Caches,
    /// Who is asked for everything else.
    pub upstreams: Upstreams,
}

/// A server that listens.
pub struct Dns {
    core: Arc<Core>,
    caches: Caches,
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
}

impl Dns {
    /// Listens. Until [`Dns::run`], what comes waits.
    ///
    /// # Errors
    /// The domain or a range does not parse, or no port is free.
    pub async fn bind(config: DnsConfig) -> Result<Self, DnsError> {
        let range = |text: &String| Range::parse(text).ok_or_else(|| DnsError::Range { text: text.clone() });
        let ranges = config.ranges.iter().map(range).collect::<Result<Vec<_>, _>>()?;
        // Later than any of an earlier start, as long as changes are fewer than seconds.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let serial = u32::try_from(now).unwrap_or(0);
        let zone = Zone::new(&config.domain, config.addresses, ranges.clone(), serial)?;
        let listen = |source| DnsError::Listen { address: config.listen.ip(), source };
        let (udp, tcp) = sockets(config.listen).await.map_err(listen)?;
        let address = udp.local_addr().map_err(listen)?;
        let forward = Forward::new(config.upstreams);
        let core = Arc::new(Core::new(Arc::new(RwLock::new(zone)), forward, ranges));
        Ok(Self { core, caches: config.caches, udp, tcp, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown`.
    ///
    /// # Errors
    /// A socket broke.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DnsError> {
        let Self { core, caches, udp, tcp, address } = self;
        let serve = |source| DnsError::Serve { address: address.ip(), source };
        let following = async {
            let _following = follow(&caches, core.zone()).await;
            std::future::pending::<()>().await;
        };
        let looking = async {
            loop {
                core.look().await;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => Ok(()),
            ended = udp::serve(Arc::clone(&core), Arc::new(udp)) => ended.map_err(serve),
            ended = tcp::serve(Arc::clone(&core), tcp) => ended.map_err(serve),
            () = following => Ok(()),
            () = looking => Ok(()),
        }
    }
}

/// The same port for both protocols.
async fn sockets(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut refused = match pair(wanted).await {
        Ok(both) => return Ok(both),
        Err(error) => error,
    };
    for _ in 0..TRIES {
        if refused.kind() != io::ErrorKind::AddrInUse {
            break;
        }
        match pair(SocketAddr::new(wanted.ip(), 0)).await {
            Ok(both) => return Ok(both),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

async fn pair(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(wanted).await?;
    let udp = UdpSocket::bind(tcp.local_addr()?).await?;
    Ok((udp, tcp))
}

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
