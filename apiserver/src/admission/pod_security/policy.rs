//! What a namespace asks for: a level and a version of the Pod Security Standards for each of three modes (KEP-2579).

use serde_json::Value;
use skiff_schema::{FieldError, FieldErrorKind};
use std::fmt;

/// What all labels of the standards begin with, and the keys of audit annotations too.
pub(super) const PREFIX: &str = "pod-security.kubernetes.io/";

/// How strict; the order is that of strictness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything is allowed.
    Privileged,
    /// No known way to more privileges.
    Baseline,
    /// Hardened as is the custom.
    Restricted,
}

impl Level {
    /// What the word says; a word that says nothing is as strict as can be.
    pub(super) fn parse(word: &str) -> (Self, Option<&'static str>) {
        match word {
            "privileged" => (Self::Privileged, None),
            "baseline" => (Self::Baseline, None),
            "restricted" => (Self::Restricted, None),
            _ => (Self::Restricted, Some("must be one of privileged, baseline, restricted")),
        }
    }
}

/// The release whose rules are meant; the latest one is newer than every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    /// `v1.` and this number.
    Minor(u32),
    /// Whatever this server knows.
    Latest,
}

impl Version {
    pub(super) fn parse(word: &str) -> (Self, Option<&'static str>) {
        if word == "latest" {
            return (Self::Latest, None);
        }
        let digits = word.strip_prefix("v1.").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let plain = digits.filter(|digits| *digits == "0" || !digits.starts_with('0'));
        match plain.and_then(|digits| digits.parse().ok()) {
            Some(minor) => (Self::Minor(minor), None),
            None => (Self::Latest, Some("must be \"latest\" or \"v1.x\"")),
        }
    }
}

/// What one mode asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Version::Minor(minor) => write!(f, "{level}:v1.{minor}"),
            Version::Latest => write!(f, "{level}:latest"),
        }
    }
}

/// What a namespace asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// Pods that break it are refused.
    pub(super) enforce: Standard,
    /// What breaks it is noted in the audit record.
    pub(super) audit: Standard,
    /// Whoever writes what breaks it is warned.
    pub(super) warn: Standard,
}

impl Default for Policy {
    fn default() -> Self {
        let anything = Standard { level: Level::Privileged, version: Version::Latest };
        Self { enforce: anything, audit: anything, warn: anything }
    }
}

impl Policy {
    /// Reads the labels of a namespace over `defaults`. There is always a policy, also beside errors: what enforces is as strict
    /// as can be where its label cannot be read, what only tells asks for nothing.
    pub(super) fn of(labels: &Value, defaults: Self) -> (Self, Vec<FieldError>) {
        let mut policy = defaults;
        let mut errors = Vec::new();
        let mut warned = [false; 2];
        let mut enforced = false;
        let modes = [("enforce", &mut policy.enforce), ("audit", &mut policy.audit), ("warn", &mut policy.warn)];
        for (mode, standard) in modes {
            if let Some(word) = labels[format!("{PREFIX}{mode}")].as_str() {
                let (level, wrong) = Level::parse(word);
                let open = wrong.is_some() && mode != "enforce";
                standard.level = if open { Level::Privileged } else { level };
                errors.extend(wrong.map(|why| refused(mode, word, why)));
                enforced |= mode == "enforce" && wrong.is_none();
                warned[0] |= mode == "warn";
            }
            let key = format!("{mode}-version");
            if let Some(word) = labels[format!("{PREFIX}{key}")].as_str() {
                let (version, wrong) = Version::parse(word);
                standard.version = version;
                errors.extend(wrong.map(|why| refused(&key, word, why)));
                warned[1] |= mode == "warn";
            }
        }
        // Whoever enforces is warned of the same, unless they say otherwise.
        if enforced && !warned[0] && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !warned[1] {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }

    /// Whether no mode asks for anything.
    pub(super) fn allows_everything(&self) -> bool {
        [self.enforce, self.audit, self.warn].iter().all(|standard| standard.level == Level::Privileged)
    }
}

fn refused(label: &str, word: &str, why: &str) -> FieldError {
    FieldError {
        kind: FieldErrorKind::Invalid,
        field: format!("metadata.labels[{PREFIX}{label}]"),
        value: Some(word.into()),
        detail: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(labels: &[(&str, &str)]) -> (String, usize) {
        let labels = labels.iter().map(|(key, word)| (format!("{PREFIX}{key}"), json!(word))).collect();
        let (policy, errors) = Policy::of(&Value::Object(labels), Policy::default());
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), errors.len())
    }

    #[test]
    fn labels_say_what_is_asked_for() {
        type Labels = &'static [(&'static str, &'static str)];
        let rows: [(Labels, &str, usize); 10] = [
            (&[], "privileged:latest privileged:latest privileged:latest", 0),
            (&[("enforce", "baseline")], "baseline:latest privileged:latest baseline:latest", 0),
            (
                &[("enforce", "restricted"), ("enforce-version", "v1.20")],
                "restricted:v1.20 privileged:latest restricted:v1.20",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn-version", "v1.9"), ("enforce-version", "v1.20")],
                "restricted:v1.20 privileged:latest restricted:v1.9",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn", "privileged")],
                "restricted:latest privileged:latest privileged:latest",
                0,
            ),
            // What cannot be read is enforced strictly, and told to nobody.
            (&[("enforce", "strict")], "restricted:latest privileged:latest privileged:latest", 1),
            (&[("audit", "strict"), ("warn", "x")], "privileged:latest privileged:latest privileged:latest", 2),
            (&[("enforce-version", "v1.01")], "privileged:latest privileged:latest privileged:latest", 1),
            (&[("enforce-version", "v2.1")], "privileged:latest privileged:latest privileged:latest", 1),
            (
                &[("audit", "baseline"), ("audit-version", "v1.")],
                "privileged:latest baseline:latest privileged:latest",
                1,
            ),
        ];
        for (labels, policy, errors) in rows {
            assert_eq!(read(labels), (policy.to_owned(), errors), "{labels:?}");
        }
    }

    #[test]
    fn errors_name_the_label() {
        let labels = json!({"pod-security.kubernetes.io/enforce": "strict"});
        let (_, errors) = Policy::of(&labels, Policy::default());
        assert_eq!(
            errors[0].to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, \
             baseline, restricted"
        );
    }
}
