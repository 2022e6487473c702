//! Whom the server believes: what kube-apiserver's flags of authentication say, under their names.

use skiff_authn::front_proxy::Headers;
use skiff_authn::oidc::{Anonymous, Issuer};
use skiff_authn::token_file::TokenFile;
use std::path::PathBuf;
use std::time::Duration;

/// The common name of this server's own certificate as a front proxy.
pub(crate) const FRONT_PROXY: &str = "front-proxy-client";

/// How requests are authenticated. The default believes client certificates of the cluster's authority and tokens of its service accounts.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// Tokens of service accounts.
    pub service_accounts: ServiceAccounts,
    /// `--api-audiences`: whom tokens must be for; empty: the issuers of service accounts' tokens.
    pub api_audiences: Vec<String>,
    /// `--enable-bootstrap-token-auth`.
    pub bootstrap_tokens: bool,
    /// `--token-auth-file`.
    pub token_file: TokenFile,
    /// `--oidc-*`.
    pub issuers: Vec<Issuer>,
    /// `--authentication-config`: issuers and requests without credentials, read again when the file changes.
    pub configuration: Option<PathBuf>,
    /// `--authentication-token-webhook-*`.
    pub webhook: Option<TokenWebhook>,
    /// `--anonymous-auth`; `None`: what the file says, or else they are let in.
    pub anonymous: Option<Anonymous>,
    /// `--requestheader-*`.
    pub front_proxy: FrontProxy,
    /// `--client-ca-file`: who vouches for client certificates beside the cluster's own authority, PEM.
    pub client_authority: Option<String>,
}

/// A server that is asked whose a token is.
#[derive(Debug, Clone)]
pub struct TokenWebhook {
    /// Its kubeconfig.
    pub config: PathBuf,
    /// Version of the TokenReview that it is sent: `v1` or `v1beta1`.
    pub version: String,
    /// How long its answers hold.
    pub keep: Duration,
    /// How long it may take to answer.
    pub timeout: Duration,
}

/// Who may say for whom it asks, and how. Names of headers are as they were given; case does not matter.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    /// `--requestheader-client-ca-file`: who vouches for it, PEM; `None`: the authority for front proxies among the cluster's keys.
    pub authority: Option<String>,
    /// `--requestheader-allowed-names`: the common names that it may have; empty: any.
    pub names: Vec<String>,
    /// `--requestheader-username-headers`.
    pub user: Vec<String>,
    /// `--requestheader-uid-headers`.
    pub uid: Vec<String>,
    /// `--requestheader-group-headers`.
    pub group: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_prefix: Vec<String>,
}

impl FrontProxy {
    /// The headers in which it says it, as they are compared.
    pub(super) fn headers(&self) -> Headers {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Headers {
            user: lower(&self.user),
            uid: lower(&self.uid),
            group: lower(&self.group),
            extra_prefix: lower(&self.extra_prefix),
        }
    }
}

impl Default for FrontProxy {
    /// As kubeadm sets it up.
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            authority: None,
            names: one(FRONT_PROXY),
            user: one("X-Remote-User"),
            uid: one("X-Remote-Uid"),
            group: one("X-Remote-Group"),
            extra_prefix: one("X-Remote-Extra-"),
        }
    }
}

/// Tokens of service accounts. Texts of files are PEM.
#[derive(Clone)]
pub struct ServiceAccounts {
    /// `--service-account-issuer`: the first issues, all are believed; empty: the cluster's own name.
    pub issuers: Vec<String>,
    /// `--service-account-signing-key-file`; `None`: the key in the data folder.
    pub signing_key: Option<String>,
    /// `--service-account-key-file`: keys that are believed; empty: the one that signs.
    pub keys: Vec<String>,
    /// `--service-account-jwks-uri`: where the keys are published; `None`: at this server.
    pub jwks_uri: Option<String>,
    /// `--service-account-max-token-expiration`, seconds; `None`: whatever is asked for.
    pub seconds_max: Option<i64>,
    /// `--service-account-extend-token-expiration`: the tokens that every pod gets really live for a year.
    pub extends: bool,
}

impl Default for ServiceAccounts {
    fn default() -> Self {
        Self {
            issuers: Vec::new(),
            signing_key: None,
            keys: Vec::new(),
            jwks_uri: None,
            seconds_max: None,
            extends: true,
        }
    }
}

impl std::fmt::Debug for ServiceAccounts {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccounts").field("issuers", &self.issuers).finish_non_exhaustive()
    }
}
