//! Who encrypts what is stored: kube-apiserver's `--encryption-provider-config`, and the key that a data folder makes itself.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use rand::RngCore;
use serde_json::{Value, json};
use skiff_encryption::Configuration;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a key of our own.
const KEY_BYTES: usize = 32;

/// Who encrypts what is stored.
#[derive(Debug, Clone)]
pub struct Encryption {
    pub(super) path: PathBuf,
    pub(super) text: Vec<u8>,
    pub(super) configuration: Configuration,
    /// Whether the file is read again when it changes (`--encryption-provider-config-automatic-reload`).
    pub reload: bool,
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}", .path.display())]
pub struct EncryptionError {
    operation: &'static str,
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Encryption {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or is no EncryptionConfiguration.
    pub fn read(path: &Path) -> Result<Self, EncryptionError> {
        let failed =
            |source| EncryptionError { operation: "read encryption configuration", path: path.to_owned(), source };
        let text = fs::read(path).map_err(|error| failed(error.into()))?;
        let configuration = parse(&text).map_err(failed)?;
        Ok(Self { path: path.to_owned(), text, configuration, reload: false })
    }

    /// The file at `path`, made with a key of its own if it is not there: secrets are encrypted with it, and what was written before is read.
    /// It is read again when it changes, so that a key can be changed while the server runs.
    ///
    /// # Errors
    /// It cannot be made, read or understood.
    pub fn own(path: &Path) -> Result<Self, EncryptionError> {
        let failed = |source: io::Error| EncryptionError {
            operation: "make encryption configuration",
            path: path.to_owned(),
            source: source.into(),
        };
        if !fs::exists(path).map_err(failed)? {
            make(path).map_err(failed)?;
        }
        Ok(Self { reload: true, ..Self::read(path)? })
    }
}

/// What a file says.
pub(super) fn parse(text: &[u8]) -> Result<Configuration, Box<dyn std::error::Error + Send + Sync>> {
    let value: Value = serde_norway::from_slice(text)?;
    Ok(Configuration::read(&value)?)
}

/// Writes a configuration with a new key, whole or not at all: the only copy of a key must not be half a key.
fn make(path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let keys = json!({"keys": [{"name": "key1", "secret": BASE64.encode(key)}]});
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"aesgcm": keys}, {"identity": {}}]}],
    });
    let text = serde_norway::to_string(&configuration).map_err(io::Error::other)?;
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encryption.yaml");
        let first = Encryption::own(&path).unwrap();
        assert!(first.reload && first.configuration.rules.len() == 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Encryption::own(&path).unwrap().text, first.text);
        assert!(Encryption::read(&folder.path().join("none")).is_err());
    }
}
