//! Plugins as they are asked: for which images, with which token, and not twice for the same.

use crate::cache::Cache;
use crate::config::{self, Attributes, ConfigError, ProviderConfig};
use crate::name::{is_key_of, matches};
use crate::plugin::{self, Answer, Auths, Question};
use crate::record::Account;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A user and a password for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The user.
    pub username: String,
    /// The password.
    pub password: String,
    /// For whose service account a plugin gave it; none for the node itself.
    pub account: Option<Account>,
}

/// An account's uid and annotations, or why they cannot be had.
pub type About<'a> = BoxFuture<'a, Result<(String, BTreeMap<String, String>), String>>;

/// What is asked of the API server about the service account of the pod that needs an image.
pub trait Accounts: Send + Sync {
    /// Namespace and name of the account; none for a pod without.
    fn name(&self) -> Option<(String, String)>;
    /// Its uid and annotations.
    fn about(&self) -> About<'_>;
    /// A token of the account with this uid for `audience`, bound to the pod.
    fn token<'a>(&'a self, uid: &'a str, audience: &'a str) -> BoxFuture<'a, Result<String, String>>;
}

/// All plugins of a node.
#[derive(Default)]
pub struct Providers(Vec<Provider>);

struct Provider {
    folder: PathBuf,
    config: ProviderConfig,
    cache: Mutex<Cache>,
    /// One run at a time for the same question.
    runs: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// Of the account that a plugin is asked for.
#[derive(Default)]
struct Asker {
    account: Option<Account>,
    token: String,
    annotations: BTreeMap<String, String>,
    /// Whose answers may be used again.
    key: String,
}

impl Providers {
    /// The plugins that `config`, a file or folder, names, whose programs are in `folder`.
    ///
    /// # Errors
    /// They are not configured as they should be, or a program is not there.
    pub fn load(config: &Path, folder: &Path) -> Result<Self, ConfigError> {
        let of = |config: ProviderConfig| {
            let path = folder.join(&config.name);
            let about = std::fs::metadata(&path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
            if !about.is_file() || about.permissions().mode() & 0o111 == 0 {
                return Err(ConfigError::Malformed { path, why: "it is no program".to_owned() });
            }
            let folder = folder.to_owned();
            Ok(Provider { folder, config, cache: Mutex::default(), runs: Mutex::default() })
        };
        Ok(Self(config::read(config)?.into_iter().map(of).collect::<Result<_, _>>()?))
    }

    /// What the plugins have for `image`, a whole name without tag and digest. One that fails has nothing, and the log says why.
    pub async fn find(&self, image: &str, accounts: &dyn Accounts) -> Vec<Found> {
        let mut all = Vec::new();
        for provider in self.0.iter().filter(|provider| provider.is_for(image)) {
            match provider.find(image, accounts).await {
                Ok((auths, account)) => all.extend(fitting(&auths, image, account.as_ref())),
                Err(why) => tracing::warn!("no credentials for image {image}: {why}"),
            }
        }
        all
    }
}

/// Those for this image, the most fitting pattern first.
fn fitting(auths: &Auths, image: &str, account: Option<&Account>) -> Vec<Found> {
    let fits = auths.iter().rev().filter(|(key, _)| is_key_of(key, image));
    let found = fits.map(|(_, (username, password))| Found {
        username: username.clone(),
        password: password.clone(),
        account: account.cloned(),
    });
    found.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Provider {
    fn is_for(&self, image: &str) -> bool {
        self.config.match_images.iter().any(|pattern| matches(pattern, image))
    }

    async fn find(&self, image: &str, accounts: &dyn Accounts) -> Result<(Auths, Option<Account>), String> {
        let Some(asker) = self.asker(accounts).await? else { return Ok((Auths::new(), None)) };
        let known = || lock(&self.cache).get(image, &asker.key, Instant::now());
        if let Some(auths) = known() {
            return Ok((auths, asker.account));
        }
        let question = format!("{image}\n{}", asker.key);
        let run = lock(&self.runs).entry(question.clone()).or_default().clone();
        let held = run.lock().await;
        // Whoever ran it while we waited has left its answer, if it lasts.
        let answered = match known() {
            Some(auths) => Ok(auths),
            None => self.run(image, &asker).await,
        };
        drop(held);
        lock(&self.runs).retain(|one, run| *one != question || Arc::strong_count(run) > 2);
        Ok((answered?, asker.account))
    }

    async fn run(&self, image: &str, asker: &Asker) -> Result<Auths, String> {
        let question = Question { image, token: &asker.token, annotations: &asker.annotations };
        let answer: Answer = plugin::ask(&self.folder, &self.config, &question).await?;
        let is_for_one_token = self.config.token_attributes.as_ref().is_some_and(|token| token.cache_type == "Token");
        let is_token = |(_, password): &(String, String)| !asker.token.is_empty() && *password == asker.token;
        if !is_for_one_token && answer.auths.values().any(is_token) {
            let name = &self.config.name;
            return Err(format!("plugin {name}: it returns the token as the password, which needs `cacheType: Token`"));
        }
        lock(&self.cache).put(image, &asker.key, &answer, self.config.cache_duration(), Instant::now());
        Ok(answer.auths)
    }

    /// None: the plugin is not to be asked for this pod.
    async fn asker(&self, accounts: &dyn Accounts) -> Result<Option<Asker>, String> {
        let Some(attributes) = &self.config.token_attributes else { return Ok(Some(Asker::default())) };
        match accounts.name() {
            None if attributes.require_service_account => Ok(None),
            // A plugin that may be asked without is asked so for static pods.
            None => Ok(Some(Asker::default())),
            Some(name) => self.asker_of(attributes, name, accounts).await,
        }
    }

    async fn asker_of(
        &self,
        attributes: &Attributes,
        (namespace, name): (String, String),
        accounts: &dyn Accounts,
    ) -> Result<Option<Asker>, String> {
        let (uid, all) = accounts.about().await?;
        // By its annotations an account asks for this.
        if !attributes.required_service_account_annotation_keys.iter().all(|key| all.contains_key(key)) {
            return Ok(None);
        }
        let wanted = attributes.required_service_account_annotation_keys.iter();
        let wanted = wanted.chain(&attributes.optional_service_account_annotation_keys);
        let annotations: BTreeMap<_, _> = wanted.filter_map(|key| Some((key.clone(), all.get(key)?.clone()))).collect();
        let token = accounts.token(&uid, &attributes.service_account_token_audience).await?;
        let sum = if attributes.cache_type == "Token" {
            hex::encode(Sha256::digest(token.as_bytes()))
        } else {
            String::new()
        };
        let key = serde_json::json!([namespace, name, uid, annotations, sum]).to_string();
        let account = Some(Account { uid, namespace, name });
        Ok(Some(Asker { account, token, annotations, key }))
    }
}
