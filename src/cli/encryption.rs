//! Who encrypts what is stored: flags of kube-apiserver.

use anyhow::Context;
use clap::{ArgAction, Args};
use skiff_apiserver::Encryption;
use std::path::{Path, PathBuf};

/// Who encrypts what is stored.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is encrypted")]
pub(crate) struct EncryptionArgs {
    /// Who encrypts which resources in the store (EncryptionConfiguration) [default: for the embedded store one of the data folder, which
    /// encrypts secrets with a key that was made for it; for an etcd nobody]
    #[arg(long, value_name = "FILE")]
    encryption_provider_config: Option<PathBuf>,
    /// Read that file again when it changes
    #[arg(
        long, default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true,
        action = ArgAction::Set, value_name = "BOOL", requires = "encryption_provider_config"
    )]
    encryption_provider_config_automatic_reload: bool,
}

impl EncryptionArgs {
    /// Reads the configuration; `own` is where a store of ours has one, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub(crate) fn read(&self, own: Option<&Path>) -> anyhow::Result<Option<Encryption>> {
        match (&self.encryption_provider_config, own) {
            (Some(path), _) => {
                let mut encryption = Encryption::read(path).context("--encryption-provider-config")?;
                encryption.reload = self.encryption_provider_config_automatic_reload;
                Ok(Some(encryption))
            }
            (None, Some(own)) => Ok(Some(Encryption::own(own)?)),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_ours_is_encrypted_and_another_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("encryption.yaml");
        let nothing = EncryptionArgs::default();
        assert!(nothing.read(None).unwrap().is_none());
        assert!(nothing.read(Some(&own)).unwrap().is_some_and(|own| own.reload));
        let named = EncryptionArgs { encryption_provider_config: Some(own), ..EncryptionArgs::default() };
        assert!(named.read(None).unwrap().is_some_and(|named| !named.reload));
        let none =
            EncryptionArgs { encryption_provider_config: Some("/nowhere/x".into()), ..EncryptionArgs::default() };
        assert!(format!("{:#}", none.read(None).unwrap_err()).contains("/nowhere/x"));
    }
}
