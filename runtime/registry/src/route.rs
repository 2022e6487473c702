//! Which call a request is ("Endpoints"). Pure: method, path and query to a [`Call`] whose every part has been checked.

use crate::digest::{Algorithm, Digest};
use crate::lists::Page;
use crate::name::{Name, Tag};
use crate::plan::Reference;
use crate::refusal::{Code, Refusal};
use crate::text::{decode, find, parameters};
use http::Method;
use uuid::Uuid;

/// Tags of one push ("SHOULD support pushing at least 10 tags per request").
const TAGS_MAX: usize = 64;

/// A call of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// end-1
    Ping,
    /// Docker's list of repositories.
    Catalog(Page),
    /// end-2; whether its bytes are wanted is the method's matter.
    Blob(Name, Digest),
    /// end-3
    Manifest(Name, Reference),
    /// end-4, end-11
    Start(Name, Start),
    /// end-5
    Append(Name, Uuid),
    /// end-6
    Finish(Name, Uuid, Digest),
    /// end-13
    Status(Name, Uuid),
    /// end-14
    Cancel(Name, Uuid),
    /// end-7
    Push(Name, Reference, Vec<Tag>),
    /// end-8
    Tags(Name, Page),
    /// end-9
    DeleteManifest(Name, Reference),
    /// end-10
    DeleteBlob(Name, Digest),
    /// end-12
    Referrers(Name, Digest, Filter),
    /// Ours, below an underscore as the specification has it for extensions: what is vulnerable in an image.
    Findings(Name, Reference),
}

/// How an upload starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Start {
    /// The body is the whole blob of this digest.
    pub(crate) digest: Option<Digest>,
    /// Another repository may have it.
    pub(crate) mount: Option<Digest>,
    /// Which one.
    pub(crate) from: Option<Name>,
    /// How its digest will be made.
    pub(crate) algorithm: Algorithm,
}

/// Which referrers are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    pub(crate) artifact_type: Option<String>,
    /// What the page before ended with.
    pub(crate) last: Option<String>,
}

/// What somebody must be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// To read.
    Pull,
    /// To write.
    Push,
    /// To remove.
    Delete,
}

impl Action {
    /// Its word in scopes of tokens and in policies.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }

    /// The one of that word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::Pull, Self::Push, Self::Delete].into_iter().find(|one| one.word() == word)
    }
}

impl Call {
    /// Reads a request.
    pub(crate) fn read(method: &Method, path: &str, query: &str) -> Result<Self, Refusal> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        let rest = match path {
            "/v2" | "/v2/" if reads => return Ok(Self::Ping),
            "/v2" | "/v2/" => return Err(not_allowed("GET, HEAD")),
            "/v2/_catalog" if reads => return Page::of(&parameters(query)).map(Self::Catalog),
            "/v2/_catalog" => return Err(not_allowed("GET, HEAD")),
            _ => path.strip_prefix("/v2/").ok_or_else(nothing_there)?,
        };
        let parts: Vec<&str> = rest.split('/').collect();
        let of = |text: &str| decode(text).ok_or_else(nothing_there);
        // What follows the name has a fixed number of parts, so reading from the end leaves no doubt where the name ends.
        match parts.as_slice() {
            [name @ .., "tags", "list"] if !name.is_empty() => tags(method, &named(name)?, query),
            [name @ .., "blobs", "uploads", ""] | [name @ .., "blobs", "uploads"] if !name.is_empty() => {
                start(method, &named(name)?, query)
            }
            [name @ .., "blobs", "uploads", id] if !name.is_empty() => upload(method, named(name)?, &of(id)?, query),
            [name @ .., "blobs", digest] if !name.is_empty() => blob(method, named(name)?, of(digest)?.parse()?),
            [name @ .., "manifests", reference] if !name.is_empty() => {
                manifest(method, named(name)?, &of(reference)?, query)
            }
            [name @ .., "_skiff", "findings", reference] if !name.is_empty() && reads => {
                Ok(Self::Findings(named(name)?, of(reference)?.parse()?))
            }
            [_, .., "_skiff", "findings", _] => Err(not_allowed("GET, HEAD")),
            [name @ .., "referrers", digest] if !name.is_empty() => {
                referrers(method, named(name)?, of(digest)?.parse()?, query)
            }
            _ => Err(nothing_there()),
        }
    }

    /// Which repository it is about.
    pub(crate) fn repository(&self) -> Option<&Name> {
        match self {
            Self::Ping | Self::Catalog(_) => None,
            Self::Blob(name, _)
            | Self::Manifest(name, _)
            | Self::Start(name, _)
            | Self::Append(name, _)
            | Self::Finish(name, _, _)
            | Self::Status(name, _)
            | Self::Cancel(name, _)
            | Self::Push(name, _, _)
            | Self::Tags(name, _)
            | Self::DeleteManifest(name, _)
            | Self::DeleteBlob(name, _)
            | Self::Referrers(name, _, _)
            | Self::Findings(name, _) => Some(name),
        }
    }

    /// The tag, digest or upload that it is about.
    pub(crate) fn reference(&self) -> Option<String> {
        match self {
            Self::Manifest(_, reference)
            | Self::Push(_, reference, _)
            | Self::DeleteManifest(_, reference)
            | Self::Findings(_, reference) => Some(reference.to_string()),
            Self::Blob(_, digest)
            | Self::DeleteBlob(_, digest)
            | Self::Finish(_, _, digest)
            | Self::Referrers(_, digest, _) => Some(digest.to_string()),
            Self::Append(_, id) | Self::Status(_, id) | Self::Cancel(_, id) => Some(id.to_string()),
            Self::Ping | Self::Catalog(_) | Self::Tags(..) | Self::Start(..) => None,
        }
    }

    /// What its caller must be allowed.
    pub(crate) fn action(&self) -> Action {
        match self {
            Self::Ping
            | Self::Catalog(_)
            | Self::Blob(..)
            | Self::Manifest(..)
            | Self::Tags(..)
            | Self::Findings(..)
            | Self::Referrers(..) => Action::Pull,
            Self::Start(..)
            | Self::Append(..)
            | Self::Finish(..)
            | Self::Status(..)
            | Self::Cancel(..)
            | Self::Push(..) => Action::Push,
            Self::DeleteManifest(..) | Self::DeleteBlob(..) => Action::Delete,
        }
    }

    /// What it is called in metrics and records.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Catalog(_) => "catalog",
            Self::Blob(..) => "blob",
            Self::Manifest(..) => "manifest",
            Self::Start(..) => "upload-start",
            Self::Append(..) => "upload-append",
            Self::Finish(..) => "upload-finish",
            Self::Status(..) => "upload-status",
            Self::Cancel(..) => "upload-cancel",
            Self::Push(..) => "manifest-push",
            Self::Tags(..) => "tags",
            Self::DeleteManifest(..) => "manifest-delete",
            Self::DeleteBlob(..) => "blob-delete",
            Self::Referrers(..) => "referrers",
            Self::Findings(..) => "findings",
        }
    }
}

fn nothing_there() -> Refusal {
    Refusal::new(404, Code::Unsupported, "the distribution API has nothing at this path")
}

fn not_allowed(methods: &str) -> Refusal {
    Refusal::new(405, Code::Unsupported, format!("this takes {methods} only")).header("allow", methods)
}

fn named(parts: &[&str]) -> Result<Name, Refusal> {
    // What is encoded in a name is nothing that a name may have.
    parts.join("/").parse()
}

fn tags(method: &Method, name: &Name, query: &str) -> Result<Call, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(Call::Tags(name.clone(), Page::of(&parameters(query))?)),
        _ => Err(not_allowed("GET, HEAD")),
    }
}

fn blob(method: &Method, name: Name, digest: Digest) -> Result<Call, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(Call::Blob(name, digest)),
        Method::DELETE => Ok(Call::DeleteBlob(name, digest)),
        _ => Err(not_allowed("GET, HEAD, DELETE")),
    }
}

fn start(method: &Method, name: &Name, query: &str) -> Result<Call, Refusal> {
    if *method != Method::POST {
        return Err(not_allowed("POST"));
    }
    let query = parameters(query);
    let digest = |name: &str| find(&query, name).map(|text| text.parse::<Digest>()).transpose();
    let whole = digest("digest")?;
    let algorithm = match (&whole, find(&query, "digest-algorithm")) {
        (Some(digest), _) => digest.algorithm(),
        (None, Some(named)) => Algorithm::named(named)?,
        (None, None) => Algorithm::default(),
    };
    let from = find(&query, "from").filter(|from| !from.is_empty()).map(|from| from.parse()).transpose()?;
    Ok(Call::Start(name.clone(), Start { digest: whole, mount: digest("mount")?, from, algorithm }))
}

fn upload(method: &Method, name: Name, id: &str, query: &str) -> Result<Call, Refusal> {
    // Only the form that we write: an id becomes a folder's name.
    let id = Uuid::parse_str(id).ok().filter(|parsed| parsed.hyphenated().to_string() == id);
    let id = id.ok_or_else(|| Refusal::new(404, Code::BlobUploadUnknown, "this is no id of an upload"))?;
    match *method {
        Method::PATCH => Ok(Call::Append(name, id)),
        Method::GET | Method::HEAD => Ok(Call::Status(name, id)),
        Method::DELETE => Ok(Call::Cancel(name, id)),
        Method::PUT => {
            let query = parameters(query);
            let digest = find(&query, "digest")
                .ok_or_else(|| Refusal::new(400, Code::DigestInvalid, "the parameter digest is missing"))?;
            Ok(Call::Finish(name, id, digest.parse()?))
        }
        _ => Err(not_allowed("GET, PATCH, PUT, DELETE")),
    }
}

fn manifest(method: &Method, name: Name, reference: &str, query: &str) -> Result<Call, Refusal> {
    let reference: Reference = reference.parse()?;
    match *method {
        Method::GET | Method::HEAD => Ok(Call::Manifest(name, reference)),
        Method::DELETE => Ok(Call::DeleteManifest(name, reference)),
        Method::PUT => {
            let tags = match &reference {
                Reference::Tag(tag) => vec![tag.clone()],
                Reference::Digest(_) => more_tags(query)?,
            };
            Ok(Call::Push(name, reference, tags))
        }
        _ => Err(not_allowed("GET, HEAD, PUT, DELETE")),
    }
}

fn more_tags(query: &str) -> Result<Vec<Tag>, Refusal> {
    let query = parameters(query);
    let tags = query.iter().filter(|(name, _)| name == "tag").map(|(_, tag)| tag.parse());
    let tags: Vec<Tag> = tags.collect::<Result<_, _>>()?;
    if tags.len() > TAGS_MAX {
        // "MAY return a 414 Request-URI Too Long status if too many tags are included" (Pushing Manifests).
        return Err(Refusal::new(
            414,
            Code::TagInvalid,
            format!("{TAGS_MAX} tags at most are taken with one manifest"),
        ));
    }
    Ok(tags)
}

fn referrers(method: &Method, name: Name, subject: Digest, query: &str) -> Result<Call, Refusal> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(not_allowed("GET, HEAD"));
    }
    let query = parameters(query);
    let text = |name: &str| find(&query, name).map(str::to_owned);
    let artifact_type = text("artifactType").filter(|text| !text.is_empty());
    Ok(Call::Referrers(name, subject, Filter { artifact_type, last: text("last") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn read(method: &str, target: &str) -> Result<Call, Refusal> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Call::read(&method.parse().unwrap(), path, query)
    }

    #[test]
    fn every_endpoint_is_read() {
        for (method, target, word, action) in [
            ("GET", "/v2/", "ping", Action::Pull),
            ("GET", "/v2/_catalog?n=2", "catalog", Action::Pull),
            ("HEAD", &format!("/v2/a/b/blobs/{DIGEST}"), "blob", Action::Pull),
            ("GET", &format!("/v2/a/blobs/{}", DIGEST.replace(':', "%3A")), "blob", Action::Pull),
            ("GET", "/v2/a/manifests/latest", "manifest", Action::Pull),
            ("POST", "/v2/a/blobs/uploads/", "upload-start", Action::Push),
            ("POST", "/v2/a/blobs/uploads", "upload-start", Action::Push),
            ("PATCH", &format!("/v2/a/blobs/uploads/{ID}"), "upload-append", Action::Push),
            ("PUT", &format!("/v2/a/blobs/uploads/{ID}?digest={DIGEST}"), "upload-finish", Action::Push),
            ("GET", &format!("/v2/a/blobs/uploads/{ID}"), "upload-status", Action::Push),
            ("DELETE", &format!("/v2/a/blobs/uploads/{ID}"), "upload-cancel", Action::Push),
            ("PUT", "/v2/a/manifests/latest", "manifest-push", Action::Push),
            ("GET", "/v2/a/tags/list", "tags", Action::Pull),
            ("DELETE", "/v2/a/manifests/latest", "manifest-delete", Action::Delete),
            ("DELETE", &format!("/v2/a/blobs/{DIGEST}"), "blob-delete", Action::Delete),
            ("GET", &format!("/v2/a/referrers/{DIGEST}?artifactType=x%2Fy"), "referrers", Action::Pull),
        ] {
            let call = read(method, target).unwrap_or_else(|refusal| panic!("{method} {target}: {refusal}"));
            assert_eq!((call.word(), call.action()), (word, action), "{method} {target}");
        }
    }

    #[test]
    fn words_of_the_protocol_may_stand_in_names() {
        let call = read("GET", &format!("/v2/a/blobs/uploads/blobs/{DIGEST}")).unwrap();
        assert_eq!(call.repository().unwrap().as_str(), "a/blobs/uploads");
        let call = read("GET", "/v2/tags/list/manifests/tags").unwrap();
        assert_eq!(call.repository().unwrap().as_str(), "tags/list");
    }

    #[test]
    fn what_is_wrong_is_refused_in_the_right_words() {
        for (method, target, status, code) in [
            ("GET", "/", 404, Code::Unsupported),
            ("GET", "/v2/a", 404, Code::Unsupported),
            ("GET", "/v2/manifests/latest", 404, Code::Unsupported),
            ("POST", "/v2/", 405, Code::Unsupported),
            ("POST", "/v2/a/manifests/x", 405, Code::Unsupported),
            ("GET", "/v2/a/blobs/uploads/", 405, Code::Unsupported),
            ("GET", "/v2/A/manifests/x", 400, Code::NameInvalid),
            ("GET", "/v2/../manifests/x", 400, Code::NameInvalid),
            ("GET", "/v2/a%2f..%2fb/manifests/x", 400, Code::NameInvalid),
            ("GET", "/v2/a/manifests/..%2f..%2fx", 400, Code::TagInvalid),
            ("GET", "/v2/a/manifests/sha256:..%2f", 400, Code::DigestInvalid),
            ("GET", "/v2/a/blobs/sha256:abc", 400, Code::DigestInvalid),
            ("GET", "/v2/a/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, Code::DigestInvalid),
            ("PATCH", "/v2/a/blobs/uploads/..", 404, Code::BlobUploadUnknown),
            ("PATCH", "/v2/a/blobs/uploads/67E55044-10B1-426F-9247-BB680E5FE0C8", 404, Code::BlobUploadUnknown),
            ("PATCH", "/v2/a/blobs/uploads/%2e%2e%2f", 404, Code::BlobUploadUnknown),
            ("PUT", &format!("/v2/a/blobs/uploads/{ID}"), 400, Code::DigestInvalid),
            ("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", 400, Code::DigestInvalid),
            ("POST", &format!("/v2/a/blobs/uploads/?mount={DIGEST}&from=../b"), 400, Code::NameInvalid),
            ("GET", "/v2/a/tags/list?n=x", 400, Code::Unsupported),
            ("PUT", &format!("/v2/a/manifests/{DIGEST}?tag=a&tag=.."), 400, Code::TagInvalid),
            ("PUT", &format!("/v2/a/manifests/{DIGEST}?{}", "tag=a&".repeat(65)), 414, Code::TagInvalid),
        ] {
            let refusal = read(method, target).expect_err(target);
            assert_eq!((refusal.status, refusal.code), (status, code), "{method} {target}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_path_makes_it_panic(path in "/v2/[a-z0-9/%:.]{0,60}", query in "[a-z=&%0-9]{0,20}") {
            for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
                let _either_way = Call::read(&method, &path, &query);
            }
        }
    }
}
