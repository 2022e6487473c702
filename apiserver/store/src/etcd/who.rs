//! Who asks: by the token of a password that was shown, or by the name in the client certificate of the connection.

use super::Service;
use crate::Store;
use crate::users::{Caller, Denied};
use std::sync::Arc;
use std::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::{Request, Status};

/// Where etcd's clients put a token, and where its gateway does.
const HEADERS: [&str; 2] = ["token", "authorization"];

/// The name in the certificate that a client has shown.
#[derive(Debug, Clone)]
pub(super) struct CommonName(Arc<str>);

impl CommonName {
    /// Of a certificate that was verified; `None`: it names nobody.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let name = parsed.subject().iter_common_name().last()?.as_str().ok()?;
        (!name.is_empty()).then(|| CommonName(name.into()))
    }
}

/// What a request says of who sent it.
#[derive(Debug, Clone, Default)]
pub(super) struct Who {
    token: Option<String>,
    name: Option<CommonName>,
}

impl Who {
    /// Of a request.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        let header = |name: &str| Some(request.metadata().get(name)?.to_str().ok()?.to_owned());
        Who { token: HEADERS.iter().find_map(|name| header(name)), name: request.extensions().get().cloned() }
    }

    /// Of one that does not go the general way.
    pub(super) fn of_http<B>(request: &http::Request<B>) -> Self {
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        Who { token: HEADERS.iter().find_map(|name| header(name)), name: request.extensions().get().cloned() }
    }
}

impl Service {
    /// Who that is.
    pub(super) fn caller(&self, who: &Who) -> Result<Caller, Denied> {
        if self.trusted {
            return Ok(Caller::Us);
        }
        let core = self.store.core();
        let users = core.users();
        if !users.is_enabled() {
            return Ok(Caller::Nobody);
        }
        let known = |name| Caller::User(name, users.revision());
        match (&who.token, &who.name) {
            (Some(token), _) => {
                let token = token.strip_prefix("Bearer ").unwrap_or(token);
                core.tokens().user(token, Instant::now()).map(known).ok_or(Denied::Token)
            }
            (None, Some(name)) => Ok(known(name.0.clone())),
            (None, None) => Ok(Caller::Nobody),
        }
    }

    /// The store, asked by whoever that is.
    pub(super) fn asked(&self, who: &Who) -> Result<Store, Status> {
        Ok(self.store.asked_by(self.caller(who).map_err(denied)?))
    }

    /// The same, for somebody who is known.
    pub(super) fn asked_by_somebody(&self, who: &Who) -> Result<Store, Status> {
        let caller = self.caller(who).map_err(denied)?;
        self.store.core().users().check_known(&caller).map_err(denied)?;
        Ok(self.store.asked_by(caller))
    }

    /// Whether whoever that is may do everything.
    pub(super) fn check_admin<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = self.caller(&Who::of(request)).map_err(denied)?;
        self.store.core().users().check_admin(&caller).map_err(denied)
    }

    /// Whether whoever that is is known.
    pub(super) fn check_known<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.asked_by_somebody(&Who::of(request)).map(|_| ())
    }
}

/// In etcd's words.
pub(super) fn denied(denied: Denied) -> Status {
    crate::request::Refusal::Denied(denied).into()
}
