//! Keys at work, in Kubernetes' forms: what is written stands behind its nonce.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::cipher::{BlockDecrypt, BlockEncrypt, generic_array::GenericArray};
use aes_gcm::aes::{Aes128, Aes192, Aes256, Block};
use aes_gcm::{AesGcm, Nonce};
use crypto_secretbox::XSalsa20Poly1305;
use ring::rand::{SecureRandom, SystemRandom};

const GCM_NONCE_BYTES: usize = 12;
const BOX_NONCE_BYTES: usize = 24;
const BLOCK_BYTES: usize = 16;

/// Why a value is not decrypted or encrypted. What keys and values are is never said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// There is less than a nonce.
    #[error("the stored data was shorter than the required size")]
    Short,
    /// The key is another one, the value was damaged, or it stood at another place.
    #[error("message authentication failed: another key, a damaged value, or a value of another object")]
    Tampered,
    /// CBC: not whole blocks.
    #[error("the stored data is not a multiple of the block size")]
    Blocks,
    /// CBC: the end is not as it must be.
    #[error("invalid padding on input: another key, or a damaged value")]
    Padding,
    /// No cipher takes keys of this length.
    #[error("a key of {0} bytes fits no cipher")]
    Key(usize),
    /// The kernel has no random numbers.
    #[error("no random numbers")]
    Random,
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], CipherError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| CipherError::Random)?;
    Ok(bytes)
}

/// One key, ready.
pub(crate) enum Cipher {
    Gcm(Gcm),
    Cbc(Box<Cbc>),
    Box(Box<XSalsa20Poly1305>),
}

/// AES-GCM with keys of all lengths.
pub(crate) enum Gcm {
    Short(Box<AesGcm<Aes128, U12>>),
    Middle(Box<AesGcm<Aes192, U12>>),
    Long(Box<AesGcm<Aes256, U12>>),
}

/// AES in blocks that hang on one another; nothing notices that a value was changed.
pub(crate) enum Cbc {
    Short(Aes128),
    Middle(Aes192),
    Long(Aes256),
}

impl Gcm {
    pub(crate) fn new(key: &[u8]) -> Result<Self, CipherError> {
        let wrong = |_| CipherError::Key(key.len());
        Ok(match key.len() {
            16 => Self::Short(Box::new(AesGcm::new_from_slice(key).map_err(wrong)?)),
            24 => Self::Middle(Box::new(AesGcm::new_from_slice(key).map_err(wrong)?)),
            _ => Self::Long(Box::new(AesGcm::new_from_slice(key).map_err(wrong)?)),
        })
    }

    pub(crate) fn open(&self, data: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (nonce, sealed) = data.split_at_checked(GCM_NONCE_BYTES).ok_or(CipherError::Short)?;
        let (nonce, payload) = (Nonce::from_slice(nonce), Payload { msg: sealed, aad: bound_to });
        let opened = match self {
            Self::Short(cipher) => cipher.decrypt(nonce, payload),
            Self::Middle(cipher) => cipher.decrypt(nonce, payload),
            Self::Long(cipher) => cipher.decrypt(nonce, payload),
        };
        opened.map_err(|_| CipherError::Tampered)
    }

    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        let drawn = random::<GCM_NONCE_BYTES>()?;
        let (nonce, payload) = (Nonce::from_slice(&drawn), Payload { msg: plain, aad: bound_to });
        let sealed = match self {
            Self::Short(cipher) => cipher.encrypt(nonce, payload),
            Self::Middle(cipher) => cipher.encrypt(nonce, payload),
            Self::Long(cipher) => cipher.encrypt(nonce, payload),
        };
        let sealed = sealed.map_err(|_| CipherError::Short)?;
        Ok([&drawn[..], &sealed].concat())
    }
}

impl Cbc {
    fn new(key: &[u8]) -> Result<Self, CipherError> {
        let wrong = |_| CipherError::Key(key.len());
        Ok(match key.len() {
            16 => Self::Short(Aes128::new_from_slice(key).map_err(wrong)?),
            24 => Self::Middle(Aes192::new_from_slice(key).map_err(wrong)?),
            _ => Self::Long(Aes256::new_from_slice(key).map_err(wrong)?),
        })
    }

    fn encrypt(&self, block: &mut Block) {
        match self {
            Self::Short(cipher) => cipher.encrypt_block(block),
            Self::Middle(cipher) => cipher.encrypt_block(block),
            Self::Long(cipher) => cipher.encrypt_block(block),
        }
    }

    fn decrypt(&self, block: &mut Block) {
        match self {
            Self::Short(cipher) => cipher.decrypt_block(block),
            Self::Middle(cipher) => cipher.decrypt_block(block),
            Self::Long(cipher) => cipher.decrypt_block(block),
        }
    }

    fn open(&self, data: &[u8]) -> Result<Vec<u8>, CipherError> {
        let (mut before, sealed) = data.split_at_checked(BLOCK_BYTES).ok_or(CipherError::Short)?;
        if sealed.is_empty() || !sealed.len().is_multiple_of(BLOCK_BYTES) {
            return Err(CipherError::Blocks);
        }
        let mut plain = Vec::with_capacity(sealed.len());
        for chunk in sealed.chunks_exact(BLOCK_BYTES) {
            let mut block = *GenericArray::from_slice(chunk);
            self.decrypt(&mut block);
            plain.extend(block.iter().zip(before).map(|(one, other)| one ^ other));
            before = chunk;
        }
        let padding = plain.last().copied().unwrap_or_default();
        let length =
            plain.len().checked_sub(usize::from(padding)).filter(|_| padding > 0).ok_or(CipherError::Padding)?;
        if usize::from(padding) > BLOCK_BYTES || plain[length..].iter().any(|byte| *byte != padding) {
            return Err(CipherError::Padding);
        }
        plain.truncate(length);
        Ok(plain)
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, CipherError> {
        let first = random::<BLOCK_BYTES>()?;
        let padding = BLOCK_BYTES - plain.len() % BLOCK_BYTES;
        let mut padded = plain.to_vec();
        padded.resize(plain.len() + padding, u8::try_from(padding).unwrap_or_default());
        let mut sealed = first.to_vec();
        let mut before = *GenericArray::from_slice(&first);
        for chunk in padded.chunks_exact(BLOCK_BYTES) {
            before.iter_mut().zip(chunk).for_each(|(one, other)| *one ^= other);
            self.encrypt(&mut before);
            sealed.extend_from_slice(&before);
        }
        Ok(sealed)
    }
}

impl Cipher {
    pub(crate) fn gcm(key: &[u8]) -> Result<Self, CipherError> {
        Gcm::new(key).map(Self::Gcm)
    }

    pub(crate) fn cbc(key: &[u8]) -> Result<Self, CipherError> {
        Cbc::new(key).map(Box::new).map(Self::Cbc)
    }

    pub(crate) fn secretbox(key: &[u8]) -> Result<Self, CipherError> {
        let cipher = XSalsa20Poly1305::new_from_slice(key).map_err(|_| CipherError::Key(key.len()))?;
        Ok(Self::Box(Box::new(cipher)))
    }

    /// The value that `data` is; only AES-GCM notices that it was bound to another path.
    pub(crate) fn open(&self, data: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Gcm(cipher) => cipher.open(data, bound_to),
            Self::Cbc(cipher) => cipher.open(data),
            Self::Box(cipher) => {
                let (nonce, sealed) = data.split_at_checked(BOX_NONCE_BYTES).ok_or(CipherError::Short)?;
                cipher.decrypt(GenericArray::from_slice(nonce), sealed).map_err(|_| CipherError::Tampered)
            }
        }
    }

    pub(crate) fn seal(&self, plain: &[u8], bound_to: &[u8]) -> Result<Vec<u8>, CipherError> {
        match self {
            Self::Gcm(cipher) => cipher.seal(plain, bound_to),
            Self::Cbc(cipher) => cipher.seal(plain),
            Self::Box(cipher) => {
                let nonce = random::<BOX_NONCE_BYTES>()?;
                let sealed = cipher.encrypt(GenericArray::from_slice(&nonce), plain).map_err(|_| CipherError::Short)?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(byte: u8) -> Vec<Cipher> {
        let key = [byte; 32];
        let gcm = [16, 24, 32].map(|length| Cipher::gcm(&key[..length]).expect("a key"));
        let cbc = [16, 24, 32].map(|length| Cipher::cbc(&key[..length]).expect("a key"));
        gcm.into_iter().chain(cbc).chain([Cipher::secretbox(&key).expect("a key")]).collect()
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_again(plain in proptest::collection::vec(any::<u8>(), 0..100)) {
            for cipher in all(7) {
                let sealed = cipher.seal(&plain, b"/registry/secrets/a/b").expect("sealed");
                let opened = cipher.open(&sealed, b"/registry/secrets/a/b").expect("opened");
                prop_assert_eq!(&opened, &plain);
            }
        }

        #[test]
        fn anything_is_read_without_a_panic(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            for cipher in all(7) {
                let _refused_or_by_chance = cipher.open(&data, b"x");
            }
        }
    }

    #[test]
    fn damage_other_keys_and_other_places_are_seen() {
        for (at, (cipher, other)) in all(7).into_iter().zip(all(8)).enumerate() {
            let mut sealed = cipher.seal(b"value", b"/a").expect("sealed");
            let bound = matches!(cipher, Cipher::Gcm(_));
            assert_eq!(cipher.open(&sealed, b"/b").is_err(), bound, "{at}");
            if !matches!(cipher, Cipher::Cbc(_)) {
                assert_eq!(other.open(&sealed, b"/a"), Err(CipherError::Tampered), "{at}");
                let last = sealed.len() - 1;
                sealed[last] ^= 1;
                assert_eq!(cipher.open(&sealed, b"/a"), Err(CipherError::Tampered), "{at}");
            }
            assert_eq!(cipher.open(b"short", b"/a"), Err(CipherError::Short), "{at}");
        }
    }
}
