//! Keys that are encrypted themselves, by a plugin (KMS v2): beside each value stands its key, which only the plugin can read.
//!
//! What a plugin encrypts is a seed; each value has a key of its own, derived from the seed and 32 random bytes that stand before it
//! (HKDF with SHA-256, only the second step), so that no nonce is ever used twice with one key. Kubernetes up to 1.28 encrypted with the seed
//! itself: that is still read.

use crate::cipher::{CipherError, Gcm, random};
use prost::Message;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use std::collections::BTreeMap;

/// Bytes of a seed, of what a key is derived with, and of a key.
const SEED_BYTES: usize = 32;
/// How long names of keys and encrypted seeds may be, and annotations together.
const SOURCE_BYTES_MAX: usize = 1024;
const ANNOTATIONS_BYTES_MAX: usize = 32 << 10;

/// What stands in the store behind the prefix (`k8s.io/apiserver` kmsv2 EncryptedObject).
#[derive(Clone, PartialEq, Message)]
pub struct EncryptedObject {
    /// The value, encrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub encrypted_data: Vec<u8>,
    /// With which of its keys the plugin encrypted the seed.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// The seed, as the plugin encrypted it.
    #[prost(bytes = "vec", tag = "3")]
    pub encrypted_source: Vec<u8>,
    /// What the plugin wants to be told again.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// What the plugin encrypted: [`SourceType`].
    #[prost(int32, tag = "5")]
    pub source_type: i32,
}

/// What a plugin encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceType {
    /// The key of the value itself.
    Key,
    /// What keys are derived from.
    Seed,
}

impl SourceType {
    /// As it stands in an object; `None`: nobody knows it.
    #[must_use]
    pub fn of(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Key),
            1 => Some(Self::Seed),
            _ => None,
        }
    }
}

impl EncryptedObject {
    /// Reads what stands behind a prefix.
    ///
    /// # Errors
    /// It is no such object, or breaks the rules for one: a sentence.
    pub fn read(data: &[u8]) -> Result<Self, String> {
        let object = Self::decode(data).map_err(|error| error.to_string())?;
        object.check()?;
        Ok(object)
    }

    fn check(&self) -> Result<(), String> {
        if SourceType::of(self.source_type).is_none() {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.source_type));
        }
        if self.encrypted_data.is_empty() {
            return Err("encrypted data is empty".to_owned());
        }
        check_source(&self.encrypted_source)
            .map_err(|why| format!("failed to validate encrypted DEK source: {why}"))?;
        check_key_id(&self.key_id).map_err(|why| format!("failed to validate key id: {why}"))?;
        let bytes: usize = self.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        if let Some(key) = self.annotations.keys().find(|key| !is_domain(key)) {
            return Err(format!("failed to validate annotations: {key:?} is no fully qualified domain name"));
        }
        if bytes > ANNOTATIONS_BYTES_MAX {
            let why =
                format!("total size of annotations is {bytes}, which exceeds the max size of {ANNOTATIONS_BYTES_MAX}");
            return Err(format!("failed to validate annotations: {why}"));
        }
        Ok(())
    }

    /// What tells this object's key from all others.
    #[must_use]
    pub fn source(&self) -> Vec<u8> {
        Self { encrypted_data: Vec::new(), ..self.clone() }.encode_to_vec()
    }
}

fn check_source(source: &[u8]) -> Result<(), String> {
    match source.len() {
        0 => Err("encrypted DEK source is empty".to_owned()),
        bytes if bytes > SOURCE_BYTES_MAX => {
            Err(format!("encrypted DEK source is {bytes} bytes, which exceeds the max size of {SOURCE_BYTES_MAX}"))
        }
        _ => Ok(()),
    }
}

/// Whether a plugin's key may be called so.
///
/// # Errors
/// It has no name, or one that is too long: a sentence.
pub(crate) fn check_key_id(key_id: &str) -> Result<(), String> {
    match key_id.len() {
        0 => Err("keyID is empty".to_owned()),
        bytes if bytes > SOURCE_BYTES_MAX => {
            Err(format!("keyID is {bytes} bytes, which exceeds the max size of {SOURCE_BYTES_MAX}"))
        }
        _ => Ok(()),
    }
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let inside = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        inside && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(label)
}

/// A new seed.
///
/// # Errors
/// The kernel has no random numbers.
pub fn new_seed() -> Result<Vec<u8>, CipherError> {
    random::<SEED_BYTES>().map(Vec::from)
}

/// What a plugin has decrypted.
pub enum DataKey {
    /// The key of values.
    Key(Box<Gcm256>),
    /// What their keys are derived from.
    Seed(Box<Prk>),
}

/// A key of values.
pub struct Gcm256(Gcm);

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        SEED_BYTES
    }
}

impl DataKey {
    /// Takes what a plugin has decrypted.
    ///
    /// # Errors
    /// It is too short for what it is.
    pub fn new(source: SourceType, plain: &[u8]) -> Result<Self, CipherError> {
        match source {
            SourceType::Key => Ok(Self::Key(Box::new(Gcm256(Gcm::new(plain)?)))),
            SourceType::Seed if plain.len() < SEED_BYTES => Err(CipherError::Key(plain.len())),
            SourceType::Seed => Ok(Self::Seed(Box::new(Prk::new_less_safe(HKDF_SHA256, plain)))),
        }
    }

    /// The value that `data` is, which stood at `bound_to`.
    ///
    /// # Errors
    /// It was damaged, stood elsewhere, or belongs to another key.
    pub fn open(&self, data: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Key(key) => key.0.open(data, bound_to),
            Self::Seed(seed) => {
                let (info, sealed) = data.split_at_checked(SEED_BYTES).ok_or(CipherError::Short)?;
                derived(seed, info)?.open(sealed, bound_to)
            }
        }
    }

    fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Key(key) => key.0.seal(plain, bound_to),
            Self::Seed(seed) => {
                let info = random::<SEED_BYTES>()?;
                let sealed = derived(seed, &info)?.seal(plain, bound_to)?;
                Ok([&info[..], &sealed].concat())
            }
        }
    }
}

fn derived(seed: &Prk, info: &[u8]) -> Result<Gcm, CipherError> {
    let mut key = [0; SEED_BYTES];
    let info = [info];
    let expanded = seed.expand(&info, Length).and_then(|derived| derived.fill(&mut key));
    expanded.map_err(|_| CipherError::Key(SEED_BYTES))?;
    Gcm::new(&key)
}

/// A seed, and the same as a plugin has encrypted it.
pub struct Sealing {
    key: DataKey,
    /// The object without a value.
    head: EncryptedObject,
}

impl Sealing {
    /// Takes a seed, and what a plugin made of it.
    ///
    /// # Errors
    /// The plugin's answer breaks the rules: a sentence.
    pub fn new(
        seed: &[u8],
        key_id: String,
        encrypted_source: Vec<u8>,
        annotations: BTreeMap<String, Vec<u8>>,
    ) -> Result<Self, String> {
        let head = EncryptedObject { encrypted_data: vec![0], key_id, encrypted_source, annotations, source_type: 1 };
        head.check()?;
        let key = DataKey::new(SourceType::Seed, seed).map_err(|error| error.to_string())?;
        Ok(Self { key, head: EncryptedObject { encrypted_data: Vec::new(), ..head } })
    }

    /// With which of its keys the plugin encrypted the seed.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.head.key_id
    }

    /// What tells its key from all others, as [`EncryptedObject::source`] says it.
    #[must_use]
    pub fn source(&self) -> Vec<u8> {
        self.head.source()
    }

    /// The key, for values that it has sealed.
    #[must_use]
    pub fn key(&self) -> &DataKey {
        &self.key
    }

    /// What is to stand behind the prefix for `plain` at `bound_to`.
    ///
    /// # Errors
    /// The kernel has no random numbers.
    pub fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        let encrypted_data = self.key.seal(plain, bound_to)?;
        Ok(EncryptedObject { encrypted_data, ..self.head.clone() }.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_keys_of_their_own() {
        let seed = new_seed().expect("a seed");
        let sealing = Sealing::new(&seed, "k1".to_owned(), vec![9; 40], BTreeMap::new()).expect("sound");
        let one = EncryptedObject::read(&sealing.seal(b"value", b"/a").expect("sealed")).expect("an object");
        let other = EncryptedObject::read(&sealing.seal(b"value", b"/a").expect("sealed")).expect("an object");
        assert_ne!(one.encrypted_data[..32], other.encrypted_data[..32]);
        assert_eq!((one.source(), sealing.key_id()), (sealing.source(), "k1"));
        let key = DataKey::new(SourceType::Seed, &seed).expect("a seed");
        assert_eq!(key.open(&one.encrypted_data, b"/a").as_deref(), Ok(&b"value"[..]));
        assert_eq!(key.open(&one.encrypted_data, b"/b"), Err(CipherError::Tampered));
        assert_eq!(key.open(&one.encrypted_data[..20], b"/a"), Err(CipherError::Short));
    }

    #[test]
    fn answers_of_plugins_have_rules() {
        let new = |key_id: &str, source: usize, annotation: &str| {
            let annotations =
                [(annotation.to_owned(), vec![1])].into_iter().filter(|(key, _)| !key.is_empty()).collect();
            Sealing::new(&[1; 32], key_id.to_owned(), vec![1; source], annotations).map(|_| ())
        };
        assert_eq!(new("k", 1, "a.example"), Ok(()));
        for (key_id, source, annotation, expected) in [
            ("", 1, "", "keyID is empty"),
            ("k", 0, "", "encrypted DEK source is empty"),
            ("k", 1025, "", "encrypted DEK source is 1025 bytes, which exceeds the max size of 1024"),
            ("k", 1, "plain", "\"plain\" is no fully qualified domain name"),
        ] {
            let said = new(key_id, source, annotation).expect_err("refused");
            assert!(said.ends_with(expected), "{said}");
        }
        assert!(EncryptedObject::read(b"nonsense").is_err());
    }
}
