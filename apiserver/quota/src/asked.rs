//! What one write wants of the quotas of its namespace, and whether they have it.

use crate::amounts::Amounts;
use crate::scope::{Scopes, is_terminating};
use crate::usage::{counted_by, usage};
use crate::{Kind, UNCOUNTED, pod};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A write, as admission sees it.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Of what.
    pub kind: Kind<'a>,
    /// The subresource; empty for the object itself.
    pub part: &'a str,
    /// The object as it is stored; `None` if it is made.
    pub old: Option<&'a Value>,
    /// The object as it shall be.
    pub new: &'a Value,
    /// Seconds since 1970.
    pub now: i64,
}

/// What a write wants; it holds nothing of the objects, so that it can wait for its turn.
#[derive(Debug, Clone)]
pub struct Asked {
    kind: (String, String),
    usage: Amounts,
    scopes: Scopes,
    old: Option<(Amounts, Scopes)>,
    /// For each container what it says of the resources that quotas may insist on; `None`: it need not.
    containers: Option<Vec<(String, BTreeSet<String>)>>,
}

/// Why a quota refuses, as the sentence behind "is forbidden: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused(pub String);

/// Kubernetes insists that these are said where they are limited, and regrets it: no others.
const INSISTED: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

impl Asked {
    /// What `write` wants; `None` if it can take nothing.
    #[must_use]
    pub fn of(write: &Write<'_>) -> Option<Self> {
        if !is_counted(write) {
            return None;
        }
        let Write { kind, old, new, now, .. } = *write;
        let is_pod = kind == ("", "pods");
        Some(Self {
            kind: (kind.0.to_owned(), kind.1.to_owned()),
            usage: usage(kind, new, now),
            scopes: Scopes::of(kind, new),
            old: old.map(|old| (usage(kind, old, now), Scopes::of(kind, old))),
            containers: (is_pod && !pod::asks_as_a_whole(new)).then(|| said(new)),
        })
    }

    /// Whether such a write can take anything of any quota.
    #[must_use]
    pub fn is_of(write: &Write<'_>) -> bool {
        is_counted(write)
    }

    /// What it takes of `quota`, which is the quota as it is stored; empty if it takes nothing.
    ///
    /// # Errors
    /// The quota has not got it, has not been counted yet, or insists on something that the object does not say.
    pub fn of_quota(&self, quota: &Value) -> Result<Amounts, Refused> {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let (hard, used) = (Amounts::of(&quota["status"]["hard"]), Amounts::of(&quota["status"]["used"]));
        let kind = (self.kind.0.as_str(), self.kind.1.as_str());
        let names: Vec<&str> = hard.names().filter(|name| counted_by(kind, name)).collect();
        if names.is_empty() || !self.scopes.fit(quota) {
            return Ok(Amounts::default());
        }
        if let Some(missing) = self.missing(&names) {
            return Err(Refused(format!("failed quota: {name}: {missing}")));
        }
        if names.iter().any(|name| !used.has(name)) {
            return Err(Refused(format!("status unknown for quota: {name}, resources: {}", names.join(","))));
        }
        let negative = self.usage.negative();
        if !negative.is_empty() {
            return Err(Refused(format!("quota usage is negative for resource(s): {}", negative.join(","))));
        }
        let more = self.more_than_before(quota).only(&names).without_zeros();
        let mut after = used.clone();
        after.add(&more);
        let wanted: Vec<&str> = more.names().collect();
        let beyond = after.only(&wanted).beyond(&hard);
        if beyond.is_empty() {
            return Ok(more);
        }
        let of = |amounts: Amounts| amounts.only(&beyond).text();
        Err(Refused(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            of(more),
            of(used),
            of(hard)
        )))
    }

    /// What was charged before is not charged again.
    fn more_than_before(&self, quota: &Value) -> Amounts {
        let mut more = self.usage.clone();
        if let Some((before, _)) = self.old.as_ref().filter(|(_, scopes)| scopes.fit(quota)) {
            more.take(before);
        }
        more
    }

    /// What some containers do not say although the quota limits it.
    fn missing(&self, names: &[&str]) -> Option<String> {
        let insisted = INSISTED.iter().filter(|name| names.contains(name));
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in insisted {
            for (container, _) in self.containers.iter().flatten().filter(|(_, said)| !said.contains(*name)) {
                missing.entry(name).or_default().insert(container);
            }
        }
        let line = |(name, containers): (&str, BTreeSet<&str>)| {
            format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
        };
        let lines: Vec<String> = missing.into_iter().map(line).collect();
        (!lines.is_empty()).then(|| format!("must specify {}", lines.join("; ")))
    }
}

/// Whether a write of this kind can take anything.
fn is_counted(write: &Write<'_>) -> bool {
    if UNCOUNTED.contains(&write.kind) {
        return false;
    }
    let made = write.old.is_none();
    match (write.kind, write.part, write.old) {
        (("", "pods"), "", Some(old)) => is_terminating(old) != is_terminating(write.new),
        (("", "pods"), "resize", Some(_)) => true,
        (("", "persistentvolumeclaims"), "status", Some(old)) => {
            let promised = |claim: &Value| claim["status"]["allocatedResources"]["storage"].clone();
            promised(old) != promised(write.new) || Scopes::of(write.kind, old) != Scopes::of(write.kind, write.new)
        }
        (("", "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims"), "", _) => true,
        (_, "", _) => made,
        _ => false,
    }
}

/// Names that quotas may insist on, container by container.
fn said(new: &Value) -> Vec<(String, BTreeSet<String>)> {
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.flat_map(|list| new["spec"][list].as_array().into_iter().flatten());
    let one = |container: &Value| {
        let of = |kind: &str| Amounts::of(&container["resources"][kind]);
        let said = pod::named(&of("requests"), &of("limits"));
        let name = container["name"].as_str().unwrap_or_default().to_owned();
        (name, said.names().map(str::to_owned).collect())
    };
    containers.map(one).collect()
}
