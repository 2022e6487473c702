//! What was found: packages of an inventory that a database knows to be vulnerable. Pure.

use crate::inventory::{Inventory, Package};
use crate::osv::Advisory;
use crate::versions::Scheme;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How severe a vulnerability is: the words of CVSS 3's "Qualitative Severity Rating Scale".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nobody says.
    Unknown,
    /// 0
    None,
    /// 0.1 to 3.9
    Low,
    /// 4.0 to 6.9
    Medium,
    /// 7.0 to 8.9
    High,
    /// 9.0 to 10
    Critical,
}

impl Severity {
    /// All, the worst first.
    pub const ALL: [Self; 6] = [Self::Critical, Self::High, Self::Medium, Self::Low, Self::None, Self::Unknown];

    /// The one of a CVSS score.
    #[must_use]
    pub fn of_score(score: f64) -> Self {
        match score {
            _ if score >= 9.0 => Self::Critical,
            _ if score >= 7.0 => Self::High,
            _ if score >= 4.0 => Self::Medium,
            _ if score > 0.0 => Self::Low,
            _ => Self::None,
        }
    }

    /// The one of a database's word: GitHub says `MODERATE`, Debian `unimportant`.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "critical" => Some(Self::Critical),
            "high" | "important" => Some(Self::High),
            "medium" | "moderate" => Some(Self::Medium),
            "low" => Some(Self::Low),
            "none" | "unimportant" | "negligible" => Some(Self::None),
            _ => None,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// A finding that somebody has looked at and accepts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Suppression {
    /// Which vulnerability, by its id or by what others call it.
    pub id: String,
    /// In which repositories, with `*` for any characters; in all if it is left out.
    #[serde(default = "anywhere")]
    pub repositories: Vec<String>,
    /// In which package, if not in all.
    pub package: Option<String>,
    /// Until when, as a day of 2026-01-31's form; it is accepted on that day still.
    pub until: Option<String>,
    /// Why it is accepted.
    pub reason: String,
}

fn anywhere() -> Vec<String> {
    vec!["*".to_owned()]
}

impl Suppression {
    fn is_of(&self, finding: &Finding, today: &str) -> bool {
        let named = self.id == finding.id || finding.aliases.contains(&self.id);
        let package = self.package.as_ref().is_none_or(|package| *package == finding.package.name);
        // Days of this form sort as texts.
        named && package && self.until.as_deref().is_none_or(|until| today <= until)
    }
}

/// A package that is vulnerable.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The record's id.
    pub id: String,
    /// What others call it.
    pub aliases: Vec<String>,
    /// How severe it is.
    pub severity: Severity,
    /// The CVSS base score, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The package.
    #[serde(flatten)]
    pub package: Package,
    /// The next version that is not vulnerable, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    /// One line about it.
    pub summary: String,
    /// Why it is accepted, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suppressed: Option<String>,
}

/// What was found in an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many packages were looked for.
    pub packages: usize,
    /// How many findings of each severity are not accepted.
    pub counts: BTreeMap<&'static str, usize>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
    /// What could not be looked into, in words: no findings do not mean that there are none.
    pub unscanned: Vec<String>,
}

impl Report {
    /// Compares an inventory with what is known of its packages.
    ///
    /// `today` is a day in the form of 2026-01-31, on which `suppressions` hold or not.
    #[must_use]
    pub fn of(
        inventory: &Inventory,
        known: &[(Package, Advisory)],
        suppressions: &[&Suppression],
        today: &str,
    ) -> Self {
        let found = known.iter().filter_map(|(package, advisory)| finding(package, advisory));
        let mut findings: Vec<Finding> = found.collect();
        for finding in &mut findings {
            let accepted = suppressions.iter().find(|one| one.is_of(finding, today));
            finding.suppressed = accepted.map(|one| one.reason.clone());
        }
        let key = |one: &Finding| (one.package.clone(), one.id.clone());
        findings.sort_by(|one, other| other.severity.cmp(&one.severity).then_with(|| key(one).cmp(&key(other))));
        let mut counts: BTreeMap<&'static str, usize> = Severity::ALL.iter().map(|one| (one.word(), 0)).collect();
        for finding in findings.iter().filter(|one| one.suppressed.is_none()) {
            *counts.entry(finding.severity.word()).or_default() += 1;
        }
        Self {
            packages: inventory.packages.len(),
            counts,
            findings,
            unscanned: inventory.unscanned.iter().cloned().collect(),
        }
    }

    /// The worst severity that is not accepted; `None`: nothing was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().filter(|one| one.suppressed.is_none()).map(|one| one.severity).max()
    }
}

fn finding(package: &Package, advisory: &Advisory) -> Option<Finding> {
    let scheme = Scheme::of(&package.ecosystem)?;
    advisory.affects(scheme, &package.version).then(|| Finding {
        id: advisory.id.clone(),
        aliases: advisory.aliases.clone(),
        severity: advisory.severity,
        score: advisory.score,
        package: package.clone(),
        fixed_in: advisory.fixed_in(scheme, &package.version).map(str::to_owned),
        summary: advisory.summary.clone(),
        suppressed: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::osv::Event;

    fn known(id: &str, severity: Severity) -> (Package, Advisory) {
        let ranges = vec![vec![Event::Introduced("0".into()), Event::Fixed("2.0.0".into())]];
        let (aliases, summary) = (vec![format!("CVE-{id}")], String::new());
        let advisory =
            Advisory { id: id.into(), aliases, summary, severity, score: None, ranges, versions: Vec::new() };
        (Package::of("npm", "thing", "1.0.0", "package-lock.json"), advisory)
    }

    fn suppression(id: &str) -> Suppression {
        Suppression {
            id: id.into(),
            repositories: anywhere(),
            package: None,
            until: None,
            reason: "not reached".into(),
        }
    }

    #[test]
    fn the_worst_comes_first_and_accepted_ones_do_not_count() {
        let known = [known("A", Severity::Low), known("B", Severity::Critical), known("C", Severity::High)];
        let inventory = Inventory { packages: [known[0].0.clone()].into(), ..Inventory::default() };
        let report = Report::of(&inventory, &known, &[], "2026-01-01");
        assert_eq!(report.findings.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), ["B", "C", "A"]);
        assert_eq!((report.worst(), report.counts["critical"], report.packages), (Some(Severity::Critical), 1, 1));
        assert_eq!(report.findings[0].fixed_in.as_deref(), Some("2.0.0"));
        let accepted = suppression("CVE-B");
        let report = Report::of(&inventory, &known, &[&accepted], "2026-01-01");
        assert_eq!((report.worst(), report.counts["critical"], report.findings.len()), (Some(Severity::High), 0, 3));
        assert_eq!(report.findings[0].suppressed.as_deref(), Some("not reached"));
    }

    #[test]
    fn an_acceptance_ends_and_is_of_one_package() {
        let known = [known("A", Severity::Low)];
        let worst = |one: &Suppression, today: &str| Report::of(&Inventory::default(), &known, &[one], today).worst();
        let ending = Suppression { until: Some("2026-03-01".into()), ..suppression("A") };
        assert_eq!((worst(&ending, "2026-03-01"), worst(&ending, "2026-03-02")), (None, Some(Severity::Low)));
        let other = Suppression { package: Some("other".into()), ..suppression("A") };
        assert_eq!(worst(&other, "2026-01-01"), Some(Severity::Low));
    }

    #[test]
    fn scores_and_words_are_severities() {
        for (score, severity) in [
            (0.0, Severity::None),
            (3.9, Severity::Low),
            (4.0, Severity::Medium),
            (7.0, Severity::High),
            (9.0, Severity::Critical),
        ] {
            assert_eq!(Severity::of_score(score), severity);
        }
        assert!(
            Severity::ALL.iter().all(|one| *one == Severity::Unknown || Severity::of_word(one.word()) == Some(*one))
        );
    }
}
