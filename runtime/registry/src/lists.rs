//! Lists with pages: tags, repositories, referrers ("Content Discovery"). Pure.

use crate::digest::Digest;
use crate::manifest::OCI_INDEX;
use crate::name::Name;
use crate::refusal::{Code, Refusal};
use crate::state::Repository;
use crate::text::{encode, find};
use serde_json::{Value, json};

/// Names of a page when nobody says how many; and at most.
const PAGE_NAMES_MAX: usize = 1000;
/// Bytes of a page of referrers: as much as a manifest may have, because clients read it as one.
const PAGE_BYTES_MAX: usize = crate::manifest::MANIFEST_BYTES_MAX;

/// Which page is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Page {
    /// How many names.
    pub(crate) n: Option<usize>,
    /// What the page before ended with.
    pub(crate) last: Option<String>,
}

impl Page {
    /// Reads the query.
    pub(crate) fn of(parameters: &[(String, String)]) -> Result<Self, Refusal> {
        let n = find(parameters, "n").map(|text| {
            let number = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
            // More digits than a number has are still "very many".
            let count = || text.parse().unwrap_or(usize::MAX);
            number.then(count).ok_or_else(|| Refusal::new(400, Code::Unsupported, "n is not a number"))
        });
        Ok(Self { n: n.transpose()?, last: find(parameters, "last").map(str::to_owned) })
    }

    fn count(&self) -> usize {
        self.n.unwrap_or(PAGE_NAMES_MAX).min(PAGE_NAMES_MAX)
    }
}

/// A page, and where the next one is.
#[derive(Debug, PartialEq)]
pub(crate) struct Listed {
    pub(crate) body: Value,
    /// For the header `Link`.
    pub(crate) next: Option<String>,
}

/// The first names of `all`, which are sorted and follow the last one, and whether there are more.
fn cut<'a>(all: impl Iterator<Item = &'a str>, count: usize) -> (Vec<&'a str>, bool) {
    let mut names: Vec<&str> = all.take(count.saturating_add(1)).collect();
    let more = names.len() > count;
    names.truncate(count);
    // "When n is zero, this endpoint MUST return an empty list, and MUST NOT include a Link header."
    (names, more && count > 0)
}

fn next(path: &str, n: Option<usize>, last: &str) -> String {
    let n = n.map_or_else(String::new, |n| format!("&n={n}"));
    format!("<{path}?last={}{n}>; rel=\"next\"", encode(last))
}

/// A repository's tags.
pub(crate) fn tags(name: &Name, held: &Repository, page: &Page) -> Listed {
    use std::ops::Bound::{Excluded, Unbounded};
    let after = page.last.as_deref().map_or(Unbounded, Excluded);
    let all = held.tags.range::<str, _>((after, Unbounded)).map(|(tag, _)| tag.as_str());
    let (names, more) = cut(all, page.count());
    let next = names.last().filter(|_| more).map(|last| next(&format!("/v2/{name}/tags/list"), page.n, last));
    Listed { body: json!({"name": name.as_str(), "tags": names}), next }
}

/// Repositories, whose names are given in order.
pub(crate) fn catalog<'a>(names: impl Iterator<Item = &'a Name>, page: &Page) -> Listed {
    let (names, more) = cut(names.map(Name::as_str), page.count());
    let next = names.last().filter(|_| more).map(|last| next("/v2/_catalog", page.n, last));
    Listed { body: json!({"repositories": names}), next }
}

/// Who refers to `subject`, of one type or of any.
pub(crate) fn referrers(
    name: &Name,
    held: Option<&Repository>,
    subject: &Digest,
    artifact_type: Option<&str>,
    last: Option<&str>,
) -> Listed {
    let about = held.and_then(|held| Some((held, held.referrers.get(subject)?)));
    let all = about
        .into_iter()
        .flat_map(|(held, all)| all.iter().filter_map(|one| Some((one, &held.manifests.get(one)?.about))));
    let mut manifests = Vec::new();
    let (mut bytes, mut ends) = (0, None);
    for (digest, about) in all {
        let wanted = artifact_type.is_none_or(|wanted| about.artifact_type.as_deref() == Some(wanted));
        if !wanted || last.is_some_and(|last| digest.as_str() <= last) {
            continue;
        }
        let mut one = json!({"mediaType": about.media_type, "digest": digest.as_str(), "size": about.size});
        if let Some(artifact_type) = &about.artifact_type {
            one["artifactType"] = artifact_type.as_str().into();
        }
        if !about.annotations.is_empty() {
            one["annotations"] = about.annotations.clone().into();
        }
        bytes += one.to_string().len() + 1;
        if !manifests.is_empty() && (bytes > PAGE_BYTES_MAX - 256 || manifests.len() == PAGE_NAMES_MAX) {
            ends = manifests.last().and_then(|last: &Value| last["digest"].as_str().map(str::to_owned));
            break;
        }
        manifests.push(one);
    }
    let filter = artifact_type.map_or_else(String::new, |text| format!("&artifactType={}", encode(text)));
    let next =
        ends.map(|last| format!("</v2/{name}/referrers/{subject}?last={}{filter}>; rel=\"next\"", encode(&last)));
    Listed { body: json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}), next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::manifest::About;
    use crate::state::{Record, State};
    use serde_json::Map;

    fn name() -> Name {
        "a/b".parse().unwrap()
    }

    fn digest(of: usize) -> Digest {
        Digest::of(Algorithm::Sha256, &of.to_be_bytes())
    }

    fn state(count: usize, subject: Option<Digest>, annotation: &str) -> State {
        let mut state = State::default();
        for n in 0..count {
            let annotations = Map::from_iter([("a".to_owned(), Value::from(annotation))]);
            let about = About {
                media_type: "m".into(),
                size: 1,
                blobs: vec![],
                manifests: vec![],
                subject: subject.clone(),
                artifact_type: Some(format!("t{}", n % 2)),
                annotations,
            };
            let tags = vec![format!("t{n:04}").parse().unwrap()];
            state.apply(Record::Manifest { repository: name(), digest: digest(n), about: about.into(), tags, at: 0 });
        }
        state
    }

    fn page(n: Option<usize>, last: Option<&str>) -> Page {
        Page { n, last: last.map(str::to_owned) }
    }

    #[test]
    fn tags_come_in_pages() {
        let state = state(5, None, "");
        let held = state.repository(&name()).unwrap();
        let listed = |n, last| {
            let listed = tags(&name(), held, &page(n, last));
            (listed.body["tags"].as_array().unwrap().len(), listed.next)
        };
        assert_eq!(listed(None, None), (5, None));
        assert_eq!(listed(Some(2), None), (2, Some("</v2/a/b/tags/list?last=t0001&n=2>; rel=\"next\"".into())));
        assert_eq!(listed(Some(2), Some("t0002")), (2, None));
        assert_eq!(listed(Some(0), None), (0, None));
        assert_eq!(listed(None, Some("t0003x")), (1, None), "the last one need not be there any more");
        assert_eq!(listed(Some(usize::MAX), Some("z")), (0, None));
    }

    #[test]
    fn a_page_says_what_it_wants_in_numbers() {
        let of = |n: &str| Page::of(&[("n".into(), n.into())]).map(|page| page.n);
        assert_eq!((of("3").unwrap(), of("99999999999999999999999").unwrap()), (Some(3), Some(usize::MAX)));
        for bad in ["", "-1", "x", "1x"] {
            assert_eq!(of(bad).unwrap_err().status, 400, "{bad}");
        }
    }

    #[test]
    fn referrers_are_filtered_and_paged() {
        let subject = digest(999);
        let few = state(5, Some(subject.clone()), "v");
        let held = few.repository(&name());
        let all = referrers(&name(), held, &subject, None, None);
        assert_eq!((all.body["manifests"].as_array().unwrap().len(), all.next), (5, None));
        assert_eq!(all.body["manifests"][0]["annotations"]["a"], "v");
        let some = referrers(&name(), held, &subject, Some("t1"), None);
        assert_eq!(some.body["manifests"].as_array().unwrap().len(), 2);
        assert_eq!(referrers(&name(), None, &subject, None, None).body["manifests"], json!([]));

        let long = "x".repeat(100_000);
        let many = state(100, Some(subject.clone()), &long);
        let (mut seen, mut last) = (0, None);
        for _ in 0..10 {
            let page = referrers(&name(), many.repository(&name()), &subject, None, last.as_deref());
            assert!(page.body.to_string().len() <= PAGE_BYTES_MAX);
            let manifests = page.body["manifests"].as_array().unwrap();
            seen += manifests.len();
            if page.next.is_none() {
                break;
            }
            last = manifests.last().unwrap()["digest"].as_str().map(str::to_owned);
        }
        assert_eq!(seen, 100);
    }
}
