//! The driver's sockets.

use crate::Config;
use crate::controller::Volumes;
use crate::identity::Own;
use crate::registration::Known;
use crate::store::Store;
use skiff_csi::csi::v1::controller_server::ControllerServer;
use skiff_csi::csi::v1::identity_server::IdentityServer;
use skiff_csi::csi::v1::node_server::NodeServer;
use skiff_csi::registration::v1::registration_server::RegistrationServer;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

/// Why the driver does not run.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A folder or socket cannot be made.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// A socket stopped serving.
    #[error("serve the driver of local volumes")]
    Serve(#[source] tonic::transport::Error),
}

/// A driver whose sockets are there.
pub struct Driver {
    volumes: Volumes,
    endpoint: PathBuf,
    listener: UnixListener,
    registration: UnixListener,
}

fn listen(path: &Path) -> Result<UnixListener, DriverError> {
    let failed = |operation| move |source| DriverError::Io { operation, path: path.to_owned(), source };
    let folder = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(folder).map_err(failed("create the folder of"))?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(failed("listen at"))
}

impl Driver {
    /// Opens the volumes and listens.
    ///
    /// # Errors
    /// A folder or socket cannot be made.
    pub fn bind(config: &Config) -> Result<Self, DriverError> {
        let failed = |source| DriverError::Io { operation: "open", path: config.folder.clone(), source };
        let store = Store::open(&config.folder).map_err(failed)?;
        let endpoint = config.socket();
        let listener = listen(&endpoint)?;
        let registration = listen(&config.registry.join(format!("{}-reg.sock", crate::NAME)))?;
        Ok(Self { volumes: Volumes::new(store, config.node.clone()), endpoint, listener, registration })
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// A socket stops serving.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), DriverError> {
        let Self { volumes, endpoint, listener, registration } = self;
        let driver = Server::builder()
            .add_service(IdentityServer::new(Own))
            .add_service(ControllerServer::new(volumes.clone()))
            .add_service(NodeServer::new(volumes))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.clone().cancelled_owned());
        let known = Server::builder()
            .add_service(RegistrationServer::new(Known { endpoint }))
            .serve_with_incoming_shutdown(UnixListenerStream::new(registration), shutdown.cancelled_owned());
        let (driver, known) = tokio::join!(driver, known);
        driver.and(known).map_err(DriverError::Serve)
    }
}
