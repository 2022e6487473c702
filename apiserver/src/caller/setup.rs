//! What the options make of it: files are read, and one of them again when it changes.

use super::Callers;
use super::options::TokenWebhook;
use super::webhook::Webhook;
use crate::app::App;
use crate::remote::review::Reviewer;
use crate::server::ApiError;
use serde_json::Value;
use skiff_authn::oidc::{Anonymous, Configuration, parse};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

const FILE: &str = "--authentication-config";

/// The file of issuers, as it was first read.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    text: String,
    /// What it says of requests without credentials, which stays.
    anonymous: Option<Anonymous>,
}

impl File {
    /// Reads it; `taken` are issuers that must not be among its own.
    pub(super) fn read(path: &Path, taken: &[String]) -> Result<(Self, Configuration), ApiError> {
        let refused = |problem: String| ApiError::Authentication {
            flag: FILE,
            problem: format!("{}: {problem}", path.display()),
        };
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        let found = understood(&text, taken).map_err(refused)?;
        Ok((Self { path: path.to_owned(), text, anonymous: found.anonymous.clone() }, found))
    }
}

fn understood(text: &str, taken: &[String]) -> Result<Configuration, String> {
    let value: Value = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    let configuration = parse(&value).map_err(|errors| errors.join("; "))?;
    match configuration.issuers.iter().position(|issuer| taken.contains(&issuer.url)) {
        Some(index) => Err(format!(
            "jwt[{index}].issuer.url: Invalid value: {:?}: URL must not overlap with disallowed issuers: [{}]",
            configuration.issuers[index].url,
            taken.join(" ")
        )),
        None => Ok(configuration),
    }
}

/// The server that is asked whose a token is.
pub(super) async fn webhook(options: Option<&TokenWebhook>) -> Result<Option<Webhook>, ApiError> {
    let Some(options) = options else { return Ok(None) };
    let flag = "--authentication-token-webhook-config-file";
    let refused = |problem: String| ApiError::Authentication { flag, problem };
    if !matches!(&*options.version, "v1" | "v1beta1") {
        return Err(refused(format!("{:?} is no version of TokenReview", options.version)));
    }
    let reviewer = Reviewer::new(&options.config, options.timeout).await;
    let reviewer = reviewer.map_err(|error| refused(skiff_client::sentence(&error)))?;
    Ok(Some(Webhook::new(reviewer, &options.version, options.keep)))
}

/// Keeps the issuers up to date until the server stops.
pub(crate) fn follow(app: &Arc<App>, until: &CancellationToken) {
    let Some(file) = &app.callers.file else { return };
    let (app, mut said) = (app.clone(), file.text.clone());
    tokio::spawn(until.clone().run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            app.callers.read_again(&mut said);
        }
    }));
}

impl Callers {
    /// Takes what the file says, if that is not what it `said`; what cannot be understood changes nothing.
    pub(super) fn read_again(&self, said: &mut String) {
        let Some(file) = &self.file else { return };
        match std::fs::read_to_string(&file.path) {
            Ok(text) if text == *said => return,
            Ok(text) => *said = text,
            Err(error) => return tracing::warn!(path = %file.path.display(), %error, "issuers stay as they were"),
        }
        let taken = self.accounts.issuers();
        let taken_over = understood(said, taken).and_then(|found| {
            if found.anonymous != file.anonymous {
                return Err("anonymous: Forbidden: changed from initial configuration file".to_owned());
            }
            self.issuers.replace(found.issuers)
        });
        match taken_over {
            Ok(()) => tracing::info!(path = %file.path.display(), "issuers were read again"),
            Err(problem) => tracing::warn!(path = %file.path.display(), problem, "issuers stay as they were"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Authentication;
    use super::*;
    use crate::pki::Pki;
    use std::net::SocketAddr;

    fn file(url: &str, more: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {url}\n    \
             audiences: [us]\n  claimMappings:\n    username: {{claim: sub, prefix: 'x:'}}\n{more}"
        )
    }

    /// What is read again takes the place of what was read before, if all of it can be understood.
    #[tokio::test]
    async fn a_file_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, file("https://a", "")).expect("written");
        let options = Authentication { configuration: Some(path.clone()), ..Authentication::default() };
        let pki = Pki::open_or_create(&folder.path().join("pki"), &[]).expect("keys");
        let callers = Callers::new(&options, &pki, SocketAddr::from(([192, 0, 2, 1], 1))).await.expect("sound");
        let mut said = callers.file.as_ref().expect("a file").text.clone();
        for (text, expected) in [
            (file("https://b", ""), "https://b"),
            ("[".to_owned(), "https://b"),
            (file("http://c", ""), "https://b"),
            (file("https://kubernetes.default.svc.cluster.local", ""), "https://b"),
            (file("https://c", "anonymous: {enabled: true}\n"), "https://b"),
            (file("https://c", ""), "https://c"),
        ] {
            std::fs::write(&path, &text).expect("written");
            callers.read_again(&mut said);
            assert_eq!(callers.issuers.urls(), [expected], "{text}");
        }
        std::fs::remove_file(&path).expect("removed");
        callers.read_again(&mut said);
        assert_eq!(callers.issuers.urls(), ["https://c"]);
    }
}
