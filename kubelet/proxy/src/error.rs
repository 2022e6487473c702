//! Why services cannot be proxied.

/// Errors of the proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Not there yet.
    #[error("proxy: {0} is not implemented")]
    Unimplemented(&'static str),
}
