//! Who may use the kubelet's API.
//!
//! A valid certificate of the cluster's authority is not enough: nodes and ordinary users have one too. The API server's
//! own identities and cluster administrators may; nobody else (a real kubelet asks the API server with a
//! SubjectAccessReview, which ours does not yet).

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Groups that may.
const GROUPS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];
/// Users that may: the names that kubeadm and we give the API server.
const USERS: [&str; 4] =
    ["kube-apiserver-kubelet-client", "kube-apiserver", "system:apiserver", "system:kube-apiserver"];

/// Who is on the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// No certificate.
    Anonymous,
    /// A certificate's CN and O.
    Known { user: String, groups: Vec<String> },
}

impl Caller {
    /// Reads the certificate that the handshake has verified.
    pub(super) fn of(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(first) = certificates.and_then(|chain| chain.first()) else { return Self::Anonymous };
        let Ok((_, certificate)) = X509Certificate::from_der(first) else { return Self::Anonymous };
        let subject = certificate.subject();
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        let user = subject.iter_common_name().find_map(text).unwrap_or_default();
        let groups = subject.iter_organization().filter_map(text).collect();
        Self::Known { user, groups }
    }

    fn may(&self) -> Result<(), (StatusCode, String)> {
        match self {
            Self::Anonymous => {
                Err((StatusCode::UNAUTHORIZED, "Unauthorized: a client certificate is required\n".to_owned()))
            }
            Self::Known { user, groups } => {
                let may = USERS.contains(&user.as_str()) || groups.iter().any(|group| GROUPS.contains(&group.as_str()));
                if may {
                    Ok(())
                } else {
                    Err((StatusCode::FORBIDDEN, format!("Forbidden: user {user} may not use this API\n")))
                }
            }
        }
    }
}

/// Lets through who may.
pub(super) async fn require(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or(Caller::Anonymous);
    match caller.may() {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_api_server_and_administrators_may() {
        let known = |user: &str, group: &str| Caller::Known { user: user.into(), groups: vec![group.into()] };
        assert!(known("kubernetes-admin", "system:masters").may().is_ok());
        assert!(known("kube-apiserver-kubelet-client", "").may().is_ok());
        assert_eq!(known("system:node:other", "system:nodes").may().unwrap_err().0, StatusCode::FORBIDDEN);
        assert_eq!(Caller::Anonymous.may().unwrap_err().0, StatusCode::UNAUTHORIZED);
    }
}
