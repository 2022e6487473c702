//! Replication: images that other registries get from here, and that come here from others, by rule.
//!
//! ```text
//! a push, or the time ─► wanted (which images?) ─► is it there already? ─► parts before what names them, the tag last
//! ```
//!
//! A tag that was removed stays on the other side, and what both sides have under different content is taken from the side that sends.

mod copy; // performs it

use crate::digest::Digest;
use crate::name::{Name, Tag};
use crate::rules::matches;
use crate::state::{Repository, State};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub use copy::{Replicator, replicate};

/// Which way images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// From here to the other registry.
    #[default]
    Push,
    /// From there to here.
    Pull,
}

/// A rule, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Replication {
    /// The other registry, as names of images have it: `10.0.0.1:5000`.
    pub registry: String,
    /// Which way images go.
    #[serde(default)]
    pub direction: Direction,
    /// Which repositories of the side that sends, with `*` for any characters; to pull, whole names.
    pub repositories: Vec<String>,
    /// Which tags; all, if it is left out.
    #[serde(default = "all")]
    pub tags: Vec<String>,
    /// What is put before the name on the side that receives: `mirror/`.
    #[serde(default)]
    pub prefix: String,
    /// Who we are to it.
    pub username: Option<String>,
    /// A file with the password, alone.
    pub password_file: Option<PathBuf>,
    /// How often everything is compared; what is pushed here goes at once.
    #[serde(default = "an_hour")]
    pub every_seconds: u64,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

fn an_hour() -> u64 {
    3600
}

impl Replication {
    /// Whether its words are ones.
    ///
    /// # Errors
    /// What is wrong, with the field.
    pub fn check(&self) -> Result<(), String> {
        if self.registry.is_empty() || self.registry.contains('/') {
            return Err(format!("registry: \"{}\" is no host, with a port or without", self.registry));
        }
        if self.repositories.is_empty() {
            return Err("repositories: at least one is needed".to_owned());
        }
        if !format!("{}a", self.prefix)
            .parse::<Name>()
            .is_ok_and(|_| self.prefix.is_empty() || self.prefix.ends_with('/'))
        {
            return Err(format!("prefix: \"{}\" is no name of a repository with a slash behind it", self.prefix));
        }
        if self.direction == Direction::Pull
            && let Some(one) = self.repositories.iter().find(|one| one.parse::<Name>().is_err())
        {
            return Err(format!(
                "repositories: \"{one}\" is no name, and registries are not searched for names to pull"
            ));
        }
        if self.username.is_some() != self.password_file.is_some() {
            return Err("username and passwordFile: one needs the other".to_owned());
        }
        if self.every_seconds == 0 {
            return Err("everySeconds: a positive number is needed".to_owned());
        }
        Ok(())
    }

    /// Whether a tag goes.
    pub(crate) fn takes(&self, tag: &str) -> bool {
        self.tags.iter().any(|pattern| matches(pattern, tag))
    }

    /// What the repository is called on the side that receives.
    pub(crate) fn received(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The images of this registry that go to the other one.
    pub(crate) fn wanted(&self, state: &State) -> BTreeSet<Image> {
        let named = |name: &Name| self.repositories.iter().any(|pattern| matches(pattern, name.as_str()));
        let of = |(name, held): (&Name, &Repository)| {
            let tags = held.tags.iter().filter(|(tag, _)| self.takes(tag.as_str()));
            tags.map(|(tag, to)| (name.clone(), tag.clone(), to.digest.clone())).collect::<Vec<_>>()
        };
        state.repositories().filter(|(name, _)| named(name)).flat_map(of).collect()
    }
}

/// An image: what a tag of a repository names.
pub(crate) type Image = (Name, Tag, Digest);

/// The manifests of an image in the order in which they go: what an index lists before it, and what is about any of them behind it.
pub(crate) fn manifests(held: &Repository, digest: &Digest) -> Vec<Digest> {
    let (mut order, mut seen) = (Vec::new(), BTreeSet::new());
    held.add_with_parts(digest, &mut seen, &mut order);
    let mut at = 0;
    while at < order.len() {
        let about = held.referrers.get(&order[at]).cloned().unwrap_or_default();
        about.iter().for_each(|one| held.add_with_parts(one, &mut seen, &mut order));
        at += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::manifest::{About, Needed, OCI_INDEX};
    use crate::state::Record;

    fn digest(of: &str) -> Digest {
        Digest::of(Algorithm::Sha256, of.as_bytes())
    }

    fn add_manifest(state: &mut State, name: &str, of: &str, lists: &[&str], subject: Option<&str>, tags: &[&str]) {
        let manifests = lists.iter().map(|one| Needed { digest: digest(one), size: 1 }).collect();
        let about = About {
            media_type: OCI_INDEX.to_owned(),
            size: 1,
            blobs: Vec::new(),
            manifests,
            subject: subject.map(digest),
            artifact_type: None,
            annotations: serde_json::Map::new(),
        };
        let tags = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        state.apply(Record::Manifest {
            repository: name.parse().unwrap(),
            digest: digest(of),
            about: Box::new(about),
            tags,
            at: 0,
        });
    }

    #[test]
    fn parts_go_before_what_names_them() {
        let mut state = State::default();
        add_manifest(&mut state, "a", "image", &[], None, &[]);
        add_manifest(&mut state, "a", "inner", &["image"], None, &[]);
        add_manifest(&mut state, "a", "index", &["inner", "image", "absent"], None, &["v1"]);
        add_manifest(&mut state, "a", "signature", &[], Some("image"), &[]);
        let order = manifests(state.repository(&"a".parse().unwrap()).unwrap(), &digest("index"));
        assert_eq!(order, ["image", "inner", "index", "signature"].map(digest));
    }

    #[test]
    fn a_rule_takes_repositories_and_tags() {
        let mut state = State::default();
        add_manifest(&mut state, "team/a", "one", &[], None, &["v1", "test"]);
        add_manifest(&mut state, "other/a", "one", &[], None, &["v1"]);
        let rule = Replication {
            repositories: vec!["team/*".into()],
            tags: vec!["v*".into()],
            prefix: "m/".into(),
            ..Replication::default()
        };
        let wanted: Vec<String> =
            rule.wanted(&state).iter().map(|(name, tag, _)| format!("{name}:{}", tag.as_str())).collect();
        assert_eq!((wanted, rule.received("team/a")), (vec!["team/a:v1".to_owned()], "m/team/a".to_owned()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        let good = Replication {
            registry: "h:1".into(),
            repositories: vec!["*".into()],
            every_seconds: 1,
            ..Replication::default()
        };
        assert_eq!(good.check(), Ok(()));
        for (one, said) in [
            (Replication { registry: "http://h".into(), ..good.clone() }, "registry: "),
            (Replication { repositories: Vec::new(), ..good.clone() }, "repositories: at least"),
            (Replication { direction: Direction::Pull, ..good.clone() }, "repositories: \"*\" is no name"),
            (Replication { prefix: "m".into(), ..good.clone() }, "prefix: \"m\""),
            (Replication { username: Some("a".into()), ..good.clone() }, "username and"),
            (Replication { every_seconds: 0, ..good }, "everySeconds"),
        ] {
            let refusal = one.check().unwrap_err();
            assert!(refusal.starts_with(said), "{refusal}");
        }
    }
}
