//! What a request changes: from the state, what is asked and the rules of its repository to records, or a refusal. Pure.

use crate::digest::Digest;
use crate::manifest::{About, Needed};
use crate::name::{Name, Tag};
use crate::range;
use crate::refusal::{Code, Refusal};
use crate::rules::Rules;
use crate::state::{Record, Repository, State};
use serde_json::json;

/// A manifest that is to be taken.
pub(crate) struct Push<'a> {
    pub(crate) repository: &'a Name,
    pub(crate) digest: &'a Digest,
    pub(crate) about: &'a About,
    pub(crate) tags: &'a [Tag],
    pub(crate) conditions: &'a Conditions,
    pub(crate) at: i64,
}

/// What a request wants to be so before anything changes (RFC 9110, 13.1).
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
}

impl Conditions {
    fn check(&self, now: Option<&Digest>) -> Result<(), Refusal> {
        let names = |header: &String| now.is_some_and(|digest| range::names(header, digest.as_str()));
        let met = self.if_match.as_ref().is_none_or(names) && !self.if_none_match.as_ref().is_some_and(names);
        if met {
            return Ok(());
        }
        let text = match now {
            Some(digest) => format!("it is {digest} now, which is not what If-Match or If-None-Match asks for"),
            None => "it does not exist, and If-Match asks for one that does".to_owned(),
        };
        Err(Refusal::new(412, Code::Denied, text))
    }
}

/// Takes a manifest: what it needs is there, its tags may move to it, the conditions of the request are met, and it fits.
///
/// The same manifest again is no error, and moves its tags: clients repeat a push whose answer they have not seen.
pub(crate) fn push(state: &State, rules: &Rules, push: &Push<'_>) -> Result<Vec<Record>, Refusal> {
    let nothing = Repository::default();
    let held = state.repository(push.repository).unwrap_or(&nothing);
    needs_are_met(held, rules, push.about)?;
    for tag in push.tags {
        let now = held.tags.get(tag).map(|to| &to.digest);
        push.conditions.check(now)?;
        if now.is_some_and(|now| now != push.digest) && rules.is_immutable(tag) {
            let text = format!("tag {tag} exists in repository {} and is immutable", push.repository);
            return Err(Refusal::new(409, Code::TagInvalid, text).detail(json!({"tag": tag.as_str()})));
        }
    }
    if push.tags.is_empty() {
        push.conditions.check(held.manifests.contains_key(push.digest).then_some(push.digest))?;
    }
    if !held.manifests.contains_key(push.digest) {
        fits(rules, held.bytes, push.about.size)?;
    }
    Ok(vec![Record::Manifest {
        repository: push.repository.clone(),
        digest: push.digest.clone(),
        about: Box::new(push.about.clone()),
        tags: push.tags.to_vec(),
        at: push.at,
    }])
}

/// "A registry MAY reject a manifest … with descriptors … that reference a manifest or blob that does not exist" (Push). The subject is
/// not among them: referrers may come first.
fn needs_are_met(held: &Repository, rules: &Rules, about: &About) -> Result<(), Refusal> {
    let blob = |needed: &Needed| held.blobs.get(&needed.digest).map(|blob| blob.size);
    let manifest = |needed: &Needed| held.manifests.get(&needed.digest).map(|manifest| manifest.about.size);
    let blobs = about.blobs.iter().map(|needed| ("blob", needed, blob(needed)));
    if rules.through {
        return Ok(());
    }
    let listed = if rules.sparse_indexes { &[][..] } else { &about.manifests };
    let manifests = listed.iter().map(|needed| ("manifest", needed, manifest(needed)));
    for (what, needed, size) in blobs.chain(manifests) {
        let digest = needed.digest.as_str();
        match size {
            None => {
                let text = format!("{what} {digest} is not in this repository");
                return Err(Refusal::new(404, Code::ManifestBlobUnknown, text).detail(json!({"digest": digest})));
            }
            Some(size) if size != needed.size => {
                let text = format!("{what} {digest} has {size} bytes, not {}", needed.size);
                return Err(Refusal::new(400, Code::ManifestInvalid, text).detail(json!({"digest": digest})));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether `more` bytes fit into what a repository may have.
pub(crate) fn fits(rules: &Rules, bytes: u64, more: u64) -> Result<(), Refusal> {
    match rules.quota_bytes {
        Some(quota) if bytes.saturating_add(more) > quota => {
            let text = format!("the repository has {bytes} of {quota} bytes, and {more} more do not fit");
            Err(Refusal::new(403, Code::Denied, text).detail(json!({"quotaBytes": quota, "usedBytes": bytes})))
        }
        _ => Ok(()),
    }
}

/// A repository holds a blob that has arrived. Nothing is to be done if it does already.
///
/// The quota is looked at once more here, because others may have filled it while the bytes came.
pub(crate) fn hold(
    state: &State,
    rules: &Rules,
    repository: &Name,
    (digest, size): (&Digest, u64),
    at: i64,
) -> Result<Vec<Record>, Refusal> {
    let held = state.repository(repository);
    if held.is_some_and(|held| held.blobs.contains_key(digest)) {
        return Ok(Vec::new());
    }
    fits(rules, held.map_or(0, |held| held.bytes), size)?;
    Ok(vec![Record::Blob { repository: repository.clone(), digest: digest.clone(), size, at }])
}

/// Finds a blob to mount, and how large it is.
///
/// It is looked for in `from`, or in any repository that `may_read`.
pub(crate) fn mountable(
    state: &State,
    digest: &Digest,
    from: Option<&Name>,
    may_read: &dyn Fn(&Name) -> bool,
) -> Option<u64> {
    let size = |held: &Repository| held.blobs.get(digest).map(|blob| blob.size);
    match from {
        Some(from) => state.repository(from).filter(|_| may_read(from)).and_then(size),
        None if state.is_held(digest) => {
            state.repositories().filter(|(name, _)| may_read(name)).find_map(|(_, held)| size(held))
        }
        None => None,
    }
}

/// What a manifest's reference may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A name that may move.
    Tag(Tag),
    /// Its content.
    Digest(Digest),
}

impl std::str::FromStr for Reference {
    type Err = Refusal;

    /// Digests have colons, which tags have not.
    fn from_str(text: &str) -> Result<Self, Refusal> {
        match text.contains(':') {
            true => text.parse().map(Self::Digest),
            false => text.parse().map(Self::Tag),
        }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// Which manifest is meant, and what it says.
///
/// A tag leads to what it names now. A digest has to be one of the repository's own manifests: that another repository has it is nobody's
/// business here.
pub(crate) fn resolve<'a>(
    state: &'a State,
    repository: &Name,
    reference: &Reference,
) -> Result<(Digest, &'a About), Refusal> {
    let held = state.repository(repository).ok_or_else(|| Refusal::no_repository(repository))?;
    let found = match reference {
        Reference::Digest(digest) => Some(digest),
        Reference::Tag(tag) => held.tags.get(tag).map(|to| &to.digest),
    };
    let found = found.and_then(|digest| Some((digest.clone(), &*held.manifests.get(digest)?.about)));
    found.ok_or_else(|| no_manifest(repository, reference))
}

fn no_manifest(repository: &Name, reference: &Reference) -> Refusal {
    let text = format!("repository {repository} has no manifest {reference}");
    Refusal::new(404, Code::ManifestUnknown, text)
        .detail(json!({"name": repository.as_str(), "reference": reference.to_string()}))
}

/// Removes a tag, or a manifest with the tags that name it.
pub(crate) fn delete_manifest(
    state: &State,
    repository: &Name,
    reference: &Reference,
    conditions: &Conditions,
) -> Result<Vec<Record>, Refusal> {
    let (digest, _) = resolve(state, repository, reference)?;
    conditions.check(Some(&digest))?;
    let repository = repository.clone();
    Ok(vec![match reference {
        Reference::Tag(tag) => Record::DropTag { repository, tag: tag.clone() },
        Reference::Digest(_) => Record::DropManifest { repository, digest },
    }])
}

/// Finds a blob.
pub(crate) fn blob(state: &State, repository: &Name, digest: &Digest) -> Result<u64, Refusal> {
    let held = state.repository(repository).ok_or_else(|| Refusal::no_repository(repository))?;
    let found = held.blobs.get(digest).map(|blob| blob.size);
    found.ok_or_else(|| {
        let text = format!("repository {repository} has no blob {digest}");
        Refusal::new(404, Code::BlobUnknown, text).detail(json!({"digest": digest.as_str()}))
    })
}

/// Removes a blob that no manifest needs.
pub(crate) fn delete_blob(state: &State, repository: &Name, digest: &Digest) -> Result<Vec<Record>, Refusal> {
    blob(state, repository, digest)?;
    let user = state.repository(repository).and_then(|held| {
        let needs = |about: &About| about.blobs.iter().any(|needed| needed.digest == *digest);
        held.manifests.iter().find(|(_, manifest)| needs(&manifest.about)).map(|(digest, _)| digest)
    });
    match user {
        // The specification has 400 and 405 for what cannot be deleted.
        Some(user) => {
            let text = format!("manifest {user} of this repository needs blob {digest}; delete that one first");
            Err(Refusal::new(405, Code::Unsupported, text).header("allow", "GET, HEAD"))
        }
        None => Ok(vec![Record::DropBlob { repository: repository.clone(), digest: digest.clone() }]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use serde_json::Map;

    fn digest(of: &str) -> Digest {
        Digest::of(Algorithm::Sha256, of.as_bytes())
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn about(blobs: &[(&str, u64)], manifests: &[(&str, u64)]) -> About {
        let all =
            |list: &[(&str, u64)]| list.iter().map(|(of, size)| Needed { digest: digest(of), size: *size }).collect();
        About {
            media_type: "m".into(),
            size: 10,
            blobs: all(blobs),
            manifests: all(manifests),
            subject: None,
            artifact_type: None,
            annotations: Map::new(),
        }
    }

    /// A repository `a` with the blob `x`, its manifest `m`, and the tag `v1`.
    fn state() -> State {
        let mut state = State::default();
        state.apply(Record::Blob { repository: name("a"), digest: digest("x"), size: 1, at: 0 });
        let (repository, digest, about) = (name("a"), digest("m"), Box::new(about(&[("x", 1)], &[])));
        state.apply(Record::Manifest { repository, digest, about, tags: vec!["v1".parse().unwrap()], at: 0 });
        state
    }

    fn pushed(rules: &Rules, of: &str, about: &About, conditions: &Conditions) -> Result<Vec<Record>, Refusal> {
        let (repository, digest, tags) = (name("a"), digest(of), ["v1".parse().unwrap()]);
        let one = Push { repository: &repository, digest: &digest, about, tags: &tags, conditions, at: 1 };
        push(&state(), rules, &one)
    }

    #[test]
    fn a_manifest_needs_what_it_names() {
        let (rules, free) = (Rules::default(), Conditions::default());
        assert_eq!(pushed(&rules, "n", &about(&[("x", 1)], &[("m", 10)]), &free).unwrap().len(), 1);
        for (one, code) in [
            (about(&[("y", 1)], &[]), Code::ManifestBlobUnknown),
            (about(&[], &[("y", 1)]), Code::ManifestBlobUnknown),
            (about(&[("m", 10)], &[]), Code::ManifestBlobUnknown),
            (about(&[("x", 2)], &[]), Code::ManifestInvalid),
        ] {
            assert_eq!(pushed(&rules, "n", &one, &free).unwrap_err().code, code);
        }
        let sparse = Rules { sparse_indexes: true, ..Rules::default() };
        assert!(pushed(&sparse, "n", &about(&[], &[("y", 1)]), &free).is_ok());
    }

    #[test]
    fn tags_that_may_not_move_stay() {
        let rules = Rules { immutable_tags: vec!["v*".into()], ..Rules::default() };
        let refusal = pushed(&rules, "n", &about(&[], &[]), &Conditions::default()).unwrap_err();
        assert_eq!((refusal.status, refusal.code), (409, Code::TagInvalid));
        assert!(pushed(&rules, "m", &about(&[], &[]), &Conditions::default()).is_ok(), "the same again is no move");
    }

    #[test]
    fn a_push_may_have_conditions() {
        let now = format!("\"{}\"", digest("m"));
        let of = |if_match: Option<&str>, if_none_match: Option<&str>| Conditions {
            if_match: if_match.map(str::to_owned),
            if_none_match: if_none_match.map(str::to_owned),
        };
        let outcome =
            |conditions| pushed(&Rules::default(), "n", &about(&[], &[]), &conditions).map_err(|no| no.status).err();
        assert_eq!(outcome(of(Some(&now), None)), None);
        assert_eq!(outcome(of(Some("\"sha256:other\""), None)), Some(412));
        assert_eq!(outcome(of(None, Some("*"))), Some(412));
        assert_eq!(outcome(of(None, Some("\"sha256:other\""))), None);
    }

    #[test]
    fn a_quota_counts_what_is_new() {
        let rules = Rules { quota_bytes: Some(12), ..Rules::default() };
        let (state, a) = (state(), name("a"));
        assert!(hold(&state, &rules, &a, (&digest("y"), 1), 1).is_ok());
        assert_eq!(hold(&state, &rules, &a, (&digest("y"), 2), 1).unwrap_err().code, Code::Denied);
        assert_eq!(hold(&state, &rules, &a, (&digest("x"), 2), 1).unwrap(), vec![], "it is there");
        assert!(hold(&state, &rules, &name("b"), (&digest("y"), 12), 1).is_ok(), "each has its own");
        assert_eq!(pushed(&rules, "n", &about(&[], &[]), &Conditions::default()).unwrap_err().status, 403);
    }

    #[test]
    fn what_is_mounted_may_be_read() {
        let state = state();
        let (all, none) = (|_: &Name| true, |_: &Name| false);
        assert_eq!(mountable(&state, &digest("x"), Some(&name("a")), &all), Some(1));
        assert_eq!(mountable(&state, &digest("x"), Some(&name("b")), &all), None);
        assert_eq!(mountable(&state, &digest("x"), None, &all), Some(1));
        assert_eq!(mountable(&state, &digest("x"), None, &none), None);
        assert_eq!(mountable(&state, &digest("x"), Some(&name("a")), &none), None);
        assert_eq!(mountable(&state, &digest("m"), None, &all), None, "a manifest is no blob");
    }

    #[test]
    fn deleting_leaves_nothing_that_points_nowhere() {
        let (state, a, free) = (state(), name("a"), Conditions::default());
        assert_eq!(delete_blob(&state, &a, &digest("x")).unwrap_err().status, 405);
        assert_eq!(delete_blob(&state, &a, &digest("y")).unwrap_err().code, Code::BlobUnknown);
        let tag = Reference::Tag("v1".parse().unwrap());
        assert!(matches!(&delete_manifest(&state, &a, &tag, &free).unwrap()[..], [Record::DropTag { .. }]));
        let whole = Reference::Digest(digest("m"));
        assert!(matches!(&delete_manifest(&state, &a, &whole, &free).unwrap()[..], [Record::DropManifest { .. }]));
        let other = Reference::Digest(digest("x"));
        assert_eq!(delete_manifest(&state, &a, &other, &free).unwrap_err().code, Code::ManifestUnknown);
        assert_eq!(delete_manifest(&state, &name("b"), &tag, &free).unwrap_err().code, Code::NameUnknown);
    }
}
