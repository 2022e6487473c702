//! Refusals in the specification's form ("Error Codes"): a status, a code and a sentence.

use serde_json::{Value, json};
use std::fmt;

/// Why something is refused, in words that clients match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The repository has no such blob.
    BlobUnknown,
    /// The upload cannot go on so.
    BlobUploadInvalid,
    /// There is no such upload.
    BlobUploadUnknown,
    /// What was sent is not what its digest says.
    DigestInvalid,
    /// A manifest names what the repository does not have.
    ManifestBlobUnknown,
    /// What was sent is no manifest.
    ManifestInvalid,
    /// There is no such manifest or tag.
    ManifestUnknown,
    /// That cannot be a repository's name.
    NameInvalid,
    /// There is no such repository.
    NameUnknown,
    /// What was sent has another length than it says.
    SizeInvalid,
    /// That cannot be a tag. Docker's code; the specification has none.
    TagInvalid,
    /// Nobody has said who they are.
    Unauthorized,
    /// They may not.
    Denied,
    /// Nobody may.
    Unsupported,
    /// Not so many at once.
    TooManyRequests,
    /// It is our fault. Docker's code; the specification has none for these.
    Unknown,
}

impl Code {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::TagInvalid => "TAG_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// Status of HTTP.
    pub status: u16,
    /// The code.
    pub code: Code,
    /// A sentence for people.
    pub message: String,
    /// What a program may want to know.
    pub detail: Option<Value>,
    /// Headers that go with it.
    pub headers: Vec<(&'static str, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.word(), self.message)
    }
}

impl Refusal {
    /// Refuses.
    #[must_use]
    pub fn new(status: u16, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), detail: None, headers: Vec::new() }
    }

    /// With what a program may want to know.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// There is no such repository.
    #[must_use]
    pub fn no_repository(name: &crate::Name) -> Self {
        Self::new(404, Code::NameUnknown, format!("repository {name} is not known to this registry"))
            .detail(json!({"name": name.as_str()}))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> String {
        let mut one = json!({"code": self.code.word(), "message": self.message});
        if let Some(detail) = &self.detail {
            one["detail"] = detail.clone();
        }
        json!({"errors": [one]}).to_string()
    }
}
