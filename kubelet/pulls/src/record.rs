//! With whose credentials an image was pulled, and whether that lets another pod use it. Pure.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many secrets a record takes that fit by half only; more would let it grow with every rotation.
const SECRETS_MAX: usize = 100;

/// A secret, and the sum of what it holds for the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Of the object.
    pub uid: String,
    /// Of the object.
    pub namespace: String,
    /// Of the object.
    pub name: String,
    /// SHA-256 of the credentials, in hexadecimal.
    pub credential_hash: String,
}

/// A service account.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Account {
    /// Of the object.
    pub uid: String,
    /// Of the object.
    pub namespace: String,
    /// Of the object.
    pub name: String,
}

/// Whose credentials are good for an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credentials {
    /// Those of secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<Secret>,
    /// Those that a plugin gave for service accounts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_service_accounts: Vec<Account>,
    /// It was pulled without any, or with the node's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

/// Of an image that a kubelet has pulled (`kubelet.config.k8s.io`, `ImagePulledRecord`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// RFC 3339.
    #[serde(default)]
    pub last_updated_time: String,
    /// What the runtime calls the image.
    pub image_ref: String,
    /// By name without tag and digest.
    #[serde(default)]
    pub credential_mapping: BTreeMap<String, Credentials>,
}

/// What follows from a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may use the image.
    Use,
    /// It may, and this is worth remembering.
    UseAndNote(Secret),
    /// It has to show that it can pull.
    Pull,
}

impl Record {
    /// Whether a pod with these credentials may use the image under this name, without tag and digest.
    #[must_use]
    pub fn verdict(&self, name: &str, secrets: &[Secret], account: Option<&Account>) -> Verdict {
        let Some(known) = self.credential_mapping.get(name) else { return Verdict::Pull };
        if known.node_pods_accessible {
            return Verdict::Use;
        }
        let has_room = known.kubernetes_secrets.len() < SECRETS_MAX;
        for shown in secrets {
            for one in &known.kubernetes_secrets {
                let is_same = (&shown.uid, &shown.namespace, &shown.name) == (&one.uid, &one.namespace, &one.name);
                let fits = !one.credential_hash.is_empty() && shown.credential_hash == one.credential_hash;
                match (fits, is_same) {
                    (true, true) => return Verdict::Use,
                    (true, false) if !has_room => return Verdict::Use,
                    (true, false) => return Verdict::UseAndNote(shown.clone()),
                    // The same secret with another password: whoever could write it could pull before.
                    (false, true) if has_room => return Verdict::UseAndNote(shown.clone()),
                    (false, _) => {}
                }
            }
        }
        let is_known = account.is_some_and(|account| known.kubernetes_service_accounts.contains(account));
        if is_known { Verdict::Use } else { Verdict::Pull }
    }

    /// Adds credentials that were good for the image; whether that says anything new.
    pub fn add(&mut self, name: &str, new: &Credentials) -> bool {
        let says_nothing = !new.node_pods_accessible
            && new.kubernetes_secrets.is_empty()
            && new.kubernetes_service_accounts.is_empty();
        let known = self.credential_mapping.get(name);
        if says_nothing || known.is_some_and(|known| known.node_pods_accessible) {
            return false;
        }
        let mut merged = known.cloned().unwrap_or_default();
        if new.node_pods_accessible {
            merged = Credentials { node_pods_accessible: true, ..Credentials::default() };
        }
        for secret in new.kubernetes_secrets.iter().filter(|_| !new.node_pods_accessible) {
            let is_same =
                |one: &Secret| (&one.uid, &one.namespace, &one.name) == (&secret.uid, &secret.namespace, &secret.name);
            merged.kubernetes_secrets.retain(|one| !is_same(one));
            merged.kubernetes_secrets.push(secret.clone());
        }
        for account in new.kubernetes_service_accounts.iter().filter(|_| !new.node_pods_accessible) {
            if !merged.kubernetes_service_accounts.contains(account) {
                merged.kubernetes_service_accounts.push(account.clone());
            }
        }
        merged.kubernetes_secrets.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        merged
            .kubernetes_service_accounts
            .sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
        let is_new = known != Some(&merged);
        self.credential_mapping.insert(name.to_owned(), merged);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, sum: &str) -> Secret {
        Secret { uid: format!("uid-{name}"), namespace: "ns".into(), name: name.into(), credential_hash: sum.into() }
    }

    fn of_secrets(secrets: &[Secret]) -> Credentials {
        Credentials { kubernetes_secrets: secrets.to_vec(), ..Credentials::default() }
    }

    fn account(name: &str) -> Account {
        Account { uid: format!("uid-{name}"), namespace: "ns".into(), name: name.into() }
    }

    #[test]
    fn a_pod_uses_what_its_credentials_are_known_for() {
        let mut record = Record::default();
        assert!(record.add("r.io/a", &of_secrets(&[secret("one", "1")])));
        assert_eq!(record.verdict("r.io/a", &[secret("one", "1")], None), Verdict::Use);
        assert_eq!(record.verdict("r.io/b", &[secret("one", "1")], None), Verdict::Pull, "another name");
        assert_eq!(record.verdict("r.io/a", &[], None), Verdict::Pull);
        assert_eq!(record.verdict("r.io/a", &[secret("two", "2")], None), Verdict::Pull);
        let (copied, rotated) = (secret("two", "1"), secret("one", "2"));
        assert_eq!(record.verdict("r.io/a", std::slice::from_ref(&copied), None), Verdict::UseAndNote(copied));
        assert_eq!(record.verdict("r.io/a", std::slice::from_ref(&rotated), None), Verdict::UseAndNote(rotated));
        assert_eq!(record.verdict("r.io/a", &[], Some(&account("a"))), Verdict::Pull);
        let of_account = Credentials { kubernetes_service_accounts: vec![account("a")], ..Credentials::default() };
        assert!(record.add("r.io/a", &of_account));
        assert_eq!(record.verdict("r.io/a", &[], Some(&account("a"))), Verdict::Use);
    }

    #[test]
    fn a_record_without_a_sum_fits_nobody() {
        let mut record = Record::default();
        record.add("r.io/a", &of_secrets(&[secret("one", "")]));
        assert_eq!(record.verdict("r.io/a", &[secret("two", "")], None), Verdict::Pull);
    }

    #[test]
    fn what_everybody_may_use_stays_so() {
        let mut record = Record::default();
        record.add("r.io/a", &of_secrets(&[secret("one", "1")]));
        assert!(record.add("r.io/a", &Credentials { node_pods_accessible: true, ..Credentials::default() }));
        assert!(!record.add("r.io/a", &of_secrets(&[secret("two", "2")])));
        assert_eq!(record.verdict("r.io/a", &[], None), Verdict::Use);
        assert_eq!(record.credential_mapping["r.io/a"].kubernetes_secrets, []);
    }

    #[test]
    fn the_same_again_says_nothing_new_and_a_rotated_secret_replaces_itself() {
        let mut record = Record::default();
        assert!(record.add("r.io/a", &of_secrets(&[secret("one", "1")])));
        assert!(!record.add("r.io/a", &of_secrets(&[secret("one", "1")])));
        assert!(!record.add("r.io/a", &Credentials::default()));
        assert!(record.add("r.io/a", &of_secrets(&[secret("one", "2")])));
        assert_eq!(record.credential_mapping["r.io/a"].kubernetes_secrets, [secret("one", "2")]);
    }

    #[test]
    fn many_halves_do_not_make_a_record_grow() {
        let mut record = Record::default();
        let many: Vec<_> = (0..SECRETS_MAX).map(|number| secret(&format!("s{number}"), &number.to_string())).collect();
        record.add("r.io/a", &of_secrets(&many));
        assert_eq!(record.verdict("r.io/a", &[secret("new", "3")], None), Verdict::Use);
        assert_eq!(record.verdict("r.io/a", &[secret("s3", "new")], None), Verdict::Pull);
    }
}
