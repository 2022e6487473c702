//! What nobody needs any more: blobs without a manifest, repositories without anything. Pure; the bytes go after the journal says so.

use crate::name::Name;
use crate::state::{Record, Repository};

/// What a repository may lose at `now`: blobs that no manifest of it needs and that came more than `grace_seconds` ago, because a manifest
/// follows its blobs.
pub(crate) fn plan(name: &Name, held: &Repository, grace_seconds: i64, now: i64) -> Vec<Record> {
    let needed = held.needed();
    let unneeded = held.blobs.iter().filter(|(digest, blob)| !needed.contains(digest) && now - blob.at > grace_seconds);
    let mut records: Vec<Record> =
        unneeded.map(|(digest, _)| Record::DropBlob { repository: name.clone(), digest: digest.clone() }).collect();
    if records.len() == held.blobs.len() && held.manifests.is_empty() {
        records.push(Record::DropRepository { repository: name.clone() });
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};
    use crate::manifest::{About, Needed};
    use crate::state::State;

    #[test]
    fn what_a_manifest_needs_and_what_is_young_stays() {
        let (name, digest) = ("a".parse::<Name>().unwrap(), |of: &str| Digest::of(Algorithm::Sha256, of.as_bytes()));
        let mut state = State::default();
        for (of, at) in [("needed", 0), ("old", 0), ("young", 95)] {
            state.apply(Record::Blob { repository: name.clone(), digest: digest(of), size: 1, at });
        }
        let about = About {
            media_type: "m".into(),
            size: 1,
            blobs: vec![Needed { digest: digest("needed"), size: 1 }],
            manifests: vec![],
            subject: None,
            artifact_type: None,
            annotations: serde_json::Map::new(),
        };
        let manifest = digest("manifest");
        let push = Record::Manifest {
            repository: name.clone(),
            digest: manifest.clone(),
            about: about.into(),
            tags: vec![],
            at: 0,
        };
        state.apply(push);
        let goes = |state: &State| plan(&name, state.repository(&name).unwrap(), 10, 100);
        assert_eq!(goes(&state), [Record::DropBlob { repository: name.clone(), digest: digest("old") }]);
        state.apply(Record::DropManifest { repository: name.clone(), digest: manifest });
        assert_eq!(goes(&state).len(), 2, "the one that was needed, too");
        state.apply(Record::DropBlob { repository: name.clone(), digest: digest("young") });
        assert_eq!(goes(&state).last(), Some(&Record::DropRepository { repository: name.clone() }));
    }
}
