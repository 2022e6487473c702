//! The kubelet's HTTPS API.
use crate::agent::Agent;
use crate::config::KubeletTls;
use crate::error::KubeletError;
use std::net::SocketAddr;
use std::sync::Arc;
pub(crate) struct Server(tokio::net::TcpListener, SocketAddr);
impl Server {
    pub(crate) async fn bind(a: SocketAddr, _: &KubeletTls) -> Result<Self, KubeletError> {
        let l = tokio::net::TcpListener::bind(a).await.map_err(|source| KubeletError::Listen { address: a, source })?;
        let a = l.local_addr().unwrap_or(a);
        Ok(Self(l, a))
    }
    pub(crate) fn address(&self) -> SocketAddr { self.1 }
    pub(crate) async fn serve(self, _: Arc<Agent>) { let _ = self.0; std::future::pending::<()>().await }
}
