//! Which resource a key of the store is one of: `/registry/<folder>/…`, where folders are Kubernetes'.

use skiff_encryption::GroupResource;
use skiff_schema::Catalog;
use std::collections::HashMap;
use std::sync::OnceLock;

/// The beginning of every object's key.
const ROOT: &[u8] = b"/registry/";

/// The folder of a key: its first segment, and the one behind it.
fn segments(key: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(key.strip_prefix(ROOT)?).ok()?;
    let mut segments = text.split('/');
    Some((segments.next()?, segments.next()?))
}

/// Folders of what is built in.
fn built_in() -> &'static HashMap<String, GroupResource> {
    static FOLDERS: OnceLock<HashMap<String, GroupResource>> = OnceLock::new();
    FOLDERS.get_or_init(|| {
        let stored = Catalog::builtin().resources().iter().filter(|resource| resource.is_stored());
        let mut folders = HashMap::new();
        for resource in stored {
            let name = GroupResource { group: resource.group.to_string(), resource: resource.plural.to_string() };
            // Events are kept as those of the core group, which comes first.
            folders.entry(resource.storage_folder.to_string()).or_insert(name);
        }
        folders
    })
}

/// Folders of two segments.
fn deep() -> &'static [(String, String)] {
    static DEEP: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let split = |folder: &String| folder.split_once('/').map(|(one, other)| (one.to_owned(), other.to_owned()));
    DEEP.get_or_init(|| built_in().keys().filter_map(split).collect())
}

/// The resource that a key is one of; `None`: it is no object of the API.
pub(super) fn resource_of(key: &[u8]) -> Option<GroupResource> {
    let (first, second) = segments(key)?;
    let folders = built_in();
    let both = format!("{first}/{second}");
    if let Some(found) = folders.get(&both).or_else(|| folders.get(first)) {
        return Some(found.clone());
    }
    // Custom resources lie below their groups, which have a dot.
    first.contains('.').then(|| GroupResource { group: first.to_owned(), resource: second.to_owned() })
}

/// The part of a key that says which resource it is one of.
pub(super) fn folder_of(key: &[u8]) -> Option<&[u8]> {
    let (first, second) = segments(key)?;
    let both = deep().iter().any(|(one, other)| one == first && other == second);
    let length = if both || first.contains('.') { first.len() + 1 + second.len() } else { first.len() };
    key.get(..ROOT.len() + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_resources() {
        for (key, folder, name) in [
            ("/registry/secrets/a/b", "/registry/secrets", Some("secrets")),
            ("/registry/minions/n", "/registry/minions", Some("nodes")),
            ("/registry/services/specs/a/b", "/registry/services/specs", Some("services")),
            ("/registry/services/endpoints/a/b", "/registry/services/endpoints", Some("endpoints")),
            ("/registry/events/a/b", "/registry/events", Some("events")),
            ("/registry/deployments/a/b", "/registry/deployments", Some("deployments.apps")),
            ("/registry/example.org/flunders/a/b", "/registry/example.org/flunders", Some("flunders.example.org")),
            ("/registry/ranges/x", "/registry/ranges", None),
        ] {
            let found = resource_of(key.as_bytes()).map(|found| found.shown());
            assert_eq!(found.as_deref(), name, "{key}");
            assert_eq!(folder_of(key.as_bytes()), Some(folder.as_bytes()), "{key}");
        }
        assert_eq!(resource_of(b"health"), None);
    }
}
