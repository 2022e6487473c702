//! The transformers of one configuration, found by the folder of a key, and the plugins that it names.

use super::places::{folder_of, resource_of};
use super::plugin::{Pace, Plugin};
use skiff_encryption::{Configuration, Provider, Transformer};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

/// All of them. Those of a folder are made when its first key comes.
pub(super) struct Keyring {
    configuration: Configuration,
    found: RwLock<HashMap<Vec<u8>, Option<Arc<Transformer>>>>,
    plugins: BTreeMap<String, Arc<Plugin>>,
    /// Nobody looks at plugins any more that no configuration names.
    _looks: DropGuard,
}

impl Keyring {
    /// Looks at each plugin once, and then again and again; `rotated` is told when one has another key.
    pub(super) async fn new(configuration: Configuration, pace: Pace, rotated: &Arc<Notify>) -> Self {
        let until = CancellationToken::new();
        let mut plugins = BTreeMap::new();
        for provider in configuration.rules.iter().flat_map(|rule| &rule.providers) {
            let Provider::Kms(kms) = provider else { continue };
            let plugin = Arc::new(Plugin::new(kms, pace, Arc::clone(rotated)));
            // It may come up later than this server.
            let _told_already = plugin.look().await;
            tokio::spawn(until.clone().run_until_cancelled_owned(Arc::clone(&plugin).keep()));
            plugins.insert(kms.name.clone(), plugin);
        }
        Self { configuration, found: RwLock::default(), plugins, _looks: until.drop_guard() }
    }

    /// The plugin of this name.
    pub(super) fn plugin(&self, name: &str) -> Result<&Plugin, String> {
        self.plugins.get(name).map(Arc::as_ref).ok_or_else(|| format!("there is no KMS provider {name}"))
    }

    /// Whether all plugins are well.
    ///
    /// # Errors
    /// One is not: a sentence.
    pub(super) fn health(&self) -> Result<(), String> {
        self.plugins.values().try_for_each(|plugin| plugin.health())
    }

    pub(super) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Who reads and writes what stands at `key`; `None`: it stands there as it is.
    pub(super) fn at(&self, key: &[u8]) -> Result<Option<Arc<Transformer>>, String> {
        let Some(folder) = folder_of(key) else { return Ok(None) };
        if let Some(found) = self.found.read().unwrap_or_else(PoisonError::into_inner).get(folder) {
            return Ok(found.clone());
        }
        let made = match resource_of(key) {
            None => None,
            Some(resource) => Transformer::for_resource(&self.configuration, &resource)
                .map_err(|error| error.to_string())?
                .map(Arc::new),
        };
        self.found.write().unwrap_or_else(PoisonError::into_inner).insert(folder.to_vec(), made.clone());
        Ok(made)
    }
}
