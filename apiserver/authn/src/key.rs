//! Keys that sign tokens and keys that check them, from PEM files as kubeadm and OpenSSL write them.
//!
//! A key's id is the hash of its public half (base64url of the SHA-256 of the SubjectPublicKeyInfo), as kube-apiserver makes it: two
//! servers with the same key publish the same id.

use crate::der;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{self as sig, EcdsaKeyPair, KeyPair as _, RsaKeyPair, UnparsedPublicKey};
use std::fmt;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Bits of the smallest RSA key that is used; smaller ones can be broken.
const RSA_BITS_MIN: usize = 2048;
/// Bits of the largest, which bounds the work of checking one signature.
const RSA_BITS_MAX: usize = 8192;

/// How a token is signed (RFC 7518). Symmetric algorithms and `none` are not among them, so no token can choose them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

use Algorithm::{Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};

impl Algorithm {
    /// All of them. ES512 is not there: no library that is linked has the curve P-521.
    pub const ALL: [Self; 8] = [Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512];

    /// Its name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Es256 => "ES256",
            Es384 => "ES384",
            Ps256 => "PS256",
            Ps384 => "PS384",
            Ps512 => "PS512",
            Rs256 => "RS256",
            Rs384 => "RS384",
            Rs512 => "RS512",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// Why a file holds no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No block of the file is a key.
    #[error("it holds no PEM block that is a private key, a public key or a certificate")]
    Nothing,
    /// A block cannot be read.
    #[error("its block {label:?} is {problem}")]
    Block {
        /// `RSA PRIVATE KEY`.
        label: String,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Clone, PartialEq, Eq)]
enum Half {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// A key that checks signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: String,
    half: Half,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a public key consists of, all numbers big endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers<'a> {
    /// An RSA key.
    Rsa {
        /// The modulus.
        modulus: &'a [u8],
        /// The exponent.
        exponent: &'a [u8],
    },
    /// A point on a curve, uncompressed: 4, x, y.
    Point {
        /// `P-256` or `P-384`.
        curve: &'static str,
        /// The point.
        point: &'a [u8],
    },
}

impl PublicKey {
    /// The key that a SubjectPublicKeyInfo (RFC 5280) is.
    ///
    /// # Errors
    /// It is none, or one of a kind or size that is not used; the text completes "it is …".
    pub fn from_info(info: &[u8]) -> Result<Self, String> {
        let (_, parsed) = SubjectPublicKeyInfo::from_der(info).map_err(|error| format!("no public key: {error}"))?;
        let half = match parsed.parsed().map_err(|error| format!("no public key: {error}"))? {
            Parsed::RSA(key) => {
                let trim = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
                Half::Rsa { modulus: trim(key.modulus), exponent: trim(key.exponent) }
            }
            Parsed::EC(point) => match point.data().len() {
                65 => Half::P256(point.data().to_vec()),
                97 => Half::P384(point.data().to_vec()),
                _ => return Err("on another curve than P-256 and P-384, which is not implemented".to_owned()),
            },
            _ => return Err("neither RSA nor ECDSA".to_owned()),
        };
        Self::of(half)
    }

    /// An RSA key of its numbers, big endian.
    ///
    /// # Errors
    /// It is too small or too large.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, String> {
        Self::from_info(&der::rsa(&der::rsa_key(modulus, exponent)))
    }

    /// A key of a point on a curve; see [`Numbers::Point`].
    ///
    /// # Errors
    /// The curve is not known, or the point is not on it.
    pub fn point(curve: &str, point: &[u8]) -> Result<Self, String> {
        match (curve, point.len()) {
            ("P-256", 65) => Self::of(Half::P256(point.to_vec())),
            ("P-384", 97) => Self::of(Half::P384(point.to_vec())),
            ("P-256" | "P-384", _) => Err("no point of its curve".to_owned()),
            _ => Err(format!("on the curve {curve:?}, which is not implemented")),
        }
    }

    fn of(half: Half) -> Result<Self, String> {
        let info = match &half {
            Half::Rsa { modulus, exponent } => {
                let bits = modulus.len() * 8;
                if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                    return Err(format!("an RSA key of {bits} bits, and {RSA_BITS_MIN} to {RSA_BITS_MAX} are used"));
                }
                der::rsa(&der::rsa_key(modulus, exponent))
            }
            Half::P256(point) => der::p256(point),
            Half::P384(point) => der::p384(point),
        };
        Ok(Self { id: URL_SAFE_NO_PAD.encode(digest(&SHA256, &info)), half })
    }

    /// The public keys in a PEM file: of public keys, certificates and private keys.
    ///
    /// # Errors
    /// There is none, or a block is broken.
    pub fn from_pem(text: &str) -> Result<Vec<Self>, KeyError> {
        let mut keys = Vec::new();
        for (label, block) in blocks(text)? {
            let key = match label.as_str() {
                "PUBLIC KEY" => Self::from_info(&block),
                "CERTIFICATE" => X509Certificate::from_der(&block)
                    .map_err(|error| format!("no certificate: {error}"))
                    .and_then(|(_, certificate)| Self::from_info(certificate.public_key().raw)),
                _ => match SigningKey::of_block(&label, &block) {
                    Some(key) => key.map(|key| key.public),
                    None => continue,
                },
            };
            keys.push(key.map_err(|problem| KeyError::Block { label, problem })?);
        }
        if keys.is_empty() { Err(KeyError::Nothing) } else { Ok(keys) }
    }

    /// How tokens of ours name it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it consists of.
    #[must_use]
    pub fn numbers(&self) -> Numbers<'_> {
        match &self.half {
            Half::Rsa { modulus, exponent } => Numbers::Rsa { modulus, exponent },
            Half::P256(point) => Numbers::Point { curve: "P-256", point },
            Half::P384(point) => Numbers::Point { curve: "P-384", point },
        }
    }

    /// How the private half of it signs.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        match &self.half {
            Half::Rsa { .. } => Rs256,
            Half::P256(_) => Es256,
            Half::P384(_) => Es384,
        }
    }

    /// Whether `signature` is one of `message` by `algorithm` and the private half of this key. An algorithm for another kind of key
    /// never fits, whatever a token says.
    #[must_use]
    pub fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.half, algorithm) {
            (Half::Rsa { modulus, exponent }, algorithm) => {
                let Some(parameters) = rsa_parameters(algorithm) else { return false };
                let key = sig::RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signature).is_ok()
            }
            (Half::P256(point), Es256) => {
                UnparsedPublicKey::new(&sig::ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
            }
            (Half::P384(point), Es384) => {
                UnparsedPublicKey::new(&sig::ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok()
            }
            _ => false,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static sig::RsaParameters> {
    match algorithm {
        Rs256 => Some(&sig::RSA_PKCS1_2048_8192_SHA256),
        Rs384 => Some(&sig::RSA_PKCS1_2048_8192_SHA384),
        Rs512 => Some(&sig::RSA_PKCS1_2048_8192_SHA512),
        Ps256 => Some(&sig::RSA_PSS_2048_8192_SHA256),
        Ps384 => Some(&sig::RSA_PSS_2048_8192_SHA384),
        Ps512 => Some(&sig::RSA_PSS_2048_8192_SHA512),
        Es256 | Es384 => None,
    }
}

enum Secret {
    Rsa(RsaKeyPair),
    Curve(EcdsaKeyPair),
}

/// A key that signs.
pub struct SigningKey {
    public: PublicKey,
    secret: Secret,
}

impl fmt::Debug for SigningKey {
    /// Leaves the private half out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key on P-256, as a PEM file (PKCS #8).
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<String, String> {
        let made = EcdsaKeyPair::generate_pkcs8(&sig::ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let made = made.map_err(|_| "the system gives no random numbers".to_owned())?;
        Ok(der::pem("PRIVATE KEY", made.as_ref()))
    }

    /// The first private key of a PEM file: PKCS #8, PKCS #1 (RSA) or SEC 1 (elliptic curves).
    ///
    /// # Errors
    /// There is none, or it is broken or of a kind that is not used.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        for (label, block) in blocks(text)? {
            if let Some(key) = Self::of_block(&label, &block) {
                return key.map_err(|problem| KeyError::Block { label, problem });
            }
        }
        Err(KeyError::Nothing)
    }

    /// The key in a PEM block; `None`: it is something else.
    fn of_block(label: &str, block: &[u8]) -> Option<Result<Self, String>> {
        match label {
            "PRIVATE KEY" => Some(Self::from_pkcs8(block)),
            "RSA PRIVATE KEY" => {
                Some(RsaKeyPair::from_der(block).map_err(|error| error.to_string()).and_then(Self::of_rsa))
            }
            "EC PRIVATE KEY" => Some(Self::from_sec1(block)),
            _ => None,
        }
    }

    fn from_pkcs8(block: &[u8]) -> Result<Self, String> {
        if let Ok(key) = RsaKeyPair::from_pkcs8(block) {
            return Self::of_rsa(key);
        }
        let random = SystemRandom::new();
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&sig::ECDSA_P256_SHA256_FIXED_SIGNING, block, &random) {
            return Self::of_curve(key);
        }
        let key = EcdsaKeyPair::from_pkcs8(&sig::ECDSA_P384_SHA384_FIXED_SIGNING, block, &random);
        key.map_err(|_| "neither an RSA key of 2048 to 4096 bits nor one on P-256 or P-384".to_owned())
            .and_then(Self::of_curve)
    }

    /// SEC 1 (RFC 5915): version, number, and behind tags the curve and the point.
    fn from_sec1(block: &[u8]) -> Result<Self, String> {
        let parts = || {
            let (0x30, inside, _) = der::take(block)? else { return None };
            let (0x02, _, rest) = der::take(inside)? else { return None };
            let (0x04, number, mut rest) = der::take(rest)? else { return None };
            while let Some((tag, content, more)) = der::take(rest) {
                rest = more;
                if tag == 0xa1 {
                    let (0x03, [0, point @ ..], _) = der::take(content)? else { return None };
                    return Some((number, point));
                }
            }
            None
        };
        let (number, point) = parts().ok_or_else(|| "no key on a curve with its public half".to_owned())?;
        let algorithm = match point.len() {
            65 => &sig::ECDSA_P256_SHA256_FIXED_SIGNING,
            97 => &sig::ECDSA_P384_SHA384_FIXED_SIGNING,
            _ => return Err("on another curve than P-256 and P-384, which is not implemented".to_owned()),
        };
        let key = EcdsaKeyPair::from_private_key_and_public_key(algorithm, number, point, &SystemRandom::new());
        key.map_err(|error| error.to_string()).and_then(Self::of_curve)
    }

    fn of_rsa(key: RsaKeyPair) -> Result<Self, String> {
        let public = PublicKey::from_info(&der::rsa(key.public_key().as_ref()))?;
        Ok(Self { public, secret: Secret::Rsa(key) })
    }

    fn of_curve(key: EcdsaKeyPair) -> Result<Self, String> {
        let point = key.public_key().as_ref();
        let curve = if point.len() == 65 { "P-256" } else { "P-384" };
        Ok(Self { public: PublicKey::point(curve, point)?, secret: Secret::Curve(key) })
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature of `message`.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let random = SystemRandom::new();
        let signed = match &self.secret {
            Secret::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&sig::RSA_PKCS1_SHA256, &random, message, &mut signature).map(|()| signature)
            }
            Secret::Curve(key) => key.sign(&random, message).map(|signature| signature.as_ref().to_vec()),
        };
        signed.map_err(|_| "the system gives no random numbers".to_owned())
    }
}

/// The blocks of a PEM file, with their labels.
fn blocks(text: &str) -> Result<Vec<(String, Vec<u8>)>, KeyError> {
    let read = |pem: Result<Pem, _>| match pem {
        Ok(pem) => Ok((pem.label, pem.contents)),
        Err(_) => Err(KeyError::Nothing),
    };
    Pem::iter_from_buffer(text.as_bytes()).map(read).collect()
}

#[cfg(test)]
mod tests;
