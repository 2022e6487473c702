//! Node ports of a box on the host's loopback.
//!
//! The listening socket is opened before the box is entered and so belongs to the host; the connection onwards is made
//! inside.

use anyhow::{Context, bail};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// A socket on the host and the node port it leads to.
#[derive(Debug)]
pub(crate) struct Published {
    listener: TcpListener,
    node_port: u16,
}

impl Published {
    /// Opens `HOST_PORT:NODE_PORT`.
    pub(crate) fn open(text: &str) -> anyhow::Result<Self> {
        let ports = text.split_once(':').map(|(host, node)| (host.parse::<u16>(), node.parse::<u16>()));
        let Some((Ok(host_port), Ok(node_port))) = ports else {
            bail!("--publish {text}: want HOST_PORT:NODE_PORT, such as 8080:30080")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, host_port))
            .with_context(|| format!("--publish {text}: listen on 127.0.0.1:{host_port}"))?;
        Ok(Self { listener, node_port })
    }

    /// The host's port, if it leads to `node_port`.
    pub(crate) fn leads_to(&self, node_port: u16) -> Option<u16> {
        let address = self.listener.local_addr().ok()?;
        (self.node_port == node_port).then_some(address.port())
    }

    /// Passes connections on to the node at `address` until `shutdown`.
    pub(crate) async fn run(self, address: IpAddr, shutdown: CancellationToken) -> anyhow::Result<()> {
        self.listener.set_nonblocking(true).context("published port")?;
        let listener = tokio::net::TcpListener::from_std(self.listener).context("published port")?;
        let target = SocketAddr::new(address, self.node_port);
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                accepted = listener.accept() => accepted,
            };
            let (near, _) = accepted.context("accept on a published port")?;
            tokio::spawn(pass_on(near, target));
        }
    }
}

async fn pass_on(mut near: TcpStream, target: SocketAddr) {
    // A refused connection closes the caller's: what it would have seen without us.
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    if let Err(error) = tokio::io::copy_bidirectional(&mut near, &mut far).await {
        tracing::debug!(error = skiff_client::sentence(&error), %target, "published connection");
    }
}
