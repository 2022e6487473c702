//! `exec`: a further program in a running container.

use super::{Context, create::preserve_fds, foreground, path};
use crate::cli::{Opt, Takes, Words};
use crate::error::{Error, On, Result};
use crate::init::{self, Joining};
use crate::seccomp::Filter;
use crate::spec::Process;
use crate::spec::config::{self, Config};
use crate::state::Status;
use std::path::Path;

pub(super) const OPTIONS: &[Opt] = &[
    Opt("process", Some('p'), Takes::Value),
    Opt("pid-file", None, Takes::Value),
    Opt("console-socket", None, Takes::Value),
    Opt("detach", Some('d'), Takes::Nothing),
    Opt("preserve-fds", None, Takes::Value),
    Opt("tty", Some('t'), Takes::Nothing),
    Opt("user", Some('u'), Takes::Value),
    Opt("additional-gids", Some('g'), Takes::Value),
    Opt("env", Some('e'), Takes::Value),
    Opt("cwd", None, Takes::Value),
    Opt("cap", Some('c'), Takes::Value),
    Opt("no-new-privs", None, Takes::Nothing),
    super::HELP,
];

/// `exec ID CMD…` or `exec --process FILE ID`.
pub(super) fn exec(context: &Context, words: &Words) -> Result<u8> {
    let (container, acts) = context.container(words)?;
    match container.status()? {
        Status::Created | Status::Running => (),
        status => {
            let id = &container.record.id;
            return Err(Error::Said(format!("cannot exec in a container that is {}: {id}", status.word())));
        }
    }
    let config = container.config()?;
    let process = Process::check("process", &written(words, &config)?)?;
    process.warnings.iter().for_each(|warning| context.warn(warning));
    let filter = config.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()).map(Filter::check).transpose()?;
    let detach = words.is_on("detach");
    let mut socket = path(words, "console-socket")?;
    let relay = match (&process.terminal, detach, &socket) {
        (Some(_), false, None) => Some(foreground::TerminalRelay::listen()?),
        (Some(_), true, None) => return Err(Error::Usage("a detached terminal needs --console-socket".to_owned())),
        _ => None,
    };
    if let Some(relay) = &relay {
        socket = Some(relay.path());
    }
    let console = socket.filter(|_| process.terminal.is_some());
    let signals = if detach { None } else { Some(foreground::Signals::take()?) };
    let joining = Joining {
        acts: &acts,
        container: &container,
        process: &process,
        filter: filter.as_ref(),
        console: console.as_deref().map(init::connect_console).transpose()?,
        pid_file: path(words, "pid-file")?,
        preserve_fds: preserve_fds(words)?,
    };
    let born = init::join(&joining)?;
    signals.map_or(Ok(0), |signals| foreground::wait(born.pid, &signals, relay))
}

/// The process as written: the file's, or the container's own with what the options change.
fn written(words: &Words, config: &Config) -> Result<config::Process> {
    if let Some(file) = words.value("process") {
        let bytes = std::fs::read(Path::new(file)).on("read", file)?;
        return config::parse("process", file, &bytes);
    }
    let process = config.process.clone().ok_or_else(|| Error::refused("process", "is missing"))?;
    overlay(process, words)
}

fn overlay(mut process: config::Process, words: &Words) -> Result<config::Process> {
    let args = words.positionals.get(1..).unwrap_or_default().to_vec();
    if args.is_empty() {
        return Err(Error::Usage("exec: a program is needed, or --process FILE".to_owned()));
    }
    process.args = Some(args);
    process.terminal = Some(words.is_on("tty"));
    process.env.get_or_insert_default().extend(words.values("env").into_iter().map(str::to_owned));
    if let Some(cwd) = words.value("cwd") {
        process.cwd = cwd.into();
    }
    if words.is_on("no-new-privs") {
        process.no_new_privileges = Some(true);
    }
    if let Some(user) = words.value("user") {
        let (uid, gid) = ids(user)?;
        process.user = config::User { uid, gid: gid.unwrap_or(process.user.gid), ..config::User::default() };
    }
    let gids = words.values("additional-gids").into_iter().map(id).collect::<Result<Vec<_>>>()?;
    if !gids.is_empty() {
        process.user.additional_gids = Some(gids);
    }
    add_caps(&mut process, &words.values("cap"));
    Ok(process)
}

fn add_caps(process: &mut config::Process, names: &[&str]) {
    if names.is_empty() {
        return;
    }
    let caps = process.capabilities.get_or_insert_default();
    for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
        set.get_or_insert_default().extend(names.iter().map(|name| (*name).to_owned()));
    }
}

/// `UID` or `UID:GID`, as numbers and nothing else: a name would have to be looked up in files that the container controls,
/// and a number that does not fit must never become another one (CVE-2024-40635, CVE-2026-30892).
fn ids(text: &str) -> Result<(u32, Option<u32>)> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

fn id(text: &str) -> Result<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The largest number means "no change" to setresuid(2).
    let number = if is_plain { text.parse::<u32>().ok().filter(|id| *id != u32::MAX) } else { None };
    number.ok_or_else(|| Error::Usage(format!("`{}` is not a user or group number", text.escape_debug())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn users_are_numbers_that_fit() {
        assert_eq!(ids("0").unwrap(), (0, None));
        assert_eq!(ids("1000:33").unwrap(), (1000, Some(33)));
        for bad in
            ["", ":", "1:", ":1", "root", "-1", "+1", "4294967295", "4294967296", "0x1", " 1", "1 ", "1:2:3", "\u{661}"]
        {
            assert!(ids(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_user_string_never_becomes_another_user(text in "[-+0-9: x]{0,12}") {
            if let Ok((uid, gid)) = ids(&text) {
                let trimmed = |part: &str| if part.trim_start_matches('0').is_empty() { "0".to_owned() } else { part.trim_start_matches('0').to_owned() };
                let mut parts = text.split(':');
                prop_assert_eq!(uid.to_string(), trimmed(parts.next().unwrap()));
                prop_assert_eq!(gid.map(|gid| gid.to_string()), parts.next().map(trimmed));
            }
        }
    }
}
