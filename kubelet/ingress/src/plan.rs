//! What all objects together ask for: rules and certificates of each port, and what cannot be done as asked. No I/O.

use crate::route::{Action, Host, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// A secret with a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SecretRef {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

/// What a port does.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Port {
    /// Whether connections are encrypted.
    pub(crate) tls: bool,
    /// The rules.
    pub(crate) rules: Vec<Rule<Action>>,
    /// Which certificate is shown to whom; the first of a host counts.
    pub(crate) certificates: Vec<(Host, SecretRef)>,
}

/// Everything: what the data plane is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// By number.
    pub(crate) ports: BTreeMap<u16, Port>,
}

impl Plan {
    /// The port, which is made if it is not there; `None`: it is there, and its connections are encrypted or not as was not asked for.
    pub(crate) fn port(&mut self, number: u16, tls: bool) -> Option<&mut Port> {
        let port = self.ports.entry(number).or_insert_with(|| Port { tls, ..Port::default() });
        (port.tls == tls).then_some(port)
    }

    /// The secrets whose certificates are shown.
    #[must_use]
    pub(crate) fn secrets(&self) -> BTreeSet<SecretRef> {
        let certificates = self.ports.values().flat_map(|port| &port.certificates);
        certificates.map(|(_, secret)| secret.clone()).collect()
    }
}

/// Something that an object asks for and does not get: where in the object, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// The reason as one word, for events.
    pub(crate) reason: &'static str,
    /// The field and what is wrong.
    pub(crate) message: String,
}

impl Problem {
    /// The object asks for something that cannot be.
    pub(crate) fn rejected(field: &str, why: impl std::fmt::Display) -> Self {
        Self { reason: "Rejected", message: format!("{field}: {why}") }
    }
}
