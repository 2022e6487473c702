//! A vulnerability: a record of OSV's schema (1.7), as it is written, and what is kept of it for one package. Pure; records are strangers'.

use crate::cvss;
use crate::report::Severity;
use crate::versions::Scheme;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// What is known of one package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advisory {
    /// The record's id: `CVE-…`, `GHSA-…`, `DSA-…`.
    pub id: String,
    /// What others call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// One line about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// How severe it is.
    pub severity: Severity,
    /// The CVSS base score, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Which versions have it, from one to another.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<Vec<Event>>,
    /// Versions that have it and are in no range.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
}

/// Where a range begins or ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// This version has it; `0` is before all.
    Introduced(String),
    /// This version does not have it any more.
    Fixed(String),
    /// This is the last one that has it.
    LastAffected(String),
}

impl Event {
    fn version(&self) -> &str {
        match self {
            Self::Introduced(version) | Self::Fixed(version) | Self::LastAffected(version) => version,
        }
    }

    /// Compares its version, of which `0` is before all.
    fn against(&self, scheme: Scheme, version: &str) -> Option<Ordering> {
        if matches!(self, Self::Introduced(first) if first == "0") {
            return Some(Ordering::Less);
        }
        scheme.compare(self.version(), version)
    }
}

/// Whether a version is in a range ("Evaluation": events in their order, the last one that holds counts).
fn is_within(scheme: Scheme, events: &[Event], version: &str) -> bool {
    if scheme.compare(version, version).is_none() {
        return false;
    }
    let mut reached: Vec<(&Event, Ordering)> =
        events.iter().filter_map(|event| Some((event, event.against(scheme, version)?))).collect();
    reached.sort_by(|(one, _), (other, _)| match (one, other) {
        (Event::Introduced(first), _) if first == "0" => Ordering::Less,
        (_, Event::Introduced(first)) if first == "0" => Ordering::Greater,
        _ => scheme.compare(one.version(), other.version()).unwrap_or(Ordering::Equal),
    });
    reached.into_iter().fold(false, |within, (event, order)| match (event, order) {
        (Event::Introduced(_), Ordering::Less | Ordering::Equal) => true,
        (Event::Fixed(_), Ordering::Less | Ordering::Equal) | (Event::LastAffected(_), Ordering::Less) => false,
        _ => within,
    })
}

impl Advisory {
    /// Whether a version has it.
    #[must_use]
    pub fn affects(&self, scheme: Scheme, version: &str) -> bool {
        self.versions.iter().any(|one| one == version)
            || self.ranges.iter().any(|events| is_within(scheme, events, version))
    }

    /// The first version after this one that does not have it any more.
    #[must_use]
    pub fn fixed_in(&self, scheme: Scheme, version: &str) -> Option<&str> {
        let fixes = self.ranges.iter().flatten().filter_map(|event| match event {
            Event::Fixed(fixed) => Some(fixed.as_str()),
            _ => None,
        });
        let later = fixes.filter(|fixed| scheme.compare(version, fixed) == Some(Ordering::Less));
        later.min_by(|one, other| scheme.compare(one, other).unwrap_or(Ordering::Equal))
    }
}

/// What a record says of each package: ecosystem, name, and what is kept.
///
/// Records that were withdrawn, and ecosystems whose versions cannot be compared here, say nothing.
#[must_use]
pub fn advisories(record: &Value) -> Vec<(String, String, Advisory)> {
    let Some(id) = record["id"].as_str().filter(|_| record["withdrawn"].is_null()) else { return Vec::new() };
    record["affected"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|affected| {
            let (ecosystem, name) = (affected["package"]["ecosystem"].as_str()?, affected["package"]["name"].as_str()?);
            let scheme = Scheme::of(ecosystem)?;
            let (severity, score) = severity(record, affected);
            let ranges: Vec<_> = affected["ranges"].as_array().into_iter().flatten().filter_map(range).collect();
            let mut advisory = Advisory {
                id: id.to_owned(),
                aliases: texts(&record["aliases"]),
                summary: record["summary"].as_str().unwrap_or_default().chars().take(200).collect(),
                severity,
                score,
                ranges,
                versions: Vec::new(),
            };
            // Ranges say most of what the list says, in a thousandth of the bytes.
            let listed = texts(&affected["versions"]);
            advisory.versions = listed.into_iter().filter(|version| !advisory.affects(scheme, version)).collect();
            Some((ecosystem.to_owned(), crate::inventory::normal_name(ecosystem, name), advisory))
        })
        .collect()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

/// The events of a range of versions; ranges of commits are none.
fn range(range: &Value) -> Option<Vec<Event>> {
    if !matches!(range["type"].as_str(), Some("ECOSYSTEM" | "SEMVER")) {
        return None;
    }
    let event = |event: &Value| {
        let of = |name: &str| event[name].as_str().map(str::to_owned);
        of("introduced")
            .map(Event::Introduced)
            .or_else(|| of("fixed").map(Event::Fixed))
            .or_else(|| of("last_affected").map(Event::LastAffected))
    };
    Some(range["events"].as_array()?.iter().filter_map(event).collect())
}

/// How severe it is: the package's own word before the record's, a vector before the database's word.
fn severity(record: &Value, affected: &Value) -> (Severity, Option<f64>) {
    for of in [affected, record] {
        let vectors = of["severity"].as_array().into_iter().flatten();
        let scores = vectors.filter_map(|one| cvss::base_score(one["score"].as_str()?));
        if let Some(score) = scores.reduce(f64::max) {
            return (Severity::of_score(score), Some(score));
        }
    }
    let words = [
        &affected["ecosystem_specific"]["severity"],
        &affected["database_specific"]["severity"],
        &affected["ecosystem_specific"]["urgency"],
        &record["database_specific"]["severity"],
    ];
    let word = words.into_iter().filter_map(Value::as_str).find_map(Severity::of_word);
    (word.unwrap_or(Severity::Unknown), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn record(ecosystem: &str, events: Value) -> Value {
        json!({
            "id": "TEST-1", "aliases": ["CVE-1"], "summary": "a hole",
            "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
            "affected": [{"package": {"ecosystem": ecosystem, "name": "Thing"},
                          "ranges": [{"type": "ECOSYSTEM", "events": events}, {"type": "GIT", "events": [{"introduced": "0"}]}],
                          "versions": ["1.0", "1.5", "weird"]}],
        })
    }

    #[test]
    fn a_range_ends_where_it_is_fixed() {
        let events =
            json!([{"introduced": "0"}, {"fixed": "1.2-1"}, {"introduced": "2.0-1"}, {"last_affected": "2.5-1"}]);
        let (ecosystem, name, one) = advisories(&record("Debian:12", events)).remove(0);
        assert_eq!(
            (ecosystem.as_str(), name.as_str(), one.severity, one.score),
            ("Debian:12", "Thing", Severity::Critical, Some(9.8))
        );
        for (version, has) in [
            ("0.1", true),
            ("1.2-1~rc1", true),
            ("1.2-1", false),
            ("1.9", false),
            ("2.0-1", true),
            ("2.5-1", true),
            ("2.5-2", false),
            ("1.5", true),
            ("weird", true),
        ] {
            assert_eq!(one.affects(Scheme::Debian, version), has, "{version}");
        }
        assert_eq!(one.fixed_in(Scheme::Debian, "0.1"), Some("1.2-1"));
        assert_eq!(one.fixed_in(Scheme::Debian, "2.0-1"), None);
        assert_eq!(one.versions, ["1.5", "weird"], "what a range says is not kept");
    }

    #[test]
    fn what_says_nothing_is_nothing() {
        assert!(advisories(&record("Maven", json!([]))).is_empty());
        let mut withdrawn = record("npm", json!([{"introduced": "0"}]));
        withdrawn["withdrawn"] = "2024-01-01T00:00:00Z".into();
        assert!(advisories(&withdrawn).is_empty());
        assert!(advisories(&json!({"id": 1})).is_empty() && advisories(&json!([])).is_empty());
    }

    #[test]
    fn a_word_of_the_database_is_a_severity() {
        let mut one = record("PyPI", json!([{"introduced": "0"}]));
        one["severity"] = json!([]);
        one["database_specific"] = json!({"severity": "MODERATE"});
        let (_, name, advisory) = advisories(&one).remove(0);
        assert_eq!((name.as_str(), advisory.severity), ("thing", Severity::Medium));
    }

    proptest! {
        #[test]
        fn the_order_of_events_does_not_matter(version in 0u32..40, swap: bool) {
            let mut events = vec![Event::Introduced("5".into()), Event::Fixed("10".into()), Event::Introduced("20".into()), Event::Fixed("30".into())];
            if swap { events.reverse(); }
            let within = (5..10).contains(&version) || (20..30).contains(&version);
            prop_assert_eq!(is_within(Scheme::Semantic, &events, &version.to_string()), within);
        }
    }
}
