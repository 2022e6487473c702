//! Flags of authentication, named as those of kube-apiserver.

use crate::duration;
use anyhow::{Context, ensure};
use clap::Args;
use skiff_apiserver::{Authentication, FrontProxy, ServiceAccounts, TokenWebhook};
use skiff_authn::key::Algorithm;
use skiff_authn::oidc::{Anonymous, Issuer, Mapping, Source};
use skiff_authn::token_file::TokenFile;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest and the longest that `--service-account-max-token-expiration` may say.
const MAX_EXPIRATION: std::ops::RangeInclusive<u64> = 3600..=1 << 32;

/// How long the server that is asked about tokens may take.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whom an API server believes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Who asks")]
pub(crate) struct AuthenticationArgs {
    /// Who issues tokens of service accounts, a URL; the first issues, the others are believed too (may be repeated)
    /// [default: https://kubernetes.default.svc.cluster.local]
    #[arg(long, value_name = "URL")]
    service_account_issuer: Vec<String>,
    /// Keys that tokens of service accounts are checked with, public or private, PEM (may be repeated) [default: the key that signs]
    #[arg(long, value_name = "FILE")]
    service_account_key_file: Vec<PathBuf>,
    /// The key that signs them, PEM [default: sa.key among the keys of the data folder]
    #[arg(long, value_name = "FILE")]
    service_account_signing_key_file: Option<PathBuf>,
    /// Where others find the keys [default: /openid/v1/jwks of this server]
    #[arg(long, value_name = "URL")]
    service_account_jwks_uri: Option<String>,
    /// The longest life of a token of a service account; 0: whatever is asked for
    #[arg(long, default_value = "0", value_parser = duration::parse, value_name = "TIME")]
    service_account_max_token_expiration: Duration,
    /// Let the tokens that every pod gets live for a year, and only note their use after an hour
    #[arg(
        long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    service_account_extend_token_expiration: bool,
    /// Whom tokens must be for that come to this server [default: --service-account-issuer]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    api_audiences: Vec<String>,
    /// Believe no token whose account or secret is gone; nothing else is possible here
    #[arg(
        long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    service_account_lookup: bool,
    /// Believe bootstrap tokens (secrets of kube-system), with which nodes join
    #[arg(
        long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = clap::ArgAction::Set, value_name = "BOOL"
    )]
    enable_bootstrap_token_auth: bool,
    /// Take requests without credentials as from system:anonymous; otherwise they are refused
    #[arg(
        long, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = clap::ArgAction::Set,
        value_name = "BOOL"
    )]
    anonymous_auth: Option<bool>,
    /// Tokens in a file, a line each: token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    token_auth_file: Option<PathBuf>,
    /// Who vouches for client certificates beside the cluster's own authority, PEM
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
    /// Issuers of tokens, and requests without credentials (AuthenticationConfiguration); read again when it changes
    #[arg(long, value_name = "FILE", conflicts_with = "oidc_issuer_url")]
    authentication_config: Option<PathBuf>,
    /// A server that is asked whose a token is: its kubeconfig
    #[arg(long, value_name = "FILE")]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of the TokenReview that it is sent: v1 or v1beta1
    #[arg(long, default_value = "v1beta1", value_name = "VERSION")]
    authentication_token_webhook_version: String,
    /// How long its answers hold
    #[arg(long, default_value = "2m", value_parser = duration::parse, value_name = "TIME")]
    authentication_token_webhook_cache_ttl: Duration,
    #[command(flatten)]
    oidc: OidcArgs,
    #[command(flatten)]
    front_proxy: FrontProxyArgs,
}

/// One issuer of tokens.
#[derive(Debug, Clone, Default, Args)]
struct OidcArgs {
    /// An issuer of tokens (OpenID Connect), an https URL
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// Whom its tokens must be for
    #[arg(long, value_name = "NAME", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// Who vouches for it, PEM [default: the authorities of this machine]
    #[arg(long, value_name = "FILE")]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name
    #[arg(long, default_value = "sub", value_name = "CLAIM")]
    oidc_username_claim: String,
    /// What is put before the name; - for nothing [default: the issuer and #, before an email nothing]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    oidc_username_prefix: Option<String>,
    /// The claim that is the user's groups
    #[arg(long, value_name = "CLAIM")]
    oidc_groups_claim: Option<String>,
    /// What is put before each group
    #[arg(long, default_value = "", value_name = "TEXT")]
    oidc_groups_prefix: String,
    /// How its tokens may be signed
    #[arg(long, value_delimiter = ',', default_value = "RS256", value_name = "NAMES")]
    oidc_signing_algs: Vec<String>,
    /// A claim that its tokens must have with this value (may be repeated)
    #[arg(long, value_name = "CLAIM=VALUE")]
    oidc_required_claim: Vec<String>,
}

/// Who may say for whom it asks.
#[derive(Debug, Clone, Default, Args)]
struct FrontProxyArgs {
    /// Who vouches for front proxies, PEM [default: front-proxy-ca.crt among the keys of the data folder]
    #[arg(long, value_name = "FILE")]
    requestheader_client_ca_file: Option<PathBuf>,
    /// The common names that front proxies may have; none: any [default: front-proxy-client]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    requestheader_allowed_names: Option<Vec<String>>,
    /// Headers in which they say the user's name
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User", value_name = "NAMES")]
    requestheader_username_headers: Vec<String>,
    /// Headers in which they say the user's uid
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Uid", value_name = "NAMES")]
    requestheader_uid_headers: Vec<String>,
    /// Headers in which they say the user's groups
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group", value_name = "NAMES")]
    requestheader_group_headers: Vec<String>,
    /// Beginnings of headers in which they say what else is known of the user
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-", value_name = "NAMES")]
    requestheader_extra_headers_prefix: Vec<String>,
}

impl FrontProxyArgs {
    fn read(&self) -> anyhow::Result<FrontProxy> {
        let names = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
        };
        let file = self.requestheader_client_ca_file.as_deref();
        let authority = file.map(|path| text("--requestheader-client-ca-file", path)).transpose()?;
        // Whoever brings an authority of his own and no names means everybody whom it vouches for.
        let usual = || if authority.is_some() { Vec::new() } else { FrontProxy::default().names };
        let allowed = self.requestheader_allowed_names.clone().unwrap_or_else(usual);
        Ok(FrontProxy {
            authority,
            names: names(&allowed),
            user: names(&self.requestheader_username_headers),
            uid: names(&self.requestheader_uid_headers),
            group: names(&self.requestheader_group_headers),
            extra_prefix: names(&self.requestheader_extra_headers_prefix),
        })
    }
}

impl OidcArgs {
    fn read(&self) -> anyhow::Result<Option<Issuer>> {
        let Some(url) = self.oidc_issuer_url.clone() else { return Ok(None) };
        ensure!(url.starts_with("https://"), "--oidc-issuer-url {url}: must be an https URL");
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            None if self.oidc_username_claim == "email" => String::new(),
            None => format!("{url}#"),
        };
        let algorithm = |name: &String| {
            Algorithm::named(name).with_context(|| format!("--oidc-signing-algs {name}: it is not implemented"))
        };
        let required = |pair: &String| {
            let (claim, value) =
                pair.split_once('=').with_context(|| format!("--oidc-required-claim {pair}: want CLAIM=VALUE"))?;
            Ok((claim.to_owned(), value.to_owned()))
        };
        let authority = self.oidc_ca_file.as_deref().map(|path| text("--oidc-ca-file", path)).transpose()?;
        let groups = self.oidc_groups_claim.clone();
        Ok(Some(Issuer {
            url,
            authority,
            audiences: self.oidc_client_id.iter().cloned().collect(),
            algorithms: self.oidc_signing_algs.iter().map(algorithm).collect::<anyhow::Result<_>>()?,
            required: self.oidc_required_claim.iter().map(required).collect::<anyhow::Result<_>>()?,
            username: Source::Claim(Mapping { claim: self.oidc_username_claim.clone(), prefix }),
            groups: groups.map(|claim| Source::Claim(Mapping { claim, prefix: self.oidc_groups_prefix.clone() })),
            ..Issuer::default()
        }))
    }
}

impl AuthenticationArgs {
    /// Reads the files that they name.
    ///
    /// # Errors
    /// A file cannot be read, or a value cannot be.
    pub(crate) fn read(&self) -> anyhow::Result<Authentication> {
        let limit = self.service_account_max_token_expiration.as_secs();
        ensure!(
            limit == 0 || MAX_EXPIRATION.contains(&limit),
            "--service-account-max-token-expiration must be between 1 hour and 2^32 seconds"
        );
        if let Some(uri) = &self.service_account_jwks_uri {
            ensure!(uri.starts_with("https://"), "--service-account-jwks-uri {uri}: must be an https URL");
        }
        let keys = self.service_account_key_file.iter().map(|path| text("--service-account-key-file", path));
        let signing = self.service_account_signing_key_file.as_deref();
        let accounts = ServiceAccounts {
            issuers: self.service_account_issuer.clone(),
            signing_key: signing.map(|path| text("--service-account-signing-key-file", path)).transpose()?,
            keys: keys.collect::<anyhow::Result<_>>()?,
            jwks_uri: self.service_account_jwks_uri.clone(),
            seconds_max: i64::try_from(limit).ok().filter(|limit| *limit > 0),
            extends: self.service_account_extend_token_expiration,
        };
        ensure!(
            self.service_account_lookup,
            "--service-account-lookup=false: tokens of what is gone are never believed here"
        );
        let token_file = self.token_auth_file.as_deref().map(token_file).transpose()?.unwrap_or_default();
        let webhook = self.authentication_token_webhook_config_file.clone().map(|config| TokenWebhook {
            config,
            version: self.authentication_token_webhook_version.clone(),
            keep: self.authentication_token_webhook_cache_ttl,
            timeout: WEBHOOK_TIMEOUT,
        });
        let authority = self.client_ca_file.as_deref().map(|path| text("--client-ca-file", path)).transpose()?;
        Ok(Authentication {
            service_accounts: accounts,
            api_audiences: self.api_audiences.clone(),
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            token_file,
            issuers: self.oidc.read()?.into_iter().collect(),
            configuration: self.authentication_config.clone(),
            webhook,
            anonymous: self.anonymous_auth.map(|enabled| Anonymous { enabled, paths: Vec::new() }),
            front_proxy: self.front_proxy.read()?,
            client_authority: authority,
        })
    }
}

fn token_file(path: &Path) -> anyhow::Result<TokenFile> {
    let read = TokenFile::parse(&text("--token-auth-file", path)?);
    read.map_err(|why| anyhow::anyhow!("--token-auth-file {}: {why}", path.display()))
}

fn text(flag: &str, path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{flag} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        authentication: AuthenticationArgs,
    }

    fn read(words: &[&str]) -> Result<Authentication, String> {
        let line = Line::try_parse_from([&["program"], words].concat()).map_err(|error| error.to_string())?;
        line.authentication.read().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn flags_are_those_of_kubernetes() {
        let said =
            read(&["--service-account-issuer=https://a", "--service-account-issuer=https://b", "--api-audiences=x,y"]);
        let said = said.unwrap();
        assert_eq!(said.service_accounts.issuers, ["https://a", "https://b"]);
        assert_eq!(said.api_audiences, ["x", "y"]);
        let limited =
            read(&["--service-account-max-token-expiration=2h", "--service-account-extend-token-expiration=false"]);
        let limited = limited.unwrap().service_accounts;
        assert_eq!((limited.seconds_max, limited.extends), (Some(7200), false));
        let proxy = read(&["--requestheader-username-headers=X-User", "--requestheader-allowed-names=a,b"])
            .unwrap()
            .front_proxy;
        assert_eq!(
            (&proxy.user[..], &proxy.names[..]),
            (&["X-User".to_owned()][..], &["a".to_owned(), "b".to_owned()][..])
        );
        let oidc = read(&["--oidc-issuer-url=https://i", "--oidc-client-id=us", "--oidc-required-claim=hd=x"]).unwrap();
        let issuer = &oidc.issuers[0];
        let name = Source::Claim(Mapping { claim: "sub".to_owned(), prefix: "https://i#".to_owned() });
        assert_eq!((&issuer.username, issuer.required["hd"].as_str()), (&name, "x"));
        assert!(!read(&["--anonymous-auth=false"]).unwrap().anonymous.unwrap().enabled);
        for (word, wrong) in [
            ("--service-account-lookup=false", "never believed"),
            ("--oidc-issuer-url=https://i", "--oidc-client-id"),
            ("--service-account-max-token-expiration=10m", "between 1 hour"),
            ("--service-account-key-file=/nowhere/sa.pub", "--service-account-key-file /nowhere/sa.pub"),
            ("--service-account-jwks-uri=http://x", "must be an https URL"),
        ] {
            let error = read(&[word]).unwrap_err();
            assert!(error.contains(wrong), "{word}: {error}");
        }
    }
}
