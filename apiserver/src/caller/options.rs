//! Whom the server believes: what kube-apiserver's flags of authentication say, under their names.

/// How requests are authenticated. The default believes client certificates of the cluster's authority and tokens of its service accounts.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// Tokens of service accounts.
    pub service_accounts: ServiceAccounts,
    /// `--api-audiences`: whom tokens must be for; empty: the issuers of service accounts' tokens.
    pub api_audiences: Vec<String>,
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
