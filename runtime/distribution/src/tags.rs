//! The tags of a repository (distribution-spec, "Listing Tags"), page after page.

use crate::error::{Kind, RegistryError};
use crate::exchange::Ask;
use crate::repository::{Repository, collect};
use crate::token::encoded;
use http::Method;
use serde_json::Value;

/// Tags that are asked for at once.
const PAGE_TAGS: usize = 1000;
/// Pages that are read: a registry that says "there is more" for ever is not believed.
const PAGES_MAX: usize = 1000;
/// Bytes of a page.
const PAGE_BYTES_MAX: usize = 4 << 20;

impl Repository {
    /// All tags that the registry lists.
    ///
    /// # Errors
    /// Nobody has the repository, nobody can be asked, or the list has no end.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let mut all: Vec<String> = Vec::new();
        for _ in 0..PAGES_MAX {
            let last = all.last().map_or_else(String::new, |last| format!("&last={}", encoded(last)));
            let rest = format!("/tags/list?n={PAGE_TAGS}{last}");
            let (answer, ask, _) =
                self.first("tags", |endpoint| Ask::new(Method::GET, self.url(endpoint, &rest))).await?;
            let more = answer.header("link").is_some();
            let body = collect(answer.body, PAGE_BYTES_MAX).await.map_err(|error| error.during(&ask.name()))?;
            let page: Value = serde_json::from_slice(&body)
                .map_err(|error| RegistryError::new(Kind::Protocol, format!("{}: {error}", ask.name())))?;
            let tags = page["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let before = all.len();
            all.extend(tags.map(str::to_owned));
            if !more || all.len() == before {
                return Ok(all);
            }
        }
        Err(RegistryError::new(Kind::Protocol, format!("repository {}: the list of tags has no end", self.path)))
    }
}
