//! Those who read and write the values of a resource: the first writes, and whoever knows the prefix of a value reads it.

use crate::cipher::{Cipher, CipherError};
use crate::{Configuration, EncryptedObject, GroupResource, Key, Provider};

/// What every encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// Those who read and write.
#[derive(Default)]
pub struct Transformer {
    readers: Vec<Reader>,
}

struct Reader {
    /// `k8s:enc:aesgcm:v1:`; empty: values that are not encrypted.
    prefix: Vec<u8>,
    by: By,
}

enum By {
    Nobody,
    Keys(Vec<NamedCipher>),
    Plugin(String),
}

struct NamedCipher {
    /// `name:`
    prefix: Vec<u8>,
    cipher: Cipher,
}

/// A value that was read.
#[derive(Debug, PartialEq)]
pub enum Opened {
    /// It stood there as it is.
    AsItIs {
        /// Whether it would be written otherwise now.
        stale: bool,
    },
    /// It was encrypted with a key that is known.
    Plain {
        /// The value.
        value: Vec<u8>,
        /// Whether it would be written otherwise now.
        stale: bool,
    },
    /// Its key is encrypted by a plugin.
    Sealed {
        /// The plugin's name.
        plugin: String,
        /// What stands there.
        object: EncryptedObject,
        /// Whether somebody else would write it now.
        stale: bool,
    },
}

/// A value that is to be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Sealed {
    /// As it is.
    AsItIs,
    /// These bytes.
    Bytes(Vec<u8>),
    /// What the plugin of this name seals, behind this prefix.
    By {
        /// The plugin's name.
        plugin: String,
        /// `k8s:enc:kms:v2:name:`
        prefix: Vec<u8>,
    },
}

/// Why a value cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// It is encrypted, and nobody is told how.
    #[error("identity transformer tried to read encrypted data")]
    Encrypted,
    /// Nobody knows what it begins with.
    #[error("no matching prefix found")]
    Prefix,
    /// No key has the name that stands there.
    #[error("no matching key was found for the provided {0} transformer")]
    Key(&'static str),
    /// A key does not fit.
    #[error("{0}")]
    Cipher(#[from] CipherError),
    /// What a plugin's key was for cannot be read.
    #[error("{0}")]
    Object(String),
    /// Several know the prefix, and none can read it.
    #[error("[{}]", .0.join(", "))]
    All(Vec<String>),
}

impl Transformer {
    /// Those whom a configuration names for a resource; nobody if it names nobody.
    ///
    /// # Errors
    /// A key fits no cipher.
    pub fn for_resource(configuration: &Configuration, wanted: &GroupResource) -> Result<Option<Self>, CipherError> {
        for one in [wanted.clone(), wanted.any_in_group(), GroupResource::any()] {
            let rules = configuration.rules.iter().filter(|rule| rule.resources.contains(&one));
            let providers: Vec<&Provider> = rules.flat_map(|rule| &rule.providers).collect();
            if !providers.is_empty() {
                let readers = providers.into_iter().map(Reader::new).collect::<Result<_, _>>()?;
                return Ok(Some(Self { readers }));
            }
        }
        Ok(None)
    }

    /// Reads what stood at `bound_to`.
    ///
    /// # Errors
    /// Nobody can.
    pub fn open(&self, data: &[u8], bound_to: &[u8]) -> Result<Opened, TransformError> {
        let mut wrong: Vec<TransformError> = Vec::new();
        for (at, reader) in self.readers.iter().enumerate() {
            let Some(rest) = data.strip_prefix(&reader.prefix[..]) else { continue };
            match reader.open(rest, bound_to, at > 0) {
                Ok(opened) => return Ok(opened),
                // Values that are not encrypted are the only ones that this one reads: others may know the prefix.
                Err(TransformError::Encrypted) => {}
                Err(error) => wrong.push(error),
            }
        }
        match wrong.len() {
            0 if data.starts_with(ENCRYPTED) && self.is_plain() => Err(TransformError::Encrypted),
            0 => Err(TransformError::Prefix),
            1 => Err(wrong.remove(0)),
            _ => Err(TransformError::All(wrong.iter().map(ToString::to_string).collect())),
        }
    }

    /// Says how `plain` is to stand at `bound_to`.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Sealed, TransformError> {
        let Some(Reader { prefix, by }) = self.readers.first() else { return Ok(Sealed::AsItIs) };
        match by {
            By::Nobody => Ok(Sealed::AsItIs),
            By::Plugin(plugin) => Ok(Sealed::By { plugin: plugin.clone(), prefix: prefix.clone() }),
            By::Keys(keys) => {
                let Some(key) = keys.first() else { return Err(TransformError::Prefix) };
                let sealed = key.cipher.seal(plain, bound_to)?;
                Ok(Sealed::Bytes([&prefix[..], &key.prefix, &sealed].concat()))
            }
        }
    }

    /// Whether nothing is encrypted or decrypted here.
    fn is_plain(&self) -> bool {
        self.readers.iter().all(|reader| matches!(reader.by, By::Nobody))
    }
}

impl Reader {
    fn new(provider: &Provider) -> Result<Self, CipherError> {
        let keys = |prefix: &str, keys: &[Key], cipher: fn(&[u8]) -> Result<Cipher, CipherError>| {
            let named = keys.iter().map(|key| {
                let prefix = format!("{}:", key.name).into_bytes();
                Ok(NamedCipher { prefix, cipher: cipher(&key.secret)? })
            });
            Ok(Self { prefix: prefix.as_bytes().to_vec(), by: By::Keys(named.collect::<Result<_, CipherError>>()?) })
        };
        match provider {
            Provider::AesGcm(all) => keys("k8s:enc:aesgcm:v1:", all, Cipher::gcm),
            Provider::AesCbc(all) => keys("k8s:enc:aescbc:v1:", all, Cipher::cbc),
            Provider::Secretbox(all) => keys("k8s:enc:secretbox:v1:", all, Cipher::secretbox),
            Provider::Identity => Ok(Self { prefix: Vec::new(), by: By::Nobody }),
            Provider::Kms(kms) => {
                let prefix = format!("k8s:enc:kms:v2:{}:", kms.name).into_bytes();
                Ok(Self { prefix, by: By::Plugin(kms.name.clone()) })
            }
        }
    }

    fn open(&self, data: &[u8], bound_to: &[u8], stale: bool) -> Result<Opened, TransformError> {
        match &self.by {
            By::Nobody if data.starts_with(ENCRYPTED) => Err(TransformError::Encrypted),
            By::Nobody => Ok(Opened::AsItIs { stale }),
            By::Plugin(plugin) => {
                let object = EncryptedObject::read(data).map_err(TransformError::Object)?;
                Ok(Opened::Sealed { plugin: plugin.clone(), object, stale })
            }
            By::Keys(keys) => {
                let mut wrong =
                    TransformError::Key(if self.prefix.ends_with(b"secretbox:v1:") { "secretbox" } else { "AES" });
                for (at, key) in keys.iter().enumerate() {
                    let Some(rest) = data.strip_prefix(&key.prefix[..]) else { continue };
                    match key.cipher.open(rest, bound_to) {
                        Ok(value) => return Ok(Opened::Plain { value, stale: stale || at > 0 }),
                        Err(error) => wrong = error.into(),
                    }
                }
                Err(wrong)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PATH: &[u8] = b"/registry/secrets/a/b";

    fn keys(names: &[&str]) -> Value {
        let key = |name: &&str| json!({"name": name, "secret": base64_of(&[name.as_bytes()[0]; 32])});
        json!({"keys": names.iter().map(key).collect::<Vec<_>>()})
    }

    fn base64_of(bytes: &[u8]) -> String {
        use base64::Engine as _;
        base64::prelude::BASE64_STANDARD.encode(bytes)
    }

    fn transformer(providers: Value) -> Transformer {
        let rules = json!([{"resources": ["secrets"], "providers": providers}]);
        let value =
            json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules});
        let configuration = Configuration::read(&value).expect("sound");
        let found = Transformer::for_resource(&configuration, &GroupResource::parse("secrets"));
        found.expect("keys fit").expect("named")
    }

    fn sealed(transformer: &Transformer) -> Vec<u8> {
        match transformer.seal(b"{value}", PATH).expect("sealed") {
            Sealed::Bytes(bytes) => bytes,
            Sealed::AsItIs => b"{value}".to_vec(),
            Sealed::By { .. } => panic!("no plugin"),
        }
    }

    fn stale(transformer: &Transformer, data: &[u8]) -> Result<bool, String> {
        match transformer.open(data, PATH) {
            Ok(Opened::AsItIs { stale }) => Ok(stale),
            Ok(Opened::Plain { value, stale }) => {
                assert_eq!(value, b"{value}");
                Ok(stale)
            }
            Ok(Opened::Sealed { .. }) => Err("a plugin's".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_provider_reads_what_it_writes() {
        for (provider, prefix) in [
            ("aesgcm", "k8s:enc:aesgcm:v1:a:"),
            ("aescbc", "k8s:enc:aescbc:v1:a:"),
            ("secretbox", "k8s:enc:secretbox:v1:a:"),
        ] {
            let one = transformer(json!([{provider: keys(&["a"])}]));
            let data = sealed(&one);
            assert!(data.starts_with(prefix.as_bytes()), "{provider}");
            assert_eq!(stale(&one, &data), Ok(false));
            let other = transformer(json!([{provider: keys(&["b"])}]));
            assert!(stale(&other, &data).is_err_and(|error| error.starts_with("no matching key")), "{provider}");
            assert_eq!(stale(&one, b"{value}"), Err("no matching prefix found".to_owned()));
        }
    }

    #[test]
    fn keys_are_changed_in_either_order() {
        let old = transformer(json!([{"aesgcm": keys(&["a"])}]));
        let both = transformer(json!([{"aesgcm": keys(&["a", "b"])}]));
        let turned = transformer(json!([{"aesgcm": keys(&["b", "a"])}]));
        let apart = transformer(json!([{"aesgcm": keys(&["b"])}, {"aesgcm": keys(&["a"])}, {"identity": {}}]));
        let first = sealed(&old);
        assert_eq!(
            (stale(&both, &first), stale(&turned, &first), stale(&apart, &first)),
            (Ok(false), Ok(true), Ok(true))
        );
        let second = sealed(&turned);
        assert_eq!(
            (stale(&both, &second), stale(&turned, &second), stale(&apart, &second)),
            (Ok(true), Ok(false), Ok(false))
        );
        assert_eq!(stale(&apart, b"{value}"), Ok(true), "what is not encrypted yet");
        let plain = transformer(json!([{"identity": {}}, {"aesgcm": keys(&["a"])}]));
        assert_eq!(
            (stale(&plain, b"{value}"), stale(&plain, &first)),
            (Ok(false), Ok(true)),
            "back to what is not encrypted"
        );
        let nobody = transformer(json!([{"identity": {}}]));
        assert_eq!(stale(&nobody, &first), Err("identity transformer tried to read encrypted data".to_owned()));
    }

    #[test]
    fn a_value_that_was_moved_is_refused() {
        let one = transformer(json!([{"aesgcm": keys(&["a"])}]));
        let data = sealed(&one);
        let said = one.open(&data, b"/registry/secrets/a/other").expect_err("moved").to_string();
        assert!(said.contains("a value of another object"), "{said}");
    }

    #[test]
    fn the_most_exact_rule_counts() {
        let rules = json!([
            {"resources": ["events"], "providers": [{"identity": {}}]},
            {"resources": ["*.apps"], "providers": [{"aesgcm": keys(&["a"])}]},
            {"resources": ["*.*"], "providers": [{"aesgcm": keys(&["b"])}]},
        ]);
        let value =
            json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration", "resources": rules});
        let configuration = Configuration::read(&value).expect("sound");
        let of = |name: &str| {
            let found = Transformer::for_resource(&configuration, &GroupResource::parse(name)).expect("keys fit");
            let data = sealed(&found.expect("any"));
            String::from_utf8_lossy(data.get(..20).unwrap_or(&data)).into_owned()
        };
        assert_eq!(
            (of("events").as_str(), of("deployments.apps").as_str(), of("secrets").as_str()),
            ("{value}", "k8s:enc:aesgcm:v1:a:", "k8s:enc:aesgcm:v1:b:")
        );
    }
}
