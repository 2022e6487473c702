//! config.json as written: the runtime-spec's document (1.3) for Linux, field for field, nothing decided.
//!
//! Everything that the specification lets out may be out (or `null`, as Go programs write empty lists). Properties that are
//! not here are ignored (runtime-spec config, Extensibility), and so are those that are inert on Linux: other platforms'
//! sections, `process.commandLine`, `process.user.username`, `memory.kernel`, `memory.useHierarchy`. Words that only a
//! later check can judge (types, policies, flags) are strings here. What is of the wrong type is refused with its path.

mod linux;
mod locate;
mod process;
mod resources;
mod seccomp;

pub(crate) use linux::*;
pub(crate) use process::*;
pub(crate) use resources::*;
pub(crate) use seccomp::*;

use crate::error::{Error, On, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;

/// The whole document (runtime-spec config).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) oci_version: String,
    pub(crate) root: Option<Root>,
    pub(crate) mounts: Option<Vec<Mount>>,
    pub(crate) process: Option<Process>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) annotations: Option<HashMap<String, String>>,
    pub(crate) linux: Option<Linux>,
}

/// The root filesystem (config, Root).
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) readonly: Option<bool>,
}

/// One mount (config, Mounts).
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mount {
    pub(crate) destination: PathBuf,
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) source: Option<PathBuf>,
    pub(crate) options: Option<Vec<String>>,
    pub(crate) uid_mappings: Option<Vec<IdMapping>>,
    pub(crate) gid_mappings: Option<Vec<IdMapping>>,
}

/// Programs to run at points of the life (config, POSIX-platform Hooks).
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Hooks {
    /// Deprecated, but still what podman and docker set.
    pub(crate) prestart: Option<Vec<Hook>>,
    pub(crate) create_runtime: Option<Vec<Hook>>,
    pub(crate) create_container: Option<Vec<Hook>>,
    pub(crate) start_container: Option<Vec<Hook>>,
    pub(crate) poststart: Option<Vec<Hook>>,
    pub(crate) poststop: Option<Vec<Hook>>,
}

/// One program.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct Hook {
    pub(crate) path: PathBuf,
    pub(crate) args: Option<Vec<String>>,
    pub(crate) env: Option<Vec<String>>,
    /// Seconds.
    pub(crate) timeout: Option<i64>,
}

/// Reads a document or a part of one from `json`, the content of `file`; `field` is where the part stands in config.json.
///
/// # Errors
/// It is no JSON, with the place in the file; or a field has the wrong type or is missing, with the field's path.
pub(crate) fn parse<T: DeserializeOwned>(field: &str, file: impl Display, json: &[u8]) -> Result<T> {
    match serde_json::from_slice(json) {
        Err(error) if error.is_data() => {
            let text = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            let path = locate::path_at(json, error.line(), error.column());
            let path = [field, &path].join(if field.is_empty() || path.is_empty() { "" } else { "." });
            let path = path.replace(".[", "[");
            Err(Error::refused(path, text.strip_suffix(&place).unwrap_or(&text)))
        }
        result => result.on("read", file),
    }
}

#[cfg(test)]
mod tests;
