//! Flags of authentication, named as those of kube-apiserver.

use crate::duration;
use anyhow::{Context, ensure};
use clap::Args;
use skiff_apiserver::{Authentication, ServiceAccounts};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The shortest and the longest that `--service-account-max-token-expiration` may say.
const MAX_EXPIRATION: std::ops::RangeInclusive<u64> = 3600..=1 << 32;

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
        Ok(Authentication { service_accounts: accounts, api_audiences: self.api_audiences.clone() })
    }
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
        for (word, wrong) in [
            ("--service-account-max-token-expiration=10m", "between 1 hour"),
            ("--service-account-key-file=/nowhere/sa.pub", "--service-account-key-file /nowhere/sa.pub"),
            ("--service-account-jwks-uri=http://x", "must be an https URL"),
        ] {
            let error = read(&[word]).unwrap_err();
            assert!(error.contains(wrong), "{word}: {error}");
        }
    }
}
