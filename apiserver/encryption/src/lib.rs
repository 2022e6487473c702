//! Values as they are stored: encrypted with whom a configuration names (`apiserver.config.k8s.io/v1` EncryptionConfiguration), in the forms
//! of Kubernetes, so that either server reads what the other has written.
//!
//! ```text
//!  k8s:enc:aesgcm:v1:<key's name>:<nonce><ciphertext><tag>      bound to the path of the value
//!  k8s:enc:kms:v2:<plugin's name>:<EncryptedObject>             the same under a key that a plugin has encrypted
//! ```
//!
//! Pure but for random numbers: no files, no clock, no sockets. Whoever reads and writes stores asks plugins ([`Opened::Sealed`]).
//!
//! Begin with [`Configuration::read`], then [`Transformer::open`] and [`Transformer::seal`].

mod cipher; // keys at work
mod config; // who encrypts what
mod envelope; // keys that are encrypted themselves
mod names; // which resources are meant
mod transformer; // those who read and write the values of a resource

pub use cipher::CipherError;
pub use config::{Configuration, ConfigurationError, Key, Kms, Provider, Rule};
pub use envelope::{DataKey, EncryptedObject, Sealing, SourceType, new_seed};
pub use names::GroupResource;
pub use transformer::{Opened, Sealed, TransformError, Transformer};
