//! A store without a server, reached like any other etcd: for tools that work on a data folder at rest.

use super::{Member, ServeOptions, Service, serve};
use crate::Store;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

/// Bytes that may be under way in either direction.
const PIPE_BYTES: usize = 1 << 20;

/// A connection to `store` in this process; it answers what a server of it would, probes and metrics included.
pub fn channel_to(store: Store) -> Channel {
    let app = serve::App::of(Service::of(store), Member::default());
    let silence = ServeOptions::default().silence;
    let connector = tower::service_fn(move |_: Uri| {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        // Nobody else shuts it down: it ends when the other end is dropped.
        tokio::spawn(serve::connection(theirs, app.clone(), silence, CancellationToken::new()));
        async { Ok::<_, std::io::Error>(TokioIo::new(ours)) }
    });
    // The name is never looked up.
    Endpoint::from_static("http://store").connect_with_connector_lazy(connector)
}
