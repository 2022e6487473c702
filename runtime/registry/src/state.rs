//! What the registry knows: repositories, their blobs, manifests and tags, as the records of the journal made them. Pure.
//!
//! A repository *holds* content; the bytes of the same digest lie on the disk once, however many hold them.

use crate::digest::Digest;
use crate::manifest::About;
use crate::name::{Name, Tag};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A change, as the journal keeps it. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Record {
    /// A repository holds a blob.
    Blob {
        /// Which.
        repository: Name,
        /// Of which digest.
        digest: Digest,
        /// Of how many bytes.
        size: u64,
        /// Since when.
        at: i64,
    },
    /// It does not hold it any more.
    DropBlob {
        /// Which repository.
        repository: Name,
        /// Which blob.
        digest: Digest,
    },
    /// A repository holds a manifest, and these tags name it.
    Manifest {
        /// Which.
        repository: Name,
        /// Of which digest.
        digest: Digest,
        /// What it says.
        about: Box<About>,
        /// The tags.
        tags: Vec<Tag>,
        /// When that was said.
        at: i64,
    },
    /// It does not hold it any more, and no tag names it.
    DropManifest {
        /// Which repository.
        repository: Name,
        /// Which manifest.
        digest: Digest,
    },
    /// A tag names nothing any more.
    DropTag {
        /// Of which repository.
        repository: Name,
        /// Which.
        tag: Tag,
    },
    /// A repository is no more.
    DropRepository {
        /// Which.
        repository: Name,
    },
}

/// A blob of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBlob {
    /// Its bytes.
    pub size: u64,
    /// Since when it is there.
    pub at: i64,
}

/// A manifest of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldManifest {
    /// What it says.
    pub about: Box<About>,
    /// When it was pushed first.
    pub at: i64,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTag {
    /// Which manifest it names.
    pub digest: Digest,
    /// Since when it names that one.
    pub at: i64,
}

/// A repository.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repository {
    /// Its blobs.
    pub blobs: BTreeMap<Digest, HeldBlob>,
    /// Its manifests.
    pub manifests: BTreeMap<Digest, HeldManifest>,
    /// Its tags, in the order in which they are listed.
    pub tags: BTreeMap<Tag, HeldTag>,
    /// Which manifests are about which.
    pub referrers: BTreeMap<Digest, BTreeSet<Digest>>,
    /// Bytes of its blobs and manifests.
    pub bytes: u64,
}

impl Repository {
    /// Blobs that a manifest of it needs.
    #[must_use]
    pub fn needed(&self) -> BTreeSet<&Digest> {
        let manifests = self.manifests.values();
        manifests.flat_map(|manifest| manifest.about.blobs.iter().map(|needed| &needed.digest)).collect()
    }

    /// Adds a manifest to `order`, behind those that it lists and that are held. Indexes list each other as deep as strangers like, so
    /// this does not call itself.
    pub(crate) fn add_with_parts(&self, digest: &Digest, seen: &mut BTreeSet<Digest>, order: &mut Vec<Digest>) {
        let mut open = vec![(digest.clone(), false)];
        while let Some((digest, parts_are_in)) = open.pop() {
            let Some(manifest) = self.manifests.get(&digest) else { continue };
            if parts_are_in {
                order.push(digest);
            } else if seen.insert(digest.clone()) {
                open.push((digest, true));
                open.extend(manifest.about.manifests.iter().map(|listed| (listed.digest.clone(), false)));
            }
        }
    }
}

/// All repositories.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    repositories: BTreeMap<Name, Repository>,
    /// How many repositories hold a digest, as a blob or as a manifest.
    holders: HashMap<Digest, u32>,
}

impl State {
    /// A repository.
    #[must_use]
    pub fn repository(&self, name: &Name) -> Option<&Repository> {
        self.repositories.get(name)
    }

    /// All of them, by name.
    pub fn repositories(&self) -> impl Iterator<Item = (&Name, &Repository)> {
        self.repositories.iter()
    }

    /// Those whose names follow `last`.
    pub fn repositories_after<'a>(&'a self, last: &'a str) -> impl Iterator<Item = (&'a Name, &'a Repository)> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.repositories.range::<str, _>((Excluded(last), Unbounded))
    }

    /// Whether any repository holds it.
    #[must_use]
    pub fn is_held(&self, digest: &Digest) -> bool {
        self.holders.contains_key(digest)
    }

    /// All digests that somebody holds.
    pub fn held(&self) -> impl Iterator<Item = &Digest> {
        self.holders.keys()
    }

    fn hold(&mut self, digest: &Digest) {
        *self.holders.entry(digest.clone()).or_default() += 1;
    }

    fn release(&mut self, digest: &Digest) {
        if let Some(count) = self.holders.get_mut(digest) {
            *count -= 1;
            if *count == 0 {
                self.holders.remove(digest);
            }
        }
    }

    /// Applies a record. Each may be applied twice: a journal that was written anew while a crash came may say it again.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Blob { repository, digest, size, at } => self.add_blob(repository, digest, size, at),
            Record::DropBlob { repository, digest } => {
                let Some(held) = self.repositories.get_mut(&repository) else { return };
                let Some(blob) = held.blobs.remove(&digest) else { return };
                held.bytes -= blob.size;
                self.release(&digest);
            }
            Record::Manifest { repository, digest, about, tags, at } => {
                self.add_manifest(repository, digest, about, tags, at);
            }
            Record::DropManifest { repository, digest } => self.drop_manifest(&repository, &digest),
            Record::DropTag { repository, tag } => {
                let Some(held) = self.repositories.get_mut(&repository) else { return };
                held.tags.remove(&tag);
            }
            Record::DropRepository { repository } => {
                let Some(held) = self.repositories.remove(&repository) else { return };
                held.blobs.keys().chain(held.manifests.keys()).for_each(|digest| self.release(digest));
            }
        }
    }

    fn add_blob(&mut self, repository: Name, digest: Digest, size: u64, at: i64) {
        let held = self.repositories.entry(repository).or_default();
        let before = held.blobs.insert(digest.clone(), HeldBlob { size, at });
        held.bytes += size;
        match before {
            Some(before) => held.bytes -= before.size,
            None => self.hold(&digest),
        }
    }

    fn add_manifest(&mut self, repository: Name, digest: Digest, about: Box<About>, tags: Vec<Tag>, at: i64) {
        let held = self.repositories.entry(repository).or_default();
        for tag in tags {
            held.tags.insert(tag, HeldTag { digest: digest.clone(), at });
        }
        if held.manifests.contains_key(&digest) {
            return;
        }
        if let Some(subject) = &about.subject {
            held.referrers.entry(subject.clone()).or_default().insert(digest.clone());
        }
        held.bytes += about.size;
        held.manifests.insert(digest.clone(), HeldManifest { about, at });
        self.hold(&digest);
    }

    fn drop_manifest(&mut self, repository: &Name, digest: &Digest) {
        let Some(held) = self.repositories.get_mut(repository) else { return };
        let Some(manifest) = held.manifests.remove(digest) else { return };
        held.tags.retain(|_, tag| tag.digest != *digest);
        held.bytes -= manifest.about.size;
        if let Some(subject) = &manifest.about.subject
            && let Some(referrers) = held.referrers.get_mut(subject)
        {
            referrers.remove(digest);
            if referrers.is_empty() {
                held.referrers.remove(subject);
            }
        }
        self.release(digest);
    }

    /// The records that make this state out of none.
    pub fn records(&self) -> impl Iterator<Item = Vec<Record>> + '_ {
        self.repositories.iter().map(|(name, held)| {
            let blobs = held.blobs.iter().map(|(digest, blob)| Record::Blob {
                repository: name.clone(),
                digest: digest.clone(),
                size: blob.size,
                at: blob.at,
            });
            let manifests = held.manifests.iter().map(|(digest, manifest)| Record::Manifest {
                repository: name.clone(),
                digest: digest.clone(),
                about: manifest.about.clone(),
                tags: Vec::new(),
                at: manifest.at,
            });
            // A tag has a time of its own, so it is said beside the manifest that it names.
            let tags = held.tags.iter().filter_map(|(tag, to)| {
                let about = held.manifests.get(&to.digest)?.about.clone();
                let (repository, digest) = (name.clone(), to.digest.clone());
                Some(Record::Manifest { repository, digest, about, tags: vec![tag.clone()], at: to.at })
            });
            blobs.chain(manifests).chain(tags).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::manifest::Needed;
    use proptest::prelude::*;
    use serde_json::Map;

    fn digest(of: u8) -> Digest {
        Digest::of(Algorithm::Sha256, &[of])
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let name = || prop_oneof![Just("a"), Just("b/c")].prop_map(|text| text.parse::<Name>().unwrap());
        let tag = || (0u8..3).prop_map(|n| format!("t{n}").parse::<Tag>().unwrap());
        prop_oneof![
            (name(), 0u8..6).prop_map(|(repository, n)| Record::Blob {
                repository,
                digest: digest(n),
                size: n.into(),
                at: 1
            }),
            (name(), 0u8..6).prop_map(|(repository, n)| Record::DropBlob { repository, digest: digest(n) }),
            (name(), 6u8..9, proptest::option::of(6u8..9), proptest::collection::vec(tag(), 0..2), 0u8..6).prop_map(
                |(repository, n, subject, tags, blob)| {
                    let about = About {
                        media_type: "m".into(),
                        size: n.into(),
                        blobs: vec![Needed { digest: digest(blob), size: blob.into() }],
                        manifests: vec![],
                        subject: subject.map(digest),
                        artifact_type: None,
                        annotations: Map::new(),
                    };
                    Record::Manifest { repository, digest: digest(n), about: about.into(), tags, at: 2 }
                }
            ),
            (name(), 6u8..9).prop_map(|(repository, n)| Record::DropManifest { repository, digest: digest(n) }),
            (name(), tag()).prop_map(|(repository, tag)| Record::DropTag { repository, tag }),
            name().prop_map(|repository| Record::DropRepository { repository }),
        ]
    }

    fn sound(state: &State) {
        let mut holders: HashMap<Digest, u32> = HashMap::new();
        for (_, held) in state.repositories() {
            assert!(held.tags.values().all(|tag| held.manifests.contains_key(&tag.digest)), "a tag points nowhere");
            let sizes = held.blobs.values().map(|blob| blob.size);
            let manifests = held.manifests.values().map(|manifest| manifest.about.size);
            assert_eq!(held.bytes, sizes.chain(manifests).sum::<u64>());
            for digest in held.blobs.keys().chain(held.manifests.keys()) {
                *holders.entry(digest.clone()).or_default() += 1;
            }
            let about: usize = held.referrers.values().map(BTreeSet::len).sum();
            assert_eq!(about, held.manifests.values().filter(|manifest| manifest.about.subject.is_some()).count());
        }
        assert_eq!(holders, state.holders);
    }

    proptest! {
        #[test]
        fn every_history_leaves_a_sound_state_that_its_records_make_again(
            history in proptest::collection::vec(any_record(), 0..60)
        ) {
            let mut state = State::default();
            for record in history {
                state.apply(record);
                sound(&state);
            }
            let mut again = State::default();
            state.records().flatten().for_each(|record| again.apply(record));
            let empty = |(_, held): &(&Name, &Repository)| held.blobs.is_empty() && held.manifests.is_empty();
            let full: Vec<_> = state.repositories().filter(|one| !empty(one)).collect();
            prop_assert_eq!(full, again.repositories().collect::<Vec<_>>());
        }
    }
}
