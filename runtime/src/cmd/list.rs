//! `state`, `list`: looking without touching.

use super::Context;
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::report::show;
use crate::state;
use std::os::unix::fs::MetadataExt;

pub(super) const OPTIONS: &[Opt] =
    &[Opt("quiet", Some('q'), Takes::Nothing), Opt("format", Some('f'), Takes::Value), super::HELP];

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
}

pub(super) fn format(words: &Words) -> Result<Format> {
    match words.value("format") {
        None | Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(other) => Err(Error::Usage(format!("--format {other}: neither table nor json"))),
    }
}

/// `state ID`.
pub(super) fn state(context: &Context, words: &Words) -> Result<u8> {
    let (container, _) = context.container(words)?;
    show!("{:#}", container.state()?)?;
    Ok(0)
}

/// `list [-q] [--format F]`.
pub(super) fn list(context: &Context, words: &Words) -> Result<u8> {
    let format = format(words)?;
    let (containers, damaged) = state::list(&context.root)?;
    damaged.iter().for_each(|error| context.warn(&error.to_string()));
    if words.is_on("quiet") {
        for container in &containers {
            show!("{}", container.record.id)?;
        }
        return Ok(0);
    }
    let states = containers.iter().map(owned_state).collect::<Result<Vec<_>>>()?;
    match format {
        Format::Json => show!("{}", serde_json::Value::from(states))?,
        Format::Table => {
            show!("{:<30} {:>8} {:<8} {:<40} {:<24} OWNER", "ID", "PID", "STATUS", "BUNDLE", "CREATED")?;
            for state in states {
                let word = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
                let (id, status, bundle) = (word("id"), word("status"), word("bundle"));
                let (created, owner) = (word("created"), word("owner"));
                show!("{id:<30} {:>8} {status:<8} {bundle:<40} {created:<24} {owner}", state["pid"])?;
            }
        }
    }
    Ok(0)
}

/// The state, and who made the container.
fn owned_state(container: &state::Container) -> Result<serde_json::Value> {
    let folder = container.folder.path();
    let uid = std::fs::metadata(folder).on("look at", folder.display())?.uid();
    // Read by hand: a static program has no name service.
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_owner = |line: &&str| line.split(':').nth(2).is_some_and(|id| id.parse() == Ok(uid));
    let name = users.lines().find(is_owner).and_then(|line| line.split(':').next()).map(str::to_owned);
    let mut state = container.state()?;
    state["owner"] = name.unwrap_or_else(|| format!("#{uid}")).into();
    Ok(state)
}
