//! The service's sockets: bind, recover, accept, end.

use crate::CriConfig;
use crate::disk::Disk;
use crate::error::{CriError, During};
use crate::exec::Streams;
use crate::host;
use crate::seams::{Images, Networks};
use crate::service::{ImageServer, RuntimeServer};
use crate::state::{Service, Settings};
use skiff_proto::cri::v1::image_service_server::ImageServiceServer;
use skiff_proto::cri::v1::runtime_service_server::RuntimeServiceServer;
use skiff_streams::StreamServer;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// The largest request or answer: the kubelet's own limit (16 MiB).
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The CRI service.
pub struct Cri {
    service: Arc<Service>,
    socket: UnixListener,
    streams: TcpListener,
}

impl Cri {
    /// Recovers what a predecessor left, then listens; connections wait until [`Cri::run`].
    ///
    /// # Errors
    /// A folder or socket cannot be made, another service listens, or the image store or network refuses.
    pub async fn bind(config: CriConfig) -> Result<Self, CriError> {
        let settings = Settings {
            oci_root: config.state_dir.join("oci"),
            listen: config.listen,
            state_dir: config.state_dir,
            root_dir: config.root_dir,
            oci_runtime: config.oci_runtime,
            supervisor: config.supervisor,
            cgroup_root: config.cgroup_root,
            stream_listen: config.stream_listen,
            cdi_spec_dirs: config.cdi_spec_dirs,
            engine: config.engine,
        };
        Self::bind_over(settings, Arc::new(config.images), Arc::new(config.networks)).await
    }

    /// The same over any images and networks.
    ///
    /// # Errors
    /// As [`Cri::bind`].
    pub async fn bind_over(
        settings: Settings,
        images: Arc<dyn Images>,
        networks: Arc<dyn Networks>,
    ) -> Result<Self, CriError> {
        let disk = Disk::open(&settings.state_dir)?;
        let socket = listen(&settings.listen).await?;
        let address = settings.stream_listen;
        let streams = TcpListener::bind(address).await.during(|| format!("listen on {address} for streams"))?;
        let address = streams.local_addr().during(|| "ask for the address of streams".to_owned())?;
        let service = Arc::new(Service::new(settings, images, networks, host::probe()?, disk));
        let server = StreamServer::new(Arc::new(Streams(service.clone())), format!("http://{address}"));
        // Nobody else sets it: the cell is there because server and node know each other.
        let _first = service.streams.set(server);
        service.recover().await?;
        Ok(Self { service, socket, streams })
    }

    /// Serves until `shutdown`. Containers and their supervisors go on.
    ///
    /// # Errors
    /// A socket failed.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), CriError> {
        let runtime = RuntimeServiceServer::new(RuntimeServer(self.service.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let images = ImageServiceServer::new(ImageServer(self.service.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let grpc = Server::builder().add_service(runtime).add_service(images);
        let router = self.service.streams.get().map(StreamServer::router).unwrap_or_default();
        let streams = axum::serve(self.streams, router);
        // Event streams never end by themselves, so a graceful end would wait for ever: the sockets are just closed.
        tokio::select! {
            served = grpc.serve_with_incoming(UnixListenerStream::new(self.socket)) => {
                served.map_err(std::io::Error::other).during(|| "serve CRI".to_owned())
            }
            served = streams => served.during(|| "serve streams".to_owned()),
            () = shutdown.cancelled() => Ok(()),
        }
    }
}

/// Listens on a socket that only root may open; one that a dead predecessor left is replaced, a living one is not.
async fn listen(path: &Path) -> Result<UnixListener, CriError> {
    let operation = || format!("listen on {}", path.display());
    if UnixStream::connect(path).await.is_ok() {
        return Err(CriError::Precondition(format!("{}: another CRI service listens there", operation())));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).during(operation),
        _ => {}
    }
    let socket = UnixListener::bind(path).during(operation)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).during(operation)?;
    Ok(socket)
}
