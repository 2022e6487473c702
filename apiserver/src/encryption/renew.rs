//! What stands in the store as nobody would write it now (in plain, or with a key that another has replaced) is written again, in the
//! background, a piece at a time. Objects stay the same; their revisions grow, as by any write.

use super::places::resource_of;
use super::store::Encrypted;
use bytes::Bytes;
use skiff_schema::Catalog;
use skiff_store::backend::{BackendError, ListRange};
use std::time::Duration;
use tokio::time::sleep;

/// How many values are read at once.
const PAGE: usize = 200;
/// How long to rest after a page in which something was written: writers of others come first.
const REST: Duration = Duration::from_millis(20);
/// How often a page is tried that the store does not give, and how long apart.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewed {
    pub(super) written: usize,
    pub(super) unreadable: usize,
}

/// Looks at everything that is or was encrypted.
///
/// # Errors
/// The store fails.
pub(super) async fn all(store: &Encrypted) -> Result<Renewed, BackendError> {
    let mut sum = Renewed::default();
    for folder in folders(store) {
        let renewed = below(store, &folder).await?;
        sum.written += renewed.written;
        sum.unreadable += renewed.unreadable;
    }
    Ok(sum)
}

/// Folders of built-in resources that a rule names, and all others if a rule names any group. Values that expire are left alone: written
/// again they would live longer, and they are gone soon.
fn folders(store: &Encrypted) -> Vec<Bytes> {
    let keyring = store.keyring();
    let rules = &keyring.configuration().rules;
    let names = |group: &str, plural: &str| {
        let named = rules.iter().flat_map(|rule| &rule.resources);
        let fits = |group: &str, plural: &str, named: &skiff_encryption::GroupResource| {
            (named.group == group || named.group == "*") && (named.resource == plural || named.resource == "*")
        };
        named.into_iter().any(|named| fits(group, plural, named))
    };
    let built_in = Catalog::builtin().resources().iter().filter(|resource| resource.is_stored());
    let lasting = built_in.filter(|resource| resource.ttl_seconds() == 0 && names(&resource.group, &resource.plural));
    let mut folders: Vec<Bytes> = lasting.map(|one| format!("/registry/{}/", one.storage_folder).into()).collect();
    let custom = rules.iter().flat_map(|rule| &rule.resources).filter(|named| named.group.contains('.'));
    let custom = custom.map(|named| match named.resource.as_str() {
        "*" => format!("/registry/{}/", named.group),
        plural => format!("/registry/{}/{plural}/", named.group),
    });
    folders.extend(custom.map(Bytes::from));
    folders.sort();
    folders.dedup();
    folders
}

async fn below(store: &Encrypted, folder: &Bytes) -> Result<Renewed, BackendError> {
    let mut renewed = Renewed::default();
    let mut range = ListRange { prefix: folder.clone(), from: None, limit: PAGE, revision: 0 };
    loop {
        let listed = page(store, &range).await?;
        let Some(last) = listed.last() else { return Ok(renewed) };
        range.from = Some([&last.key[..], b"\0"].concat().into());
        let (full, before) = (listed.len() == PAGE, renewed.written);
        for entry in listed.into_iter().filter(|entry| resource_of(&entry.key).is_some()) {
            match store.renew(entry).await {
                Ok(written) => renewed.written += usize::from(written),
                Err(BackendError::Transform { key, problem }) => {
                    tracing::error!(key, problem, "a stored value cannot be read");
                    renewed.unreadable += 1;
                }
                Err(error) => return Err(error),
            }
        }
        if !full {
            return Ok(renewed);
        }
        if renewed.written > before {
            sleep(REST).await;
        }
    }
}

async fn page(store: &Encrypted, range: &ListRange) -> Result<Vec<skiff_store::backend::Entry>, BackendError> {
    let mut tried = 1;
    loop {
        match store.backend().list(range.clone()).await {
            Ok(listed) => return Ok(listed.entries),
            Err(error) if tried == TRIES => return Err(error),
            Err(_) => sleep(PAUSE).await,
        }
        tried += 1;
    }
}
