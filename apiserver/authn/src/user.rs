//! Who somebody is (`authentication.k8s.io` UserInfo).

use std::collections::BTreeMap;

/// A user, as a credential names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// User name.
    pub name: String,
    /// What tells this user from an earlier one of the same name; empty if there is nothing.
    pub uid: String,
    /// The groups it is in, without those that every user is in.
    pub groups: Vec<String>,
    /// What else is known, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}
