//! Who we are to a registry: what a caller says, or what container clients keep in a file (containers-auth.json(5), Docker's
//! `config.json`).

use crate::error::{Kind, RegistryError};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A registry whose images have names without one, and what clients call it.
const DEFAULT: &str = "docker.io";
const DEFAULT_KEYS: [&str; 3] = ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// What proves who we are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// Never shown.
        password: String,
    },
    /// A token that gets others (`identitytoken`, `identity_token`).
    Refresh(String),
    /// A token for the registry itself (`registry_token`).
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "password of {user}"),
            Self::Refresh(_) => f.write_str("identity token"),
            Self::Token(_) => f.write_str("registry token"),
        }
    }
}

impl Credentials {
    /// `user:password` in base 64, as the files have it.
    ///
    /// # Errors
    /// It is something else: a sentence that does not repeat it.
    pub fn of_auth(auth: &str) -> Result<Self, String> {
        let bad = || "`auth` is not user:password in base 64".to_owned();
        let decoded =
            BASE64.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(bad)?;
        let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
        Ok(Self::Password { user: user.to_owned(), password: password.trim_end_matches('\0').to_owned() })
    }

    /// The value of `Authorization` that says it outright; none if it has to be exchanged first.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}")))),
            Self::Token(token) => Some(format!("Bearer {token}")),
            Self::Refresh(_) => None,
        }
    }
}

/// The files in which container clients keep credentials; the first that has some for a registry counts.
#[derive(Debug, Clone, Default)]
pub struct AuthFile(Vec<PathBuf>);

impl AuthFile {
    /// These files; what is not there is empty.
    #[must_use]
    pub fn at(files: Vec<PathBuf>) -> Self {
        Self(files)
    }

    /// Where podman, skopeo and Docker keep them for this user: `$REGISTRY_AUTH_FILE` alone if it is set.
    #[must_use]
    pub fn of_user() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(file) = variable("REGISTRY_AUTH_FILE") {
            return Self(vec![file]);
        }
        let home = variable("HOME");
        let docker = variable("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
        let files = [
            variable("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            home.map(|home| home.join(".config/containers/auth.json")),
            docker.map(|dir| dir.join("config.json")),
        ];
        Self(files.into_iter().flatten().collect())
    }

    /// What they hold for a repository of a registry.
    ///
    /// # Errors
    /// A file is there and cannot be read.
    pub(crate) fn find(&self, registry: &str, path: &str) -> Result<Option<Credentials>, RegistryError> {
        for file in &self.0 {
            let Some(document) = read(file)? else { continue };
            let bad = |reason: String| RegistryError::new(Kind::Configuration, format!("{}: {reason}", file.display()));
            if let Some(entry) = best_entry(&document["auths"], registry, path)
                && let Some(found) = of_entry(entry).map_err(bad)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

fn read(file: &Path) -> Result<Option<Value>, RegistryError> {
    let bad = |reason: String| RegistryError::new(Kind::Configuration, format!("read {}: {reason}", file.display()));
    match std::fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| bad(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// The entry with the longest key that is the repository or something above it.
fn best_entry<'a>(auths: &'a Value, registry: &str, path: &str) -> Option<&'a Value> {
    let fits = |key: &str| {
        let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, below) = key.split_once('/').unwrap_or((key, ""));
        let host = if DEFAULT_KEYS.contains(&host) { DEFAULT } else { host };
        // Docker keeps the address of the interface.
        let below = Some(below.trim_end_matches('/')).filter(|below| !matches!(*below, "v1" | "v2")).unwrap_or("");
        let inside =
            below.is_empty() || path == below || path.strip_prefix(below).is_some_and(|rest| rest.starts_with('/'));
        (host == registry && inside).then_some(below.len())
    };
    let entries = auths.as_object().into_iter().flatten();
    let fitting = entries.filter_map(|(key, entry)| Some((fits(key)?, entry)));
    fitting.max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
}

fn of_entry(entry: &Value) -> Result<Option<Credentials>, String> {
    let text = |name: &str| entry[name].as_str().filter(|text| !text.is_empty());
    if let Some(token) = text("identitytoken") {
        return Ok(Some(Credentials::Refresh(token.to_owned())));
    }
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::Token(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        return Credentials::of_auth(auth).map(Some);
    }
    let password = text("password").unwrap_or_default().to_owned();
    Ok(text("username").map(|user| Credentials::Password { user: user.to_owned(), password }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_most_exact_entry_of_the_first_file_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, auths: Value| {
            let path = dir.path().join(name);
            std::fs::write(&path, json!({ "auths": auths }).to_string()).unwrap();
            path
        };
        let first = file(
            "first",
            json!({"a.example": {"auth": BASE64.encode("a:1:2")}, "a.example/team": {"username": "b", "password": "x"},
                "https://index.docker.io/v1/": {"identitytoken": "t"}, "empty.example": {}}),
        );
        let second = file("second", json!({"a.example": {"username": "other"}, "b.example": {"registrytoken": "r"}}));
        let files = AuthFile::at(vec![dir.path().join("absent"), first, second]);
        let password =
            |user: &str, password: &str| Some(Credentials::Password { user: user.into(), password: password.into() });
        assert_eq!(files.find("a.example", "app").unwrap(), password("a", "1:2"));
        assert_eq!(files.find("a.example", "team/app").unwrap(), password("b", "x"));
        assert_eq!(files.find("a.example", "teams").unwrap(), password("a", "1:2"));
        assert_eq!(files.find("docker.io", "library/x").unwrap(), Some(Credentials::Refresh("t".into())));
        assert_eq!(files.find("b.example", "x").unwrap(), Some(Credentials::Token("r".into())));
        assert_eq!(files.find("empty.example", "x").unwrap(), None);
        let broken = dir.path().join("broken");
        std::fs::write(&broken, "{").unwrap();
        assert!(AuthFile::at(vec![broken]).find("x", "y").unwrap_err().text.contains("broken"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown =
            format!("{:?} {:?}", Credentials::of_auth(&BASE64.encode("u:hidden")), Credentials::Token("hidden".into()));
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(!Credentials::of_auth("hidden!").unwrap_err().contains("hidden"));
    }
}
